"""The folder of what was fetched from URLs: parts of files, whole files that have to be local, indexes.

Each URL has a folder, named by its SHA-256. What is in it is of one content of the file: its names begin with a digest
of size and tag, so that a file that was changed at its URL is fetched anew, and what is left of the old one goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from .access import Stat
from .settings import cache_folder
from .urls import protocol_of

__all__ = ["kept", "place_of", "remove"]


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
    folder = cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:32]
    content = hashlib.sha256(f"{stat.size};{stat.tag}".encode()).hexdigest()[:16]
    path = folder / f"{content}.{kind}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.iterdir():
            if not other.name.startswith((content, ".", "lock")):
                remove(other)
    with contextlib.suppress(OSError):
        os.utime(folder)
    return path


def remove(path: Path) -> None:
    """Remove a file or folder, as far as the disk lets it."""
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
