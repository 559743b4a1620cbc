"""An index beside a data file: made on first use, believed only while the file is the one it was made from."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Callable

from ...utils.files import write_whole
from ...utils.storage import is_url, kept, place_of, stat
from .source import PathLike, damaged

__all__ = ["SUFFIX", "load_or_build"]

SUFFIX = ".ftindex"

_log = logging.getLogger("flowtrain.dataflow")
_HEAD = struct.Struct("<8sIQqQI")  # magic, version of the kind, size and mtime of the file, length and crc of the body
_MAGIC = b"ftindex\x01"
_TICK = 20_000_000  # nanoseconds; the times of Linux's file systems are up to 10 ms old


def load_or_build(
    path: str, kind: int, build: Callable[[str], bytes], suits: Callable[[bytes], bool] | None = None
) -> bytes:
    """The index of a file: from beside it where that is current, else made now and put there.

    Where the folder may not be written to, the index is made and not kept. Any number of processes may call this
    at once: the index is renamed into place, so none sees half of one.

    Args:
        path: The data file, or its URL.
        kind: Number of the index's form: another number's index is made anew.
        build: Makes the index from the file.
        suits: Whether an index holds what is needed; one that does not is made anew. None: each does.

    Returns:
        The index's bytes.

    Raises:
        FormatError: The file changed while the index was made (or ``build`` says that it is damaged).
    """
    if is_url(path):
        return _of_url(path, kind, build, suits)
    stamp = _stamp(path)
    body = _load(path + SUFFIX, kind, stamp)
    if body is not None and (suits is None or suits(body)):
        return body
    body = build(path)
    if _stamp(path) != stamp:
        raise damaged(path, "the file changed while its index was made: is it still being written?")
    _save(path + SUFFIX, _HEAD.pack(_MAGIC, kind, *stamp, len(body), zlib.crc32(body)) + body)
    return body


def _of_url(url: str, kind: int, build: Callable[[str], bytes], suits: Callable[[bytes], bool] | None) -> bytes:
    """The index of a file at a URL: it is kept in the cache folder, under a name that changes with the content."""
    found = stat(url)
    place = str(place_of(url, found, f"index-{kind}")) if kept(url) else None
    stamp = found.size, 0
    body = _load(place, kind, stamp) if place else None
    if body is not None and (suits is None or suits(body)):
        return body
    body = build(url)
    if stat(url) != found:
        raise damaged(url, "the file changed while its index was made: is it still being written?")
    if place:
        _save(place, _HEAD.pack(_MAGIC, kind, *stamp, len(body), zlib.crc32(body)) + body)
    return body


def _stamp(path: PathLike) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _load(path: str, kind: int, stamp: tuple[int, int]) -> bytes | None:
    try:
        with open(path, "rb") as file:
            made = os.fstat(file.fileno()).st_mtime_ns
            head, body = file.read(_HEAD.size), file.read()
    except OSError:
        return None
    if len(head) < _HEAD.size:
        return None
    magic, its_kind, size, mtime, length, crc = _HEAD.unpack(head)
    # a file that is written again within the clock's tick has the time that it had: such an index may be of the old one
    known = (magic, its_kind, size, mtime, length) == (_MAGIC, kind, *stamp, len(body)) and made - mtime > _TICK
    return body if known and crc == zlib.crc32(body) else None


def _save(path: str, content: bytes) -> None:
    try:
        write_whole(path, content, durable=False)  # it can be made again
    except OSError as error:
        _log.info("The index %s is not kept (%s): it will be made again by each process.", path, error.strerror)
