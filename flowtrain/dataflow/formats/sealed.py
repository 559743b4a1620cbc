"""Records that end in 4 bytes which make the CRC32C of the whole record 0.

CRC32C starts with a register of all ones and inverts it at the end: a result of 0 means that the register is all ones
again. So any number of sealed records, one after the other, have the CRC32C 0 too, and one call checks many of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from ...ipc.codec import CodecError, pack, unpack
from ...utils.errors import FormatError

__all__ = ["pack_sealed", "seal", "unpack_sealed"]

_crc_of = struct.Struct("<I")
# Content, followed by its CRC32C xor this number (little endian), has the CRC32C 0. One number serves for any content:
# what 4 more bytes make of the register depends on nothing but the register xor these bytes.
_TO_ZERO = 0x9BE09BAB


def seal(content: bytes, crc: Callable[[bytes], int]) -> bytes:
    """Append the 4 bytes that make the CRC32C of the whole 0; ``crc`` computes a CRC32C."""
    return content + _crc_of.pack(crc(content) ^ _TO_ZERO)


def pack_sealed(value: object, crc: Callable[[bytes], int]) -> bytes:
    """Pack a value with the codec and seal it.

    The seal is part of the msgpack: an array of two, of which the second element is 4 bytes (``bin 8``) long.
    """
    return seal(b"".join((b"\x92", pack(value), b"\xc4\x04")), crc)


def unpack_sealed(record: bytes, crc: Callable[[bytes], int] | None, expected: int = 0) -> Any:
    """Unpack a record of :func:`pack_sealed`.

    Args:
        record: The record.
        crc: Computes a CRC32C; None: the checksum is not compared.
        expected: The CRC32C that a whole record has, in a file whose records are sealed otherwise.

    Raises:
        FormatError: The record is damaged.
    """
    if crc is not None and crc(record) != expected:
        raise FormatError(f"the {len(record):,} bytes of the record do not have the checksum that ends them")
    try:
        return unpack(record)[0]
    except (CodecError, LookupError, TypeError) as error:
        raise FormatError(f"not a record of write: {error}") from error
