"""The few loops over pixels that the augmentors share, each as fast as NumPy and OpenCV allow.

All follow one rule: the result is that of float32 arithmetic, rounded to the nearest (half to even), then
limited to 0..255.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

__all__ = ["LEVELS", "apply_table", "as_rows", "in_fours", "limit", "linear", "make_table", "to_float32", "to_uint8"]

try:  # Looks bytes up with vector instructions: ten times as fast as cv2.LUT, with the same result.
    from stringzilla import translate as _translate
except ImportError:
    _translate = None

_CHANNELS_AT_ONCE = 4  # most that OpenCV resizes, warps and borders in one call

LEVELS = np.arange(256, dtype=np.float32)
"""What a uint8 can hold, as floats: the start of every look-up table."""


def as_rows(img: np.ndarray) -> np.ndarray:
    """The picture as (H, W * C), so that OpenCV sees one channel: a view where that is possible."""
    return img.reshape(img.shape[0], -1)


def make_table(values: np.ndarray) -> np.ndarray:
    """256 float32 values, one for each level, as a uint8 table: rounded, then limited."""
    return np.rint(values).clip(0, 255).astype(np.uint8)


def apply_table(img: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Look every value of a uint8 picture up in a table of 256 uint8 values."""
    if _translate is None:
        return cv2.LUT(as_rows(img), table).reshape(img.shape)
    out = img.copy(order="C")
    _translate(out.data, table.data, inplace=True)
    return out


def limit(img: np.ndarray, clip: bool) -> np.ndarray:
    """Limit a float picture to 0..255 in place, where that is wanted."""
    return img.clip(0, 255, out=img) if clip else img


def linear(img: np.ndarray, scale: float, shift: float, clip: bool) -> np.ndarray:
    """``img * scale + shift`` of a uint8 picture (through a table) or a float32 one."""
    if img.dtype == np.uint8:
        return apply_table(img, make_table(LEVELS * np.float32(scale) + np.float32(shift)))
    out = img * np.float32(scale)
    if shift:
        out += np.float32(shift)
    return limit(out, clip)


def to_uint8(img: np.ndarray) -> np.ndarray:
    """Round floats of any shape (H, W) or (H, W, C) to uint8."""
    if img.dtype == np.uint8:
        return img
    rows = as_rows(img)
    return cv2.addWeighted(rows, 1, rows, 0, 0, dtype=cv2.CV_8U).reshape(img.shape)


def to_float32(img: np.ndarray, scale: float, shift: float) -> np.ndarray:
    """``img * scale + shift`` as a new float32 array."""
    out = np.multiply(img, np.float32(scale), dtype=np.float32)
    if shift:
        out += np.float32(shift)
    return out


def _fill_of(border_value: tuple[float, ...], channels: slice) -> tuple[float, ...]:
    """The value for some of the channels: one number serves all, several are one for each."""
    return border_value * 4 if len(border_value) == 1 else border_value[channels]


def in_fours(
    img: np.ndarray,
    border_value: tuple[float, ...],
    change: Callable[[np.ndarray, tuple[float, ...]], np.ndarray],
) -> np.ndarray:
    """Call ``change(part, fill)`` for at most four channels at once, and put the parts together."""
    if img.ndim == 2 or img.shape[2] <= _CHANNELS_AT_ONCE:
        return change(img, _fill_of(border_value, slice(None)))
    parts = []
    for first in range(0, img.shape[2], _CHANNELS_AT_ONCE):
        channels = slice(first, first + _CHANNELS_AT_ONCE)
        part = np.ascontiguousarray(img[:, :, channels])
        out = change(part, _fill_of(border_value, channels))
        parts.append(out if out.ndim == 3 else out[:, :, None])
    return np.concatenate(parts, axis=2)
