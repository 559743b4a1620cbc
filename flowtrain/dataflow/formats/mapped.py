"""Arrays that lie in a file as they are: mapped where the file is on this machine, read by ranges where it is not."""

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
    """An array in a file at a URL, whose rows are fetched when they are asked for.

    Args:
        file: The file.
        dtype: Of the elements.
        start: Where the first lies, in bytes.
        shape: At least one axis; the last varies fastest.
    """

    def __init__(self, file: RemoteFile, dtype: np.dtype, start: int, shape: tuple[int, ...]) -> None:
        self._file, self.dtype, self._start, self.shape = file, dtype, start, shape
        self._row = math.prod(shape[1:]) * dtype.itemsize
        self.nbytes = self._row * shape[0]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | np.ndarray) -> Component:
        """A row, the rows of a slice, or those of an array of indices."""
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
        rows = [self[number] for number in indices.tolist()]
        return np.stack(rows) if rows else np.empty((0, *self.shape[1:]), self.dtype)


def _tell_faults() -> None:
    """Have a SIGBUS print where in the program it came: touching what was cut off of a mapped file is one."""
    if not faulthandler.is_enabled():
        with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):  # there is no stderr to print to
            faulthandler.enable(sys.__stderr__)  # type: ignore[arg-type]  # of None: an AttributeError


def map_array(
    path: str, dtype: np.dtype, start: int, shape: tuple[int, ...], fortran: bool = False
) -> np.ndarray | RemoteArray:
    """The array that lies at a place of a file.

    Args:
        path: The file, or its URL.
        dtype: Of the elements.
        start: Where the first lies, in bytes.
        shape: Not empty.
        fortran: Whether the first axis varies fastest; such an array of a remote file is read as a whole.

    Returns:
        An array of mapped memory; of a URL a :class:`RemoteArray`, or where it has no rows to read alone an array.
    """
    if not is_url(path):
        _tell_faults()
        mapped = np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
        return mapped.view(np.ndarray)  # a row of a memmap costs twice as much
    file = RemoteFile(path)
    if shape and not (fortran and len(shape) > 1):
        return RemoteArray(file, dtype, start, shape)
    content = file.read(start, start + math.prod(shape) * dtype.itemsize)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
