"""Reads MRI slices from files, and splits them into training and validation."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np

import flowtrain as ft

SIZE = 255


class ArraysOnly(pickle.Unpickler):
    """Unpickles NumPy arrays and refuses everything else, since a pickle may run any code."""

    ADMITTED = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy._core.numeric", "_frombuffer"),
    }

    def find_class(self, module, name):
        if (module, name) not in self.ADMITTED:
            raise ft.FlowtrainError(f"the pickle wants {module}.{name}; only NumPy arrays are read from pickles")
        return super().find_class(module, name)


def read_slices(path: str | Path) -> np.ndarray:
    """Read uint8 (N, 255, 255) from an npz (its array `slices`, or its first) or a pickle (an array, or several)."""
    path = Path(path)
    try:
        slices = _unpickled(path) if path.suffix == ".pkl" else _from_npz(path)
    except (ValueError, OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ft.FlowtrainError(f"{path} is no npz or pkl file of slices, or it is damaged: {error}") from None
    if slices.ndim != 3 or min(slices.shape[1:]) < SIZE:
        raise ft.FlowtrainError(f"{path} holds {slices.dtype} {slices.shape}; expected uint8 (N, {SIZE}, {SIZE})")
    if slices.dtype != np.uint8:
        if slices.dtype.kind != "f" or not np.abs(slices).max(initial=0) <= 0.51:
            raise ft.FlowtrainError(
                f"{path} holds {slices.dtype} from {slices.min():g} to {slices.max():g}; slices are uint8, or floats "
                "from -0.5 (black) to 0.5 (white)"
            )
        slices = np.clip((slices + 0.5) * 255 + 0.5, 0, 255).astype(np.uint8)
    return slices[:, :SIZE, :SIZE]


def _unpickled(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        slices = ArraysOnly(file, encoding="latin1").load()
    while isinstance(slices, (tuple, list, dict)):  # the layout differs between preparations: find the pictures
        parts = list(slices.values() if isinstance(slices, dict) else slices)
        pictures = [part for part in parts if np.ndim(part) >= 2]
        slices = pictures[0] if len(pictures) == 1 else np.stack(pictures)
    return slices


def _from_npz(path: Path) -> np.ndarray:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no zip file, which an npz is")
    with np.load(path, allow_pickle=False) as file:
        names = list(file)
        return file["slices" if "slices" in names else names[0]]


def part(slices: np.ndarray, hold_out: int | None, training: bool) -> np.ndarray:
    """All slices; with `hold_out` = k every k-th one for validation, the others for training."""
    if hold_out is None:
        return slices
    held = np.arange(len(slices)) % hold_out == hold_out // 2
    return slices[~held if training else held]
