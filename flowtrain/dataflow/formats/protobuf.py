"""Encoder and decoder for the protocol-buffer wire format, as far as records need it.

See https://protobuf.dev/programming-guides/encoding/. A message is a sequence of fields, each a tag (number and
wire type) and a value: a varint, 8 bytes, 4 bytes, or a length and that many bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["BYTES", "FIXED32", "FIXED64", "VARINT", "WireError", "bytes_field", "fields", "read_varint", "varint"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_ONE_BYTE = [bytes([value]) for value in range(128)]


class WireError(ValueError):
    """Bytes that are not a message; ``offset`` is the place of the error in them."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(f"{what} at byte {offset} of the message")
        self.offset = offset


def varint(value: int) -> bytes:
    """Encode a whole number, 7 bits a byte; a negative one as its 64-bit two's complement."""
    if 0 <= value < 128:
        return _ONE_BYTE[value]
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Decode the varint at a position.

    Returns:
        The number, from 0 to 2**64 - 1, and the position after it.

    Raises:
        WireError: The data end within the varint, or it has more than 10 bytes.
    """
    value = shift = 0
    start = at
    try:
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at
            shift += 7
            if shift > 63:
                raise WireError("a number of more than 10 bytes", start)
    except IndexError:
        raise WireError("the message ends within a number", start) from None


def bytes_field(number: int, value: bytes) -> bytes:
    """Encode a field that holds bytes, a string or a message."""
    return b"".join((varint(number << 3 | BYTES), varint(len(value)), value))


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Walk over the fields of a message.

    Args:
        data: The message.

    Yields:
        (number, wire type, value): the value is an int for a varint, else the bytes (4, 8 or as many as it has).

    Raises:
        WireError: The bytes are not a message, or are cut short.
    """
    at, end = 0, len(data)
    while at < end:
        tag = data[at]  # inlined: a field number below 16 makes a tag of one byte, the case of nearly all fields
        if tag < 128:
            at += 1
        else:
            tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == BYTES:
            size, at = read_varint(data, at)
        elif kind == VARINT:
            value, at = read_varint(data, at)
            yield tag >> 3, kind, value
            continue
        elif kind == FIXED64:
            size = 8
        elif kind == FIXED32:
            size = 4
        else:
            raise WireError(f"wire type {kind}, which no message of this kind has,", at)
        if at + size > end:  # a slice past the end would be short, without an error
            raise WireError(f"a field of {size} bytes, of which {end - at} are there,", at)
        yield tag >> 3, kind, data[at : at + size]
        at += size
