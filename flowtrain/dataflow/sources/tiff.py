"""Reader of the tags in a TIFF's first directory, the format of Exif data too (TIFF 6.0, section 2)."""

from __future__ import annotations

import struct

__all__ = ["BITS", "COLORS", "ORIENTATION", "PALETTE", "RGB", "TIFF", "beyond_opencv", "first_tags"]

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first bytes of a file, for both byte orders: of TIFF, and of BigTIFF (more than 4 GB)."""

BITS, COLORS, ORIENTATION = 0x0102, 0x0106, 0x0112
"""BitsPerSample, PhotometricInterpretation and Orientation."""

RGB, PALETTE = 2, 3
"""Values of COLORS: red, green and blue; palette indices."""

_PLANAR, _SAMPLE_FORMAT = 0x011C, 0x0153
_SEPARATE = 2  # value of _PLANAR: one plane for each channel
_FLOAT, _COMPLEX = 3, (5, 6)  # values of _SAMPLE_FORMAT
_GRAY, _MIXED = (0, 1), {5: "CMYK", 8: "L*a*b*", 9: "L*a*b*", 10: "L*a*b*"}  # values of COLORS

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


def beyond_opencv(tags: dict[int, tuple[int, int]], channel: int) -> str | None:
    """What it is in a TIFF that OpenCV reads wrongly, or not at all, or of which it drops a part; None if nothing.

    Planes of more than 8 bits it fills with memory that nobody wrote; of channels that are no colours it takes the
    first for gray at 8 bits, mixes them to gray at more, and leaves out a fourth.

    Args:
        tags: What :func:`first_tags` found.
        channel: The channels that are asked for: 1 or 3.
    """
    (count, bits), (_, colors) = tags.get(BITS, (1, 1)), tags.get(COLORS, (1, 0))
    kind = tags.get(_SAMPLE_FORMAT, (1, 1))[1]
    if kind in _COMPLEX or (kind == _FLOAT and bits < 32):
        return f"holds {'complex numbers' if kind in _COMPLEX else 'floats'} of {bits} bits"
    if count > 1 and bits > 8 and tags.get(_PLANAR, (1, 1))[1] == _SEPARATE:
        return f"has a plane for each of its {count} channels of {bits} bits"
    if count == 2 and bits > 8:
        return f"is gray with transparency in {bits} bits, of which OpenCV would keep 8"
    if count > 4 or (count == 4 and bits > 16):
        return f"has {count} channels of {bits} bits"
    if count > 2 and colors in _GRAY and not (count == channel and bits > 8):
        return f"has {count} channels that are no colours"
    if bits > 8 and colors in _MIXED:
        return f"has colours in {_MIXED[colors]} of {bits} bits"
    return None
