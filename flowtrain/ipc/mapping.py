"""Anonymous shared memory and files, and mapping them without keeping a descriptor open."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import secrets
import tempfile
import weakref

__all__ = ["anonymous_file", "anonymous_memory", "map_shared"]


def anonymous_memory(name: str, length: int) -> int:
    """Make memory that can be handed to another process, and is gone when the last process closes it.

    Args:
        name: What diagnostic tools show; it is in no folder.
        length: In bytes. A page costs memory once it is touched.

    Returns:
        The memory's descriptor.

    Raises:
        OSError: The system refuses.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
    else:
        # The module beneath multiprocessing.shared_memory, which itself cannot do without a name; the name would stay
        # behind when this process is killed.
        import _posixshmem

        path = f"/{name}-{secrets.token_hex(6)}"
        fd = _posixshmem.shm_open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600)
        _posixshmem.shm_unlink(path)
    try:
        os.ftruncate(fd, length)
    except BaseException:
        os.close(fd)
        raise
    return fd


def anonymous_file(name: str) -> int:
    """Make an empty file without a name, to be handed to other processes: in memory on Linux, elsewhere on disk.

    Args:
        name: What diagnostic tools show.

    Returns:
        The file's descriptor.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile(prefix=name) as file:
        return os.dup(file.fileno())


def map_shared(fd: int, length: int) -> ctypes.Array[ctypes.c_char]:
    """Map a file as shared memory, readable and writable.

    ``mmap.mmap`` keeps a copy of the descriptor for as long as anything refers to the memory: a consumer that keeps an
    array would keep a file open. Here only the mapping lives on.

    Args:
        fd: The file. It can be closed afterwards.
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
