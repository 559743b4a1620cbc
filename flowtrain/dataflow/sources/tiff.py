"""The tags of a TIFF's first directory, which Exif data are as well (TIFF 6.0, section 2)."""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["BITS", "COLORS", "ORIENTATION", "PALETTE", "TIFF", "first_tags"]

TIFF = (b"II*\0", b"MM\0*")
"""How the two byte orders begin."""

BITS, COLORS, ORIENTATION = 0x0102, 0x0106, 0x0112
"""BitsPerSample, PhotometricInterpretation and Orientation."""

PALETTE = 3
"""The value of COLORS for numbers of colours."""


def first_tags(tiff: Any) -> dict[int, tuple[int, int]] | None:
    """Read the first directory.

    Args:
        tiff: bytes, or anything with the buffer protocol.

    Returns:
        Tag -> (count, value) of those whose values are short numbers; the value is that of the first, and 0 where
        several do not fit into the entry. None where the data are damaged.
    """
    order = "<" if bytes(tiff[:2]) == b"II" else ">"
    found = {}
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(entries):
            tag, _, count, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
            found[tag] = count, value if count <= 2 else 0
    except struct.error:
        return None
    return found
