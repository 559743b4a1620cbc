"""Data sets of pictures: clean ones that noise is added to, pairs of noisy and clean, or noisy ones alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np

import flowtrain as ft

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def files(folder: str | Path) -> list[Path]:
    """All pictures beneath a folder, sorted."""
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ft.FlowtrainError(f"no picture in {folder}; looked for {', '.join(sorted(SUFFIXES))}")
    return found


def read(path: str | Path, channels: int) -> np.ndarray:
    """float32 (H, W, channels) in [0, 1]."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    if picture is None:
        raise ft.FlowtrainError(f"{path} is not a picture that OpenCV can read")
    picture = picture[..., None] if channels == 1 else picture[..., ::-1]
    return np.ascontiguousarray(picture, np.float32) / 255


def grid_patches(picture: np.ndarray, size: int = 40) -> np.ndarray:
    """All patches of a grid without overlap, (N, size, size, C); what does not fill a patch is left out."""
    rows, columns = picture.shape[0] // size, picture.shape[1] // size
    cut = picture[: rows * size, : columns * size].reshape(rows, size, columns, size, -1)
    return cut.swapaxes(1, 2).reshape(rows * columns, size, size, -1)


def eighth(patch: np.ndarray, which: int) -> np.ndarray:
    """One of the eight ways to turn and mirror a square."""
    turned = np.rot90(patch, which % 4)
    return turned[:, ::-1] if which >= 4 else turned


def clean_patches(folder: str | Path, noise, channels: int = 1, batch: int = 128, patch: int = 40) -> ft.DataFlow:
    """Training data from clean pictures: batches of [noisy, clean], float32 (batch, patch, patch, channels)."""
    return _training(
        np.concatenate([grid_patches(read(path, channels), patch) for path in files(folder)]), noise, batch
    )


def full_patches(noisy: str | Path, clean: str | Path, channels: int = 1, batch: int = 128, patch: int = 40):
    """Training data from two folders that hold the same names: pictures as they are, and as they should be."""
    pairs = [
        np.concatenate([read(path, channels), read(Path(clean) / path.name, channels)], axis=2) for path in files(noisy)
    ]
    return _training(np.concatenate([grid_patches(pair, patch) for pair in pairs]), None, batch)


def _training(patches: np.ndarray, noise, batch: int) -> ft.DataFlow:
    ds = ft.DataFromArrays(patches, shuffle=True)
    return ft.PrefetchData(ft.BatchData(ft.RandomMapData(ds, partial(_pair, noise=noise)), batch), num_proc=2)


def _pair(dp: list, rng: np.random.Generator, noise) -> list[np.ndarray]:
    patch = np.ascontiguousarray(eighth(dp[0], rng.integers(8)))
    if noise is not None:
        return [noise(patch, rng), patch]
    half = patch.shape[2] // 2
    return [np.ascontiguousarray(patch[..., :half]), np.ascontiguousarray(patch[..., half:])]


def clean_pictures(folder: str | Path, noise, channels: int = 1) -> ft.DataFlow:
    """Validation data: whole pictures, one a batch, each with the same noise every time."""

    def spoil(dp, rng):
        clean = read(dp, channels)
        return [noise(clean, rng), clean]

    return ft.CacheData(ft.BatchData(ft.RandomMapData(ft.DataFromList(files(folder), shuffle=False), spoil), 1))


def full_pictures(noisy: str | Path, clean: str | Path, channels: int = 1) -> ft.DataFlow:
    """Validation data from two folders that hold the same names: whole pictures, one a batch."""
    ds = ft.DataFromList(files(noisy), shuffle=False)
    ds = ft.MapData(ds, lambda path: [read(path, channels), read(Path(clean) / path.name, channels)])
    return ft.CacheData(ft.BatchData(ds, 1))


def blind_pictures(folder: str | Path, channels: int = 1) -> ft.DataFlow:
    """Noisy pictures without a truth, one a batch: [noisy]."""
    return ft.BatchData(ft.MapData(ft.DataFromList(files(folder), shuffle=False), lambda p: [read(p, channels)]), 1)
