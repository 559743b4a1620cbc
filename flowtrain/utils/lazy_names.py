"""A package's public names from the stub beside it: written once, for type checkers, editors and Python alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lazy_loader

from .arguments import missing_name
from .old_names import OLD_NAMES

__all__ = ["lazy_names"]


def lazy_names(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Serve the names that a package's stub imports, each loaded when it is first used.

    Args:
        package: The package's ``__name__``.
        file: Its ``__file__``; the stub is the ``.pyi`` beside it, with lines such as
            ``from .callbacks import ModelSaver as ModelSaver``.

    Returns:
        The package's ``__getattr__``, ``__dir__`` and ``__all__``. A name that the stub lacks is an error that tells
        the one that was meant, or what Tensorpack's name is called here.
    """
    load, listed, names = lazy_loader.attach_stub(package, file)
    known = frozenset(names)

    def __getattr__(name: str) -> Any:
        if name not in known:
            raise missing_name(package, name, names, OLD_NAMES)
        return load(name)

    return __getattr__, listed, names
