"""Index files beside data files (``.ftindex``): built on first use, valid while the data file keeps size and mtime."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Callable

from ...utils.files import write_whole
from ...utils.storage import Stat, is_url, kept, place_of, stat
from .source import damaged

__all__ = ["SUFFIX", "load_or_build"]

SUFFIX = ".ftindex"

logger = logging.getLogger("flowtrain.dataflow")
_HEAD = struct.Struct("<8sIQqQI")  # magic, kind, size and mtime (ns) of the data file, length and CRC-32 of the body
_MAGIC = b"ftindex\x01"
_TICK = 20_000_000  # nanoseconds; Linux sets mtime from a clock that advances every 10 ms at the slowest


def load_or_build(
    path: str, kind: int, build: Callable[[str], bytes], suits: Callable[[bytes], bool] | None = None
) -> bytes:
    """Load the index of a data file if it is valid; else build it and save it beside the file.

    If the folder is not writable, the index is built and not saved. Several processes may call this at once: each
    renames a whole index into place.

    Args:
        path: The data file, or its URL; the index of a URL is in the cache folder.
        kind: Number of the index format; an index of another format is rebuilt.
        build: Builds the index from the path.
        suits: Whether a loaded index holds what is needed, else it is rebuilt. None: any does.

    Returns:
        The content of the index.

    Raises:
        FormatError: The file changed while the index was built, or ``build`` found it damaged.
    """
    stamp, remote = _stamp(path)
    place: str | None = path + SUFFIX
    if remote is not None:  # in the cache folder, under a name that depends on size and ETag
        place = str(place_of(path, remote, f"index-{kind}")) if kept(path) else None
    body = _load(place, kind, stamp) if place else None
    if body is not None and (suits is None or suits(body)):
        return body
    body = build(path)
    if _stamp(path) != (stamp, remote):
        raise damaged(path, "the file changed while its index was made: is it still being written?")
    if place:
        _save(place, _HEAD.pack(_MAGIC, kind, *stamp, len(body), zlib.crc32(body)) + body)
    return body


def _stamp(path: str) -> tuple[tuple[int, int], Stat | None]:
    """Size and mtime of a local file and None; size and 0 of a file at a URL, and what the server tells of it."""
    if is_url(path):
        found = stat(path)
        return (found.size, 0), found
    status = os.stat(path)
    return (status.st_size, status.st_mtime_ns), None


def _load(path: str, kind: int, stamp: tuple[int, int]) -> bytes | None:
    """The body of an index; None if it is missing, damaged, of another kind or of an older file."""
    try:
        with open(path, "rb") as file:
            made = os.fstat(file.fileno()).st_mtime_ns
            head, body = file.read(_HEAD.size), file.read()
    except OSError:
        return None
    if len(head) < _HEAD.size:
        return None
    magic, its_kind, size, mtime, length, crc = _HEAD.unpack(head)
    # A data file that was replaced by one of the same size within a tick of the clock keeps its mtime. So an index is
    # believed only if it was saved more than a tick after that mtime: the file can then not have changed unseen.
    known = (magic, its_kind, size, mtime, length) == (_MAGIC, kind, *stamp, len(body)) and made - mtime > _TICK
    return body if known and crc == zlib.crc32(body) else None


def _save(path: str, content: bytes) -> None:
    try:
        write_whole(path, content, durable=False)  # no fsync: what a crash loses is built again
    except OSError as error:
        logger.info("The index %s is not kept (%s): it will be made again by each process.", path, error.strerror)
