"""Uncompressed arrays inside a file: memory-mapped if the file is local, read by byte ranges if it is at a URL."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import operator
import sys

import numpy as np

from ...utils.storage import RemoteFile, is_url
from ..core.datapoint import Component

__all__ = ["RemoteArray", "map_array"]


class RemoteArray:
    """An array in C order inside a file at a URL. Indexing along the first axis fetches only the rows that are needed.

    Args:
        file: The file.
        dtype: Dtype of the elements.
        start: Offset of the first element, in bytes.
        shape: Shape; at least one axis.
    """

    def __init__(self, file: RemoteFile, dtype: np.dtype, start: int, shape: tuple[int, ...]) -> None:
        self._file, self.dtype, self._start, self.shape = file, dtype, start, shape
        self._row = math.prod(shape[1:]) * dtype.itemsize
        self.nbytes = self._row * shape[0]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | np.ndarray) -> Component:
        """One row for an int; an array of rows for a slice or an array of indices. Read-only unless gathered."""
        if isinstance(index, slice):
            first, stop, step = index.indices(len(self))
            if step != 1:
                return self._gathered(np.arange(first, stop, step))
            return self._rows(first, max(stop - first, 0))
        if isinstance(index, np.ndarray):
            return self._gathered(index)
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        return self._rows(number % len(self), 1)[0]

    def _rows(self, first: int, count: int) -> np.ndarray:
        start = self._start + first * self._row
        content = self._file.read(start, start + count * self._row)
        return np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])

    def _gathered(self, indices: np.ndarray) -> np.ndarray:
        # One read a row is not one request a row: RemoteFile fetches and keeps blocks of 256 KiB.
        rows = [self[number] for number in indices.tolist()]
        return np.stack(rows) if rows else np.empty((0, *self.shape[1:]), self.dtype)


def _tell_faults() -> None:
    """Enable faulthandler, so that a SIGBUS prints a traceback before the process ends.

    The kernel sends SIGBUS when a mapped page is touched that the file no longer has, or that the disk cannot read. No
    Python exception can be made of it.
    """
    if not faulthandler.is_enabled():
        with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):  # there is no stderr to print to
            faulthandler.enable(sys.__stderr__)  # type: ignore[arg-type]  # of None: an AttributeError


def map_array(
    path: str, dtype: np.dtype, start: int, shape: tuple[int, ...], fortran: bool = False
) -> np.ndarray | RemoteArray:
    """Open the array at an offset of a file without reading it, where that is possible.

    Args:
        path: The file, or its URL.
        dtype: Dtype of the elements.
        start: Offset of the first element, in bytes.
        shape: Shape; no size is 0, since an empty range cannot be mapped.
        fortran: Whether the elements are in Fortran order (the first axis varies fastest).

    Returns:
        For a local file a read-only array of mapped memory. For a URL a :class:`RemoteArray`; if the array is 0-d or in
        Fortran order, its rows are not contiguous bytes, and the whole array is read.
    """
    if not is_url(path):
        _tell_faults()
        mapped = np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
        return mapped.view(np.ndarray)  # indexing an np.memmap makes another memmap, at twice the cost of an array
    file = RemoteFile(path)
    if shape and not (fortran and len(shape) > 1):
        return RemoteArray(file, dtype, start, shape)
    content = file.read(start, start + math.prod(shape) * dtype.itemsize)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
