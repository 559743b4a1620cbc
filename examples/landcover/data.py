"""Scenes, patches, and the task: vegetation (NDVI > 0.4) from blue, green and red alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import flowtrain as ft
from flowtrain import imgaug

TRAIN_ROWS = 1000
NDVI_THRESHOLD = 0.4


def read_scene(path: str | Path) -> np.ndarray:
    """All bands of a scene, (H, W, bands), from an npz (`bands`) or a GeoTIFF (which needs rasterio)."""
    if str(path).endswith(".npz"):
        with np.load(path, allow_pickle=False) as file:
            return file["bands"]
    import rasterio

    with rasterio.open(path) as file:
        return np.moveaxis(file.read(), 0, -1)


def vegetation(scene: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a Sentinel-2 scene of B02, B03, B04, B08 into what the model sees and what it has to find.

    NDVI = (B08 - B04) / (B08 + B04) (Rouse et al., 1974); B08, the near infrared, is kept from the model.

    Returns:
        Blue, green, red: uint16 (H, W, 3); the label: int32 (H, W, 1), 1 where NDVI is above 0.4.
    """
    red, infrared = (scene[..., band].astype(np.float32) for band in (2, 3))
    ndvi = (infrared - red) / np.maximum(infrared + red, 1)
    return np.ascontiguousarray(scene[..., :3]), (ndvi > NDVI_THRESHOLD)[..., None].astype(np.int32)


class RandomPatches(ft.RNGDataFlow):
    """Patches at random places of a scene, with the pixels' labels.

    Args:
        bands: (H, W, C).
        labels: (H, W, 1).
        size: Patches an epoch.
        patch: Their height and width.
    """

    def __init__(self, bands: np.ndarray, labels: np.ndarray, size: int, patch: int = 64, seed=None) -> None:
        super().__init__(seed)
        self.bands, self.labels, self.size, self.patch = bands, labels, size, patch

    def __len__(self) -> int:
        return self.size

    def get(self, index: int, epoch: int = 0):
        height, width = self.bands.shape[:2]
        rng = self.stream.at(epoch, index)
        y, x = rng.integers(height - self.patch + 1), rng.integers(width - self.patch + 1)
        here = slice(y, y + self.patch), slice(x, x + self.patch)
        return [self.bands[here], self.labels[here]]


def training_data(bands, labels, batch: int = 16, steps: int = 200) -> ft.DataFlow:
    """Batches of float32 (B, 64, 64, 3) and int32 (B, 64, 64, 1), flipped and turned at random."""
    ds = RandomPatches(bands.astype(np.float32), labels, size=steps * batch)
    ds = ft.AugmentImageComponents(
        ds, [imgaug.Flip(horiz=True), imgaug.Flip(vert=True), imgaug.Transpose()], indices=[0, 1]
    )
    return ft.BatchData(ds, batch)


def patches_image(patches: np.ndarray) -> np.ndarray:
    """Stack patches (N, P, P, C) in rows, as rasters of patches are kept: (N * P, P, C)."""
    return patches.reshape(-1, *patches.shape[2:])


def from_patches_image(image: np.ndarray) -> np.ndarray:
    """The patches of such a raster again: (N, P, P, C), P being its width."""
    size = image.shape[1]
    if image.shape[0] % size:
        raise ft.FlowtrainError(f"a raster of patches is a multiple of its width high; got {image.shape}")
    return image.reshape(-1, size, size, image.shape[2])
