"""Files mapped into memory, no more than a few dozen at once."""

from __future__ import annotations

import mmap
import os

from .source import damaged

__all__ = ["FileMaps", "map_file"]

_LIMIT = 64  # each map holds a file descriptor, and a data set may have thousands of shards


def map_file(path: str) -> mmap.mmap | bytes:
    """Map a whole file for reading; an empty one, which cannot be mapped, is ``b""``."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class FileMaps(dict[str, "mmap.mmap | bytes"]):
    """Path -> mapped file, mapped when first asked for; the oldest goes when there are too many.

    A map that a thread still reads from stays alive until it is done: nothing is closed here, only let go.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[str, int] = {}

    def expect(self, path: str, size: int) -> None:
        """Say how large a file is, as its index has it: if it is not when it is mapped, that is an error."""
        self._sizes[path] = size

    def __missing__(self, path: str) -> mmap.mmap | bytes:
        while len(self) >= _LIMIT:
            try:
                self.pop(next(iter(self)), None)
            except (StopIteration, RuntimeError):  # another thread was faster
                break
        mapped = map_file(path)
        expected = self._sizes.get(path, len(mapped))
        if len(mapped) != expected:
            what = f"the file has changed since it was opened: it had {expected:,} bytes, now it has {len(mapped):,}"
            raise damaged(path, what)
        self[path] = mapped
        return mapped
