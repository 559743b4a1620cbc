"""NumPy dtypes by name, from a closed grammar: the one place that turns text from a file or a message into a dtype.

``np.dtype(text)`` accepts far more than dtypes of plain bytes: with ``"O"`` and ``"T"`` (StringDType) NumPy takes the
bytes of a file for addresses, which ends the process or worse. Here a text is either in the grammar below or refused,
so no dtype that holds pointers can be named:

    type    = plain | "[" field, field, ... "]"
    plain   = byte order, kind and size, as in dtype.str: "<f4", "|S5", "<M8[25us]"; or "ml_dtypes." and a type's name
    field   = "(" name, type [, shape] ")"      name = string | "(" title, string ")"      shape = int | "(" ints ")"

The strings inside a structured type are Python literals, since files hold them as NumPy's ``dtype.descr`` prints them.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["array_from_bytes", "check_count", "contiguous", "dtype_from_text", "dtype_to_text"]

_ML_DTYPES = {
    *("bfloat16", "complex32", "bcomplex32", "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"),
    *("float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "int1", "int2", "int4", "uint1", "uint2", "uint4"),
}
_ML_PREFIX = "ml_dtypes."
# A time's unit with the multiplier 0 ("M8[0s]") is refused: NumPy divides by it, which ends the process (SIGFPE).
_PLAIN = re.compile(
    r"[<>|=]?(?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUV]\d{1,10}"
    r"|[mM]8(?:\[(?:[1-9]\d{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)
_ESCAPE = r"\\(?:[ntr\\'\"]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
_LITERALS = re.compile(rf"(?:[\[\](),\s]|\d{{1,18}}(?!\d)|'(?:[^'\\]|{_ESCAPE})*+'|\"(?:[^\"\\]|{_ESCAPE})*+\")*+")
_DEPTH = 32
_BODILESS_MAX = 1 << 20  # elements of a dtype of no bytes (S0, V0): no length of a file bounds how many there are


def dtype_to_text(dtype: np.dtype) -> str:
    """Return the text that `dtype_from_text` turns back into a dtype.

    Raises:
        ValueError: There is no such text: the dtype holds Python objects, or fields that overlap, are out of order, or
            are of a type of ml_dtypes.
    """
    try:
        if dtype.isbuiltin == 2:  # registered by ml_dtypes; its own .str is that of raw bytes ("<V2")
            text = f"{_ML_PREFIX}{dtype.name}"
        else:
            text = dtype.str if dtype.names is None else repr(dtype.descr)
        if dtype_from_text(text) == dtype:  # a dtype whose text gives another one would come back changed
            return text
        reason = "its description gives another dtype"
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"an array of dtype {str(dtype)[:200]} cannot be written as bytes and a name: {reason}")


@functools.lru_cache(maxsize=256)
def dtype_from_text(text: str) -> np.dtype:
    """Turn text from a file or a message into a dtype.

    Args:
        text: ``"<f4"``, ``"ml_dtypes.bfloat16"``, ``"[('x', '<f4'), ('y', '<i2', (3,))]"``, ...

    Returns:
        A dtype of plain bytes: it never holds Python objects.

    Raises:
        ValueError: The text names no such dtype.
    """
    if text.startswith("["):
        return _structured(text)
    return _plain(text)


def array_from_bytes(
    dtype: np.dtype, shape: Sequence[int], body: bytes | bytearray | memoryview, start: int = 0
) -> np.ndarray:
    """Make an array whose elements are exactly the rest of a buffer.

    Args:
        dtype: From `dtype_from_text`, or otherwise of plain bytes.
        shape: The shape as it came; it is checked.
        body: The buffer. The array is a view of it, and writable if it is.
        start: The offset of the elements.

    Raises:
        ValueError: The shape is none, the elements take more or fewer bytes, or characters of a fixed-width string are
            not Unicode.
    """
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("an array has a shape that is none")
    shape = tuple(shape)
    size = math.prod(shape) * dtype.itemsize
    if len(body) - start != size:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} has {size:,} bytes, {len(body) - start:,} came")
    if not size:
        check_count(dtype, shape)
        return np.ndarray(shape, dtype, bytearray(1))  # not np.empty, which makes S1 of S0
    if dtype.kind == "U":  # NumPy does not check these, and fails wherever one is used
        points = np.frombuffer(body, np.dtype("u4").newbyteorder(dtype.byteorder), offset=start)
        if int(points.max()) > 0x10FFFF:
            raise ValueError("an array of strings holds what is not Unicode")
    return np.ndarray(shape, dtype, body, start)


def contiguous(array: np.ndarray) -> np.ndarray:
    """Return an array in C order whose bytes depend on its values alone.

    Between the fields of a structured dtype there may be padding bytes (``align=True`` makes them). NumPy's copies
    leave in them whatever the memory held before: two copies of one array would differ, and what leaves the process
    would carry pieces of other objects. Here they are zero.

    Returns:
        ``array`` itself where it is C-contiguous and has no padding, otherwise a copy.
    """
    if array.dtype.names is None or not _has_gaps(array.dtype):
        return np.ascontiguousarray(array)
    clean = np.zeros(array.shape, array.dtype)
    clean[...] = array  # field by field: the bytes between them are not touched
    return clean


@functools.lru_cache(maxsize=256)
def _has_gaps(dtype: np.dtype) -> bool:
    if dtype.subdtype is not None:
        return _has_gaps(dtype.subdtype[0])
    if dtype.names is None:
        return False
    fields = [dtype[name] for name in dtype.names]
    return sum(field.itemsize for field in fields) != dtype.itemsize or any(map(_has_gaps, fields))


def check_count(dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Refuse an array of more than a million elements that take no bytes (S0, V0): no file is too short to claim it.

    Raises:
        ValueError: It is one.
    """
    if not dtype.itemsize and math.prod(shape) > _BODILESS_MAX:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} has more than {_BODILESS_MAX:,} empty elements")


def _plain(text: str) -> np.dtype:
    if text.startswith(_ML_PREFIX) and text.removeprefix(_ML_PREFIX) in _ML_DTYPES:
        return _of_ml_dtypes(text.removeprefix(_ML_PREFIX))
    if not _PLAIN.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not the name of a dtype")
    try:
        return np.dtype(text)
    except (TypeError, ValueError, OverflowError) as error:  # of a size that this platform lacks: f12, S9999999999
        raise ValueError(f"{text[:80]!r} is not the name of a dtype here: {error}") from error


def _of_ml_dtypes(name: str) -> np.dtype:
    try:
        import ml_dtypes  # comes with TensorFlow and JAX; wanted only by who has such arrays

        return np.dtype(vars(ml_dtypes)[name])
    except (ImportError, KeyError) as error:
        raise ValueError(f"dtype {name} needs a newer ml_dtypes: pip install -U ml_dtypes") from error


def _structured(text: str) -> np.dtype:
    # literal_eval of any text may make Python's parser run out of stack or memory. Of these tokens it makes only lists,
    # tuples, ints and strings, and it refuses more than 200 brackets inside each other.
    if not _LITERALS.fullmatch(text):
        raise _not_structured(text)
    try:
        return _of_description(ast.literal_eval(text), 0)
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise _not_structured(text) from error


def _of_description(found: object, depth: int) -> np.dtype:
    """Make a dtype of what ``dtype.descr`` gives for it: its plain name, or a list of its fields."""
    if isinstance(found, str):
        return _plain(found)
    if not isinstance(found, list):
        raise _not_structured(found)
    if depth == _DEPTH:
        raise ValueError(f"a structured dtype is nested more than {_DEPTH} deep")
    parts: dict[str, list[Any]] = {"names": [], "formats": [], "offsets": [], "titles": []}
    offset = 0
    try:
        for field in found:
            title, name, kind = _of_field(field, depth)
            if name or kind.kind != "V" or kind.names is not None:  # else it is padding, as dtype.descr shows it
                for key, value in zip(parts, (name, kind, offset, title), strict=True):
                    parts[key].append(value)
            offset += kind.itemsize
        return np.dtype({**parts, "itemsize": offset})  # type: ignore[call-overload]
    except (TypeError, OverflowError) as error:  # sizes that are too large
        raise ValueError(f"not a structured dtype: {error}") from error


def _of_field(field: Any, depth: int) -> tuple[str | None, str, np.dtype]:
    """Read a field, ``(name, type)`` or ``(name, type, shape)``: its title, its name and its dtype."""
    if not isinstance(field, tuple) or len(field) not in (2, 3):
        raise _not_structured(field)
    title, name = field[0] if isinstance(field[0], tuple) and len(field[0]) == 2 else (None, field[0])
    if not isinstance(name, str) or not isinstance(title, str | None):
        raise _not_structured(field)
    kind = _of_description(field[1], depth + 1)
    if len(field) == 3:
        shape = field[2] if isinstance(field[2], tuple) else (field[2],)
        if not all(type(size) is int for size in shape):  # NumPy takes anything else for a dtype or a title
            raise _not_structured(field)
        kind = np.dtype((kind, shape))
    return title, name, kind


def _not_structured(found: object) -> ValueError:
    return ValueError(f"not a structured dtype: {str(found)[:80]}")
