"""Block caches of files at URLs, in memory or on disk."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np

from ..files import remove
from .access import Stat
from .cache import kept, place_of
from .settings import cache_folder, settings

__all__ = ["BLOCK", "DiskBlocks", "MemoryBlocks", "blocks_of"]

BLOCK = 1 << 18
"""Bytes of a block: the unit in which files are fetched and kept."""

_MOST_BLOCKS = 32  # blocks in memory, for each file
_IDLE = 24 * 3600.0  # seconds for which a file stays after its use; a data set larger than the cache would evict itself
_RECENT = 10.0  # seconds between two measurements of the whole folder, which stats every file in it

logger = logging.getLogger("flowtrain.storage")


class MemoryBlocks:
    """Cache of the blocks of a file that were fetched last, in memory."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def read(self, number: int, start: int, end: int) -> bytes | None:
        """Return a part of a block; None if the block is not cached."""
        block = self._held.get(number)
        return None if block is None else block[start:end]

    def has(self, number: int) -> bool:
        return number in self._held

    def put(self, number: int, data: bytes) -> None:
        """Keep the blocks that ``data`` consists of, the first of which is ``number``."""
        for at in range(0, min(len(data), _MOST_BLOCKS * BLOCK), BLOCK):
            self._held[number + at // BLOCK] = data[at : at + BLOCK]
        while len(self._held) > _MOST_BLOCKS:
            with contextlib.suppress(KeyError):  # another thread was faster
                self._held.popitem(last=False)


class DiskBlocks:
    """Cache of all blocks of a file that were fetched, in a sparse file that all processes share.

    A block counts once its checksum is in the file of notes, which is written after the block's bytes. A process
    compares the checksum when it first reads a block, as a power cut may have kept the note and lost the bytes.

    Args:
        path: The cache file; the notes are in another file beside it.
        size: Bytes of the remote file.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._size = size
        self._data = _Descriptor(path)
        self._notes = _Descriptor(path.with_name(path.name + "-notes"))
        os.truncate(self._data.number, size)
        os.truncate(self._notes.number, 8 * -(-size // BLOCK))
        self._checked = bytearray(-(-size // BLOCK))  # 1: this process has compared the block's checksum

    def has(self, number: int) -> bool:
        return self._checked[number] == 1 or any(os.pread(self._notes.number, 8, 8 * number))

    def read(self, number: int, start: int, end: int) -> bytes | None:
        at = number * BLOCK
        if self._checked[number] != 1:
            note = int.from_bytes(os.pread(self._notes.number, 8, 8 * number), "little")
            if not note:
                return None
            block = os.pread(self._data.number, min(BLOCK, self._size - at), at)
            if zlib.crc32(block) | 1 << 32 != note:  # the bit above the CRC tells one that is 0 from no note
                return None
            self._checked[number] = 1
            return block[start:end]
        found = os.pread(self._data.number, end - start, at + start)
        return found if len(found) == end - start else None

    def put(self, number: int, data: bytes) -> None:
        try:
            done, place = 0, number * BLOCK
            while done < len(data):
                done += os.pwrite(self._data.number, memoryview(data)[done:], place + done)
            crcs = [zlib.crc32(data[at : at + BLOCK]) | 1 << 32 for at in range(0, len(data), BLOCK)]
            os.pwrite(self._notes.number, np.array(crcs, "<u8").tobytes(), 8 * number)
            self._checked[number : number + len(crcs)] = b"\1" * len(crcs)
        except OSError as error:  # a full disk: the caller has the data, and the next reader fetches them again
            logger.info("Part of a remote file is not kept: %s", error)


class _Descriptor:
    """An open file, closed with the last reference to it."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        number = getattr(self, "number", None)
        if number is not None:
            os.close(number)


def blocks_of(url: str, stat: Stat) -> DiskBlocks | MemoryBlocks:
    """Return the block cache for a file: on disk if the cache folder has room for all of the file, else in memory."""
    if kept(url) and stat.size and settings().cache_bytes:
        try:
            path = place_of(url, stat, "blocks")
            allocated = path.stat().st_blocks * 512 if path.exists() else 0  # of a sparse file: less than its size
            if _room.take(max(0, stat.size - allocated)):
                return DiskBlocks(path, stat.size)
            logger.info("%s is read without a cache: %s has no room for it.", url, cache_folder())
        except OSError as error:
            logger.info("%s is read without a cache: %s", url, error)
    return MemoryBlocks()


class _Room:
    """Bytes by which the cache folder may still grow: measured now and then, counted down in between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left, self._looked, self._of = 0, 0.0, ("", 0)

    def take(self, size: int) -> bool:
        with self._lock:
            of = str(cache_folder()), settings().cache_bytes
            if of != self._of or (size > self._left and time.monotonic() - self._looked > _RECENT):
                self._left, self._looked, self._of = self._look(size), time.monotonic(), of
            if size > self._left:
                return False
            self._left -= size
            return True

    def _look(self, wanted: int) -> int:
        root = cache_folder()
        root.mkdir(parents=True, exist_ok=True)
        entries = []
        for folder in root.iterdir():
            with contextlib.suppress(OSError):
                size = sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))
                entries.append((folder.stat().st_mtime, size, folder))
        left = settings().cache_bytes - sum(size for _, size, _ in entries)
        for used, size, folder in sorted(entries, key=lambda entry: entry[0]):  # least recently used first
            if left >= wanted or time.time() - used < _IDLE:
                break
            remove(folder)
            left += size
        return min(left, int(0.9 * shutil.disk_usage(root).free))  # the disk is not ours alone


_room = _Room()


def _renew() -> None:
    global _room
    _room = _Room()  # its lock may have been held by another thread of the parent


os.register_at_fork(after_in_child=_renew)
