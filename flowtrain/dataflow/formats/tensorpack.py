"""Decoder for records of Tensorpack's LMDB files: msgpack, with NumPy arrays in msgpack_numpy's form.

An array is the map {nd: True, type, kind, shape, data}, a NumPy scalar {nd: False, type, data}, a complex number
{complex: True, data: its repr}. Pickled records are refused, since unpickling a file runs code that the file chooses.
"""

from __future__ import annotations

import functools
from typing import Any

import msgpack
import numpy as np

from ...utils.dtypes import array_from_bytes, dtype_from_text
from ...utils.errors import FormatError
from ..core.datapoint import Component, Datapoint

__all__ = ["parse_keys", "parse_value"]

_ADVICE = (
    "Pickled files are not read, since unpickling runs code. Write the file anew in Tensorpack with the environment "
    "variable TENSORPACK_SERIALIZE=msgpack set."
)


def parse_keys(path: str, value: bytes) -> list[bytes]:
    """Parse the list of keys that Tensorpack stores under ``__keys__``.

    Args:
        path: The file, for errors.
        value: The value of that key.

    Raises:
        FormatError: The value is pickled, or not a list of keys.
    """
    try:
        keys = parse_value(value)
    except FormatError as error:
        raise FormatError(f"{path}, key b'__keys__': {error}") from error
    if not isinstance(keys, (list, tuple)) or not all(isinstance(key, (bytes, str)) for key in keys):
        raise FormatError(f"{path}, key b'__keys__': a list of keys expected, found {type(keys).__name__}")
    return [key.encode() if isinstance(key, str) else key for key in keys]


def parse_value(value: bytes) -> Datapoint:
    """Decode one record.

    Raises:
        FormatError: The record is pickled, is not msgpack, holds pickled objects, or an array that does not fit its
            description.
    """
    # A pickle of protocol 2 to 5 begins with PROTO and its number, and ends with STOP.
    if value[:1] == b"\x80" and value[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and value[-1:] == b".":
        raise FormatError(f"the record is pickled. {_ADVICE}")
    try:
        return msgpack.unpackb(value, raw=False, object_hook=_restore, strict_map_key=False)
    except FormatError:
        raise
    # each of these was seen with damaged bytes
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        RecursionError,
        msgpack.UnpackException,
    ) as error:
        detail = str(error) or type(error).__name__
        raise FormatError(f"{len(value):,} bytes are not Tensorpack's msgpack: {detail}. {_ADVICE}") from error


def _restore(found: dict[Any, Any]) -> Component:
    """Turn a map that stands for an array, a NumPy scalar or a complex number into that; leave other maps as they are.

    The keys of msgpack_numpy are bytes; str is accepted too.
    """
    if found.get(b"nd") is True and found.get(b"kind") == b"":  # the common case first: an array of plain numbers
        return _array(found[b"shape"], _plain_dtype(found[b"type"]), found[b"data"])
    if b"nd" not in found and "nd" not in found and b"complex" not in found and "complex" not in found:
        return found
    plain = {key.decode() if isinstance(key, bytes) else key: item for key, item in found.items()}
    if "complex" in plain:
        return complex(_text(plain["data"]))
    if _text(plain.get("kind", "")) == "O":
        raise FormatError(f"the record holds an array of pickled objects. {_ADVICE}")
    dtype = _dtype(plain["type"])
    return (
        _array((), dtype, plain["data"])[()] if plain["nd"] is False else _array(plain["shape"], dtype, plain["data"])
    )


def _array(shape: tuple[int, ...], dtype: np.dtype, data: object) -> np.ndarray:
    if not isinstance(shape, (list, tuple)) or type(data) is not bytes:
        raise FormatError("the record holds an array without a shape, or without bytes")
    return np.array(array_from_bytes(dtype, shape, data))


def _dtype(descr: object) -> np.dtype:
    try:
        if not isinstance(descr, (list, tuple)):
            return dtype_from_text(_text(descr))
        fields = [tuple(_text(part) if isinstance(part, bytes) else part for part in field) for field in descr]
        return dtype_from_text(repr(fields))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the record holds an array of pickled objects, or is damaged: {error}. {_ADVICE}") from error


@functools.lru_cache(maxsize=256)
def _plain_dtype(descr: str | bytes) -> np.dtype:
    return _dtype(descr)


def _text(value: object) -> str:
    if not isinstance(value, (bytes, str)):
        raise FormatError(f"the record holds a {type(value).__name__} where a text is expected")
    return value.decode() if isinstance(value, bytes) else value
