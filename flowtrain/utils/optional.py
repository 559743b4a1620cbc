"""Packages that only some users need: imported when first used, with an error that says how to get them."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import FlowtrainError

__all__ = ["MissingPackage", "require"]


class MissingPackage(FlowtrainError, ImportError):
    """An optional package is not installed; the message holds the command that installs it."""


def require(module: str, extra: str, needed_for: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: The module's name, e.g. ``"lmdb"``.
        extra: The extra of flowtrain that brings it, e.g. ``"formats"``.
        needed_for: What needs it, named in the error.

    Returns:
        The module.

    Raises:
        MissingPackage: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f"{needed_for} needs the package {module!r}, which cannot be imported ({error}). "
            f"Install it with: pip install 'flowtrain[{extra}]'"
        ) from error
