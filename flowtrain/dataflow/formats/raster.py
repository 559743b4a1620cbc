"""Rasters (GeoTIFF, JPEG 2000 and whatever else GDAL reads), by windows, with their georeference."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ...utils.arguments import names_arguments
from ...utils.errors import DataFlowError, FormatError
from ...utils.optional import require
from ...utils.storage import local_copy, writing_to
from .source import PathLike, damaged, resolve_file

__all__ = ["RASTER_SUFFIXES", "RasterFile", "is_raster", "read_raster", "write_raster"]

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".img")


def is_raster(path: PathLike) -> bool:
    """Whether the file's suffix, in any case, is that of a raster."""
    return os.path.splitext(os.fspath(path))[1].lower() in RASTER_SUFFIXES


class RasterFile:
    """An array-like view of a raster, read by windows: ``file[10:20, 30:40]`` is an array (10, 10, bands).

    Threads may read at once. The file is opened anew in each process, after a fork too.

    Args:
        path: The file, or its URL, of which a local copy is made.
        bands: Numbers of the bands to read, from 1, in this order; None: all.

    Attributes:
        shape: (height, width, bands).
        dtype: Dtype of all bands.
        crs: Coordinate reference system, or None.
        transform: Affine map from (column, row) to coordinates.

    Raises:
        DataFlowError: The file is missing, or lacks one of ``bands``.
        FormatError: GDAL cannot read it, or its bands have different dtypes.
        MissingPackage: rasterio is not installed.
    """

    ndim = 3

    def __init__(self, path: PathLike, bands: Sequence[int] | None = None) -> None:
        self.path = resolve_file(path, what="raster")
        with self._opened() as file:
            kinds = sorted(set(file.dtypes))
            self.bands = list(bands) if bands is not None else list(range(1, file.count + 1))
            wrong = [band for band in self.bands if not 1 <= band <= file.count]
            if wrong or not self.bands:
                raise DataFlowError(f"{self.path} has the bands 1 to {file.count}; there is no band {wrong or 'given'}")
            if len(kinds) > 1:
                raise damaged(self.path, f"its bands have different dtypes ({', '.join(kinds)}): convert it to one")
            self.shape = (file.height, file.width, len(self.bands))
            self.dtype = np.dtype(kinds[0])
            self.crs, self.transform = file.crs, file.transform
        self._handle: Any = None
        self._lock = threading.Lock()

    @property
    def georeferenced(self) -> bool:
        """Whether the file has a coordinate reference system or a transform other than the identity."""
        return self.crs is not None or not self.transform.is_identity

    def __getitem__(self, where: tuple[slice, slice] | slice) -> np.ndarray:
        rows, columns = where if isinstance(where, tuple) else (where, slice(None))
        (top, bottom, down), (left, right, across) = (
            part.indices(size) for part, size in zip((rows, columns), self.shape[:2], strict=True)
        )
        window = ((top, max(bottom, top)), (left, max(right, left)))
        # A GDAL dataset may be used by one thread at a time, and must not cross a fork.
        with self._lock:
            if self._handle is None or self._handle[0] != os.getpid():
                self._handle = os.getpid(), self._opened()
            try:
                read = self._handle[1].read(self.bands, window=window)
            except _rasterio().errors.RasterioError as error:
                raise damaged(self.path, f"cannot be read ({error})") from error
        return np.ascontiguousarray(np.moveaxis(read, 0, -1)[::down, ::across])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :], dtype)  # always a new array, whatever copy= says

    def _opened(self) -> Any:
        rasterio = _rasterio()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # `georeferenced` says it
            warnings.simplefilter("ignore", PendingDeprecationWarning)  # of affine, inside rasterio
            try:
                return rasterio.open(local_copy(self.path))
            except rasterio.errors.RasterioIOError as error:
                raise damaged(self.path, f"not a raster that GDAL can read ({error})") from error

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_handle", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _handle=None, _lock=threading.Lock())


@names_arguments
def read_raster(path: PathLike, bands: Sequence[int] | None = None) -> np.ndarray:
    """Read a raster as it is: (height, width, bands), in its own dtype.

    Args:
        path: A GeoTIFF, JPEG 2000 or whatever else GDAL reads.
        bands: Numbers of the bands to read, from 1, in this order; None: all.

    Raises:
        DataFlowError: The file is missing, or lacks one of ``bands``.
        FormatError: GDAL cannot read it, or its bands have different dtypes.
        MissingPackage: rasterio is not installed; names the extra.

    Example:
        >>> read_raster("sentinel2.tif").shape, read_raster("sentinel2.tif").dtype    # doctest: +SKIP
        ((10980, 10980, 4), dtype('uint16'))
    """
    return RasterFile(path, bands)[:, :]


@names_arguments
def write_raster(
    path: PathLike,
    values: np.ndarray,
    like: PathLike | RasterFile | None = None,
    *,
    origin: tuple[float, float] = (0, 0),
    pixel: tuple[float, float] = (1, 1),
) -> None:
    """Write a GeoTIFF, whole or not at all.

    Args:
        path: The file or its URL, ``.tif`` or ``.tiff``.
        values: (height, width, bands) or (height, width). bool is written as uint8.
        like: A raster whose georeference is taken over.
        origin: Where in ``like`` the first pixel begins: (row, column), in pixels of ``like``.
        pixel: Size of a pixel, (down, right), in pixels of ``like``: 2 for a map of half the resolution.

    Raises:
        DataFlowError: ``values`` has another number of axes or is empty, or ``path`` has another suffix.
        FormatError: GeoTIFF has no such dtype.
        MissingPackage: rasterio is not installed; names the extra.
    """
    target = os.fspath(path)
    if not target.lower().endswith((".tif", ".tiff")):
        raise DataFlowError(f"a raster is written as .tif; got {os.path.basename(target)!r}")
    values = np.asarray(values)
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or 0 in values.shape:
        raise DataFlowError(f"a raster is (height, width, bands); got {values.dtype} {values.shape}")
    if values.dtype == bool:
        values = values.astype(np.uint8)  # GDAL has no bool dtype
    place: dict[str, Any] = {}
    if like is not None:
        source = like if isinstance(like, RasterFile) else RasterFile(like)
        if source.georeferenced:
            place = {"crs": source.crs, "transform": _moved(source.transform, origin, pixel)}
    rasterio = _rasterio()
    height, width, count = values.shape
    shape = {"height": height, "width": width, "count": count, "dtype": values.dtype.name}
    # A plain TIFF ends at 4 GiB, and how much deflate saves is not known beforehand.
    options = {"compress": "deflate", "BIGTIFF": "IF_SAFER"}
    with warnings.catch_warnings(), writing_to(target, durable=True) as beside:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        try:
            with rasterio.open(beside, "w", driver="GTiff", **options, **shape, **place) as file:
                file.write(np.moveaxis(values, -1, 0))
        except (rasterio.errors.RasterioError, TypeError) as error:
            raise FormatError(
                f"{target}: {values.dtype} {values.shape} cannot be written as GeoTIFF ({error})"
            ) from None


def _moved(transform: Any, origin: tuple[float, float], pixel: tuple[float, float]) -> Any:
    """The affine map of a raster that begins at pixel ``origin`` of another and has pixels ``pixel`` times as large."""
    a, b, c, d, e, f = tuple(transform)[:6]
    (row, column), (down, right) = origin, pixel
    x, y = c + a * column + b * row, f + d * column + e * row
    return type(transform)(a * right, b * down, x, d * right, e * down, y)


def _rasterio() -> ModuleType:
    return require("rasterio", extra="rasters", needed_for="Reading and writing rasters")
