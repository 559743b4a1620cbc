"""Recognises the kind of a file or folder of weights or of a model."""

from __future__ import annotations

from pathlib import Path

from flowtrain.model.checkpoint_io import refuse_missing_path
from flowtrain.utils.errors import CheckpointError, first_few

__all__ = ["KINDS", "checkpoint_prefix", "kind_of", "model_path"]

KINDS = {
    "own": "checkpoint of flowtrain",
    "bundle": "TensorFlow checkpoint",
    "meta": "TensorFlow 1 checkpoint with its graph",
    "saved_model": "SavedModel",
    "keras": ".keras file",
    "h5": ".h5 file",
    "weights_h5": ".weights.h5 file",
    "npz": ".npz file",
    "frozen": "frozen graph",
}
"""What `kind_of` returns, in words."""

_BY_SUFFIX = {".npz": "npz", ".keras": "keras", ".pb": "frozen", ".meta": "meta"}
_SAVED_MODEL = "saved_model.pb"
_PICKLES = {".pkl", ".pickle", ".p", ".joblib", ".pt", ".pth"}
_KINDS = (
    "an own checkpoint (a folder step-..., checkpoints or a run's log folder), a TensorFlow checkpoint (its prefix, "
    ".index or .meta), a SavedModel folder, .keras, .h5, .weights.h5, .npz or a frozen .pb"
)


def kind_of(path: str | Path) -> str:
    """Recognise the kind of a file or folder, by names of files alone.

    Args:
        path: A file, a folder or the prefix of a TensorFlow checkpoint.

    Returns:
        A key of `KINDS`.

    Raises:
        CheckpointError: There is no such path, or it is of no known kind.
    """
    path = Path(path)
    if path.is_dir():
        return _kind_of_folder(path)
    if path.suffix in _PICKLES:
        raise CheckpointError(
            f"{path} is a pickle by its name. Pickles can run any code when they are read, so they are never "
            "loaded: save the arrays with numpy.savez instead."
        )
    if path.suffix == ".meta":  # before its prefix, by which it would be a checkpoint without a graph
        return "meta"
    if checkpoint_prefix(path) is not None:
        return "bundle"
    refuse_missing_path(path)
    if path.name == _SAVED_MODEL:
        return "saved_model"
    if path.suffix in (".h5", ".hdf5"):
        return "weights_h5" if path.name.endswith(".weights.h5") else "h5"
    if path.suffix in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix]
    raise CheckpointError(f"{path} is of no kind that can be loaded: expected {_KINDS}.")


def model_path(path: str | Path) -> Path:
    """The path of a model: the folder of a SavedModel if its ``saved_model.pb`` is given, else the path itself."""
    path = Path(path)
    return path.parent if path.name == _SAVED_MODEL else path


def _kind_of_folder(path: Path) -> str:
    if (path / _SAVED_MODEL).exists():
        return "saved_model"
    if (path / "manifest.json").exists() or (path / "checkpoints").is_dir() or any(path.glob("step-*/manifest.json")):
        return "own"
    if (path / "checkpoint").is_file() or any(path.glob("*.index")):
        return "bundle"
    shown = first_few(sorted(entry.name for entry in path.iterdir()), 10) or "it is empty"
    raise CheckpointError(f"the folder {path} holds no model: {shown}. Expected {_KINDS}.")


def checkpoint_prefix(path: str | Path) -> Path | None:
    """The prefix of a TensorFlow checkpoint.

    Args:
        path: The prefix, one of the checkpoint's files, or a folder with checkpoints, of which the newest is taken.

    Returns:
        The prefix; None if there is no checkpoint.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob("*.index"), key=lambda file: (file.stat().st_mtime_ns, file.name))
        return found[-1].with_suffix("") if found else None
    for prefix in (path, path.with_suffix("")):
        if prefix.with_name(prefix.name + ".index").exists():
            return prefix
    return None
