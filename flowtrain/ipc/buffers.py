"""Allocation of arrays that are about to leave a process.

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
"""Bytes: a cache line, and the alignment that TensorFlow demands of memory that it takes over without a copy."""

Allocator = Callable[[tuple[int, ...], np.dtype[Any]], "np.ndarray | None"]
"""Makes an uninitialised array of a shape and dtype; None where it cannot."""


class _Thread(threading.local):
    allocator: Allocator | None = None


_thread = _Thread()
_settled = False
_LARGEST = (32 << 20) - (64 << 10)  # bytes; just below DEFAULT_MMAP_THRESHOLD_MAX, up to which malloc adapts


def empty(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
    """Make an uninitialised array in the memory from which it is handed on most cheaply.

    Use it in place of ``np.empty`` in a stage of your own that builds large arrays.

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
    that can be three quarters of the time in which arrays in memory are batched. glibc stops doing so for arrays up to
    the size of the largest that it has seen freed. So one is made and freed here; no page of it is ever touched.
    """
    global _settled
    _settled = True
    np.empty(_LARGEST, np.uint8)


def use(allocator: Allocator | None) -> None:
    """Set the allocator that ``empty`` asks first in the calling thread; None: ``np.empty`` alone."""
    _thread.allocator = allocator
