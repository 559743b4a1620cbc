"""``memory://`` URLs for other processes: each process has its own files, so the content travels with the URL."""

from __future__ import annotations

from typing import Any

from ..optional import require
from .filesystems import FileSystem
from .urls import is_url, protocol_of

__all__ = ["MemoryURL", "carried"]


class MemoryURL(str):
    """A ``memory://`` URL whose pickle holds the file's content, so that workers read the same."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            content = _memory().cat_file(str(self))
        except (FileNotFoundError, IsADirectoryError):
            content = None
        return _arrived, (str(self), content)


def carried(path: str) -> str:
    """Return a path as it is, and a ``memory://`` URL as one that can go to another process."""
    return MemoryURL(path) if is_url(path) and protocol_of(path) == "memory" else path


def _memory() -> FileSystem:
    fsspec = require("fsspec", extra="remote-files", needed_for="Reading memory://")
    return fsspec.filesystem("memory")


def _arrived(url: str, content: bytes | None) -> MemoryURL:
    memory = _memory()
    if content is not None and not (memory.exists(url) and memory.cat_file(url) == content):
        memory.pipe_file(url, content)
    return MemoryURL(url)
