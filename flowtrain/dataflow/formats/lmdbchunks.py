"""Layout of an LMDB file of ``write``: records in chunks, found through a table instead of LMDB's search by key.

An LMDB file of version 2 holds

* chunks, under their numbers from 0 (8 bytes, big endian): up to 64 records, or as many as fit into 1 MB, end to end;
* under ``__flowtrain_places__`` a table with 12 bytes for each record, three uint32 (little endian): the number of
  its chunk, and where it begins and ends in the chunk; then the table's checksum, 4 bytes;
* under ``__flowtrain__`` the msgpack map {version: 2, count: number of records, checksum: "crc32c"}.

A record is the msgpack array [datapoint, 4 bytes]. The 4 bytes, like those at the end of the table, are chosen such
that the CRC32C of the whole is 0. Such bytes leave the checksum's register as it was before, so any number of records
end to end have the CRC32C 0 too: a run of records is copied, checked and parsed by three calls, not three for each.

In version 1 each record was an LMDB value of its own, under its number; searching and copying it by LMDB took longer
than all the rest of reading a small record. Its 4 bytes were the CRC32C of the bytes before them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ipc.codec import CodecError, pack, unpack, unpack_fast
from ...utils.errors import FormatError
from ...utils.schema import Anything, Record, Whole, mismatch
from ..core.cursor import Datapoint
from .framing import crc32c
from .lmdbfile import Environment
from .runs import RUN_BYTES
from .sealed import unpack_sealed
from .source import damaged

__all__ = [
    "CHUNK_BYTES",
    "CHUNK_RECORDS",
    "HEADER_KEY",
    "MAX_RECORDS",
    "MAX_RECORD_BYTES",
    "PLACES_KEY",
    "VERSION",
    "ChunkedRecords",
    "Decode",
    "pack_header",
    "parse_header",
    "place_of",
    "record_key",
]

HEADER_KEY = b"__flowtrain__"
PLACES_KEY = b"__flowtrain_places__"
VERSION = 2
CHUNK_RECORDS = 64
CHUNK_BYTES = 1 << 20
MAX_RECORD_BYTES = (1 << 32) - 1  # of an LMDB value
MAX_RECORDS = (MAX_RECORD_BYTES - 4) // 12

_key_of = struct.Struct(">Q")  # big endian: LMDB's order of bytes is then the order of the numbers
_ARRAY16 = struct.Struct(">BH")  # head of a msgpack array of up to 65,535 items: 0xdc, the number of items

Decode = Callable[[bytes, bytes], Datapoint]

_HEADER = Record({"version": Whole(0), "count": Whole(0)}, others=Anything())
record_key = _key_of.pack
place_of = struct.Struct("<III")


def pack_header(count: int) -> bytes:
    """The value of ``HEADER_KEY``."""
    return pack({"version": VERSION, "count": count, "checksum": "crc32c"})


def parse_header(path: str, value: bytes) -> tuple[int, int]:
    """The version of a file and how many records it has.

    Raises:
        FormatError: The header is damaged, or of an unknown version.
    """
    try:
        header = unpack(value)
    except CodecError as error:
        raise damaged(path, f"its header {HEADER_KEY!r} is damaged: {error}") from error
    problem = mismatch(header, _HEADER, "the header")
    if problem is not None:
        raise damaged(path, f"its header {HEADER_KEY!r} is damaged: {problem}")
    version, count = header["version"], header["count"]
    if version not in (1, VERSION):
        raise damaged(path, f"written in version {version} of the form; this flowtrain reads versions 1 and {VERSION}")
    return version, count


class ChunkedRecords:
    """The records of a file of version 2: slices of its chunks in mapped memory.

    A memoryview, of some 200 bytes, is kept for each chunk that was read; the table of places is never copied.

    Args:
        environment: The open file.
        count: The number of records in its header.
        decode: Makes a datapoint of the key and the bytes of a record; None: the record is the datapoint.
        verify: Whether records are compared with their checksums, without ``decode``; the table always is.

    Raises:
        FormatError: The table is missing or damaged.
    """

    def __init__(self, environment: Environment, count: int, decode: Decode | None, verify: bool) -> None:
        self.count, self._path, self._error, self._decode = count, environment.path, environment.error, decode
        self._crc = crc32c() if verify else None
        self._chunks, self._check_size = _Chunks(environment), environment.check_size
        try:
            table = environment.view(PLACES_KEY)
        except self._error as error:
            raise damaged(self._path, f"LMDB cannot read its table of places: {error}") from error
        if table is None or len(table) != count * place_of.size + 4:
            found = "is missing" if table is None else f"has {len(table):,} bytes"
            raise damaged(self._path, f"its table of {count:,} places {found}, under the key {PLACES_KEY!r}")
        if crc32c()(np.frombuffer(table, np.uint8)):  # google_crc32c takes no memoryview, and bytes would be a copy
            raise damaged(self._path, f"its table of places does not have its checksum, under the key {PLACES_KEY!r}")
        self._table = table

    def _record(self, index: int) -> bytes:
        """The bytes of a record, unchecked.

        Raises:
            FormatError: Its chunk is missing, or ends before the record does; or the file has become shorter.
        """
        self._check_size()
        number, start, end = place_of.unpack_from(self._table, index * 12)
        try:
            chunk = self._chunks[number]
        except self._error as error:
            raise self._damaged(index, f"LMDB cannot read its chunk: {error}") from error
        if end > len(chunk):
            raise self._damaged(index, f"cut short, or missing: it ends at byte {end:,}, its chunk at {len(chunk):,}")
        return chunk[start:end].tobytes()

    def read(self, index: int) -> Datapoint:
        """The datapoint of a record.

        Raises:
            FormatError: It is damaged, or cut short.
        """
        record = self._record(index)
        if self._decode is not None:
            return self._decode(record_key(index), record)
        try:
            return unpack_sealed(record, self._crc)
        except FormatError as error:
            raise self._damaged(index, str(error)) from error

    def _damaged(self, index: int, what: str) -> FormatError:
        number, start, _ = place_of.unpack_from(self._table, index * 12)
        return damaged(self._path, f"{what} (the record begins at byte {start:,} of chunk {number})", record=index)

    def read_run(self, records: Sequence[int]) -> list[Datapoint]:
        """Read some records ahead; see :data:`ReadRun`."""
        if self._decode is not None:
            return [self.read(records[0])]
        place, table, chunks = place_of.unpack_from, self._table, self._chunks
        parts: list[Any] = [b""]
        size = 0
        self._check_size()
        try:
            for record in records:
                number, start, end = place(table, record * 12)
                parts.append(chunks[number][start:end])
                size += end - start
                if size > RUN_BYTES:
                    break
            return self._parse(parts, size)
        except Exception:  # whatever it is: `read` raises it as an error that names the record
            return self._read_while_sound(records)

    def _parse(self, parts: list[Any], size: int) -> list[Datapoint]:
        """Check and parse a run of records at once, as one msgpack array of them.

        Args:
            parts: Room for the array's head, then the records.
            size: How many bytes the records should have; a slice of a chunk that is too short has fewer.
        """
        parts[0] = _ARRAY16.pack(0xDC, len(parts) - 1)
        message = b"".join(parts)
        sound = self._crc is None or not self._crc(np.frombuffer(message, np.uint8, -1, _ARRAY16.size))
        if not sound or len(message) != _ARRAY16.size + size:
            raise FormatError("a record of the run is damaged")
        return [datapoint for datapoint, _ in unpack_fast(message)]

    def _read_while_sound(self, records: Sequence[int]) -> list[Datapoint]:
        found = [self.read(records[0])]
        try:
            for record in records[1:]:
                found.append(self.read(record))
        except FormatError:
            pass  # raised when the record's turn has come
        return found


class _Chunks(dict[int, memoryview]):
    """Number -> view of a chunk, looked up in LMDB at its first use; a chunk that is missing is an empty view."""

    def __init__(self, environment: Environment) -> None:
        super().__init__()
        self._environment = environment  # keeps the file mapped while there are views of it

    def __missing__(self, number: int) -> memoryview:
        chunk = self._environment.view(record_key(number))
        self[number] = chunk = memoryview(b"") if chunk is None else chunk
        return chunk
