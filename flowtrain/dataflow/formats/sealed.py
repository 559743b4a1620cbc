"""Bytes that carry their own checksum: with what ends them, their CRC32C is 0.

The checksum's register is after such bytes as it was before. So any number of them, one after the other, have the
CRC32C 0 too, and a reader may check many by one call.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from ...ipc.codec import CodecError, pack, unpack
from ...utils.errors import FormatError

__all__ = ["pack_sealed", "seal", "unpack_sealed"]

_crc_of = struct.Struct("<I")
_TO_ZERO = 0x9BE09BAB  # bytes, followed by their CRC32C xor this (little endian), have the CRC32C 0


def seal(content: bytes, crc: Callable[[bytes], int]) -> bytes:
    """Append the 4 bytes that make the CRC32C of the whole 0."""
    return content + _crc_of.pack(crc(content) ^ _TO_ZERO)


def pack_sealed(value: object, crc: Callable[[bytes], int]) -> bytes:
    """A value as sealed bytes of the codec: an array of 2, the value and the 4 bytes."""
    return seal(b"".join((b"\x92", pack(value), b"\xc4\x04")), crc)


def unpack_sealed(record: bytes, crc: Callable[[bytes], int] | None, expected: int = 0) -> Any:
    """The value of what :func:`pack_sealed` made.

    Args:
        record: The bytes.
        crc: What computes a CRC32C; None: the checksum is not compared.
        expected: The CRC32C of a whole record.

    Raises:
        FormatError: It is damaged.
    """
    if crc is not None and crc(record) != expected:
        raise FormatError(f"the {len(record):,} bytes of the record do not have the checksum that ends them")
    try:
        return unpack(record)[0]
    except (CodecError, LookupError, TypeError) as error:
        raise FormatError(f"not a record of write: {error}") from error
