"""Pixel arithmetic that the augmentors share: look-up tables, linear maps, rounding to uint8, more than 4 channels.

The uint8 results all follow one rule: they equal float32 arithmetic, rounded to the nearest (half to even), then
limited to 0..255.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

__all__ = [
    "LEVELS",
    "apply_table",
    "as_rows",
    "blank",
    "in_fours",
    "limit",
    "linear",
    "make_table",
    "to_float32",
    "to_uint8",
]

try:  # It looks bytes up with vector instructions: ten times as fast as cv2.LUT, with the same result.
    from stringzilla import translate as _translate
except ImportError:
    _translate = None

_CHANNELS_AT_ONCE = 4  # the most that OpenCV resizes, warps and extends at the border in one call

LEVELS = np.arange(256, dtype=np.float32)
"""The 256 values of a uint8, as floats: a function of them is a look-up table."""


def as_rows(img: np.ndarray) -> np.ndarray:
    """The picture as (H, W * C), one channel for OpenCV: a view if the memory layout allows it.

    OpenCV applies a single number to the first channel only, and its arithmetic with numbers takes at most 4 channels.
    """
    return img.reshape(img.shape[0], -1)


def make_table(values: np.ndarray) -> np.ndarray:
    """The uint8 look-up table of 256 float32 values, one for each level: rounded, then limited to 0..255."""
    return np.rint(values).clip(0, 255).astype(np.uint8)


def apply_table(img: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replace every value of a uint8 picture by its entry in a table of 256 uint8 values."""
    if _translate is None:
        return cv2.LUT(as_rows(img), table).reshape(img.shape)
    out = img.copy(order="C")  # contiguous, as stringzilla takes a flat buffer
    _translate(out.data, table.data, inplace=True)
    return out


def limit(img: np.ndarray, clip: bool) -> np.ndarray:
    """If ``clip``, limit a float picture to 0..255 in place."""
    return img.clip(0, 255, out=img) if clip else img


def linear(img: np.ndarray, scale: float, shift: float, clip: bool) -> np.ndarray:
    """``img * scale + shift`` of a uint8 picture (by a look-up table) or of a float32 picture (limited if ``clip``)."""
    if img.dtype == np.uint8:
        return apply_table(img, make_table(LEVELS * np.float32(scale) + np.float32(shift)))
    return limit(to_float32(img, scale, shift), clip)


def to_uint8(img: np.ndarray) -> np.ndarray:
    """Round floats of shape (H, W) or (H, W, C) to uint8, limited to 0..255."""
    if img.dtype == np.uint8:
        return img
    # addWeighted rounds and saturates in one pass, where NumPy's rint, clip and astype take three. But it rounds to
    # int32, where numbers from 2 ** 31 on, and infinity, become the lowest one: these are limited before.
    rows = as_rows(img)
    if not rows.max() < 2**31:  # or NaN
        rows = np.minimum(rows, np.float32(255))
    return cv2.addWeighted(rows, 1, rows, 0, 0, dtype=cv2.CV_8U).reshape(img.shape)


def to_float32(img: np.ndarray, scale: float, shift: float) -> np.ndarray:
    """``img * scale + shift`` as a new float32 array."""
    out = np.multiply(img, np.float32(scale), dtype=np.float32)
    if shift:
        out += np.float32(shift)
    return out


def blank(size: tuple[int, int], img: np.ndarray, fill: Sequence[float] | np.ndarray) -> np.ndarray:
    """A new picture of one colour, with the dtype and the channels of another.

    Args:
        size: (height, width), in pixels.
        img: (H, W) or (H, W, C), the other picture.
        fill: One number, or one for each channel.
    """
    out = np.empty((*size, *img.shape[2:]), img.dtype)
    if len(fill) == 1:
        out.fill(fill[0])  # a third of the time of an assignment, which casts each value
    else:
        out[...] = fill
    return out


def _fill_of(border_value: tuple[float, ...], channels: slice) -> tuple[float, ...]:
    """The fill values of some channels, for OpenCV, which takes zeros for the channels that have no value."""
    return border_value * 4 if len(border_value) == 1 else border_value[channels]


def in_fours(
    img: np.ndarray,
    border_value: tuple[float, ...],
    change: Callable[[np.ndarray, tuple[float, ...]], np.ndarray],
) -> np.ndarray:
    """Apply an OpenCV function to groups of at most four channels, and concatenate the results.

    Args:
        img: (H, W) or (H, W, C).
        border_value: One number, or one for each channel.
        change: Called as ``change(part, fill)`` with the channels of one group and their fill values.
    """
    if img.ndim == 2 or img.shape[2] <= _CHANNELS_AT_ONCE:
        return change(img, _fill_of(border_value, slice(None)))
    parts = []
    for first in range(0, img.shape[2], _CHANNELS_AT_ONCE):
        channels = slice(first, first + _CHANNELS_AT_ONCE)
        part = np.ascontiguousarray(img[:, :, channels])
        out = change(part, _fill_of(border_value, channels))
        parts.append(out if out.ndim == 3 else out[:, :, None])
    return np.concatenate(parts, axis=2)
