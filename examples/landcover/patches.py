"""Patches of a scene with their labels: cut while training, or kept in files in the two ways that OTBTF keeps them.

Patches-images are rasters in which square patches lie one below the other, `bands.npy` (or `.tif`) and `label.npy`;
the other way is a folder of TFRecord shards, `0.records`, `1.records`, ..., that OTBTF's own scripts read too.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from data import RASTERS, read_raster, write_raster

import flowtrain as ft
from flowtrain import imgaug

KEYS = ["bands", "label"]


class RandomPatches(ft.RNGDataFlow):
    """Patches at random places of a scene: [bands (P, P, C), label (P, P, 1)].

    Args:
        bands: The scene, (H, W, C).
        label: Its labels, (H, W, 1).
        size: Number of patches in an epoch.
        patch: Height and width of a patch, P.
    """

    def __init__(self, bands: np.ndarray, label: np.ndarray, size: int, patch: int = 64, seed=None) -> None:
        super().__init__(seed)
        self.bands, self.label, self.size, self.patch = bands, label, size, patch

        if min(bands.shape[:2]) < patch:
            raise ft.FlowtrainError(f"a scene of {bands.shape[0]} x {bands.shape[1]} pixels has no patch of {patch}")

    def __len__(self) -> int:
        return self.size

    def get(self, index: int, epoch: int = 0):
        height, width = self.bands.shape[:2]
        rng = self.stream.at(epoch, index)
        y, x = rng.integers(height - self.patch + 1), rng.integers(width - self.patch + 1)
        here = slice(y, y + self.patch), slice(x, x + self.patch)
        return [self.bands[here], self.label[here]]


def grid(raster: np.ndarray, patch: int = 64) -> np.ndarray:
    """Cut a raster into patches without overlap, (N, P, P, C); the rest at the right and lower edge is left out."""
    rows, columns = raster.shape[0] // patch, raster.shape[1] // patch
    cut = raster[: rows * patch, : columns * patch].reshape(rows, patch, columns, patch, raster.shape[2])
    return cut.swapaxes(1, 2).reshape(rows * columns, patch, patch, raster.shape[2])


def stacked(patches: np.ndarray) -> np.ndarray:
    """Put patches (N, P, P, C) one below the other, into a raster (N * P, P, C)."""
    return patches.reshape(-1, *patches.shape[2:])


def unstacked(raster: np.ndarray) -> np.ndarray:
    """Split a raster of `stacked` into its patches (N, P, P, C); P is the raster's width."""
    size = raster.shape[1]
    if raster.shape[0] % size:
        raise ft.FlowtrainError(f"a raster of patches is a multiple of its width high; got {raster.shape}")
    return raster.reshape(-1, size, size, raster.shape[2])


def write_patches_images(folder: str | Path, bands: np.ndarray, label: np.ndarray, suffix: str = ".npy") -> None:
    """Write patches (N, P, P, C) and their labels (N, P, P, 1) as two rasters."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, patches in zip(KEYS, (bands, label), strict=True):
        write_raster(folder / f"{name}{suffix}", stacked(patches))


def write_tfrecords(folder: str | Path, bands: np.ndarray, label: np.ndarray, per_file: int = 100) -> None:
    """Write patches and labels as OTBTF does: a folder of TFRecord shards, with types and shapes as JSON files."""
    ft.write(ft.DataFromArrays(bands, label), folder, "otbtf", keys=KEYS, per_file=per_file, progress=False)


def patches_of(folder: str | Path, shuffle: bool) -> ft.DataFlow:
    """The patches in a folder of TFRecords or of rasters (one or several: bands.1.tif, ...), as [bands, label]."""
    folder = Path(folder)
    if any(folder.glob("*.records")):
        return ft.OTBTFData(folder, KEYS, shuffle=shuffle)
    found = {name: sorted(folder.glob(f"{name}.*"), key=_by_number) for name in KEYS}
    endings = {path.suffix.lower() for paths in found.values() for path in paths}
    if not all(found.values()) or not (endings <= set(RASTERS) or endings == {".npy"}):
        raise ft.FlowtrainError(
            f"{folder} holds neither 0.records, ... nor the rasters bands.*.tif and label.*.tif (or .npy, .jp2)"
        )
    if endings == {".npy"}:
        parts = {name: [unstacked(read_raster(path)) for path in paths] for name, paths in found.items()}
        counts = {name: [len(part) for part in each] for name, each in parts.items()}
        if counts["bands"] != counts["label"]:
            raise ft.FlowtrainError(
                f"{folder}: the files of bands have {counts['bands']} patches, of label {counts['label']}"
            )
        return ft.DataFromArrays(*(np.concatenate(each) for each in parts.values()), shuffle=shuffle)
    return ft.PatchesImages(found, keys=KEYS, shuffle=shuffle)


def _by_number(path: Path) -> list:
    """Sort key by the numbers in a name: bands.2.tif before bands.10.tif."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def training_data(patches: ft.DataFlow, batch: int = 16) -> ft.DataFlow:
    """Batches of patches, flipped and turned at random: bands (B, P, P, C), label (B, P, P, 1)."""
    turn = [imgaug.Flip(horiz=True), imgaug.Flip(vert=True), imgaug.Transpose()]
    return ft.BatchData(ft.AugmentImageComponents(patches, turn, index=[0], mask_index=[1]), batch)
