"""What is done with files at URLs: bounded in time, tried again where that may help.

All of it runs on fsspec's filesystems, one for each protocol and process: connections do not survive a fork.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import logging
import os
import posixpath
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ..optional import MissingPackage, require
from .settings import settings
from .urls import StorageError, StorageMissing, protocol_of

__all__ = [
    "Stat",
    "delete",
    "expand",
    "is_folder",
    "list_folder",
    "put",
    "read_all",
    "read_range",
    "stat",
    "first_missing",
]

T = TypeVar("T")

_log = logging.getLogger("flowtrain.storage")
_TAGS = (  # what tells two contents of one name apart, as the filesystems name it
    "ETag", "etag", "md5Hash", "md5", "content_md5", "Content-MD5", "Digest", "generation", "version_id", "VersionId",
    "LastModified", "Last-Modified", "last_modified", "updated", "mtime", "modified", "created",
)  # fmt: skip
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, TypeError)
_AGAIN = (408, 425, 429)  # of HTTP's errors of the client those that pass
_EXTRA = {"s3": "s3fs", "s3a": "s3fs", "http": "aiohttp", "https": "aiohttp", "gs": "gcsfs", "gcs": "gcsfs"}
_LONGEST_PAUSE = 5.0
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


# -- filesystems

_filesystems: dict[tuple[str, str], Any] = {}
_making = threading.RLock()


def _renew() -> None:
    global _making
    _filesystems.clear()
    _making = threading.RLock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def _open(url: str) -> tuple[Any, str]:
    """The filesystem of a URL in this process, and the path in it."""
    core = require("fsspec.core", extra="remote-files", needed_for=f"Reading {url}")
    options = settings().options
    chain = url.rpartition("://")[0].split("::")
    given: dict[str, Any] = {}
    for protocol in chain:
        given = {**given, **({protocol: options.get(protocol, {})} if len(chain) > 1 else options.get(protocol, {}))}
    key = url.rpartition("://")[0] if len(chain) == 1 else url, json.dumps(given, sort_keys=True)
    with _making:
        fs = _filesystems.get(key)
        try:
            if fs is None:
                fs, path = core.url_to_fs(url, skip_instance_cache=True, **_bounds(chain, given))
                if isinstance(getattr(fs, "retries", None), int):
                    fs.retries = 1  # s3fs and gcsfs try again by themselves, which would multiply the bounds
                _filesystems[key] = fs
                return fs, path
            return fs, (core.url_to_fs(url)[1] if len(chain) > 1 else fs._strip_protocol(url))
        except ImportError as error:
            package = _EXTRA.get(protocol_of(url))
            known = f"pip install 'flowtrain[remote-files]' brings {package}" if package else str(error)
            raise MissingPackage(f"{url} needs a package that cannot be imported ({error}): {known}") from error
        except ValueError as error:
            raise StorageError(
                f"{url}: {error}. fsspec knows s3, gs, https, memory, file and what other packages bring "
                "(https://filesystem-spec.readthedocs.io)"
            ) from error


def _bounds(chain: list[str], given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of s3fs that leave trying again to us; the user's own come first."""
    if chain[-1] not in ("s3", "s3a") or len(chain) > 1:
        return given
    config = {"retries": {"max_attempts": 0}, "connect_timeout": settings().timeout, "read_timeout": settings().timeout}
    return {**given, "config_kwargs": {**config, **given.get("config_kwargs", {})}}


def _once(fs: Any, method: str, *args: Any, **named: Any) -> Any:
    """Call a method of a filesystem, for no longer than the timeout."""
    timeout = settings().timeout
    if getattr(fs, "async_impl", False):
        asyn = require("fsspec.asyn", extra="remote-files", needed_for="Remote files")
        return asyn.sync(fs.loop, getattr(fs, f"_{method}"), *args, timeout=timeout, **named)
    if protocol_of(f"{_first(fs.protocol)}://") in ("memory", "file"):
        return getattr(fs, method)(*args, **named)
    return _in_time(lambda: getattr(fs, method)(*args, **named), timeout)


def _first(protocol: Any) -> str:
    return protocol if isinstance(protocol, str) else protocol[0]


def _in_time(call: Callable[[], T], timeout: float) -> T:
    """Run a call that knows no timeout in a thread, which is left behind where it does not return."""
    result: list[Any] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as raised:  # whatever it is, the caller has it
            error.append(raised)

    thread = threading.Thread(target=run, name="storage-call", daemon=True)
    thread.start()
    thread.join(timeout)
    if error:
        raise error[0]
    if not result:
        raise TimeoutError(f"no answer within {timeout:g} s")
    return result[0]


def _tried(url: str, what: str, call: Callable[[Any, str], T]) -> T:
    """Do something with a URL, again where it fails for a reason that may pass.

    Args:
        url: The file.
        what: What is done, as an infinitive for the error: ``"read bytes 0 to 99 of"``.
        call: Takes the filesystem and the path in it.

    Raises:
        StorageMissing: There is no such file.
        StorageError: It fails for good, or each time.
    """
    now = settings()
    begun = time.monotonic()
    for attempt in range(1, now.attempts + 1):
        try:
            return call(*_open(url))
        except FileNotFoundError as error:
            raise StorageMissing(f"cannot {what} {url}: there is no such file{_hint(url)}") from error
        except (StorageError, MissingPackage):
            raise
        except Exception as error:
            if not _may_pass(error):
                raise StorageError(
                    f"cannot {what} {url}: {_said(error)}. It was tried {_times(attempt)}: check the name and the "
                    f"credentials (set_remote_storage(options={{{protocol_of(url)!r}: {{...}}}}) passes them on)"
                ) from error
            if attempt == now.attempts:
                seconds = time.monotonic() - begun
                raise StorageError(
                    f"cannot {what} {url}: {_said(error)}. It was tried {_times(attempt)} in {seconds:.1f} s: check "
                    "the network and the server, or allow more with set_remote_storage(attempts=, timeout=)"
                ) from error
            pause = min(_LONGEST_PAUSE, 0.1 * 2 ** (attempt - 1)) * random.uniform(0.8, 1.2)
            _log.info("Trying again in %.1f s to %s %s: %s", pause, what, url, _said(error))
            time.sleep(pause)
    raise AssertionError("unreachable")


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may go better: not where a name, a right or an argument is wrong."""
    if isinstance(error, _FINAL):
        return False
    status = getattr(error, "status", None)
    return not (isinstance(status, int) and 400 <= status < 500 and status not in _AGAIN)


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text:.300}" if text else type(error).__name__


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _hint(url: str) -> str:
    if protocol_of(url) == "memory":
        return " (memory:// files are those of this process alone)"
    return ""


# -- what is done


def stat(url: str) -> Stat:
    """Size and tag of a file.

    Raises:
        StorageMissing: There is none.
        StorageError: It is a folder, or cannot be looked up.
    """

    def look(fs: Any, path: str) -> dict[str, Any]:
        fs.invalidate_cache()  # a listing that it kept may be older than the file
        return _once(fs, "info", path)

    return _as_stat(url, _tried(url, "look up", look))


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

    def look(fs: Any, path: str) -> bool:
        fs.invalidate_cache()
        return bool(_once(fs, "isdir", path))

    return _tried(url, "look up", look)


def list_folder(url: str, *, deep: bool = False) -> list[str]:
    """The files in a folder, as URLs, sorted.

    Args:
        url: The folder.
        deep: Also those in folders within it.

    Raises:
        StorageMissing: There is no such folder.
    """

    def look(fs: Any, path: str) -> list[str]:
        fs.invalidate_cache()
        found = _once(fs, "find", path, maxdepth=None if deep else 1)
        inside = path.rstrip("/") + "/"
        return sorted(_url(fs, url, name) for name in found if name.startswith(inside) or "://" in name)

    return _tried(url, "list", look)


def expand(pattern: str) -> list[str]:
    """The files that fit a pattern (``s3://bucket/*.jpg``, ``**`` goes into folders), as URLs, sorted."""

    def look(fs: Any, path: str) -> list[str]:
        fs.invalidate_cache()
        found = _once(fs, "glob", path, detail=True)
        return sorted(_url(fs, pattern, name) for name, info in found.items() if info.get("type") != "directory")

    return _tried(pattern, "list", look)


def _url(fs: Any, given: str, path: str) -> str:
    """A path of a filesystem with the protocol that the user wrote."""
    if "://" in path:
        return path
    return f"{given.rpartition('://')[0]}://{path.lstrip('/')}" if _first(fs.protocol) != "file" else path


def read_all(url: str) -> bytes:
    """The content of a file."""

    def read(fs: Any, path: str) -> bytes:
        return bytes(_once(fs, "cat_file", path))

    return _tried(url, "read", read)


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

    def read(fs: Any, path: str) -> bytes:
        data = _once(fs, "cat_file", path, start=start, end=end)
        if len(data) == size > end - start:  # a server that knows no ranges sends all
            data = data[start:end]
        if len(data) != end - start:
            raise EOFError(f"{len(data):,} bytes came, {end - start:,} were expected")
        return bytes(data)

    if start >= end:
        return b""
    return _tried(url, f"read bytes {start:,} to {end - 1:,} of", read)


def put(path: str | os.PathLike[str], url: str) -> None:
    """Copy a local file to a URL: whole or not at all, as object stores do; elsewhere beside it and renamed."""
    size = os.path.getsize(path)

    def send(fs: Any, target: str) -> None:
        _send(fs, os.fspath(path), target)
        fs.invalidate_cache()
        there = _once(fs, "info", target).get("size")
        if there is not None and there != size:
            raise EOFError(f"{there:,} bytes are there, {size:,} were sent")

    _tried(url, "write", send)


def _send(fs: Any, path: str, target: str) -> None:
    parent = posixpath.dirname(target.rstrip("/"))
    with contextlib.suppress(FileExistsError, NotImplementedError):
        if not getattr(fs, "async_impl", False) and parent:
            fs.makedirs(parent, exist_ok=True)
    # the time that a large file may take grows with it: 1 MB/s at the least
    _put_in(fs, path, target, settings().timeout + os.path.getsize(path) / 1e6)


def _put_in(fs: Any, path: str, target: str, timeout: float) -> None:
    if getattr(fs, "async_impl", False):
        asyn = require("fsspec.asyn", extra="remote-files", needed_for="Remote files")
        asyn.sync(fs.loop, fs._put_file, path, target, timeout=timeout)
    else:
        _in_time(lambda: fs.put_file(path, target), timeout)


def delete(url: str) -> None:
    """Remove a file; one that is not there is none to remove."""

    def remove(fs: Any, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            _once(fs, "rm_file", path)

    _tried(url, "remove", remove)
