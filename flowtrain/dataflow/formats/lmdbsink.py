"""Writing LMDB: records in chunks, the table of their places, and the system's errors named."""

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
    pack_table,
    place_of,
    record_key,
)
from .sealed import pack_sealed

__all__ = ["LMDBSink"]

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
_PAGE = 1 << 16  # bytes that LMDB may write besides the records: its table of pages


class LMDBSink:
    """Records in chunks, and the table of where each one is."""

    def __init__(self, folder: str, position: dict[str, Any] | None) -> None:
        lmdb = require("lmdb", extra="formats", needed_for="Writing LMDB")
        self.path = os.path.join(folder, "data")
        self._full, self._error = lmdb.MapFullError, lmdb.Error
        size = max(1 << 26, 2 * os.path.getsize(self.path) if os.path.exists(self.path) else 0)
        # no lock file: `write` holds a lock on the folder
        name = os.fsencode(self.path)  # LMDB takes a str in UTF-8 alone
        with self._as_os_error(size):
            self._env = lmdb.open(name, map_size=size, subdir=False, lock=False, max_readers=1, writemap=False)
        self._map_size = size
        self._crc = crc32c()
        if position and "places" not in position:
            raise FormatError(f"{folder} is of an older flowtrain: pass resume=False to start again")
        self._places = AppendOnlyFile(folder, position and position["places"], "places")
        self._count, self._chunks = (position["count"], position["chunks"]) if position else (0, 0)
        self._records: list[bytes] = []  # of the chunk that is being filled
        self._end = 0  # of that chunk
        self._pending: list[bytes] = []  # chunks that are full
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
        if self._pending_bytes + self._end > 1 << 25:
            self._store()

    def commit(self) -> dict[str, Any]:
        self._store()
        self._sync()
        return {"count": self._count, "chunks": self._chunks, "places": self._places.commit()}

    def finish(self) -> str:
        self._store()
        with open(self._places.finish(), "rb") as file:
            self._put({PLACES_KEY: pack_table(file.read(), self._crc), HEADER_KEY: pack_header(self._count)})
        # LMDB keeps the last two states, and takes the older where what leads to the newer is damaged: both are whole
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
        """Put all that was appended; the chunk that is being filled ends here."""
        self._end_chunk()
        self._put({record_key(number): chunk for number, chunk in enumerate(self._pending, self._chunks)})
        self._chunks += len(self._pending)
        self._pending, self._pending_bytes = [], 0

    def _put(self, items: dict[bytes, bytes]) -> None:
        """One transaction; again with more room where there is too little."""
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
        """Make the system's errors, which LMDB raises as its own, OSErrors: so `write` names the file.

        Args:
            size: Bytes that are being written.
        """
        try:
            yield
        except self._full:
            raise
        except self._error as error:
            codes = [code for code in _DISK_ERRORS if os.strerror(code) in str(error)]
            code = codes[0] if codes else errno.EIO
            if code == errno.EIO:  # LMDB's name for a write of which only a part was done
                limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
                written = os.path.getsize(self.path) if os.path.exists(self.path) else 0
                if limit != resource.RLIM_INFINITY and written + size + _PAGE > limit:
                    code = errno.EFBIG
                elif shutil.disk_usage(os.path.dirname(self.path)).free < size + _PAGE:
                    code = errno.ENOSPC
            text = os.strerror(code) if codes or code != errno.EIO else f"{os.strerror(code)} ({error})"
            raise OSError(code, text) from error

    def _drop_after(self, chunks: int) -> None:
        with self._as_os_error(0), self._env.begin(write=True) as transaction, transaction.cursor() as cursor:
            found = cursor.set_range(record_key(chunks))
            while found:
                found = cursor.delete()
