"""Reads the inputs of ``flowtrain predict`` and writes its outputs: arrays, pictures, georeferenced rasters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..dataflow.formats.npzfile import map_npy
from ..dataflow.formats.raster import RasterFile, is_raster, write_raster
from ..dataflow.sources.decode import BrokenImage, decode_image
from ..predict import LoadedPredictor, read_weights
from ..predict.placing import Placement
from ..utils.errors import ConfigError, FormatError
from ..utils.files import writing
from .options import write_picture

__all__ = ["Given", "Reader", "check_size", "write_result"]


@dataclass(frozen=True)
class Given:
    """The content of one file.

    Attributes:
        arrays: One array for each input: (H, W, C) for pictures, any shape for array files. A raster is a RasterFile,
            which is sliced like an array and read window by window.
        raster: That RasterFile, for the georeference of what is written; None if the file is not one.
    """

    arrays: list[Any]
    raster: RasterFile | None = None


@dataclass(frozen=True)
class Reader:
    """Reads files as inputs of a predictor; refuses a file of which something would be lost (colour, alpha, depth).

    Attributes:
        predictor: The model.
        span: The model's values for black and white of an 8-bit picture.
        bands: Numbers of the bands of a raster to give, from 1; None: all.
        gray: Whether colour pictures may be converted to gray for a model with one channel.
    """

    predictor: LoadedPredictor
    span: tuple[float, float]
    bands: list[int] | None = None
    gray: bool = False

    def __call__(self, path: Path) -> Given:
        inputs = self.predictor.inputs
        if path.suffix.lower() == ".npz":
            arrays = read_weights(path)
            missing = [name for name in inputs if name not in arrays]
            if missing:
                raise ConfigError(f"{path} has no array {missing[0]!r}; it has {', '.join(arrays)}.")
            return Given([arrays[name] for name in inputs])
        if len(inputs) > 1:
            raise ConfigError(f"the model needs {inputs}: give .npz files with an array for each.")
        if path.suffix.lower() == ".npy":
            try:
                return Given([map_npy(str(path))])
            except (FormatError, OSError) as error:
                raise ConfigError(f"{path} is no array of numbers, or it is damaged ({error}).") from None
        if is_raster(path):
            return self._raster(path)
        return Given([self._scaled(self._fitting(path, _decoded(path)))])

    @property
    def channels(self) -> int | None:
        """Number of channels of the model's input; None if it is not (N, H, W, C), or takes any number."""
        shape = self.predictor.specs[0].shape
        return shape[-1] if shape.rank == 4 else None

    def _raster(self, path: Path) -> Given:
        raster = RasterFile(path, self.bands)
        count = raster.shape[2]
        plain = raster.dtype == np.uint8 and count in (1, 3) and not raster.georeferenced and self.bands is None
        if plain:  # a photograph that happens to be a TIFF
            return Given([self._scaled(self._fitting(path, raster[:, :]))])
        if self.channels not in (None, count):
            raise ConfigError(
                f"{path} has {count} bands, the model takes {self.channels}: choose them with --bands, e.g. "
                f"--bands {','.join(map(str, range(1, (self.channels or 1) + 1)))}."
            )
        return Given([raster], raster)

    def _fitting(self, path: Path, picture: np.ndarray) -> np.ndarray:
        """The picture with the model's number of channels."""
        count, channels = picture.shape[2], self.channels
        if channels in (None, count):
            return picture
        if count == 1:
            return np.repeat(picture, channels or 1, axis=2)
        if count == 3 and channels == 1:
            if (picture == picture[..., :1]).all():
                return picture[..., :1]
            if self.gray:
                return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
            raise ConfigError(f"{path} has colours, the model takes gray pictures: pass --gray to convert it.")
        raise ConfigError(f"{path} has {count} channels, the model takes {channels}: give an array (.npy) instead.")

    def _scaled(self, picture: np.ndarray) -> np.ndarray:
        if not self.predictor.specs[0].dtype.is_floating:
            return picture
        black, white = self.span
        # By 255 first: with a span of 0 to 1 it is then exactly the pixel / 255 that training computed.
        return (picture.astype(np.float32) / 255) * (white - black) + black


def check_size(predictor: LoadedPredictor, path: Path, given: Given, align: int) -> None:
    """Refuse a picture whose size does not fit a model of fixed input size.

    Raises:
        ConfigError: It does not fit; proposes ``--tile``, if tiles of the model's size are possible, or resizing.
    """
    for name, spec, array in zip(predictor.inputs, predictor.specs, given.arrays, strict=True):
        if spec.shape.rank != 4 or len(array.shape) != 3:
            continue
        wanted, found = tuple(spec.shape[1:3]), tuple(array.shape[:2])
        if all(size in (None, there) for size, there in zip(wanted, found, strict=True)):
            continue
        # The default margin (32), or less for a small model: a multiple of align, so that tiles stay on the grid of its
        # strides, and at most a quarter of its size on each side, so that at least half of a tile counts.
        margin = min(32, (wanted[0] or 0) // 4 // align * align)
        usable = wanted[0] == wanted[1] and margin and wanted[0] % align == 0
        mend = f"Resize the picture to {wanted[1]}x{wanted[0]}."
        if usable:
            asked = f"--tile {wanted[0] - 2 * margin}" + f" --margin {margin}" * (margin != 32)
            mend = (
                f"With {asked} it is run in tiles of that size, which is right for a fully convolutional model; for "
                f"another: {mend[0].lower()}{mend[1:]}"
            )
        raise ConfigError(
            f"{path} is {found[1]}x{found[0]}, but the model's input {name!r} takes pictures of "
            f"{wanted[1] or 'any width'}x{wanted[0] or 'any height'} alone. {mend}"
        )


def _decoded(path: Path) -> np.ndarray:
    """Decode a picture file to uint8 (H, W, 1 or 3), RGB, rotated as its EXIF orientation says."""
    # Decoded twice: only IMREAD_UNCHANGED shows the stored depth and alpha channel, and only decode_image turns the
    # picture upright and reports damage that OpenCV passes over.
    data = np.frombuffer(path.read_bytes(), np.uint8)
    stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if stored is None:
        raise ConfigError(f"{path} is no picture that can be decoded.")
    if stored.dtype != np.uint8:
        raise ConfigError(
            f"{path} has {stored.dtype.itemsize * 8} bits a channel, more than a picture is scaled from: save it as "
            ".npy or .tif, which are read as they are."
        )
    if stored.ndim == 3 and stored.shape[2] == 4 and (stored[..., 3] != 255).any():
        raise ConfigError(f"{path} is transparent in places: save it without its alpha channel.")
    channel = 1 if stored.ndim == 2 else 3
    try:
        return decode_image(data, str(path), channel, palette="color")
    except BrokenImage as error:
        raise ConfigError(str(error)) from error


def write_result(
    stem: Path,
    result: np.ndarray,
    given: Given,
    place: tuple[Placement, Placement] | None,
    span: tuple[float, float],
    npy: bool,
) -> Path:
    """Write an output: a .tif if the input was a raster, a .png for (H, W, 1 or 3), else a .npy.

    Args:
        stem: The path without its ending.
        result: The output, without the batch axis.
        given: The input that it was computed from.
        place: Where the output's rows and columns lie in the input; None if unknown.
        span: The values of black and white in `result`, for a picture.
        npy: Write a .npy in any case.

    Returns:
        The path of the file.
    """
    if not npy and given.raster is not None and result.ndim in (2, 3):
        return _write_raster(Path(f"{stem}.tif"), result, given.raster, place)
    if npy or result.ndim != 3 or result.shape[-1] not in (1, 3):
        path = Path(f"{stem}.npy")
        with writing(path, durable=False) as beside:
            np.save(beside, result)
        return path
    if result.dtype != np.uint8:
        black, white = span
        scaled = (result.astype(np.float32) - black) / (white - black) * 255
        result = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    path = Path(f"{stem}.png")
    write_picture(path, result)
    return path


def _write_raster(
    path: Path, result: np.ndarray, raster: RasterFile, place: tuple[Placement, Placement] | None
) -> Path:
    if place is None and result.shape[:2] != raster.shape[:2]:
        raise ConfigError(
            f"the output has {result.shape[0]} x {result.shape[1]} pixels, {raster.path} {raster.shape[0]} x "
            f"{raster.shape[1]}, and the model's graph does not say where they lie: pass --npy for an array without "
            "a place on earth."
        )
    origin = pixel = (0.0, 0.0)
    if place is None:
        pixel = (1.0, 1.0)
    else:
        whole = [math.ceil(n * each.scale) for n, each in zip(raster.shape, place, strict=False)]
        # Run in tiles the output covers the whole input, as each tile's border is cut off; run at once it lacks the
        # border that the network itself crops, and begins so many pixels inside.
        full = tuple(whole) == result.shape[:2]
        rows, columns = place
        origin = (0.0, 0.0) if full else (float(rows.missing[0]), float(columns.missing[0]))
        pixel = float(1 / rows.scale), float(1 / columns.scale)
    write_raster(path, result, like=raster, origin=origin, pixel=pixel)
    return path
