"""Whether what a class says of its methods was said of the methods that it has."""

from __future__ import annotations

import functools

__all__ = ["written_for"]


@functools.lru_cache(maxsize=1024)
def written_for(kind: type, name: str, *methods: str) -> bool:
    """Say whether the class that defines ``name`` did so for the ``methods`` that ``kind`` has.

    A subclass that overrides a method alone inherits a statement that is true of its parent's method. Such a statement
    must not be believed: it is looked for from the subclass up, and the first class that defines one of the methods has
    to define ``name`` too.

    Args:
        kind: The class.
        name: The method or attribute that says something of ``methods``.
        methods: Names of other methods.
    """
    for each in kind.__mro__:
        own = vars(each)
        if name in own:
            return True
        if any(method in own for method in methods):
            return False
    return False
