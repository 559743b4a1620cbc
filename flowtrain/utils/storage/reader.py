"""Files at URLs, read by ranges."""

from __future__ import annotations

import io
import threading
import time

from .access import read_range, stat
from .blocks import BLOCK, MemoryBlocks, blocks_of
from .urls import StorageError

__all__ = ["RemoteFile", "StorageFile"]

_MOST_AHEAD = 1 << 22  # bytes of one request beyond what is wanted
_LARGEST = 1 << 24  # bytes of one request
_AGAIN = 30.0  # seconds after which it is checked again that the file is still the same


class RemoteFile:
    """A file at a URL, fetched in blocks of 256 KiB when they are first needed; the blocks are kept.

    Sequential reads prefetch. Several threads may read at once. It belongs to the process that made it.

    Args:
        url: The file.
        keep: Whether blocks are kept on disk; else the last 8 MB are kept in memory.

    Attributes:
        size: Bytes of the file.

    Raises:
        StorageMissing: There is no such file.
        StorageError: It cannot be looked up.
    """

    def __init__(self, url: str, keep: bool = True) -> None:
        self.url = url
        self.stat = stat(url)
        self.size = self.stat.size
        self._looked = time.monotonic()
        self._blocks = blocks_of(url, self.stat) if keep else MemoryBlocks()
        self._ahead = threading.local()  # where the next fetch is if reads follow each other, and how far it goes

    def read(self, start: int, end: int) -> bytes:
        """Read the bytes from ``start`` to ``end - 1``, fewer at the end of the file.

        Raises:
            StorageError: They cannot be read, or the file has been replaced by another since it was opened.
        """
        parts, at = [], start
        end = min(end, self.size)
        while at < end:
            number = at // BLOCK
            base = number * BLOCK
            found = self._blocks.read(number, at - base, min(end - base, BLOCK))
            if not found:
                found = self._fetched(number, end)[at - base : end - base]
            parts.append(found)
            at += len(found)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _fetched(self, first: int, end: int) -> bytes:
        """Fetch the blocks from a missing one on: up to ``end``, or to the next that is cached, and some ahead."""
        last, following = (end - 1) // BLOCK, first + 1
        while following <= last and following - first < _LARGEST // BLOCK and not self._blocks.has(following):
            following += 1
        # The window doubles while fetches follow each other, as a kernel's read-ahead does; a read elsewhere resets it.
        expected, window = getattr(self._ahead, "state", (-1, 1))
        window = min(2 * window, _MOST_AHEAD // BLOCK) if first == expected else 1
        while following - first < window and following * BLOCK < self.size and not self._blocks.has(following):
            following += 1
        self._ahead.state = following, max(window, 1)
        data = read_range(self.url, first * BLOCK, min(following * BLOCK, self.size), self.size)
        self._check_same()
        self._blocks.put(first, data)
        return data

    def _check_same(self) -> None:
        """Refuse a file that was replaced; called before fetched blocks are kept."""
        if time.monotonic() - self._looked < _AGAIN:
            return
        now = stat(self.url)
        if now != self.stat:
            raise StorageError(
                f"{self.url} has changed since it was opened: it had {self.size:,} bytes and was {self.stat.tag}, now "
                f"it has {now.size:,} and is {now.tag}. Start again with the new file"
            )
        self._looked = time.monotonic()


class StorageFile(io.RawIOBase):
    """A file at a URL as a seekable binary file object, for parsers of other libraries; it is read by ranges.

    Args:
        url: The file's URL, or an open `RemoteFile`.

    Example:
        >>> with StorageFile("https://host/a.npz") as file:    # doctest: +SKIP
        ...     np.load(file)
    """

    def __init__(self, url: str | RemoteFile) -> None:
        super().__init__()
        self._remote = url if isinstance(url, RemoteFile) else RemoteFile(url)
        self.name, self.size, self._at = self._remote.url, self._remote.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if at < 0:
            raise ValueError(f"a position before the start of {self.name}: {at}")
        self._at = at
        return at

    def read(self, size: int | None = -1) -> bytes:
        """Read ``size`` bytes, fewer only at the end of the file; the whole rest if it is negative or None."""
        end = self.size if size is None or size < 0 else min(self.size, self._at + size)
        data = self._remote.read(self._at, end) if end > self._at else b""
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        data = self.read(view.nbytes)
        view[: len(data)] = data
        return len(data)
