"""What is done with files at URLs: look up, list, read, write, remove."""

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
    "is_folder",
    "is_there",
    "list_folder",
    "read_all",
    "read_range",
    "stat",
]

_TAGS = (  # what tells two contents of one name apart, as the filesystems name it
    "ETag", "etag", "md5Hash", "md5", "content_md5", "Content-MD5", "Digest", "generation", "version_id", "VersionId",
    "LastModified", "Last-Modified", "last_modified", "updated", "mtime", "modified", "created",
)  # fmt: skip
_SEEN_AT_ONCE = 16  # requests about one list of files


@dataclass(frozen=True)
class Stat:
    """What a server tells of a file without sending it.

    Attributes:
        size: In bytes.
        tag: Changes when the content does: the ETag, checksum, generation or time that the server has.
        md5: The MD5 of the content in hex where the server says it, else None.
    """

    size: int
    tag: str
    md5: str | None = None


def stat(url: str) -> Stat:
    """Size and tag of a file.

    Raises:
        StorageMissing: There is none.
        StorageError: It is a folder, or cannot be looked up.
    """
    found = _as_stat(url, _looked(url, "look up", "info")[1])
    if protocol_of(url) == "memory":  # its times differ between processes that were given the same content
        return Stat(found.size, hashlib.sha256(read_all(url)).hexdigest())
    return found


def exists(url: str) -> bool:
    """Whether there is a file at a URL; a folder is none."""
    with contextlib.suppress(StorageMissing):
        return _looked(url, "look up", "info")[1].get("type") != "directory"
    return False


def _looked(url: str, what: str, method: str, **named: Any) -> tuple[str, Any]:
    """The path of a URL in its filesystem, and what a method says of it."""

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
    """The MD5 of the content that a server gives, in hex; S3's ETag is one only sometimes."""
    if info.get("md5Hash"):
        with contextlib.suppress(binascii.Error, ValueError):
            return base64.b64decode(info["md5Hash"]).hex()
    return None


def first_missing(urls: Iterable[str]) -> str | None:
    """The first of some files that is not there, None where all are: by listing folders where there are many in one.

    Of a long list of http URLs, whose folders cannot be listed, the first 1,000 are looked up.
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
    """Whether something lies beneath a URL: object stores have no folders, but names with slashes."""
    return bool(_looked(url, "look up", "isdir")[1])


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether a file or folder exists, on this machine or at a URL."""
    given = path_or_url(path)
    return exists(given) or is_folder(given) if is_url(given) else os.path.exists(given)


def list_folder(url: str, *, deep: bool = False) -> list[str]:
    """The files in a folder, as URLs, sorted.

    Args:
        url: The folder.
        deep: Also those in folders within it.

    Raises:
        StorageMissing: There is no such folder.
    """
    path, found = _looked(url, "list", "find", maxdepth=None if deep else 1)
    inside = path.rstrip("/") + "/"
    return sorted(_url(url, name) for name in found if name.startswith(inside) or "://" in name)


def expand(pattern: str) -> list[str]:
    """The files that fit a pattern (``s3://bucket/*.jpg``, ``**`` goes into folders), as URLs, sorted."""
    _, found = _looked(pattern, "list", "glob", detail=True)
    return sorted(_url(pattern, name) for name, info in found.items() if info.get("type") != "directory")


def _url(given: str, path: str) -> str:
    """A path of a filesystem with the protocol that the user wrote."""
    if "://" in path or protocol_of(given) == "file":
        return path
    return carried(f"{given.rpartition('://')[0]}://{path.lstrip('/')}")


def read_all(url: str) -> bytes:
    """The content of a file."""
    return bytes(tried(url, "read", lambda fs, path: call_once(fs, "cat_file", path)))


def read_range(url: str, start: int, end: int, size: int) -> bytes:
    """The bytes of a file from one position to another.

    Args:
        url: The file.
        start: The first byte.
        end: The byte after the last.
        size: How many bytes the file has, as :func:`stat` says.

    Raises:
        StorageError: They cannot be had; a part of them counts as none.
    """
    # one byte more than HTTP's servers say there is: what comes then was cut off by a wrong Content-Length
    more = int(end == size and protocol_of(url) in ("http", "https"))

    def read(fs: FileSystem, path: str) -> bytes:
        data = call_once(fs, "cat_file", path, start=start, end=end + more)
        if len(data) == size > end - start:  # a server that knows no ranges sends all
            data = data[start:end]
        if len(data) != end - start:
            raise EOFError(f"{len(data):,} bytes came, {end - start:,} were expected")
        return bytes(data)

    if start >= end:
        return b""
    return tried(url, f"read bytes {start:,} to {end - 1:,} of", read)
