"""Reading one picture file: whole, or an error that names it."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from ...utils.errors import FormatError
from .jpeg import decode_fast, read_header

__all__ = ["BrokenImage", "looks_whole", "read_image"]

_TAIL = 4096
_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG", b"IEND"
_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)  # OpenCV 4.11 and later decode to RGB directly


class BrokenImage(FormatError):
    """A picture file that is cut short, damaged or none at all; the message names it."""


def read_image(path: str | os.PathLike[str], channel: int = 3, min_size: int | None = None) -> np.ndarray:
    """Read a picture file.

    Args:
        path: A JPEG, PNG, or anything else that OpenCV reads. Deeper pictures are brought to 8 bits, transparency is
            left out, the orientation that a camera noted is applied.
        channel: 3 for RGB, 1 for gray.
        min_size: JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, the smallest whose shorter side still has so
            many pixels. That is cheaper, and closer to area resampling than decoding all and resizing linearly.

    Returns:
        uint8 (H, W, channel).

    Raises:
        BrokenImage: The file is empty, cut short or no picture.
        FileNotFoundError: There is no such file.
    """
    data = np.fromfile(path, np.uint8)
    if not data.size:
        raise BrokenImage(f"{os.fspath(path)}: the file is empty")
    head, tail = data[:4].tobytes(), data[-_TAIL:].tobytes()
    if not _ended(head, tail) and not _ended(head, data.tobytes()):
        raise BrokenImage(f"{os.fspath(path)}: the picture is cut short: its end is missing ({data.size} bytes)")
    is_jpeg = head.startswith(_JPEG)
    scale = _scale(data, min_size) if min_size is not None and is_jpeg else 1
    if is_jpeg and scale == 1 and (fast := decode_fast(data, channel)) is not None:
        return fast
    try:
        image = _decoded(data, channel, scale)
    except cv2.error as error:  # e.g. a header that claims a huge picture
        raise BrokenImage(f"{os.fspath(path)}: the picture cannot be decoded: {error}") from error
    if image is None:
        raise BrokenImage(f"{os.fspath(path)}: no picture that OpenCV can decode ({data.size} bytes)")
    return image[:, :, None] if channel == 1 else image


def _decoded(data: np.ndarray, channel: int, scale: int) -> np.ndarray | None:
    reduced = 0 if scale == 1 else 8 * scale  # OpenCV's IMREAD_REDUCED_GRAYSCALE_2, _4, _8 are 16, 32, 64
    if channel == 1:
        return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE | reduced)
    if _RGB is not None:
        return cv2.imdecode(data, _RGB | reduced)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | reduced)
    return image if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _scale(data: np.ndarray, min_size: int) -> int:
    """By how much a JPEG can be scaled down while it is decoded."""
    shorter = min(read_header(data.data)[:2])
    return next((scale for scale in (8, 4, 2) if shorter >= scale * min_size), 1)


def looks_whole(path: str | os.PathLike[str]) -> bool:
    """Say whether a file begins and ends like a picture, without decoding it (some 20 us)."""
    try:
        with open(path, "rb") as file:
            head = file.read(32)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            tail = file.read()
    except OSError:
        return False
    if head.startswith((_JPEG, _PNG)):
        return _ended(head, tail) or _ended(head, Path(path).read_bytes())
    return bool(head) and cv2.haveImageReader(os.fspath(path))


def _ended(head: bytes, tail: bytes) -> bool:
    """Whether the mark of a picture's end is there, for the kinds that have one."""
    if head.startswith(_JPEG):
        return _JPEG_END in tail
    if head.startswith(_PNG):
        return _PNG_END in tail
    return True
