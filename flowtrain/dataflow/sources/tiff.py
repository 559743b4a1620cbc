"""Reader of the tags in a TIFF's first directory, the format of Exif data too (TIFF 6.0, section 2)."""

from __future__ import annotations

import struct

__all__ = ["BITS", "COLORS", "ORIENTATION", "PALETTE", "RGB", "TIFF", "first_tags"]

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first bytes of a file, for both byte orders: of TIFF, and of BigTIFF (more than 4 GB)."""

BITS, COLORS, ORIENTATION = 0x0102, 0x0106, 0x0112
"""BitsPerSample, PhotometricInterpretation and Orientation."""

RGB, PALETTE = 2, 3
"""Values of COLORS: red, green and blue; palette indices."""

_SHORT = 3  # the type of 16-bit numbers


def first_tags(tiff: bytes | memoryview) -> dict[int, tuple[int, int]] | None:
    """Read the first directory.

    Args:
        tiff: bytes, or anything with the buffer protocol.

    Returns:
        Tag -> (count, value), where the value is the first of the tag's numbers if their type is SHORT, else
        meaningless. None if the data are damaged.
    """
    order = "<" if bytes(tiff[:2]) == b"II" else ">"
    big = b"+" in bytes(tiff[2:4])  # 43, the version number of BigTIFF, whose offsets and counts have 8 bytes
    start, number, place, entry = ("Q", "Q", "Q", "HHQ") if big else ("I", "H", "I", "HHI")
    head, size = struct.calcsize("<" + entry), 20 if big else 12
    found = {}
    try:
        (directory,) = struct.unpack_from(order + start, tiff, 8 if big else 4)
        (entries,) = struct.unpack_from(order + number, tiff, directory)
        first = directory + struct.calcsize("<" + number)
        for at in range(first, first + size * entries, size):
            tag, kind, count = struct.unpack_from(order + entry, tiff, at)
            if kind == _SHORT and count * 2 > size - head:  # too many for the entry, which holds their offset instead
                (value_at,) = struct.unpack_from(order + place, tiff, at + head)
            else:
                value_at = at + head
            (found_value,) = struct.unpack_from(order + "H", tiff, value_at)
            found[tag] = count, found_value
    except (struct.error, OverflowError):
        return None
    return found
