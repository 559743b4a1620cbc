"""Scenes, rasters, and the task: vegetation (NDVI > 0.4) from blue, green and red alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import flowtrain as ft

TRAIN_ROWS = 1000
NDVI_THRESHOLD = 0.4
GEOTIFF = (".tif", ".tiff")


def read_raster(path: str | Path) -> np.ndarray:
    """(H, W, bands) from a GeoTIFF (which needs rasterio), an npy, or an npz (`bands`, or its only array)."""
    path = Path(path)
    if path.suffix in GEOTIFF:
        import rasterio

        with rasterio.open(path) as file:
            return np.ascontiguousarray(np.moveaxis(file.read(), 0, -1))
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return file["bands" if "bands" in file else next(iter(file))]
    raise ft.FlowtrainError(f"{path}: a raster is a .tif, .npy or .npz file")


def write_raster(path: str | Path, values: np.ndarray, like: str | Path | None = None) -> None:
    """Write (H, W, C) as a GeoTIFF or npy; a GeoTIFF takes its place on earth from `like`, where that has one."""
    path = Path(path)
    if path.suffix not in GEOTIFF:
        np.save(path, values)
        return
    import rasterio

    place = {}
    if like is not None and Path(like).suffix in GEOTIFF:
        with rasterio.open(like) as file:
            place = {"crs": file.crs, "transform": file.transform}
    height, width, count = values.shape
    shape = {"height": height, "width": width, "count": count, "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", compress="deflate", **shape, **place) as file:
        file.write(np.moveaxis(values, -1, 0))


def vegetation(scene: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a Sentinel-2 scene of B02, B03, B04, B08 into what the model sees and what it has to find.

    NDVI = (B08 - B04) / (B08 + B04) (Rouse et al., 1974); B08, the near infrared, is kept from the model.

    Returns:
        Blue, green, red: uint16 (H, W, 3); the label: uint8 (H, W, 1), 1 where NDVI is above 0.4.
    """
    if scene.ndim != 3 or scene.shape[2] < 4:
        raise ft.FlowtrainError(f"a scene has the bands B02, B03, B04, B08; got {scene.dtype} {scene.shape}")
    red, infrared = (scene[..., band].astype(np.float32) for band in (2, 3))
    ndvi = (infrared - red) / np.maximum(infrared + red, 1)
    return np.ascontiguousarray(scene[..., :3]), (ndvi > NDVI_THRESHOLD)[..., None].astype(np.uint8)
