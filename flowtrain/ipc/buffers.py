"""Where arrays that are about to leave a process are made.

A stage that fills a large array (a batch) asks for its memory here. In an ordinary process that is ``np.empty``. In a
worker it is memory that the consumer shares, so the array is written once and never copied or sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["ALIGNMENT", "Allocator", "empty", "use"]

ALIGNMENT = 64
"""Bytes. A cache line, and what TensorFlow wants of memory that it takes over without a copy."""

Allocator = Callable[[tuple[int, ...], np.dtype[Any]], "np.ndarray | None"]
"""Makes an uninitialised array of a shape and dtype, or gives None where it cannot."""

_thread = threading.local()


def empty(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
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
    allocator: Allocator | None = getattr(_thread, "allocator", None)
    if allocator is not None and not dtype.hasobject:
        array = allocator((shape,) if isinstance(shape, int) else tuple(shape), dtype)
        if array is not None:
            return array
    return np.empty(shape, dtype)


def use(allocator: Allocator | None) -> None:
    """Set where ``empty`` takes memory from in the calling thread.

    Args:
        allocator: Asked first; None goes back to ``np.empty``.
    """
    _thread.allocator = allocator
