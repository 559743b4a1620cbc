"""Binary layout of arrays in packed values: a head with dtype and shape, then the elements' bytes in C order.

What comes from outside is checked here before NumPy sees it: a head that does not fit the bytes after it, a mask of
another shape, or a number of elements that is not the shape's is a :class:`CodecError`.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from flowtrain.utils.dtypes import array_from_bytes, check_count, dtype_from_text, dtype_to_text
from flowtrain.utils.errors import FlowtrainError

__all__ = [
    "DTYPE_TEXT_MAX",
    "Buffer",
    "CodecError",
    "array_head",
    "masked_array",
    "owned",
    "read_array",
    "shape_and_elements",
    "short_head",
]

Buffer = bytes | bytearray | memoryview

DTYPE_TEXT_MAX = 1 << 16
"""Bytes below which the text of a dtype has to stay: its length is stored in 16 bits."""

_HEAD = struct.Struct("<HB")  # length of the dtype's text, number of dimensions


class CodecError(FlowtrainError, ValueError):
    """A value that cannot be packed, or bytes that are not what :func:`pack` makes."""


def array_head(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """Make the head of an array: length of the dtype's text, number of dimensions, the text, the shape as uint64."""
    text = _dtype_text(dtype)
    check_count(dtype, shape)
    return _HEAD.pack(len(text), len(shape)) + text + struct.pack(f"<{len(shape)}Q", *shape)


@functools.lru_cache(maxsize=256)
def _dtype_text(dtype: np.dtype) -> bytes:
    text = dtype_to_text(dtype).encode()
    if len(text) >= DTYPE_TEXT_MAX:
        raise ValueError(f"a structured dtype with {len(dtype.names or ())} fields is too long to be packed")
    return text


@functools.lru_cache(maxsize=256)
def short_head(head: bytes) -> tuple[np.dtype, int, Callable[[bytes], tuple[int, ...]], int] | None:
    """Read the first 6 bytes of an array's head, where they hold the whole text of the dtype (``<f4``, ``|u1``).

    They are the same for all arrays of a dtype and a number of dimensions, so the answer is cached.

    Returns:
        The dtype, its size, the function that reads the shape, and the offset of the elements. None where the text is
        not of 3 characters, or the elements have to be looked at.
    """
    length, ndim = _HEAD.unpack_from(head)
    if length != 3:
        return None
    dtype = _dtype_from(head[3:])
    if dtype.kind == "U":  # its characters have to be looked at
        return None
    shape_of = struct.Struct(f"<6x{ndim}Q")
    return dtype, dtype.itemsize, shape_of.unpack_from, shape_of.size


def read_array(data: bytes, at: int = 0, frame: Buffer | None = None) -> np.ndarray:
    """Make the array whose head is at ``at`` in ``data``: a view of the bytes after the head, or of a frame."""
    length, ndim = _HEAD.unpack_from(data, at)
    at += 3  # _HEAD.size
    end = at + length
    # only the dtype is worth a cache: shapes may all differ, as those of encoded pictures do
    dtype, shape = _dtype_from(data[at:end]), _shape_of(ndim).unpack_from(data, end)
    end += 8 * ndim
    return array_from_bytes(dtype, shape, data, end) if frame is None else array_from_bytes(dtype, shape, frame)


@functools.lru_cache(maxsize=256)
def _shape_of(ndim: int) -> struct.Struct:
    return struct.Struct(f"<{ndim}Q")


@functools.lru_cache(maxsize=256)
def _dtype_from(text: bytes) -> np.dtype:
    try:
        return dtype_from_text(text.decode())
    except ValueError as error:
        raise CodecError(f"refused an array: {error}.") from error


def owned(array: np.ndarray) -> np.ndarray:
    """Copy an array that is a view of a message; one without bytes is returned as it is."""
    if not array.nbytes:  # .copy() makes S1 of S0
        return array
    if array.dtype.names is None:
        return array.copy()
    raw = array.reshape(-1).view(np.uint8)  # .copy() of fields leaves the bytes between them as the memory was
    return raw.copy().view(array.dtype).reshape(array.shape)


def shape_and_elements(found: object) -> tuple[list[int], list[Any]]:
    """Check the shape and the elements of an array that came element by element."""
    if type(found) is not list or len(found) != 2 or type(found[0]) is not list or type(found[1]) is not list:
        raise CodecError("an array of objects came without a shape and a list of elements.")
    shape, items = found
    if not all(type(size) is int and size >= 0 for size in shape) or math.prod(shape) != len(items):
        raise CodecError(f"an array of another shape came with {len(items):,} elements.")
    return shape, items


def masked_array(values: object, mask: np.ndarray, fill: Any, hard: object) -> np.ma.MaskedArray:
    """Make a masked array of its packed parts; mask and fill value are None where it had none."""
    if not isinstance(values, np.ndarray) or not isinstance(hard, bool):
        raise CodecError("a masked array came without its values.")
    if mask is not None and not _fits(mask, np.ma.make_mask_descr(values.dtype), values.shape):
        raise CodecError(f"a masked array of shape {values.shape} came with a mask that is none of it.")
    if fill is not None and not _fits(fill, values.dtype, ()):
        raise CodecError(f"a masked array of {values.dtype} came with a fill value that is none.")
    masked = np.ma.MaskedArray(values, np.ma.nomask if mask is None else mask, hard_mask=hard)
    if fill is not None:
        masked.fill_value = fill[()]
    return masked


def _fits(array: object, dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape
