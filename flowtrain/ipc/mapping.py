"""Files as memory, mapped without keeping the file open."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import weakref
from typing import Any

__all__ = ["map_shared"]


def map_shared(fd: int, length: int) -> Any:
    """Map a file, to be read and written by all who map it.

    ``mmap.mmap`` keeps a copy of the descriptor for as long as anything refers to the memory: a consumer that keeps an
    array would keep a file open. Here the memory alone lives on.

    Args:
        fd: The file. It can be closed at once.
        length: How many bytes of it.

    Returns:
        A buffer. It is unmapped when the last object that refers to it is gone.

    Raises:
        OSError: The system refuses; most often the address space is limited.
    """
    libc = _libc()
    address = libc.mmap(None, length, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    memory = (ctypes.c_char * length).from_address(address)
    weakref.finalize(memory, libc.munmap, address, length).atexit = False  # at exit, arrays may still be in use
    return memory


_FAILED = ctypes.c_void_p(-1).value


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc
