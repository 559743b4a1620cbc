"""How a TFRecord file holds records, and where they are.

Each record is: its length (uint64, little endian), the masked CRC32C of those 8 bytes, the data, the masked CRC32C of
the data (tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import array
import struct
from collections.abc import Sequence
from typing import Any

from ...utils.optional import require
from .maps import FileMaps, map_file
from .runs import RUN_BYTES
from .sidecar import load_or_build
from .source import damaged

__all__ = ["FOOTER", "HEADER", "RecordFile", "frame", "masked_crc"]

HEADER = 12  # bytes before the data of a record
FOOTER = 4  # and after

_INDEX_KIND = 1
_MASK_DELTA = 0xA282EAD8
_length_of = struct.Struct("<Q")
_head_of = struct.Struct("<QI")
_crc_of = struct.Struct("<I")


def crc32c() -> Any:
    """The function that computes a CRC32C."""
    return require("google_crc32c", extra="formats", needed_for="A TFRecord's checksum").value


def masked_crc(data: bytes) -> int:
    """The checksum as TFRecord stores it: rotated and shifted, so that a CRC of data that hold CRCs stays sound."""
    crc = crc32c()(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFF_FFFF


def frame(data: bytes) -> bytes:
    """One record as it lies in a file: header, data, footer."""
    length = _length_of.pack(len(data))
    return b"".join((length, _crc_of.pack(masked_crc(length)), data, _crc_of.pack(masked_crc(data))))


class RecordFile:
    """One TFRecord file, mapped into memory, with the place of every record.

    Args:
        path: The file.
        verify: Whether the checksum of each record that is read is compared.
        maps: Where the mapped files are kept.

    Raises:
        FormatError: The file is not a TFRecord, is compressed, or ends within a record.
    """

    def __init__(self, path: str, verify: bool, maps: FileMaps) -> None:
        self.path, self._verify, self._maps = path, verify, maps
        self._crc = crc32c()
        index = load_or_build(path, _INDEX_KIND, _find_records)
        self._starts = memoryview(index).cast("Q")  # of the records, then the end of the file
        self.count = len(self._starts) - 1
        maps.expect(path, self._starts[-1])

    def read(self, number: int) -> bytes:
        """The data of a record.

        Args:
            number: Which, from 0.

        Raises:
            FormatError: The data do not have the checksum that is stored with them.
        """
        starts, mapped = self._starts, self._maps[self.path]
        end = starts[number + 1] - 4
        data = mapped[starts[number] + 12 : end]
        if self._verify:
            crc = self._crc(data)
            if ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF != _crc_of.unpack_from(mapped, end)[0]:
                raise damaged(
                    self.path,
                    f"the {len(data):,} bytes of data do not have the checksum that is stored with them",
                    record=number,
                    offset=starts[number],
                )
        return data

    def size(self, number: int) -> int:
        """How many bytes a record has in the file."""
        return self._starts[number + 1] - self._starts[number]

    def read_run(self, numbers: Sequence[int]) -> list[list[bytes]]:
        """The data of the first of some records, at least of one, each as ``[data]``."""
        starts, mapped, verify, crc32 = self._starts, self._maps[self.path], self._verify, self._crc
        stored, found, left = _crc_of.unpack_from, [], RUN_BYTES
        for number in numbers:
            start, end = starts[number], starts[number + 1] - 4
            data = mapped[start + 12 : end]
            if verify:
                crc = crc32(data)
                if ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF != stored(mapped, end)[0]:
                    return found or [[self.read(number)]]  # it raises, once the record's turn has come
            found.append([data])
            left -= end - start
            if left < 0:
                break
        return found


def _find_records(path: str) -> bytes:
    """Walk from length to length, and check each: the starts of all records and the end, as native uint64."""
    data = map_file(path)
    size = len(data)
    if data[:2] == b"\x1f\x8b":
        raise damaged(path, "a gzip file: records cannot be found in it by their place; decompress it (gunzip) first")
    crc32 = crc32c()
    unpack = _head_of.unpack_from
    starts = array.array("Q")
    at = 0
    while at < size:
        starts.append(at)
        if size - at < HEADER:
            what = f"cut short: {size - at} bytes are left, a record's header has {HEADER}"
            raise damaged(path, what, record=len(starts) - 1, offset=at)
        length, stored = unpack(data, at)
        crc = crc32(data[at : at + 8])
        if ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFF_FFFF != stored:
            what = "the record's length does not have its checksum"
            if at == 0:
                what = "not a TFRecord file, or damaged at its start: the first length does not have its checksum"
            raise damaged(path, what, record=len(starts) - 1, offset=at)
        following = at + HEADER + length + FOOTER
        if following > size:
            what = f"cut short: the record has {length:,} bytes of data, the file ends after {size - at - HEADER:,}"
            raise damaged(path, what, record=len(starts) - 1, offset=at)
        at = following
    starts.append(size)
    return starts.tobytes()
