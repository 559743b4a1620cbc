"""Settings of the C library's malloc."""

from __future__ import annotations

import contextlib
import ctypes

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 1 << 30


def keep_freed_memory(one_arena: bool = False) -> None:
    """Raise glibc's trim and mmap thresholds, so that freed memory stays with the process.

    By default glibc maps large blocks anew each time and returns the free end of its heaps to the system. Each returned
    page costs a page fault when it is used again: up to three quarters of a training step for blocks of the size of
    pictures. With another C library nothing is done.

    Args:
        one_arena: Have threads that start from now on share one heap. By default each has its own, in pieces of
            64 MB, and whatever comes to lie at the end of a piece is mapped and unmapped each time.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _LARGE)
        if one_arena:
            mallopt(_M_ARENA_MAX, 1)
