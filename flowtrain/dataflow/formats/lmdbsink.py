"""Sink of LMDB files: records in chunks, and the table of their places; see ``lmdbchunks`` for the layout."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
from collections.abc import Iterator
from typing import Any

from ...ipc.codec import CodecError
from ...utils.errors import FormatError
from ...utils.optional import require
from .appendfile import AppendOnlyFile
from .framing import crc32c
from .lmdbchunks import (
    CHUNK_BYTES,
    CHUNK_RECORDS,
    HEADER_KEY,
    MAX_RECORD_BYTES,
    MAX_RECORDS,
    PLACES_KEY,
    pack_header,
    place_of,
    record_key,
)
from .sealed import pack_sealed, seal

__all__ = ["LMDBSink"]

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
_PAGE = 1 << 16  # bytes of pages of its tree that LMDB may write besides the records


class LMDBSink:
    """Sink of LMDB files.

    The table of places grows in an append-only file beside the LMDB file, into which it is put at the end.

    Args:
        folder: The folder of the attempt.
        position: What ``commit`` returned in an earlier process; None starts anew.
    """

    def __init__(self, folder: str, position: dict[str, Any] | None) -> None:
        lmdb = require("lmdb", extra="formats", needed_for="Writing LMDB")
        self.path = os.path.join(folder, "data")
        self._full, self._error = lmdb.MapFullError, lmdb.Error
        size = max(1 << 26, 2 * os.path.getsize(self.path) if os.path.exists(self.path) else 0)
        # No lock file: `write` holds a lock on the folder.
        name = os.fsencode(self.path)  # bytes: py-lmdb encodes a str as UTF-8, which fails for other file names
        # writemap=False: LMDB then writes by system calls, of which a full disk is an error. In a map that is written
        # to it would be a SIGBUS, which ends the process.
        with self._as_os_error(size):
            self._env = lmdb.open(name, map_size=size, subdir=False, lock=False, max_readers=1, writemap=False)
        self._map_size = size
        self._crc = crc32c()
        if position and "places" not in position:
            raise FormatError(f"{folder} is of an older flowtrain: pass resume=False to start again")
        self._places = AppendOnlyFile(folder, position and position["places"], "places")
        self._count, self._chunks = (position["count"], position["chunks"]) if position else (0, 0)
        self._records: list[bytes] = []  # of the chunk that is being filled
        self._end = 0  # bytes in that chunk
        self._pending: list[bytes] = []  # chunks that are full and not stored yet: a transaction costs an fsync
        self._pending_bytes = 0
        self._drop_after(self._chunks)

    def append(self, datapoint: object) -> None:
        try:
            record = pack_sealed(datapoint, self._crc)
        except CodecError as error:
            raise FormatError(str(error)) from error
        if len(record) > MAX_RECORD_BYTES:
            raise FormatError(f"datapoint {self._count} has {len(record):,} bytes; LMDB holds {MAX_RECORD_BYTES:,}")
        if self._count == MAX_RECORDS:
            raise FormatError(f"an LMDB file holds {MAX_RECORDS:,} datapoints: write several files")
        if self._end + len(record) > CHUNK_BYTES or len(self._records) == CHUNK_RECORDS:
            self._end_chunk()
        start, self._end = self._end, self._end + len(record)
        self._places.add(place_of.pack(self._chunks + len(self._pending), start, self._end))
        self._records.append(record)
        self._count += 1
        if self._pending_bytes + self._end > 1 << 25:  # bounds the memory, whatever commit_every is
            self._store()

    def commit(self) -> dict[str, Any]:
        self._store()
        self._sync()
        return {"count": self._count, "chunks": self._chunks, "places": self._places.commit()}

    def finish(self) -> str:
        self._store()
        with open(self._places.finish(), "rb") as file:
            self._put({PLACES_KEY: seal(file.read(), self._crc), HEADER_KEY: pack_header(self._count)})
        # Once more: LMDB keeps the last two states, each with a head of its own, and takes the older where the newer
        # head is damaged. After this second transaction both states hold the whole file.
        self._put({HEADER_KEY: pack_header(self._count)})
        self._sync()
        self.close()
        return self.path

    def close(self) -> None:
        self._places.close()
        self._env.close()

    def _end_chunk(self) -> None:
        if self._records:
            self._pending.append(b"".join(self._records))
            self._pending_bytes += self._end
            self._records, self._end = [], 0

    def _store(self) -> None:
        """Store all that was appended; the chunk that is being filled ends here, so that a commit holds its records."""
        self._end_chunk()
        self._put({record_key(number): chunk for number, chunk in enumerate(self._pending, self._chunks)})
        self._chunks += len(self._pending)
        self._pending, self._pending_bytes = [], 0

    def _put(self, items: dict[bytes, bytes]) -> None:
        """Put items in one transaction, which is repeated with a map of twice the size while that is too small."""
        while True:
            try:
                with (
                    self._as_os_error(sum(map(len, items.values()))),
                    self._env.begin(write=True) as transaction,
                ):
                    for key, value in items.items():
                        transaction.put(key, value)
                return
            except self._full:
                self._map_size *= 2
                self._env.set_mapsize(self._map_size)

    def _sync(self) -> None:
        with self._as_os_error(0):
            self._env.sync(True)

    @contextlib.contextmanager
    def _as_os_error(self, size: int) -> Iterator[None]:
        """Raise the system's errors, which LMDB wraps in its own, as OSError: `write` adds the file and what is free.

        Args:
            size: How many bytes are being written.
        """
        try:
            yield
        except self._full:
            raise
        except self._error as error:
            codes = [code for code in _DISK_ERRORS if os.strerror(code) in str(error)]  # lmdb.Error has no errno
            code = codes[0] if codes else errno.EIO
            if code == errno.EIO:  # LMDB's code for a write that was cut short: by a full disk, or a limit of file size
                limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
                written = os.path.getsize(self.path) if os.path.exists(self.path) else 0
                if limit != resource.RLIM_INFINITY and written + size + _PAGE > limit:
                    code = errno.EFBIG
                elif shutil.disk_usage(os.path.dirname(self.path)).free < size + _PAGE:
                    code = errno.ENOSPC
            text = os.strerror(code) if codes or code != errno.EIO else f"{os.strerror(code)} ({error})"
            raise OSError(code, text) from error

    def _drop_after(self, chunks: int) -> None:
        """Delete what an earlier attempt put after its last commit.

        These are chunks from this number on, and the header and table of a file that was complete but not yet in its
        place: their names sort after all numbers.
        """
        with self._as_os_error(0), self._env.begin(write=True) as transaction, transaction.cursor() as cursor:
            found = cursor.set_range(record_key(chunks))
            while found:
                found = cursor.delete()
