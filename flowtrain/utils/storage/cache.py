"""Places in the cache folder for what was fetched from URLs: blocks of files, whole files, indexes.

Each URL has a folder, named by its SHA-256. The names in it begin with a digest of the file's size and tag: when the
file has changed at its URL it is fetched anew, and what was kept of the old content is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from ..files import remove
from .access import Stat
from .settings import cache_folder
from .urls import protocol_of

__all__ = ["kept", "place_of"]


def kept(url: str) -> bool:
    """Whether what was fetched from a URL is kept on disk; what is in memory already is not."""
    return protocol_of(url) != "memory"


def place_of(url: str, stat: Stat, kind: str) -> Path:
    """Return the path for something kept of one content of a file; makes its folder, and removes older contents.

    Args:
        url: The file.
        stat: The file's size and tag.
        kind: What is kept: ``"index-1"``, ``"blocks"``.
    """
    folder = cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:32]
    content = hashlib.sha256(f"{stat.size};{stat.tag}".encode()).hexdigest()[:16]
    path = folder / f"{content}.{kind}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.iterdir():
            if not other.name.startswith((content, ".", "lock")):
                remove(other)
    with contextlib.suppress(OSError):
        os.utime(folder)  # its time of last use, by which blocks.py evicts
    return path
