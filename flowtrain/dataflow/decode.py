"""Reading one picture file: whole, or an error that names it."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from ..utils.errors import FormatError

__all__ = ["BrokenImage", "looks_whole", "read_image"]

_TAIL = 4096
_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG", b"IEND"
_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)  # OpenCV 4.11 and later decode to RGB directly


class BrokenImage(FormatError):
    """A picture file that is cut short, damaged or none at all; the message names it."""


def read_image(path: str | os.PathLike[str], channel: int = 3) -> np.ndarray:
    """Read a picture file.

    Args:
        path: A JPEG, PNG, or anything else that OpenCV reads. Deeper pictures are brought to 8 bits, transparency is
            left out, the orientation that a camera noted is applied.
        channel: 3 for RGB, 1 for gray.

    Returns:
        uint8 (H, W, channel).

    Raises:
        BrokenImage: The file is empty, cut short or no picture.
        FileNotFoundError: There is no such file.
    """
    data = np.fromfile(path, np.uint8)
    if not data.size:
        raise BrokenImage(f"{os.fspath(path)}: the file is empty")
    tail = data[-_TAIL:].tobytes()
    if not _ended(data[:4].tobytes(), tail) and not _ended(data[:4].tobytes(), data.tobytes()):
        raise BrokenImage(f"{os.fspath(path)}: the picture is cut short: its end is missing ({data.size} bytes)")
    image = None
    try:
        if channel == 1:
            image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        elif _RGB is not None:
            image = cv2.imdecode(data, _RGB)
        else:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
            if image is not None:
                cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    except cv2.error as error:  # e.g. a header that claims a huge picture
        raise BrokenImage(f"{os.fspath(path)}: the picture cannot be decoded: {error}") from error
    if image is None:
        raise BrokenImage(f"{os.fspath(path)}: no picture that OpenCV can decode ({data.size} bytes)")
    return image[:, :, None] if channel == 1 else image


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
