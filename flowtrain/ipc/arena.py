"""Memory that a process shares with its workers, divided into slots: one task, one slot.

The memory is a file without a name: nothing can be left behind, on Linux the size of /dev/shm does not matter, and a
page costs memory only once it is touched, so slots can be far larger than what is written into them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import mmap
import os
import weakref
from typing import Any

import numpy as np

from ..utils.errors import FlowtrainError
from .buffers import ALIGNMENT
from .mapping import anonymous_memory, map_shared

__all__ = ["Arena", "Lease", "SlotPool", "SlotWriter", "WorkerStatus", "aligned"]

SLOT_BYTES = 1 << 30  # of address space, far above any batch: a slot that could grow would have to be mapped again
_SMALLEST = 1 << 20
_STATUS_BYTES = 64  # a cache line for each worker: two that write to one line slow each other down


def aligned(offset: int, boundary: int = ALIGNMENT) -> int:
    """Round an offset up to a multiple of ``boundary``."""
    return -(-offset // boundary) * boundary


class WorkerStatus(ctypes.Structure):
    """What a worker is doing: written by the worker, read by the parent, without a system call.

    Attributes:
        datapoint: The index of the datapoint that it is making.
        started_ns: When it began with it (CLOCK_MONOTONIC); 0: it is idle.
        abort_started_ns: Written by the parent: the ``started_ns`` of a datapoint that takes too long. The worker
            compares the two when it is signalled, so that a late signal does not abort the next datapoint.
        done: How many tasks it has done since it was started.
    """

    _fields_ = (
        ("datapoint", ctypes.c_int64),
        ("started_ns", ctypes.c_int64),
        ("abort_started_ns", ctypes.c_int64),
        ("done", ctypes.c_int64),
    )
    datapoint: int
    started_ns: int
    abort_started_ns: int
    done: int


class Arena:
    """The shared memory as one process has it mapped: the status of each worker, then the slots.

    Args:
        fd: The memory's file.
        workers: How many workers.
        slots: How many slots.
        slot_bytes: The size of each, in bytes.
    """

    def __init__(self, fd: int, workers: int, slots: int, slot_bytes: int) -> None:
        self.fd, self.workers, self.slots, self.slot_bytes = fd, workers, slots, slot_bytes
        self.memory: Any = map_shared(fd, _total(workers, slots, slot_bytes))
        self.bytes: np.ndarray = np.ndarray((len(self.memory),), np.uint8, buffer=self.memory)
        self.address: int = self.bytes.__array_interface__["data"][0]
        self._first = aligned(workers * _STATUS_BYTES, mmap.PAGESIZE)

    @classmethod
    def create(cls, workers: int, slots: int, slot_bytes: int | None = None) -> Arena:
        """Make the memory, with smaller slots where the address space is limited (ulimit -v).

        Raises:
            FlowtrainError: The system gives none; the message says why.
        """
        # A memfd may be larger than the machine's memory; elsewhere there may be limits to how much can be promised.
        size = slot_bytes or (SLOT_BYTES if hasattr(os, "memfd_create") else SLOT_BYTES >> 4)
        while True:
            fd = -1
            try:
                fd = anonymous_memory("flowtrain", _total(workers, slots, size))
                return cls(fd, workers, slots, size)
            except OSError as error:
                if fd >= 0:
                    os.close(fd)
                if error.errno in (errno.EMFILE, errno.ENFILE) or size <= _SMALLEST:
                    raise FlowtrainError(
                        f"cannot make shared memory for {slots} slots of {size >> 20} MB: {error}. Raise the limits "
                        "(ulimit -n for open files, ulimit -v for address space), or use fewer workers."
                    ) from error
                size = max(size // 4, _SMALLEST)

    def start(self, slot: int) -> int:
        """The offset of a slot, in bytes from the memory's start."""
        return self._first + slot * self.slot_bytes

    def status(self, worker: int) -> WorkerStatus:
        """The status of a worker: an object whose fields lie in the shared memory."""
        return WorkerStatus.from_buffer(self.bytes.data, worker * _STATUS_BYTES)

    def close(self) -> None:
        """Close the file and let go of the memory, which lives on until the last array in it is gone."""
        self.memory, self.bytes = b"", np.empty(0, np.uint8)
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)


def _total(workers: int, slots: int, slot_bytes: int) -> int:
    return aligned(workers * _STATUS_BYTES, mmap.PAGESIZE) + slots * slot_bytes


class Lease(np.ndarray):
    """The bytes of a slot that is handed out: all views of it keep it alive, and when it is gone the slot is free.

    Whoever finds a lease as the base of an array knows that no worker writes to the array's memory while the array
    lives. Other holders of the array in this process still may.

    Its base is the mapping itself. NumPy makes a view refer to the array that owns the memory and skips those between:
    if the lease were a view of another array, its views would keep that array alive and not the lease, and the slot
    would be overwritten under them.
    """


class SlotPool:
    """The free slots of an arena, and the leases on those that were handed out.

    Args:
        arena: The memory.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        # last in, first out: a slot that was just used has its pages in place and, with luck, in the cache
        self._free = list(range(arena.slots))[::-1]
        self._leases: dict[int, weakref.ref[Lease]] = {}

    def __len__(self) -> int:
        return len(self._free)

    def take(self) -> int:
        """Take a free slot."""
        return self._free.pop()

    def give(self, slot: int) -> None:
        """Free a slot."""
        self._free.append(slot)

    def lease(self, slot: int) -> memoryview:
        """Return the bytes of a slot that was taken; it is free again when the last view of them is gone."""
        arena = self._arena
        lease = Lease((arena.slot_bytes,), np.uint8, buffer=arena.memory, offset=arena.start(slot))
        free, leases = self._free, self._leases

        # Runs in whatever thread drops the last view, perhaps inside the garbage collector in the middle of `take`: so
        # it takes no lock, and uses only what is atomic under the interpreter's own (dict.pop, list.append).
        def ended(_: object) -> None:
            leases.pop(slot, None)
            free.append(slot)

        leases[slot] = weakref.ref(lease, ended)
        return lease.data


class SlotWriter:
    """Bump allocator in the open slot; in a worker :func:`flowtrain.ipc.buffers.empty` takes its memory from it.

    Args:
        arena: The memory.
    """

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self._start = self._top = self._end = 0
        self._made: list[weakref.ref[np.ndarray]] = []

    def open(self, slot: int, used: int = 0) -> None:
        """Begin a slot, of which ``used`` bytes at the start are in use already."""
        self._start = self.arena.start(slot)
        self._top, self._end = aligned(self._start + used), self._start + self.arena.slot_bytes
        self._made.clear()

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray | None:
        """Make an uninitialised array in the slot; None where there is no room, or the array has no bytes."""
        nbytes = math.prod(shape) * dtype.itemsize
        place = self.reserve(nbytes) if nbytes else None
        if place is None:
            return None
        array = np.ndarray(shape, dtype, buffer=self.arena.memory, offset=place)
        self._made.append(weakref.ref(array))
        return array

    def reserve(self, nbytes: int) -> int | None:
        """Reserve bytes in the slot: their offset from the memory's start; None where there is no room."""
        place = self._top
        if place + nbytes > self._end:
            return None  # never an error: what has no room goes by an anonymous file, slower and just as exact
        self._top = aligned(place + nbytes)
        return place

    def watch(self, array: np.ndarray) -> None:
        """Count an array among those that must be gone when the slot is reused."""
        self._made.append(weakref.ref(array))

    def held(self) -> bool:
        """Whether someone still holds an array that lies in the slot; a view of one counts, as it keeps it alive."""
        return any(ref() is not None for ref in self._made)

    def place_of(self, raw: memoryview) -> int | None:
        """The offset of a buffer that lies in the open slot; None if it lies elsewhere."""
        # By address, since pickle hands out an array's memory as a bare buffer. An array that `allocate` made is so
        # found to be in place, and is never copied.
        place = np.frombuffer(raw, np.uint8).__array_interface__["data"][0] - self.arena.address
        return place if self._start <= place < self._end else None

    @property
    def used(self) -> int:
        """How many bytes of the slot are written."""
        return self._top - self._start
