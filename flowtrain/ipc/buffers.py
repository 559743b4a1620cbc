"""Where arrays that are about to leave a process are made.

A stage that fills a large array (a batch) asks for its memory here. In an ordinary process that is ``np.empty``. In a
worker it is memory that the consumer shares, so the array is written once and never copied or sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ALIGNMENT", "Allocator", "empty", "use"]

ALIGNMENT = 64
"""Bytes. A cache line, and what TensorFlow wants of memory that it takes over without a copy."""

Allocator = Callable[[tuple[int, ...], np.dtype[Any]], "np.ndarray | None"]
"""Makes an uninitialised array of a shape and dtype, or gives None where it cannot."""


class _Thread(threading.local):
    allocator: Allocator | None = None


_thread = _Thread()
_settled = False
_LARGEST = (32 << 20) - (64 << 10)  # bytes; just below the largest array that malloc still adapts to


def empty(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
    """Make an uninitialised array in the best memory there is for handing it on.

    Use it in a stage of your own that builds large arrays; it is never wrong, only sometimes faster than ``np.empty``.

    Args:
        shape: The array's shape.
        dtype: Its dtype. Arrays of Python objects always lie in ordinary memory.

    Returns:
        The array, C-contiguous; in a worker at a 64-byte boundary of the shared slot, while there is room.

    Example:
        >>> empty((32, 256, 256, 3), np.uint8).shape
        (32, 256, 256, 3)
    """
    dtype = np.dtype(dtype)
    allocator = _thread.allocator
    if allocator is not None and not dtype.hasobject:
        array = allocator((shape,) if isinstance(shape, int) else tuple(shape), dtype)
        if array is not None:
            return array
    if not _settled:
        _settle()
    return np.empty(shape, dtype)


def _settle() -> None:
    """Raise glibc's dynamic mmap threshold, so that freed batches stay with the process.

    glibc gives large arrays back to the system when they are freed, and each page of the next batch faults in again:
    that can be three quarters of the time in which arrays in memory are batched. It stops doing so for arrays up to the
    size of the largest that it has seen freed, and so it is shown one, of which no page is ever touched.
    """
    global _settled
    _settled = True
    np.empty(_LARGEST, np.uint8)


def use(allocator: Allocator | None) -> None:
    """Set where ``empty`` takes memory from in the calling thread.

    Args:
        allocator: Asked first; None goes back to ``np.empty``.
    """
    _thread.allocator = allocator
