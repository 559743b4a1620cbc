"""Optional packages: imported when first used, with an error that says how to install them."""

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
    """One of flowtrain's own dependencies is not installed, see `raise_missing`."""


def raise_missing(error: ImportError, needed_for: str) -> NoReturn:
    """Raise an error that says what to install, for an ImportError while a name of flowtrain was loaded.

    It is for those who installed the dependencies of the data half alone, without TensorFlow.

    Args:
        error: What importing raised.
        needed_for: The name that was loaded, for the error.

    Raises:
        MissingPackage: A package that flowtrain depends on is not installed.
        ImportError: `error` itself where it is of another kind: of an extra, or of a module of flowtrain.
    """
    # A name that loads another one meets the error that was made for that one, and makes its own of the same cause.
    cause = error.__cause__ if isinstance(error, _MissingDependency) else error
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
        needed_for: What needs it, for the error.

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
