"""Packages that only some users need: imported when first used, with an error that says how to get them."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import NoReturn

from .errors import FlowtrainError

__all__ = ["MissingPackage", "raise_missing", "require"]

_TENSORFLOW = "tensorflow keras (flowtrain.dataflow works without)"
_BRINGS = {"tensorflow": _TENSORFLOW, "keras": _TENSORFLOW, "cv2": "opencv-python-headless", "PIL": "pillow"}
_BRINGS |= {"zmq": "pyzmq", "google_crc32c": "google-crc32c"}  # module -> what pip installs, where that is not its name


class MissingPackage(FlowtrainError, ImportError):
    """A package is not installed; the message holds the command that installs it."""


class _MissingDependency(MissingPackage):
    """It is none of an extra's, see `raise_missing`."""


def raise_missing(error: ImportError, needed_for: str) -> NoReturn:
    """Say what to install where a package that flowtrain depends on is not there: only the data half is installed.

    Args:
        error: What importing raised.
        needed_for: What needs the package, named in the error.

    Raises:
        MissingPackage: A package is not installed.
        ImportError: `error` itself where it is another: of an extra, or of a module of flowtrain.
    """
    cause = error.__cause__ if isinstance(error, _MissingDependency) else error  # of a name that this one needs
    package = ((cause.name if isinstance(cause, ModuleNotFoundError) else "") or "").partition(".")[0]
    if package in ("", "flowtrain"):
        raise error
    raise _MissingDependency(
        f"{needed_for} needs the package {package!r}, which cannot be imported ({cause}). "
        f"Install it with: pip install {_BRINGS.get(package, package)}"
    ) from cause


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
