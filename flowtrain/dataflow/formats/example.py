"""Parsing and serializing tf.train.Example without TensorFlow: named lists of bytes, floats or integers.

The messages are those of tensorflow/core/example/{example,feature}.proto: Example { Features features = 1 },
Features { map<string, Feature> feature = 1 }, Feature { oneof: BytesList = 1, FloatList = 2, Int64List = 3 }, and each
list has one repeated field ``value = 1``. A SequenceExample { Features context = 1, FeatureLists feature_lists = 2 }
has in its FeatureLists { map<string, FeatureList> feature_list = 1 } also FeatureList { repeated Feature feature = 1 }.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...utils.errors import FormatError
from ..core.values import as_array
from .protobuf import BYTES, FIXED32, VARINT, WireError, bytes_field, fields, varint

__all__ = ["encode_example", "parse_example"]

_FEATURES, _FEATURE_LISTS = 1, 2
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3


def parse_example(record: bytes) -> dict[str, Any]:
    """Parse a serialized tf.train.Example or tf.train.SequenceExample.

    Args:
        record: The bytes of one record.

    Returns:
        Name -> feature, in the order of the record: a list of bytes, an int64 array (N,) or a float32 array (N,). A
        feature that is present but holds no list is an empty list. Of a SequenceExample, each feature of the context
        is such a value, and each feature list a list of such values, one per step.

    Raises:
        FormatError: The bytes are no such message, or are cut short; or the context and a feature list share a name.

    Example:
        >>> parse_example(encode_example({"label": [3], "name": [b"three"]}))
        {'label': array([3]), 'name': [b'three']}
    """
    features: dict[str, Any] = {}
    sequences: dict[str, Any] = {}
    try:
        for number, kind, value in fields(record):
            if kind != BYTES or number not in (_FEATURES, _FEATURE_LISTS):
                continue
            found, parse = (features, _parse_feature) if number == _FEATURES else (sequences, _parse_list)
            for entry_number, entry_kind, entry in fields(value):  # type: ignore[arg-type]
                if entry_number == 1 and entry_kind == BYTES:
                    name, feature = _entry(entry, parse)  # type: ignore[arg-type]
                    found[name] = feature
    except (WireError, UnicodeDecodeError) as error:
        raise FormatError(f"{len(record):,} bytes are not a tf.train.Example: {error}") from error
    for name in features.keys() & sequences.keys():
        raise FormatError(
            f"a tf.train.SequenceExample whose context and sequences both have {name!r}, of which a dict holds one. "
            "Pass a function as decode"
        )
    return features | sequences if sequences else features


def encode_example(features: Mapping[str, Any]) -> bytes:
    """Serialize a tf.train.Example, its features in the order of their names.

    Args:
        features: Name -> feature: bytes, str, int, float, or a list or array of one of these. Integers and bools
            become an int64 list; floats a float32 list, rounded, as Example has no other; bytes and str a bytes list.
            Arrays and nested lists are flattened in C order: Example holds no shape.

    Returns:
        The record.

    Raises:
        FormatError: A feature is of another type, mixes types, has a mask, or does not fit into 64 bits or float32.
    """
    entries = []
    # Sorted by the bytes of the names: equal features give equal records, whatever the order of the dict.
    for name in sorted(features, key=lambda name: name.encode()):
        try:
            feature = _encode_feature(features[name])
        except (TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"cannot write feature {name!r}: {error}") from error
        entries.append(bytes_field(1, bytes_field(1, name.encode()) + bytes_field(2, feature)))
    return bytes_field(1, b"".join(entries))


def _entry(entry: bytes, parse: Callable[[bytes], Any]) -> tuple[str, Any]:
    """Parse one entry of a map field: (name, feature)."""
    name, parts = "", []
    for number, kind, value in fields(entry):
        # Implementations of protobuf differ here: some drop the whole entry, some only its unknown field.
        if kind != BYTES or number not in (1, 2):
            raise FormatError(f"an entry of the features holds field {number}, which is neither its name nor its value")
        if number == 1:
            name = value.decode()  # type: ignore[union-attr]
        else:
            parts.append(value)
    return name, parse(b"".join(parts))  # protobuf merges a message field that occurs several times


def _parse_list(data: bytes) -> list[Any]:
    """Parse a FeatureList: one feature per step."""
    return [_parse_feature(value) for number, kind, value in fields(data) if number == 1 and kind == BYTES]  # type: ignore[arg-type]


def _parse_feature(data: bytes) -> list[Any] | np.ndarray:
    form, content = 0, b""
    for number, kind, value in fields(data):
        # Of the members of a oneof the last counts; a member that is repeated is merged with what it held.
        if kind == BYTES and number in (_BYTES_LIST, _FLOAT_LIST, _INT64_LIST):
            form, content = number, (content if number == form else b"") + value  # type: ignore[operator]
    if form == _BYTES_LIST:
        return [item for number, kind, item in fields(content) if number == 1 and kind == BYTES]
    if form == _FLOAT_LIST:
        # one packed field, or (also valid) one field a number
        parts = [item for number, kind, item in fields(content) if number == 1 and kind in (BYTES, FIXED32)]
        return _floats(b"".join(parts))  # type: ignore[arg-type]
    return _integers(content) if form == _INT64_LIST else []


def _floats(packed: bytes) -> np.ndarray:
    if len(packed) % 4:
        raise WireError(f"a list of floats that has {len(packed)} bytes", 0)
    return np.frombuffer(packed, "<f4").astype(np.float32)


def _integers(data: bytes) -> np.ndarray:
    values: list[np.ndarray] = []
    for number, kind, value in fields(data):
        if number == 1 and kind == BYTES:
            values.append(_packed_varints(value))  # type: ignore[arg-type]
        elif number == 1 and kind == VARINT:
            values.append(np.array([value], np.uint64).view(np.int64))
    if len(values) == 1:
        return values[0]
    return np.concatenate(values) if values else np.empty(0, np.int64)


def _packed_varints(packed: bytes) -> np.ndarray:
    """Decode a packed field of varints, vectorised over all numbers: int64 (N,).

    A varint has 7 bits of the number per byte, the lowest first; its last byte alone is below 128.
    """
    data = np.frombuffer(packed, np.uint8)
    last = data < 128
    if data.size and not last[-1]:
        raise WireError("the list ends within a number", len(packed))
    if last.all():
        return data.astype(np.int64)
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > 10:
        raise WireError("a number of more than 10 bytes", int(starts[lengths.argmax()]))
    values = np.zeros(len(ends), np.uint64)
    for place in range(int(lengths.max())):  # byte by byte of all numbers: at most 10 steps for any N
        long = lengths > place
        part = (data[starts[long] + place] & np.uint8(127)).astype(np.uint64)
        values[long] |= part << np.uint64(7 * place)
    return values.view(np.int64)


def _encode_feature(value: object) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview, str)):
        value = [value]
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (bytes, bytearray, memoryview, str)):
        return bytes_field(_BYTES_LIST, _encode_strings(value))
    array = as_array(value, "it")  # without loss; None of texts and what is no number
    if array is None:
        array = np.asarray(value, object)
    kind = array.dtype.kind
    if array.size == 0 and not isinstance(value, np.ndarray):
        return b""  # an empty list says nothing about its type: a feature without a list
    if kind in "OSU":
        return bytes_field(_BYTES_LIST, _encode_strings(array.ravel().tolist()))
    if kind in "biu":
        if kind == "u" and array.size and int(array.max()) >= 1 << 63:
            raise ValueError(f"{array.max()} does not fit into int64")
        packed = b"".join(map(varint, array.ravel().tolist()))
        return bytes_field(_INT64_LIST, bytes_field(1, packed) if packed else b"")
    if kind == "f":
        try:
            with np.errstate(over="raise"):
                floats = array.ravel().astype("<f4")
        except FloatingPointError:
            raise ValueError("a value is beyond float32, of which the floats of an Example are") from None
        packed = floats.tobytes()
        return bytes_field(_FLOAT_LIST, bytes_field(1, packed) if packed else b"")
    raise TypeError(f"an Example holds integers, floats and bytes, not {array.dtype}")


def _encode_strings(items: Iterable[Any]) -> bytes:
    parts = []
    for item in items:
        if isinstance(item, str):
            item = item.encode()
        if not isinstance(item, (bytes, bytearray, memoryview)):
            raise TypeError(f"bytes or str expected in the list, got {type(item).__name__}")
        parts.append(bytes_field(1, bytes(item)))
    return b"".join(parts)
