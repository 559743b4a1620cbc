"""JPEG headers and decoding by libjpeg-turbo, where every warning of damage is an error."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import simplejpeg

from ...utils.claims import check_claim
from ..core.undecoded import Undecoded
from .tiff import ORIENTATION, first_tags
from .turbojpeg import decode_region

__all__ = ["JpegHeader", "UndecodedJpeg", "check_pixels", "decode_jpeg", "decodes_itself", "read_header"]

_APP1, _SCAN = 0xE1, 0xDA
_LARGE = 1 << 26  # pixels: larger pictures are decoded by OpenCV, which has a limit of its own
_SMALL = 16  # pixels: in smaller pictures two scales may have the same size, and simplejpeg is told the size only
_ROWS_MIRRORED, _COLUMNS_MIRRORED = (3, 4, 7, 8), (2, 3, 6, 7)  # orientations; from 5 on rows and columns are swapped
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # table segments whose markers lie among those of frame headers
_ARITHMETIC = 0xC9  # first frame marker of arithmetic coding, in which a block may take less than a bit
_PIXELS_PER_BYTE = 512  # at most: a block of 8 x 8 pixels takes at least 1 bit, the Huffman code of its DC coefficient


class JpegHeader(NamedTuple):
    """The contents of the segments before the first scan.

    Attributes:
        height: In pixels; 0 if there is no frame header.
        width: In pixels.
        components: 1 for gray, 3 for colour, 4 for CMYK.
        kind: The frame's marker, which says how it is coded; 0 if there is no frame header.
        orientation: Exif orientation (Exif 2.3, 4.6.2), 1 to 8; 0 if the Exif data cannot be read.
        scan: Byte offset of the first scan; 0 if the file ends before it, -1 if the segments cannot be followed. The
            picture's end marker lies after it, that of an embedded thumbnail before.
    """

    height: int
    width: int
    components: int
    kind: int
    orientation: int
    scan: int


def read_header(read: Callable[[int, int], bytes], size: int) -> JpegHeader:
    """Parse the segments up to the first scan (ITU-T T.81, B.1.1.4, B.2.2 and B.2.3).

    Args:
        read: (offset, length) -> bytes of the file, fewer at its end.
        size: Size of the file, in bytes.
    """
    at, orientation, frame = 2, 1, (0, 0, 0, 0)
    while at + 4 <= size:
        mark, marker, length = struct.unpack(">BBH", read(at, 4))
        if mark != 0xFF:
            return JpegHeader(*frame, 0, -1)
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == _SCAN:
            return JpegHeader(*frame, orientation, at)
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES and at + 10 <= size:
            frame = (*struct.unpack(">HHB", read(at + 5, 5)), marker)
        # Of several Exif segments the first that notes an orientation counts. length includes its own 2 bytes.
        if marker == _APP1 and read(at + 4, 6) == b"Exif\0\0" and orientation == 1:
            orientation = _orientation(read(at + 10, length - 8))
        at += 2 + length
    return JpegHeader(*frame, orientation, 0)


def _orientation(tiff: bytes) -> int:
    """The orientation in Exif data; 1 if they have none, 0 if they are damaged."""
    tags = first_tags(tiff)
    if tags is None:
        return 0
    _, value = tags.get(ORIENTATION, (1, 1))
    return value if 1 <= value <= 8 else 1


def check_pixels(header: JpegHeader, size: int) -> None:
    """Refuse a header that claims more pixels than a file of ``size`` bytes can hold.

    libjpeg allocates all coefficients of a progressive picture at once: 2.6 GB for a file of 700 bytes.

    Raises:
        Claim: More pixels are claimed than the file can hold.
    """
    if header.kind < _ARITHMETIC:
        check_claim(header.height * header.width, size, ratio=_PIXELS_PER_BYTE, unit="pixels")


def decode_jpeg(data: np.ndarray, header: JpegHeader, channel: int, scale: int) -> np.ndarray | None:
    """Decode by libjpeg-turbo, which reports damage that OpenCV ignores: one lost block can spoil half a picture.

    Args:
        data: uint8 (N,), the file.
        header: What :func:`read_header` found.
        channel: 3 for RGB, 1 for gray.
        scale: Decode at 1/scale of the size: 1, 2, 4 or 8.

    Returns:
        uint8 (H, W, channel), upright; None if OpenCV has to decode the picture (4 components, unreadable Exif data,
        very large), which has then been checked for damage.

    Raises:
        ValueError: The data are damaged; the message says how.
    """
    height, width = header.height, header.width
    if not decodes_itself(header):
        # Only for the check, at the smallest scale that libjpeg-turbo has.
        simplejpeg.decode_jpeg(data, "CMYK" if header.components == 4 else "GRAY", min_height=1, min_width=1)
        return None
    small = {"min_height": -(-height // scale), "min_width": -(-width // scale)} if scale > 1 else {}
    return _upright(simplejpeg.decode_jpeg(data, "RGB" if channel == 3 else "GRAY", **small), header.orientation)


def decodes_itself(header: JpegHeader) -> bool:
    """Whether :func:`decode_jpeg` decodes this JPEG, and not OpenCV."""
    return header.components in (1, 3) and bool(header.orientation) and header.height * header.width <= _LARGE


class UndecodedJpeg(Undecoded):
    """A JPEG of which a region can be decoded without the rest.

    Args:
        data: uint8 (N,), the file.
        header: What :func:`read_header` found in it.
        channel: 3 for RGB, 1 for gray.
        scale: Decode at 1/scale of the size: 1, 2, 4 or 8.
    """

    def __init__(self, data: np.ndarray, header: JpegHeader, channel: int, scale: int) -> None:
        self._data, self._header, self._channel, self._scale = data, header, channel, scale
        height, width = -(-header.height // scale), -(-header.width // scale)
        self.shape = (width, height, channel) if header.orientation >= 5 else (height, width, channel)

    @staticmethod
    def can(header: JpegHeader, scale: int) -> bool:
        """Whether a region can be decoded, and has then exactly the pixels that it has in the whole picture."""
        return (
            header.scan > 0
            and decodes_itself(header)
            and min(header.height, header.width) >= (1 if scale == 1 else _SMALL)
        )

    def read(self) -> np.ndarray:
        image = decode_jpeg(self._data, self._header, self._channel, self._scale)
        if image is None:
            raise ValueError("it is for OpenCV to decode")
        return image

    def read_region(self, region: tuple[int, int, int, int]) -> np.ndarray:
        orientation = self._header.orientation
        stored = _stored(region, self.shape, orientation)
        return _upright(decode_region(self._data, self._channel, self._scale, stored), orientation)


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate and mirror a picture as its Exif orientation says."""
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation in _ROWS_MIRRORED else 1)
    columns = slice(None, None, -1 if orientation in _COLUMNS_MIRRORED else 1)
    return np.ascontiguousarray(image[rows, columns])


def _stored(region: tuple[int, int, int, int], shape: tuple[int, ...], orientation: int) -> tuple[int, int, int, int]:
    """Map a region of the upright picture, of the given shape, to the picture as stored in the file."""
    y, x, height, width = region
    if orientation in _ROWS_MIRRORED:
        y = shape[0] - y - height
    if orientation in _COLUMNS_MIRRORED:
        x = shape[1] - x - width
    return (x, y, width, height) if orientation >= 5 else (y, x, height, width)
