"""Encoder and decoder for serialized tensors (tf.io.serialize_tensor), without TensorFlow.

The message is tensorflow/core/framework/tensor.proto: dtype = 1, tensor_shape = 2, tensor_content = 4 (raw bytes).
Instead of the content there may be a typed list of values: TensorFlow uses one for strings, other writers use them for
small tensors.
"""

from __future__ import annotations

import math

import numpy as np

from ...utils.claims import UNNAMED, Claim, check_claim
from ...utils.dtypes import dtype_from_text
from ...utils.errors import FormatError
from .protobuf import BYTES, VARINT, WireError, bytes_field, fields, read_varint, varint

__all__ = ["encode_tensor", "parse_tensor", "tensor_dtype"]

# types.proto: number of a DataType -> name of its NumPy dtype; ml_dtypes is imported for a tensor of one of its dtypes
_DTYPES: dict[int, str] = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "object", 8: "complex64",
    9: "int64", 10: "bool", 14: "bfloat16", 17: "uint16", 18: "complex128", 19: "float16", 22: "uint32",
    23: "uint64", 24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4",
}  # fmt: skip
_NUMBERS = {name: number for number, name in _DTYPES.items()}
_STRING = _NUMBERS["object"]
_OF_NUMPY = {name for name in _NUMBERS if not name.startswith(("bfloat", "float8", "int4", "uint4"))}

# typed lists: number of the field -> NumPy dtype of its elements on the wire; None for varints
_LISTS: dict[int, str | None] = {
    5: "<f4", 6: "<f8", 7: None, 9: "<c8", 10: None, 11: None, 12: "<c16", 13: None, 16: None, 17: None, 18: "u1",
}  # fmt: skip
# dtype -> the list that holds its values; int_val (7) for all others
_INT_LIST = 7
_LIST_OF = {
    "float32": 5, "float64": 6, "complex64": 9, "int64": 10, "bool": 11, "complex128": 12, "float16": 13,
    "bfloat16": 13, "uint32": 16, "uint64": 17, "float8_e5m2": 18, "float8_e4m3fn": 18,
}  # fmt: skip
_STRING_LIST = 8
_MOST_DIMS = 254  # TensorFlow's own limit; NumPy has a smaller one


def tensor_dtype(name: str) -> np.dtype:
    """The NumPy dtype of a TensorFlow dtype's name.

    Args:
        name: ``"float32"``, ``"string"`` (an object array of bytes), ``"bfloat16"``, ...

    Raises:
        FormatError: TensorFlow has no such dtype, or NumPy has no counterpart.
    """
    name = "object" if name == "string" else name
    if name not in _NUMBERS:
        raise FormatError(f"{name!r} is not a dtype that a serialized tensor can have here: {', '.join(_NUMBERS)}.")
    return np.dtype(name) if name in _OF_NUMPY else dtype_from_text(f"ml_dtypes.{name}")


def encode_tensor(array: object) -> bytes:
    """Serialize an array as a TensorProto, byte for byte as tf.io.serialize_tensor does.

    Args:
        array: An array of any shape: numbers, bools, or strings (dtype object, ``S`` or ``U``).

    Returns:
        A TensorProto, which tf.io.parse_tensor reads.

    Raises:
        FormatError: TensorFlow has no such dtype.
    """
    array = np.asarray(array)
    text = array.dtype.kind in "OSUT"
    number = _STRING if text else _NUMBERS.get(array.dtype.name)
    if number is None:
        raise FormatError(f"a tensor cannot have dtype {array.dtype}: {', '.join(_NUMBERS)} are possible")
    # proto3 omits a field that has its default value, here a size of 0
    dims = b"".join(bytes_field(2, b"\x08" + varint(size) if size else b"") for size in array.shape)
    head = b"\x08" + varint(number) + bytes_field(2, dims)
    if text:
        items = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
        wrong = next((item for item in items if not isinstance(item, bytes)), None)
        if wrong is not None:
            raise FormatError(f"a tensor of strings holds str and bytes, not {type(wrong).__name__}")
        return head + b"".join(bytes_field(_STRING_LIST, item) for item in items)
    if array.size == 0:
        return head
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return head + bytes_field(4, little.tobytes())


def parse_tensor(record: bytes, *, max_bytes: int = UNNAMED) -> np.ndarray:
    """Parse a tensor that tf.io.serialize_tensor (or :func:`encode_tensor`) wrote.

    Args:
        record: A TensorProto.
        max_bytes: Most bytes of an array of which only the first values are given. The last given value is repeated, so
            a dozen bytes can claim any size. ``serialize_tensor`` gives all values.

    Returns:
        The array, which owns its memory; strings are an object array of bytes.

    Raises:
        FormatError: The bytes are not a TensorProto, are cut short, claim more than ``max_bytes``, or hold a dtype
            without a NumPy counterpart.

    Example:
        >>> parse_tensor(encode_tensor(np.float32([[1, 2]])))
        array([[1., 2.]], dtype=float32)
    """
    number, shape, content = 0, (), None
    items: list[bytes] = []
    listed: dict[int, list[np.ndarray]] = {}
    try:
        for field, kind, value in fields(record):
            if field == 1 and kind == VARINT:
                number = value
            elif field == 2 and kind == BYTES:
                shape = _shape(value)  # type: ignore[arg-type]
            elif field == 4 and kind == BYTES:
                content = value
            elif field == _STRING_LIST and kind == BYTES:
                items.append(value)  # type: ignore[arg-type]
            elif field in _LISTS:
                listed.setdefault(field, []).append(_numbers(_LISTS[field], value))
        if number not in _DTYPES:
            raise WireError(f"DataType {number}, which has no NumPy counterpart here,", 0)
        return _array(_DTYPES[number], shape, content, items, listed, max_bytes)  # type: ignore[arg-type, index]
    except (WireError, ValueError, OverflowError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{len(record):,} bytes are not a serialized tensor: {error}") from error


def _shape(data: bytes) -> tuple[int, ...]:
    sizes = []
    for number, kind, dim in fields(data):
        if number == 3 and kind == VARINT and dim:
            raise WireError("a shape of unknown rank", 0)
        if number == 2 and kind == BYTES:
            size = next((value for n, _, value in fields(dim) if n == 1), 0)  # type: ignore[arg-type]
            if int(size) >= 1 << 63:  # negative: -1 is an unknown size
                raise WireError("a shape with an unknown size", 0)
            sizes.append(int(size))
            if len(sizes) > _MOST_DIMS:  # the product of very many sizes takes long
                raise WireError(f"a shape of more than {_MOST_DIMS} sizes", 0)
    return tuple(sizes)


def _numbers(wire: str | None, value: int | bytes) -> np.ndarray:
    """The numbers in one field of a typed list: a single one, or several packed. Varints are uint64."""
    if wire is not None:
        if isinstance(value, int):
            raise WireError("a whole number in a list of floats", 0)
        return np.frombuffer(value, wire)
    found, at = [], 0
    if isinstance(value, int):
        return np.array([value], np.uint64)
    while at < len(value):
        number, at = read_varint(value, at)
        found.append(number)
    return np.array(found, np.uint64)


def _values(name: str, dtype: np.dtype, listed: dict[int, list[np.ndarray]]) -> np.ndarray:
    """The values of a typed list, converted to the tensor's dtype without loss.

    Raises:
        WireError: They are in the list of another dtype, or the dtype cannot hold one of them.
    """
    field = _LIST_OF.get(name, _INT_LIST)
    other = next((number for number in listed if number != field), None)
    if other is not None:
        raise WireError(f"values of field {other}, which dtype {name} does not have,", 0)
    if field not in listed:
        return np.empty(0, dtype)
    values = np.concatenate(listed[field])
    if field in (13, 18):  # half_val and float8_val hold the bits of a value
        bits = np.dtype(f"u{dtype.itemsize}")
        if values.size and values.max() > np.iinfo(bits).max:
            raise WireError(f"a value of {values.max()}, which dtype {name} does not have,", 0)
        return values.astype(bits).view(dtype)
    if values.dtype != np.uint64 or dtype.kind == "b" or name == "uint64":
        return values.astype(dtype)
    values = values.view(np.int64)  # a negative number is a varint of its 64-bit two's complement
    found = values.astype(dtype)
    if not np.array_equal(found.astype(np.int64), values):
        raise WireError(f"a value that dtype {name} does not have,", 0)
    return found


def _array(
    name: str,
    shape: tuple[int, ...],
    content: bytes | None,
    items: list[bytes],
    listed: dict[int, list[np.ndarray]],
    max_bytes: int,
) -> np.ndarray:
    size = math.prod(shape)
    dtype = tensor_dtype(name)
    if name == "object":
        if len(items) != size:
            raise WireError(f"shape {shape} with {len(items)} strings", 0)
        array = np.empty(size, object)
        array[:] = items
        return array.reshape(shape)
    if content is not None:
        if len(content) != size * dtype.itemsize:
            raise WireError(f"shape {shape} and dtype {name} with {len(content):,} bytes of content", 0)
        return np.frombuffer(content, dtype).reshape(shape).copy()
    values = _values(name, dtype, listed)
    if values.size < size:  # TensorFlow's rule: the last value is repeated; without any value, all are zero
        try:
            check_claim(size * dtype.itemsize, values.nbytes, limit=max_bytes)
        except Claim as error:
            what = f"shape {shape}, for which only {values.size:,} values are given ({error}; see max_bytes),"
            raise WireError(what, 0) from error
        filled = np.empty(size, dtype)
        filled[: values.size] = values
        filled[values.size :] = values[-1] if values.size else np.zeros((), dtype)[()]
        values = filled
    if values.size != size:
        raise WireError(f"shape {shape} with {values.size} values", 0)
    return values.reshape(shape)
