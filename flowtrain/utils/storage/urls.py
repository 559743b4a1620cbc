"""URLs of files that fsspec reads: recognizing and parsing them, and refusing them where a local path is needed."""

from __future__ import annotations

import os
import posixpath
import re

from ..errors import ConfigError, DataFlowError

__all__ = [
    "NotLocal",
    "StorageError",
    "StorageMissing",
    "in_run",
    "is_url",
    "local_only",
    "path_or_url",
    "protocol_of",
    "url_name",
]

# two letters at least, so that C:// is no protocol; "filecache::s3://" is fsspec's way to chain filesystems
_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*::)*([A-Za-z][A-Za-z0-9+.\-]+)://")
# What pathlib makes of a URL. Protocols are listed, as "name:/x" is also a legal local path.
_COLLAPSED = re.compile(r"(s3a?|gs|gcs|https?|memory|abfss?|az|adl|hdfs|webhdfs|sftp|ftp|file):/(?!/)")


class StorageError(DataFlowError, OSError):
    """A file at a URL cannot be read, listed or written; names the URL, what was tried and what to do."""


class NotLocal(ConfigError, DataFlowError):
    """A URL was given where a path of this machine is expected; says what to do instead."""


class StorageMissing(StorageError, FileNotFoundError):
    """There is no file at the URL."""


def is_url(path: object) -> bool:
    """Whether a path is a URL such as ``s3://bucket/key``, which fsspec opens."""
    return isinstance(path, str) and _URL.match(path) is not None


def protocol_of(url: str) -> str:
    """Return the protocol whose filesystem holds the file: ``"s3"``; the last one of a chained URL."""
    found = _URL.match(url)
    return found[1].lower() if found else "file"


def path_or_url(path: str | os.PathLike[str]) -> str:
    """Return a URL as it is, and the local path of a ``file://`` URL or of any other path, with ``~`` expanded.

    Raises:
        DataFlowError: ``Path("s3://bucket/key")`` was given, which is the local path ``s3:/bucket/key``.
    """
    text = os.fspath(path)
    if not isinstance(text, str):  # bytes are a path to Python
        text = os.fsdecode(text)
    collapsed = _COLLAPSED.match(text)
    if collapsed and not isinstance(path, str):
        url = text.replace(":/", "://", 1)
        raise DataFlowError(f"Path({url!r}) is a local path, {text!r}: give the URL as a string")
    if text.lower().startswith("file://"):
        return _local(text)
    return text if is_url(text) else os.path.expanduser(text)


def _local(url: str) -> str:
    """Return the path of a ``file://`` URL; percent signs stand for themselves, as for fsspec."""
    rest = url[len("file://") :]
    if rest.startswith("localhost/"):
        rest = rest.removeprefix("localhost")
    if not rest.startswith("/"):
        raise DataFlowError(f"{url!r} names a host: a file of this machine is file:///folder/name, with three slashes")
    return rest


def local_only(path: str | os.PathLike[str], what: str, instead: str) -> str:
    """Check that a path is on this machine, and return it.

    Args:
        path: The path, or a ``file://`` URL.
        what: What the path is, for the error: ``"the folder of CacheData"``.
        instead: What to do with a URL, as a sentence.

    Raises:
        NotLocal: It is a URL of another protocol.
    """
    text = path_or_url(path)
    if is_url(text):
        raise NotLocal(f"{what} is a path of this machine, got {text!r}. {instead}")
    return text


def in_run(path: str | os.PathLike[str], what: str) -> str:
    """Check that a path of a run is on this machine, and return it; see :func:`local_only`."""
    instead = 'with resume="auto" another machine goes on from there'
    return local_only(path, what, f'Keep the run here, and copy it by the callback MirrorTo("s3://..."): {instead}')


def url_name(url: str) -> str:
    """Return the last part of a URL's path, without a query: ``"a.npz"`` of ``https://host/x/a.npz?token=1``."""
    rest = url.rpartition("://")[2].rstrip("/")
    if protocol_of(url) in ("http", "https"):
        rest = rest.partition("?")[0].partition("#")[0].rstrip("/")
    return posixpath.basename(rest)
