"""Local copies, in the cache folder, of files and folders at URLs that have to be on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import FlowtrainError
from ..files import FileLock, sha256_of, writing
from .access import Stat, is_folder, list_folder, read_range, stat
from .cache import place_of
from .settings import cache_folder
from .urls import StorageError, is_url, path_or_url, url_name

__all__ = ["as_local", "download", "fetched", "local_copy", "named_by_url"]

_RUN = 1 << 23  # bytes of one request

logger = logging.getLogger("flowtrain.storage")

_copies: dict[str, str] = {}  # path of a local copy that this process has used -> its URL


def named_by_url(text: str) -> str:
    """Replace the paths of local copies in an error's text by their URLs: those are what the user gave."""
    for path, url in _copies.copy().items():
        text = text.replace(path, url)
    return text


def local_copy(path: str) -> str:
    """Return a local path as it is, and for a URL the path of a copy in the cache folder, fetched if there is none.

    For files that are read as a whole anyway, and for libraries that map a file or write beside it.
    """
    return fetched(path, stat(path)) if is_url(path) else path


@contextlib.contextmanager
def as_local(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Context with a local path for code that cannot read URLs: the path itself, or a copy in the cache folder.

    flowtrain's errors that leave the block name the URL in place of the copy.
    """
    given = path_or_url(path)
    if not is_url(given):
        yield Path(given)
        return
    try:
        yield Path(_fetched_folder(given) if is_folder(given) else local_copy(given))
    except FlowtrainError as error:
        error.args = tuple(named_by_url(arg) if isinstance(arg, str) else arg for arg in error.args)
        raise


def _fetched_folder(url: str) -> str:
    root = url.rstrip("/")
    files = {found.removeprefix(f"{root}/"): stat(found) for found in list_folder(root, deep=True)}
    tag = ";".join(f"{name}={known.size},{known.tag}" for name, known in files.items())
    path = place_of(root, Stat(sum(known.size for known in files.values()), tag), f"folder-{url_name(root)}")
    if not path.is_dir():
        with writing(path, durable=False) as beside:
            for name, known in files.items():
                (beside / name).parent.mkdir(parents=True, exist_ok=True)
                download(f"{root}/{name}", known, beside / name)
    _copies[str(path)] = root
    return str(path)


def fetched(url: str, known: Stat) -> str:
    """Return the path of a local copy of a file, made if there is none.

    The SHA-256 of a copy is noted beside it, and compared again if the copy's modification time has changed since. The
    MD5 that a server tells (Google's does) is compared after the download.

    Args:
        url: The file.
        known: The file's size and tag.

    Raises:
        StorageError: It cannot be read, is not what the server says it is, or the disk is full or refuses.
    """
    try:
        return _fetched(url, known)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"{url} has to be on this machine, and no copy of it can be kept in {cache_folder()}: {error} "
            "set_remote_storage(cache=...) names another folder"
        ) from error


def _fetched(url: str, known: Stat) -> str:
    ending = re.sub(r"[^A-Za-z0-9._-]", "_", url_name(url))[-80:] or "file"
    path = place_of(url, known, f"whole-{ending}")
    note = path.with_name(path.name + ".sha256")
    lock = FileLock(path.parent / "lock")
    try:
        while not lock.acquire(f"process {os.getpid()}"):  # another process fetches the file; its end frees the lock
            time.sleep(0.05)
        if not _is_as_noted(path, note):
            digest = download(url, known, path)
            status = path.stat()
            with writing(note, durable=False) as beside:
                beside.write_text(f"{digest} {status.st_size} {status.st_mtime_ns}\n")
    finally:
        lock.release()
    _copies[str(path)] = url
    return str(path)


def _is_as_noted(path: Path, note: Path) -> bool:
    try:
        digest, size, changed = note.read_text().split()
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (int(size), int(changed)):
            return True
        return status.st_size == int(size) and sha256_of(path) == digest
    except (OSError, ValueError):
        return False


def download(url: str, stat: Stat, path: Path) -> str:
    """Download a file, whole or not at all; returns its SHA-256 in hex."""
    logger.debug("Fetching %s (%.1f MB) to %s.", url, stat.size / 1e6, path)
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
