"""Datapoints as tf.train.Examples, and back, exactly.

Each component is a feature that TensorFlow can read: an array is a serialized tensor (tf.io.parse_tensor), an int an
int64, bytes and str are themselves. What an Example cannot hold (a Python float has 64 bits, an Example's 32; nested
lists; dates; objects) is stored as bytes of flowtrain's codec. One more feature holds the layout: how the features make
the datapoint.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np

from ...ipc.codec import CodecError, pack, unpack
from ...utils.errors import FormatError
from ..core.datapoint import Component, Datapoint
from .example import encode_example, parse_example
from .layout import Layout, join, split
from .tensorproto import encode_tensor, parse_tensor

__all__ = ["LAYOUT", "decode_datapoint", "encode_datapoint"]

LAYOUT = "__flowtrain__"
"""The feature that says how the others make the datapoint."""

_VERSION = 1
_DEPTH = 200  # of dicts; a user's are a few deep, and each level is a call of Python
_TENSOR_KINDS = "biufc"


def encode_datapoint(datapoint: object) -> bytes:
    """Encode a datapoint as a serialized tf.train.Example.

    The components of a list are the features ``"0"``, ``"1"``, ...; those of a dict have its keys, those of a dict
    within it ``"outer/inner"``.

    Args:
        datapoint: A list or dict; whatever the codec can pack.

    Raises:
        FormatError: A component cannot be packed by the codec.
    """
    features: dict[str, Any] = {}

    def leaf(name: str, value: object) -> str:
        letter, features[name] = _feature(value)
        return letter

    try:
        layout = split(datapoint, _divides, leaf)
    except CodecError as error:
        raise FormatError(str(error)) from error
    features[LAYOUT] = msgpack.packb([_VERSION, layout])
    return encode_example(features)


def decode_datapoint(record: bytes) -> Datapoint:
    """Decode a record of :func:`encode_datapoint`: the datapoint with the types, dtypes and shapes that it had.

    Raises:
        FormatError: The record is damaged, or not one of :func:`encode_datapoint`.
    """
    features = parse_example(record)
    marks = features.pop(LAYOUT, None)
    if not isinstance(marks, list) or len(marks) != 1:
        raise FormatError(f"an Example without the feature {LAYOUT!r}, by which its datapoint is put together")
    return join(_parse_layout(marks[0]), functools.partial(_value, features))


@functools.lru_cache(maxsize=64)  # the records of a file have few layouts, mostly one
def _parse_layout(mark: bytes) -> Layout:
    """Parse and check a layout, so that `_value` need not check it for each record."""
    try:
        version, layout = msgpack.unpackb(mark)
        if version != _VERSION:
            raise FormatError(f"written in version {version} of this form; this flowtrain reads version {_VERSION}")
        _check_layout(layout, 0)
    except FormatError:
        raise
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise FormatError(f"the feature {LAYOUT!r} is damaged: {error}") from error
    return layout


def _check_layout(layout: object, depth: int) -> None:
    if depth > _DEPTH:
        raise FormatError(f"the feature {LAYOUT!r} is damaged: it nests dicts more than {_DEPTH} deep")
    if isinstance(layout, list) and not depth:  # a list within a datapoint travels as one feature
        parts = layout
    elif isinstance(layout, dict) and all(type(key) is str for key in layout):
        parts = list(layout.values())
    elif isinstance(layout, str) and layout in _KINDS:
        return
    else:
        raise FormatError(f"the layout of the Example has an unknown kind: {str(layout)[:40]!r}")
    for part in parts:
        _check_layout(part, depth + 1)


def _divides(value: dict[Any, Any]) -> bool:
    """Whether the entries of a dict within a datapoint are features of their own.

    Other keys than str would come back as str; a slash would make two different layouts share a feature's name.
    """
    return all(type(key) is str and key and "/" not in key and key != LAYOUT for key in value)


def _feature(value: Component) -> tuple[str, Any]:
    """A component as (letter of its kind, value of its feature)."""
    kind = type(value)  # exactly: a subclass of ndarray, int or str would come back as the base class
    if kind is np.ndarray and _is_tensor(value):
        return "t", encode_tensor(value)
    if kind is int and -(1 << 63) <= value < 1 << 63:
        return "i", value
    if kind is bytes:
        return "b", value
    if kind is str:
        try:
            return "s", value.encode()
        except UnicodeEncodeError:  # lone surrogates, as in a file name that is not UTF-8: the codec keeps them
            pass
    return "m", pack(value)


def _is_tensor(array: np.ndarray) -> bool:
    # TensorFlow has no long double; a foreign byte order or a string dtype would come back as another dtype.
    return (
        array.dtype.kind in _TENSOR_KINDS
        and array.dtype.isnative
        and array.dtype.itemsize <= 16
        and (array.dtype.name not in ("float128", "longdouble"))
    )


def _value(features: dict[str, Any], name: str, letter: str) -> Component:
    """The component that a feature holds, decoded by its letter in the layout."""
    try:
        (value,) = features[name]
        if letter != "i" and type(value) is not bytes:
            raise FormatError("numbers where bytes are expected")
        return _KINDS[letter](value)
    except (KeyError, IndexError, TypeError, ValueError) as error:  # a CodecError is a ValueError
        problem = "it is missing" if isinstance(error, KeyError) else str(error)
        raise FormatError(f"an Example whose feature {name!r} is not what its layout says: {problem}") from error


_KINDS: dict[str, Callable[[Any], Any]] = {
    "t": parse_tensor, "i": int, "b": bytes, "s": bytes.decode, "m": unpack,
}  # fmt: skip
