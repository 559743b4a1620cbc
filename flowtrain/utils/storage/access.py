"""What is done with files at URLs: look up, list, read, write, remove."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import posixpath
import secrets
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .filesystems import FileSystem, call_once, first_protocol, tried
from .memory import carried
from .settings import settings
from .urls import StorageError, StorageMissing, protocol_of

__all__ = [
    "Stat",
    "delete",
    "exists",
    "expand",
    "first_missing",
    "is_folder",
    "list_folder",
    "put",
    "put_folder",
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

    def look(fs: FileSystem, path: str) -> dict[str, Any]:
        fs.invalidate_cache()  # a listing that it kept may be older than the file
        return call_once(fs, "info", path)

    found = _as_stat(url, tried(url, "look up", look))
    if protocol_of(url) == "memory":  # its times differ between processes that were given the same content
        return Stat(found.size, hashlib.sha256(read_all(url)).hexdigest())
    return found


def exists(url: str) -> bool:
    """Whether there is a file at a URL; a folder is none."""

    def look(fs: FileSystem, path: str) -> bool:
        fs.invalidate_cache()
        try:
            return call_once(fs, "info", path).get("type") != "directory"
        except FileNotFoundError:
            return False

    return tried(url, "look up", look)


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

    def look(fs: FileSystem, path: str) -> bool:
        fs.invalidate_cache()
        return bool(call_once(fs, "isdir", path))

    return tried(url, "look up", look)


def list_folder(url: str, *, deep: bool = False) -> list[str]:
    """The files in a folder, as URLs, sorted.

    Args:
        url: The folder.
        deep: Also those in folders within it.

    Raises:
        StorageMissing: There is no such folder.
    """

    def look(fs: FileSystem, path: str) -> list[str]:
        fs.invalidate_cache()
        found = call_once(fs, "find", path, maxdepth=None if deep else 1)
        inside = path.rstrip("/") + "/"
        return sorted(_url(fs, url, name) for name in found if name.startswith(inside) or "://" in name)

    return tried(url, "list", look)


def expand(pattern: str) -> list[str]:
    """The files that fit a pattern (``s3://bucket/*.jpg``, ``**`` goes into folders), as URLs, sorted."""

    def look(fs: FileSystem, path: str) -> list[str]:
        fs.invalidate_cache()
        found = call_once(fs, "glob", path, detail=True)
        return sorted(_url(fs, pattern, name) for name, info in found.items() if info.get("type") != "directory")

    return tried(pattern, "list", look)


def _url(fs: FileSystem, given: str, path: str) -> str:
    """A path of a filesystem with the protocol that the user wrote."""
    if "://" in path or first_protocol(fs.protocol) == "file":
        return path
    return carried(f"{given.rpartition('://')[0]}://{path.lstrip('/')}")


def read_all(url: str) -> bytes:
    """The content of a file."""

    def read(fs: FileSystem, path: str) -> bytes:
        return bytes(call_once(fs, "cat_file", path))

    return tried(url, "read", read)


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

    def read(fs: FileSystem, path: str) -> bytes:
        data = call_once(fs, "cat_file", path, start=start, end=end)
        if len(data) == size > end - start:  # a server that knows no ranges sends all
            data = data[start:end]
        if len(data) != end - start:
            raise EOFError(f"{len(data):,} bytes came, {end - start:,} were expected")
        return bytes(data)

    if start >= end:
        return b""
    return tried(url, f"read bytes {start:,} to {end - 1:,} of", read)


def put(path: str | os.PathLike[str], url: str) -> None:
    """Copy a local file to a URL: whole or not at all, as object stores do; elsewhere beside it and renamed."""
    size = os.path.getsize(path)

    def send(fs: FileSystem, target: str) -> None:
        _send(fs, os.fspath(path), target)
        fs.invalidate_cache()
        there = call_once(fs, "info", target).get("size")
        if there is not None and there != size:
            raise EOFError(f"{there:,} bytes are there, {size:,} were sent")

    tried(url, "write", send)


def put_folder(path: Path, url: str, last: tuple[str, ...] = ()) -> None:
    """Copy a local folder to a URL, and remove there what it does not hold.

    Args:
        path: The folder.
        url: Where to.
        last: The endings of files without which the folder cannot be read: they are removed there first and sent last,
            so that nobody reads the half of it.
    """
    names = [file.relative_to(path).as_posix() for file in sorted(path.rglob("*")) if file.is_file()]
    names.sort(key=lambda name: name.endswith(last) if last else False)
    root = url.rstrip("/")
    there = [name.removeprefix(f"{root}/") for name in list_folder(root, deep=True)] if is_folder(root) else []
    for name in there:
        if name not in names or (last and name.endswith(last)):
            delete(f"{root}/{name}")
    for name in names:
        put(path / name, f"{root}/{name}")


def _send(fs: FileSystem, path: str, target: str) -> None:
    # the time that a large file may take grows with it: 1 MB/s at the least
    timeout = settings().timeout + os.path.getsize(path) / 1e6
    if getattr(fs, "async_impl", False):  # object stores: there is no half of an object
        call_once(fs, "put_file", path, target, timeout=timeout)
        return
    parent, name = posixpath.split(target.rstrip("/"))
    with contextlib.suppress(FileExistsError, NotImplementedError):
        call_once(fs, "makedirs", parent, exist_ok=True)
    beside = posixpath.join(parent, f".{os.getpid()}-{secrets.token_hex(4)}.{name}")
    try:
        call_once(fs, "put_file", path, beside, timeout=timeout)
        call_once(fs, "mv", beside, target, timeout=timeout)
    except BaseException:
        with contextlib.suppress(Exception):
            call_once(fs, "rm_file", beside)
        raise


def delete(url: str) -> None:
    """Remove a file; one that is not there is none to remove."""

    def remove(fs: FileSystem, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            call_once(fs, "rm_file", path)

    tried(url, "remove", remove)
