"""TFRecord's framing of records, an index of their positions, and the checksum CRC32C.

A record is its length (uint64, little endian), the masked CRC32C of these 8 bytes, the data, and the masked CRC32C of
the data (tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import array
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from ...utils.errors import FormatError
from ...utils.optional import require
from .openfiles import OpenFiles, open_binary
from .runs import RUN_BYTES
from .sidecar import load_or_build
from .source import compression, damaged

__all__ = ["FOOTER", "HEADER", "RecordFile", "frame", "masked_crc"]

HEADER = 12  # bytes before the data of a record
FOOTER = 4  # and after

_INDEX_KIND = 1
_MASK_DELTA = 0xA282EAD8
_length_of = struct.Struct("<Q")
_head_of = struct.Struct("<QI")
_crc_of = struct.Struct("<I")


def crc32c() -> Callable[[Any], int]:
    """The function of the package google_crc32c that computes a CRC32C."""
    return require("google_crc32c", extra="formats", needed_for="A record's checksum").value


def masked_crc(data: bytes) -> int:
    """A CRC32C as TFRecord stores it: rotated by 15 bits, plus a constant.

    The mask is there because the CRC of data that contain their own CRC is a weak check.
    """
    crc = crc32c()(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFF_FFFF


def frame(data: bytes) -> bytes:
    """Frame the data of one record: header, data, footer."""
    length = _length_of.pack(len(data))
    return b"".join((length, _crc_of.pack(masked_crc(length)), data, _crc_of.pack(masked_crc(data))))


class RecordFile:
    """One TFRecord file, with the position of every record.

    Args:
        path: The file.
        verify: Whether each record that is read is compared with its checksum.
        files: The source's cache of open files.

    Raises:
        FormatError: The file is not a TFRecord, is compressed, or ends within a record.
    """

    def __init__(self, path: str, verify: bool, files: OpenFiles) -> None:
        self.path, self._verify, self._files = path, verify, files
        self._crc = crc32c()
        index = load_or_build(path, _INDEX_KIND, _find_records)
        self._starts = memoryview(index).cast("Q")  # of the records, then the end of the file
        self.count = len(self._starts) - 1
        files.expect(path, self._starts[-1])

    def read(self, number: int) -> bytes:
        """The data of a record.

        Args:
            number: Which record, from 0.

        Raises:
            FormatError: The data do not have the checksum that is stored with them.
        """
        starts = self._starts
        framed = self._files[self.path].read(starts[number] + HEADER, starts[number + 1])
        data = framed[:-FOOTER]
        if self._verify:  # `masked_crc`, written out here and in read_run to save a call per record
            crc = self._crc(data)
            if ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFF_FFFF != _crc_of.unpack_from(framed, len(data))[0]:
                raise damaged(
                    self.path,
                    f"the {len(data):,} bytes of data do not have the checksum that is stored with them",
                    record=number,
                    offset=starts[number],
                )
        return data

    def size(self, number: int) -> int:
        """How many bytes a record takes in the file, its frame included."""
        return self._starts[number + 1] - self._starts[number]

    def read_run(self, numbers: Sequence[int]) -> list[list[bytes]]:
        """Read some records ahead; see :data:`ReadRun`. Each datapoint is ``[data]``."""
        starts, verify, crc32 = self._starts, self._verify, self._crc
        stored, found, left = _crc_of.unpack_from, [], RUN_BYTES
        try:
            read = self._files[self.path].read
            block, base = self._read_neighbours(numbers, read)
            for number in numbers:
                start, end = starts[number], starts[number + 1]
                framed, at = (block, start - base) if block else (read(start, end), 0)
                data_end = at + end - start - FOOTER
                data = framed[at + HEADER : data_end]
                if verify:  # numbers and not names of the module, which would be looked up for each record
                    crc = crc32(data)
                    if ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF != stored(framed, data_end)[0]:
                        break
                found.append([data])
                left -= end - start
                if left < 0:
                    break
        except FormatError:
            pass  # as with a wrong checksum: raised by `read` below, when the damaged record is the first of a run
        return found or [[self.read(numbers[0])]]

    def _read_neighbours(self, numbers: Sequence[int], read: Callable[[int, int], bytes]) -> tuple[bytes, int]:
        """Read records that lie end to end in the file with one system call: (bytes, position), or (b"", 0)."""
        first, last = numbers[0], numbers[-1]
        start, end = self._starts[first], self._starts[last + 1]
        if not 0 < end - start <= 2 * RUN_BYTES or list(numbers) != list(range(first, last + 1)):
            return b"", 0
        return read(start, end), start


def _find_records(path: str) -> bytes:
    """Build the index: the start of each record and the end of the file, as native uint64.

    It reads headers alone and seeks over the data; each length is compared with its checksum.
    """
    starts = array.array("Q")
    with open_binary(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        at = 0
        while at < size:
            head = file.read(HEADER)
            starts.append(at)
            at += HEADER + _data_length(path, head, len(starts) - 1, at, size) + FOOTER
            file.seek(at)
    starts.append(size)
    return starts.tobytes()


def _data_length(path: str, head: bytes, record: int, at: int, size: int) -> int:
    """Parse a record's header: how many bytes of data follow.

    Raises:
        FormatError: The header is cut short or damaged, or the file ends before the record does.
    """
    if len(head) < HEADER:
        what = f"cut short: {len(head)} bytes are left, a record's header has {HEADER}"
        raise damaged(path, what, record=record, offset=at)
    length, stored = _head_of.unpack(head)
    if masked_crc(head[:8]) != stored:
        what = "the record's length does not have its checksum"
        if at == 0:
            what = _foreign(head)
        raise damaged(path, what, record=record, offset=at)
    if at + HEADER + length + FOOTER > size:
        what = f"cut short: the record has {length:,} bytes of data, the file ends after {size - at - HEADER:,}"
        raise damaged(path, what, record=record, offset=at)
    return length


def _foreign(head: bytes) -> str:
    """Say what a file seems to be whose first length does not have its checksum."""
    kind = compression(head) or _zlib(head)
    if kind is None:
        return "not a TFRecord file, or damaged at its start: the first length does not have its checksum"
    how = "gunzip" if kind == "gzip" else f"in Python the module {kind}" if kind == "zlib" else f"the program {kind}"
    return (
        f"a compressed TFRecord ({kind.upper()}): records cannot be found in it by their place; decompress it ({how}) "
        "first"
    )


def _zlib(head: bytes) -> str | None:
    """``"zlib"`` if bytes begin a zlib stream, else None.

    A zlib stream has no magic number: its two bytes of header are a multiple of 31 (RFC 1950, section 2.2), and then
    valid deflate blocks must follow.
    """
    if head[:1] != b"\x78" or int.from_bytes(head[:2]) % 31:
        return None
    try:
        zlib.decompressobj().decompress(head)
    except zlib.error:
        return None
    return "zlib"
