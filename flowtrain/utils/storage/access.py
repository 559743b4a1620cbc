"""Looking up, listing and reading files at URLs."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .filesystems import FileSystem, call_once, tried
from .memory import carried
from .urls import StorageError, StorageMissing, is_url, path_or_url, protocol_of

__all__ = [
    "Stat",
    "exists",
    "expand",
    "first_missing",
    "has_folder",
    "is_folder",
    "is_there",
    "list_folder",
    "names_below",
    "names_in",
    "read_all",
    "read_range",
    "stat",
]

_TAGS = (  # what tells two versions of a file apart, under the names that fsspec's filesystems give it
    "ETag", "etag", "md5Hash", "md5", "content_md5", "Content-MD5", "Digest", "generation", "version_id", "VersionId",
    "LastModified", "Last-Modified", "last_modified", "updated", "mtime", "modified", "created",
)  # fmt: skip
_SEEN_AT_ONCE = 16  # requests at once when a list of files is looked up


@dataclass(frozen=True)
class Stat:
    """Metadata of a file, as its server tells it.

    Attributes:
        size: Bytes.
        tag: Changes when the content does: the ETag, checksum, generation or time that the server has.
        md5: The MD5 of the content in hex; None where the server does not tell it.
    """

    size: int
    tag: str
    md5: str | None = None


def stat(url: str) -> Stat:
    """Look up a file's size and tag.

    Raises:
        StorageMissing: There is no such file.
        StorageError: It is a folder, or cannot be looked up.
    """
    found = _as_stat(url, _looked(url, "look up", "info")[1])
    if protocol_of(url) == "memory":  # its times differ between processes that were given the same content
        return Stat(found.size, hashlib.sha256(read_all(url)).hexdigest())
    return found


def exists(url: str) -> bool:
    """Whether there is a file, not a folder, at a URL."""
    with contextlib.suppress(StorageMissing):
        return _looked(url, "look up", "info")[1].get("type") != "directory"
    return False


def _looked(url: str, what: str, method: str, **named: Any) -> tuple[str, Any]:
    """Call a method of a URL's filesystem; returns the path in the filesystem, and the answer."""

    def look(fs: FileSystem, path: str) -> tuple[str, Any]:
        fs.invalidate_cache()  # a listing that it kept may be older than the file
        return path, call_once(fs, method, path, **named)

    return tried(url, what, look)


def _as_stat(url: str, info: dict[str, Any]) -> Stat:
    if info.get("type") == "directory":
        raise StorageError(f"{url} is a folder; a file is expected")
    size = info.get("size")
    if size is None:
        raise StorageError(f"{url}: the server does not say how long the file is, so parts of it cannot be read")
    tags = [f"{name}={info[name]}" for name in _TAGS if info.get(name) is not None]
    return Stat(int(size), ";".join(tags), _md5(info))


def _md5(info: dict[str, Any]) -> str | None:
    """Return the content's MD5 in hex, which Google's storage tells; S3's ETag is an MD5 only sometimes."""
    if info.get("md5Hash"):
        with contextlib.suppress(binascii.Error, ValueError):
            return base64.b64decode(info["md5Hash"]).hex()
    return None


def first_missing(urls: Iterable[str]) -> str | None:
    """Return the first of some files that does not exist; None where all do.

    A folder with four or more of them is listed, the others are looked up one by one. Folders of http URLs cannot be
    listed, so of each the first 1,000 files are looked up.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    for url in urls:
        folders[url.rpartition("/")[0]].append(url)
    single: list[str] = []
    for folder, inside in folders.items():
        if len(inside) < 4 or protocol_of(folder + "/") in ("http", "https"):
            single += inside[:1000]
            continue
        there = {_name(found) for found in list_folder(folder)}
        missing = next((url for url in inside if _name(url) not in there), None)
        if missing is not None:
            return missing
    return _missing_among(single)


def _missing_among(urls: list[str]) -> str | None:
    def there(url: str) -> bool:
        try:
            stat(url)
        except StorageMissing:
            return False
        return True

    if len(urls) < 2:
        return next((url for url in urls if not there(url)), None)
    with ThreadPoolExecutor(_SEEN_AT_ONCE) as pool:
        return next((url for url, found in zip(urls, pool.map(there, urls), strict=True) if not found), None)


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def is_folder(url: str) -> bool:
    """Whether there is a folder at a URL; in an object store, whether names begin with it and a slash."""
    return bool(_looked(url, "look up", "isdir")[1])


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether a file or folder exists, on this machine or at a URL."""
    given = path_or_url(path)
    return exists(given) or is_folder(given) if is_url(given) else os.path.exists(given)


def has_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder exists, on this machine or at a URL."""
    given = path_or_url(path)
    return is_folder(given) if is_url(given) else os.path.isdir(given)


def list_folder(url: str, *, deep: bool = False) -> list[str]:
    """List the files in a folder, as sorted URLs.

    Args:
        url: The folder.
        deep: Whether to list the files in its subfolders too.

    Raises:
        StorageMissing: There is no such folder.
    """
    path, found = _looked(url, "list", "find", maxdepth=None if deep else 1)
    inside = path.rstrip("/") + "/"
    return sorted(_url(url, name) for name in found if name.startswith(inside) or "://" in name)


def names_in(path: str | os.PathLike[str]) -> list[str]:
    """List the files and subfolders of a folder by name, sorted; none if there is no such folder."""
    given = path_or_url(path)
    if is_url(given):
        return sorted({name.partition("/")[0] for name in names_below(given)})
    return sorted(os.listdir(given)) if os.path.isdir(given) else []


def names_below(url: str) -> list[str]:
    """List the files in a folder and its subfolders by their names in it, sorted; none if there is no such folder."""
    root = url.rstrip("/")
    return [found.removeprefix(f"{root}/") for found in list_folder(root, deep=True)] if is_folder(root) else []


def expand(pattern: str) -> list[str]:
    """List the files that match a pattern (``s3://bucket/*.jpg``, ``**`` for any folders), as sorted URLs."""
    _, found = _looked(pattern, "list", "glob", detail=True)
    return sorted(_url(pattern, name) for name, info in found.items() if info.get("type") != "directory")


def _url(given: str, path: str) -> str:
    """Return the URL of a path in a filesystem, with the protocol that the user wrote in ``given``."""
    if "://" in path or protocol_of(given) == "file":
        return path
    return carried(f"{given.rpartition('://')[0]}://{path.lstrip('/')}")


def read_all(url: str) -> bytes:
    """Read a whole file."""
    return bytes(tried(url, "read", lambda fs, path: call_once(fs, "cat_file", path)))


def read_range(url: str, start: int, end: int, size: int) -> bytes:
    """Read the bytes of a file from ``start`` to ``end - 1``.

    Args:
        url: The file.
        start: The offset of the first byte.
        end: The offset after the last byte.
        size: The size of the file, as :func:`stat` says.

    Raises:
        StorageError: They cannot be read, or fewer or more of them came.
    """
    # At the end of a file over HTTP one byte more is asked for than the server says there is: if one comes, the size
    # was wrong, and the file would be cut off.
    more = int(end == size and protocol_of(url) in ("http", "https"))

    def read(fs: FileSystem, path: str) -> bytes:
        data = call_once(fs, "cat_file", path, start=start, end=end + more)
        if len(data) == size > end - start:  # a server that does not support ranges sends the whole file
            data = data[start:end]
        if len(data) != end - start:
            raise EOFError(f"{len(data):,} bytes came, {end - start:,} were expected")
        return bytes(data)

    if start >= end:
        return b""
    return tried(url, f"read bytes {start:,} to {end - 1:,} of", read)
