"""A bounded cache of open files that are read by position (``pread``).

Records are read, not mapped. If a mapped file is cut short, or its disk fails, touching it ends the process by SIGBUS;
a short read or an ``OSError`` becomes an exception that names the file. ``pread`` takes the offset as an argument, so
threads share a descriptor without a lock.
"""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

from ...utils.storage import RemoteFile, StorageFile, is_url
from .source import damaged

__all__ = ["BoundedReader", "OpenFile", "OpenFiles", "OpenURL", "open_binary", "open_file"]

_LIMIT = 64  # open files in one cache; a data set may have thousands of shards, each takes a descriptor
_BUFFER = 1 << 16
_MOST_AT_ONCE = 1 << 30  # bytes; Linux reads less than 2 GiB in one call


class OpenFile:
    """One local file, open for reading by position. Threads may read at once.

    Args:
        path: The file.
        size: Its size in bytes when it was indexed; None accepts any size.

    Raises:
        FormatError: The file has another size now.
    """

    def __init__(self, path: str, size: int | None = None) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size
        if size is not None and self.size != size:
            raise self._changed(size, self.size)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from position ``start`` up to ``end``, never fewer.

        Raises:
            FormatError: The file has become shorter since it was opened, or the disk cannot read it.
        """
        try:
            data = os.pread(self._descriptor, end - start, start)
            if len(data) < end - start:
                data = self._read_rest(data, start, end)
        except OSError as error:
            raise damaged(self.path, f"cannot be read: {error.strerror}", offset=start) from error
        return data

    def check_size(self) -> None:
        """Check that the file has not become shorter. Call it before mapped memory is touched: a page that is gone
        would end the process.

        Raises:
            FormatError: The file has become shorter.
        """
        size = os.lseek(self._descriptor, 0, os.SEEK_END)  # half the time of fstat; pread ignores the offset it moves
        if size < self.size:
            raise self._changed(self.size, size)

    def _read_rest(self, data: bytes, start: int, end: int) -> bytes:
        """Continue a read that returned fewer bytes than requested, as one of 2 GiB or more does; b"" is the end."""
        parts = [data]
        at = start + len(data)
        while at < end:
            part = os.pread(self._descriptor, min(end - at, _MOST_AT_ONCE), at)
            if not part:
                raise self._changed(max(self.size, end), os.fstat(self._descriptor).st_size)
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def _changed(self, expected: int, found: int) -> Exception:
        what = f"the file has changed since it was opened: it had {expected:,} bytes, now it has {found:,}"
        return damaged(self.path, what)

    def __del__(self) -> None:
        # There is no close(): another thread may still read (see OpenFiles). The attribute is missing if open failed.
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)


class OpenURL:
    """The counterpart of :class:`OpenFile` for a file at a URL.

    Args:
        path: The URL.
        size: Its size in bytes when it was indexed; None accepts any size.

    Raises:
        FormatError: The file has another size now.
        StorageError: It cannot be read.
    """

    def __init__(self, path: str, size: int | None = None) -> None:
        self.path = path
        self._remote = RemoteFile(path)
        self.size, self.read = self._remote.size, self._remote.read
        if size is not None and self.size != size:
            what = f"the file has changed since its index was made: it had {size:,} bytes, now it has {self.size:,}"
            raise damaged(path, what)

    def check_size(self) -> None:
        """Do nothing: no memory is mapped, and a short read is an error already."""


def open_file(path: str, size: int | None = None) -> OpenFile | OpenURL:
    """Open a local file, or one at a URL, to be read by position. The arguments are those of the two classes."""
    return OpenURL(path, size) if is_url(path) else OpenFile(path, size)


def open_binary(path: str) -> BinaryIO:
    """Open a local file, or one at a URL, as a seekable binary file object."""
    if is_url(path):
        return io.BufferedReader(StorageFile(path), _BUFFER)
    return open(path, "rb", buffering=_BUFFER)


class OpenFiles(dict[str, OpenFile | OpenURL]):
    """Path -> open file: opens a file on first access and forgets the one opened longest ago beyond a limit.

    Files are forgotten, not closed: a thread that still reads from one holds a reference, and the last reference
    closes it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[str, int] = {}

    def expect(self, path: str, size: int) -> None:
        """Set the size that a file must have when it is opened: its index was made for that size."""
        self._sizes[path] = size

    def __missing__(self, path: str) -> OpenFile | OpenURL:
        # Without a lock: at worst two threads open one file, and one of the two is forgotten.
        while len(self) >= _LIMIT:
            try:
                self.pop(next(iter(self)), None)
            except (StopIteration, RuntimeError):  # another thread emptied or changed the dict meanwhile
                break
        self[path] = opened = open_file(path, self._sizes.get(path))
        return opened


class BoundedReader:
    """A binary file for third-party parsers that never allocates more than the file has left.

    Python's own file objects allocate the requested size before they read, so a parser that believes a damaged length
    would fill the memory.

    Args:
        path: The file, or its URL.

    Attributes:
        size: Size of the file in bytes.
    """

    def __init__(self, path: str) -> None:
        self._file: Any = open_binary(path)
        self.size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        self.tell, self.seek, self.close = self._file.tell, self._file.seek, self._file.close

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes; all that are left if ``size`` is negative or None."""
        left = max(0, self.size - self._file.tell())
        return self._file.read(left if size is None or size < 0 else min(size, left))

    def seekable(self) -> bool:
        return True

    def __enter__(self) -> BoundedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
