"""The folder of what was fetched from URLs: parts of files, whole files that have to be local, indexes.

Each URL has a folder, named by its SHA-256. What is in it is of one content of the file: its names begin with a digest
of size and tag, so that a file that was changed at its URL is fetched anew, and what is left of the old one goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import threading
import time
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np

from ..files import FileLock, writing
from .access import Stat, read_range
from .settings import cache_folder, settings
from .urls import StorageError, protocol_of, url_name

__all__ = ["BLOCK", "DiskBlocks", "MemoryBlocks", "blocks_of", "download", "fetched", "kept", "place_of"]

BLOCK = 1 << 18
"""Bytes that are fetched at least, and in whose multiples parts of a file are kept."""

_MOST_BLOCKS = 32  # in memory, for each file
_RUN = 1 << 23  # bytes of one request, where a whole file is fetched
_IDLE = 24 * 3600.0  # seconds: what was used since stays, else a data set that is larger would evict itself
_HASHED = 1 << 22
_RECENT = 10.0  # seconds between two looks at all of the folder

_log = logging.getLogger("flowtrain.storage")


def kept(url: str) -> bool:
    """Whether what was fetched from a URL is kept on the disk: not what is in memory already."""
    return protocol_of(url) != "memory"


def place_of(url: str, stat: Stat, kind: str) -> Path:
    """Where something about one content of a file is kept; makes the folder, and removes what is of older contents.

    Args:
        url: The file.
        stat: Its size and tag.
        kind: What is kept: ``"index-1"``, ``"blocks"``.
    """
    folder = _folder_of(url)
    content = hashlib.sha256(f"{stat.size};{stat.tag}".encode()).hexdigest()[:16]
    path = folder / f"{content}.{kind}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.iterdir():
            if not other.name.startswith((content, ".", "lock")):
                _remove(other)
    with contextlib.suppress(OSError):
        os.utime(folder)
    return path


def _folder_of(url: str) -> Path:
    return cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:32]


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


# -- parts of files


class MemoryBlocks:
    """The blocks of a file that were fetched last, in memory."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def read(self, number: int, start: int, end: int) -> bytes | None:
        """A part of a block, None where that is not here."""
        block = self._held.get(number)
        return None if block is None else block[start:end]

    def has(self, number: int) -> bool:
        return number in self._held

    def put(self, number: int, data: bytes) -> None:
        """Keep the blocks that some bytes are, from this one on."""
        for at in range(0, min(len(data), _MOST_BLOCKS * BLOCK), BLOCK):
            self._held[number + at // BLOCK] = data[at : at + BLOCK]
        while len(self._held) > _MOST_BLOCKS:
            with contextlib.suppress(KeyError):  # another thread was faster
                self._held.popitem(last=False)


class DiskBlocks:
    """The blocks of a file that were ever fetched, in a sparse file that all processes share.

    A block counts once its checksum is noted, which comes after its bytes; a process compares the checksum when it
    first reads a block, as a power cut may have kept the note and lost the bytes.

    Args:
        path: Where; another file beside it has the notes.
        size: Of the remote file.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._size = size
        self._data = _Descriptor(path)
        self._notes = _Descriptor(path.with_name(path.name + "-notes"))
        os.truncate(self._data.number, size)
        os.truncate(self._notes.number, 8 * -(-size // BLOCK))
        self._checked = bytearray(-(-size // BLOCK))

    def has(self, number: int) -> bool:
        return self._checked[number] == 1 or any(os.pread(self._notes.number, 8, 8 * number))

    def read(self, number: int, start: int, end: int) -> bytes | None:
        at = number * BLOCK
        if self._checked[number] != 1:
            note = int.from_bytes(os.pread(self._notes.number, 8, 8 * number), "little")
            if not note:
                return None
            block = os.pread(self._data.number, min(BLOCK, self._size - at), at)
            if zlib.crc32(block) | 1 << 32 != note:
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
        except OSError as error:  # a full disk: the data are here, and are fetched again next time
            _log.info("Part of a remote file is not kept: %s", error)


class _Descriptor:
    """A file's descriptor, closed with the last reference."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        number = getattr(self, "number", None)
        if number is not None:
            os.close(number)


def blocks_of(url: str, stat: Stat) -> DiskBlocks | MemoryBlocks:
    """Where the blocks of a file are kept: on the disk where there is room for all of it."""
    if kept(url) and stat.size and settings().cache_bytes:
        try:
            path = place_of(url, stat, "blocks")
            allocated = path.stat().st_blocks * 512 if path.exists() else 0
            if _room.take(max(0, stat.size - allocated)):
                return DiskBlocks(path, stat.size)
            _log.info("%s is read without a cache: %s has no room for it.", url, cache_folder())
        except OSError as error:
            _log.info("%s is read without a cache: %s", url, error)
    return MemoryBlocks()


class _Room:
    """How many bytes the folder may still grow by, looked up now and then, counted in between."""

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
        for used, size, folder in sorted(entries, key=lambda entry: entry[0]):
            if left >= wanted or time.time() - used < _IDLE:
                break
            _remove(folder)
            left += size
        return min(left, int(0.9 * shutil.disk_usage(root).free))


_room = _Room()


def _renew() -> None:
    global _room
    _room = _Room()  # its lock may have been held by another thread of the parent


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


# -- whole files


def fetched(url: str, stat: Stat) -> str:
    """The path of a local copy of a whole file, made where there is none.

    A copy counts once it is whole; its SHA-256 is noted with it, and compared where its size or time has changed
    since. The MD5 that a server gives (Google's does) is compared when it has come.

    Args:
        url: The file.
        stat: Its size and tag.

    Raises:
        StorageError: It cannot be read, or is not what the server says it is.
        OSError: The disk is full or refuses.
    """
    ending = re.sub(r"[^A-Za-z0-9._-]", "_", url_name(url))[-80:] or "file"
    path = place_of(url, stat, f"whole-{ending}")
    note = path.with_name(path.name + ".sha256")
    lock = FileLock(path.parent / "lock")
    try:
        while not lock.acquire(f"process {os.getpid()}"):  # until it is done, or its process has ended
            time.sleep(0.05)
        if not _is_as_noted(path, note):
            digest = download(url, stat, path)
            status = path.stat()
            with writing(note, durable=False) as beside:
                beside.write_text(f"{digest} {status.st_size} {status.st_mtime_ns}\n")
    finally:
        lock.release()
    return str(path)


def _is_as_noted(path: Path, note: Path) -> bool:
    try:
        digest, size, changed = note.read_text().split()
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (int(size), int(changed)):
            return True
        return status.st_size == int(size) and _sha256(path) == digest
    except (OSError, ValueError):
        return False


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(_HASHED):
            digest.update(part)
    return digest.hexdigest()


def download(url: str, stat: Stat, path: Path) -> str:
    """Copy a file from its URL to a path, whole or not at all; returns its SHA-256."""
    _log.debug("Fetching %s (%.1f MB) to %s.", url, stat.size / 1e6, path)
    digest, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with writing(path, durable=False) as beside, open(beside, "wb") as file:
        for start in range(0, stat.size, _RUN):
            part = read_range(url, start, min(start + _RUN, stat.size), stat.size)
            file.write(part)
            digest.update(part)
            md5.update(part)
        if stat.md5 is not None and md5.hexdigest() != stat.md5:
            raise StorageError(f"{url}: the MD5 of what came is {md5.hexdigest()}, the server says {stat.md5}")
    return digest.hexdigest()
