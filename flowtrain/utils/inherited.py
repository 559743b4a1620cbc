"""Whether a class's statement about its methods was written for the methods that it has now."""

from __future__ import annotations

import functools

__all__ = ["written_for"]


@functools.lru_cache(maxsize=1024)
def written_for(kind: type, name: str, *methods: str) -> bool:
    """Whether ``name`` is defined by the same class as ``methods``, or by a subclass of it.

    A subclass that overrides a method but not the statement about it inherits a statement that is true of its parent's
    method, perhaps not of its own. So ``name`` must come in the method resolution order no later than any of the
    methods.

    Args:
        kind: The class.
        name: The method or attribute that states something about ``methods``.
        methods: Names of other methods.
    """
    for each in kind.__mro__:
        own = vars(each)
        if name in own:
            return True
        if any(method in own for method in methods):
            return False
    return False
