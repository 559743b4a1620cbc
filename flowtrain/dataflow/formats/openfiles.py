"""Files that stay open and are read by position, no more than a few dozen at once.

Records are read (``pread``), not mapped: where a mapped file is cut short, or its disk fails, touching it ends the
process by SIGBUS, without a word. A read that comes back short is an error that can be told.
"""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

from ...utils.storage import RemoteFile, StorageFile, is_url
from .source import damaged

__all__ = ["BoundedReader", "OpenFile", "OpenFiles", "OpenURL", "open_binary", "open_file"]

_LIMIT = 64  # each holds a file descriptor, and a data set may have thousands of shards
_BUFFER = 1 << 16
_MOST_AT_ONCE = 1 << 30  # Linux reads at most 2 GiB in one call


class OpenFile:
    """One file, open for reading.

    Args:
        path: The file.
        size: How many bytes it had when it was indexed; None takes what it has now.

    Raises:
        FormatError: It has another size.
    """

    def __init__(self, path: str, size: int | None = None) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size
        if size is not None and self.size != size:
            raise self._changed(size, self.size)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from one position to another.

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
        """Refuse a file that has become shorter, before mapped memory is touched: that would end the process.

        Raises:
            FormatError: It has.
        """
        size = os.lseek(self._descriptor, 0, os.SEEK_END)  # half the time of fstat
        if size < self.size:
            raise self._changed(self.size, size)

    def _read_rest(self, data: bytes, start: int, end: int) -> bytes:
        """Go on after a read that gave less than was asked for: of a very large record, or at the end of the file."""
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
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)


class OpenURL:
    """A file at a URL, as :class:`OpenFile` is one of this machine.

    Args:
        path: The URL.
        size: How many bytes it had when it was indexed; None takes what it has now.

    Raises:
        FormatError: It has another size.
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
        """Nothing of it is mapped; a read that comes back short is an error already."""


def open_file(path: str, size: int | None = None) -> OpenFile | OpenURL:
    """A file that is read by position: of this machine, or at a URL; see the classes."""
    return OpenURL(path, size) if is_url(path) else OpenFile(path, size)


def open_binary(path: str) -> BinaryIO:
    """A file for reading from its start, seekable: of this machine, or at a URL."""
    if is_url(path):
        return io.BufferedReader(StorageFile(path), _BUFFER)
    return open(path, "rb", buffering=_BUFFER)


class OpenFiles(dict[str, OpenFile | OpenURL]):
    """Path -> open file, opened when first asked for; the oldest goes when there are too many.

    A file that a thread still reads from stays open until it is done: nothing is closed here, only let go.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[str, int] = {}

    def expect(self, path: str, size: int) -> None:
        """Say how large a file is, as its index has it: if it is not when it is opened, that is an error."""
        self._sizes[path] = size

    def __missing__(self, path: str) -> OpenFile | OpenURL:
        while len(self) >= _LIMIT:
            try:
                self.pop(next(iter(self)), None)
            except (StopIteration, RuntimeError):  # another thread was faster
                break
        self[path] = opened = open_file(path, self._sizes.get(path))
        return opened


class BoundedReader:
    """A file for a parser of another library: a read asks for no more than there is.

    Python's own files allocate what is asked for before they read, so a damaged length would fill the memory.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._file: Any = open_binary(path)
        self.size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        self.tell, self.seek, self.close = self._file.tell, self._file.seek, self._file.close

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes; all that are left where it is negative or None."""
        left = max(0, self.size - self._file.tell())
        return self._file.read(left if size is None or size < 0 else min(size, left))

    def seekable(self) -> bool:
        return True

    def __enter__(self) -> BoundedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
