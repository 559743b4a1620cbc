"""Scenes, rasters, and the task: vegetation (NDVI > 0.4) from blue, green and red alone."""

from __future__ import annotations

import zipfile
import zlib
from contextlib import nullcontext
from pathlib import Path

import numpy as np

import flowtrain as ft

TRAIN_ROWS = 1000
NDVI_THRESHOLD = 0.4
RASTERS = (".tif", ".tiff", ".jp2")
GEOTIFF = (".tif", ".tiff")


def read_raster(path: str | Path) -> np.ndarray:
    """Read (H, W, bands) from a GeoTIFF or JPEG 2000, an npy, or an npz (its array `bands`, or its first)."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in RASTERS:
        return ft.read_raster(path)
    if suffix not in (".npy", ".npz"):
        raise ft.FlowtrainError(f"{path}: a raster is a .tif, .jp2, .npy or .npz file")
    try:
        with np.load(path, allow_pickle=False) if suffix == ".npz" else nullcontext(np.load(path)) as file:
            if suffix == ".npy":
                return file
            return file["bands" if "bands" in file else next(iter(file))]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ft.FlowtrainError(f"{path} cannot be read: {error}") from None


def write_raster(path: str | Path, values: np.ndarray, like: str | Path | None = None) -> None:
    """Write (H, W, C) as a GeoTIFF or npy; a GeoTIFF takes its place on earth from `like`, where that has one."""
    if Path(path).suffix.lower() in GEOTIFF:
        ft.write_raster(path, values, like if like and Path(like).suffix.lower() in RASTERS else None)
    else:
        np.save(path, values)


def checksum(scene: np.ndarray) -> str:
    """Shape and CRC32 of a scene, to recognize it."""
    return f"{'x'.join(map(str, scene.shape))}-{zlib.crc32(np.ascontiguousarray(scene)):08x}"


def vegetation(scene: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a Sentinel-2 scene of B02, B03, B04, B08 into the model's input and its label.

    NDVI = (B08 - B04) / (B08 + B04) (Rouse et al., 1974); B08, the near infrared, is kept from the model.

    Returns:
        Blue, green, red: uint16 (H, W, 3); the label: uint8 (H, W, 1), 1 where NDVI is above 0.4.
    """
    if scene.ndim != 3 or scene.shape[2] < 4:
        raise ft.FlowtrainError(f"a scene has the bands B02, B03, B04, B08; got {scene.dtype} {scene.shape}")
    red, infrared = (scene[..., band].astype(np.float32) for band in (2, 3))
    ndvi = (infrared - red) / np.maximum(infrared + red, 1)
    return np.ascontiguousarray(scene[..., :3]), (ndvi > NDVI_THRESHOLD)[..., None].astype(np.uint8)
