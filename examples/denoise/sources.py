"""Dataflows of pictures: clean ones with noise added, pairs of noisy and clean ones, or noisy ones alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import flowtrain as ft
from flowtrain.cli.options import pictures_beneath, write_picture

DNCNN_SCALES = (1.0, 0.9, 0.8, 0.7)  # the sizes at which DnCNN sees each picture of its training


def read_levels(path: str | Path, channels: int) -> np.ndarray:
    """Read a picture file as uint8 (H, W, channels), gray or RGB."""
    check_channels(channels)
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    if picture is None:
        raise ft.FlowtrainError(f"{path} is not a picture that OpenCV can read")
    return np.ascontiguousarray(picture[..., None] if channels == 1 else picture[..., ::-1])


def read(path: str | Path, channels: int) -> np.ndarray:
    """Read a picture file as float32 (H, W, channels) in [0, 1]."""
    return to_float(read_levels(path, channels))


def to_float(levels: np.ndarray) -> np.ndarray:
    """Convert uint8 to float32 in [0, 1]."""
    return levels.astype(np.float32) / np.float32(255)


def check_channels(channels: int) -> None:
    """Refuse a number of channels that is neither 1 nor 3."""
    if channels not in (1, 3):
        raise ft.FlowtrainError(f"channels is {channels!r}; it is 1 (gray) or 3 (colour)")


def grid_patches(picture: np.ndarray, size: int = 40, stride: int | None = None) -> np.ndarray:
    """Cut a picture into patches (N, size, size, C), `stride` pixels apart (None: without overlap)."""
    stride = stride or size
    if min(picture.shape[:2]) < size:
        return np.empty((0, size, size, picture.shape[2]), picture.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), (0, 1))[::stride, ::stride]
    return np.ascontiguousarray(np.moveaxis(windows, 2, -1)).reshape(-1, size, size, picture.shape[2])


def shrunk(picture: np.ndarray, scale: float) -> np.ndarray:
    """Resize a picture by a factor; a shrunk picture's pixel is the mean of the area that it covers."""
    if scale == 1:
        return picture
    size = max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)


def eighth(patch: np.ndarray, which: int) -> np.ndarray:
    """A square patch in one of its eight orientations (rotations and mirror images), numbered from 0."""
    turned = np.rot90(patch, which % 4)
    return turned[:, ::-1] if which >= 4 else turned


def clean_patches(
    folder: str | Path,
    noise,
    channels: int = 1,
    batch: int = 128,
    patch: int = 40,
    scales: Sequence[float] = (1.0,),
    stride: int | None = None,
    aug_times: int = 1,
) -> ft.DataFlow:
    """Training data from clean pictures: batches of [noisy, clean], float32 (batch, patch, patch, channels).

    Args:
        folder: A folder of pictures.
        noise: Applied to each patch, each time anew.
        channels: 1 or 3.
        batch: Number of patches in a batch.
        patch: Height and width of a patch.
        scales: Factors by which each picture is resized before it is cut; DNCNN_SCALES are the paper's.
        stride: Pixels from patch to patch; None: they do not overlap.
        aug_times: How often an epoch shows each patch, each time in another of the eight orientations; 0: once, as
            it is.
    """
    pictures = (read_levels(path, channels) for path in pictures_beneath(folder))
    patches = [grid_patches(shrunk(picture, scale), patch, stride) for picture in pictures for scale in scales]
    return _training(np.concatenate(patches), noise, batch, aug_times)


def full_patches(
    noisy: str | Path,
    clean: str | Path,
    channels: int = 1,
    batch: int = 128,
    patch: int = 40,
    stride: int | None = None,
    aug_times: int = 1,
) -> ft.DataFlow:
    """Training data from two folders with the same file names: batches of [noisy, clean] patches of the pictures."""
    pairs = [np.concatenate(_read_pair(paths, channels), axis=2) for paths in _named_alike(noisy, clean)]
    return _training(np.concatenate([grid_patches(pair, patch, stride) for pair in pairs]), None, batch, aug_times)


def _named_alike(noisy: str | Path, clean: str | Path) -> list[tuple[Path, Path]]:
    """Pairs of paths with the same name in two folders.

    Raises:
        FlowtrainError: A noisy picture has no clean one.
    """
    there = {path.relative_to(clean): path for path in pictures_beneath(clean)}
    here = {path.relative_to(noisy): path for path in pictures_beneath(noisy)}
    lonely = [name for name in here if name not in there]
    if lonely:
        raise ft.FlowtrainError(f"{lonely[0]} is in {noisy}, but not in {clean}")
    return [(path, there[name]) for name, path in here.items()]


def _read_pair(paths: tuple[Path, Path], channels: int) -> list[np.ndarray]:
    """Read both pictures as uint8 (H, W, channels), and check that their sizes are equal."""
    pair = [read_levels(path, channels) for path in paths]
    if pair[0].shape != pair[1].shape:
        raise ft.FlowtrainError(f"{paths[0]} and {paths[1]} differ in size: {pair[0].shape} and {pair[1].shape}")
    return pair


def _training(patches: np.ndarray, noise, batch: int, aug_times: int) -> ft.DataFlow:
    if len(patches) * max(aug_times, 1) < batch:
        raise ft.FlowtrainError(f"the pictures have {len(patches)} patches, too few for a batch of {batch}")
    ds = ft.DataFromArrays(patches, shuffle=True)
    ds = ft.RepeatedDataPoint(ds, aug_times) if aug_times > 1 else ds
    ds = ft.RandomMapData(ds, partial(_pair, noise=noise, turn=aug_times > 0))
    return ft.PrefetchData(ft.BatchData(ds, batch), num_proc=2)


def _pair(dp: list, rng: np.random.Generator, noise, turn: bool) -> list[np.ndarray]:
    levels = eighth(dp[0], rng.integers(8)) if turn else dp[0]
    patch = np.ascontiguousarray(levels, np.float32) / np.float32(255)
    if noise is not None:
        return [noise(patch, rng), patch]
    half = patch.shape[2] // 2
    return [np.ascontiguousarray(patch[..., :half]), np.ascontiguousarray(patch[..., half:])]


def clean_pictures(folder: str | Path, noise, channels: int = 1, batch: int = 1) -> ft.DataFlow:
    """Validation data: whole pictures, each with the same noise in every epoch; up to `batch` of one size at once."""

    def spoil(dp, rng):
        clean = read(dp, channels)
        return [noise(clean, rng), clean]

    return _whole(ft.RandomMapData(ft.DataFromList(pictures_beneath(folder), shuffle=False), spoil), batch)


def _whole(ds: ft.DataFlow, batch: int) -> ft.DataFlow:
    return ft.CacheData(ft.BatchData(ds, 1) if batch == 1 else ft.BatchDataByShape(ds, batch, remainder=True))


def full_pictures(noisy: str | Path, clean: str | Path, channels: int = 1, batch: int = 1) -> ft.DataFlow:
    """Validation data from two folders with the same file names: whole pictures."""
    ds = ft.DataFromList(_named_alike(noisy, clean), shuffle=False)
    return _whole(ft.MapData(ds, lambda paths: [to_float(levels) for levels in _read_pair(paths, channels)]), batch)


def blind_pictures(folder: str | Path, channels: int = 1) -> ft.DataFlow:
    """Noisy pictures without clean ones: batches [noisy] of one picture."""
    return ft.BatchData(
        ft.MapData(ft.DataFromList(pictures_beneath(folder), shuffle=False), lambda p: [read(p, channels)]), 1
    )


def bsds_grayscale(target: str | Path, folder: str | Path | None = None) -> dict[str, int]:
    """Write BSDS500 as two folders of gray pictures, Train and Valid, as OpenDenoising's download does.

    Args:
        target: The folder in which Train and Valid are made.
        folder: The folder of BSDS500, to which it is downloaded if missing; None: below $FLOWTRAIN_DATA.

    Returns:
        Number of pictures in each folder.
    """
    counts = {}
    for split, name in (("train", "Train"), ("val", "Valid")):
        made, pictures = Path(target, name), ft.BSDS500(split, shuffle=False, folder=folder)
        made.mkdir(parents=True, exist_ok=True)
        for number, (picture, *_) in enumerate(pictures):
            gray = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2GRAY)
            write_picture(made / f"{number:03d}.png", gray)
        counts[name] = number + 1
    return counts
