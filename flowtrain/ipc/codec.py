"""Python values and NumPy arrays as bytes, without pickle: for frames between processes and records in files.

msgpack carries what it has (None, bool, int, float, str, bytes, list, dict); what it lacks travels in a few
extension types, so that everything comes back with the type, dtype, byte order and shape it went in with:

* arrays of any dtype of a fixed size (bool, complex, datetime, structured, bfloat16, ...) as raw bytes;
* masked arrays with their mask, fill value and hardness;
* arrays of objects (strings, bytes, ragged rows) and of NumPy's StringDType, element by element;
* NumPy scalars, ints of any size, complex numbers, and tuples (a tuple stays a tuple, a list a list).

Subclasses arrive as what they extend: a namedtuple as a tuple, an OrderedDict as a dict; a bytearray and a
memoryview arrive as bytes. Anything else (a set, an instance of a user's class) is an error when packed.
Nothing that is unpacked can run code, and no bytes are taken for addresses: dtypes come from a closed list
(`flowtrain.utils.dtypes`).
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import numpy as np

from flowtrain.utils.dtypes import contiguous

from .array_codec import (
    DTYPE_TEXT_MAX,
    Buffer,
    CodecError,
    array_head,
    masked_array,
    owned,
    read_array,
    shape_and_elements,
    short_head,
)

__all__ = ["CodecError", "pack", "pack_frames", "unpack", "unpack_fast", "unpack_frames"]

# The numbers of the extension types are part of the format of files: never change one, only add.
_ARRAY, _OBJECTS, _SCALAR, _BIG_INT, _COMPLEX, _TUPLE, _FRAME, _STRINGS, _MASKED = range(1, 10)

_DEFAULT_LIMIT = 1 << 32  # bytes; a larger message from another process is refused before it is parsed
_FRAME_MIN = 4096  # a smaller array is copied into the message: cheaper than a frame of its own
_EXT_MAX = (1 << 32) - 1  # what msgpack's length field holds
# Each tuple and each array of objects is a message inside the message, and msgpack's C code takes 45 KB of the thread's
# stack for each: unbounded, a message of 900 bytes overflows it and ends the process.
_DEPTH = 32


def pack(obj: object) -> bytes:
    """Turn a value into bytes that :func:`unpack` turns back.

    Args:
        obj: Any nesting of None, bool, int, float, complex, str, bytes, list, tuple, dict (keys of any of
            these that can be hashed), NumPy arrays and NumPy scalars.

    Returns:
        The bytes. Equal values give equal bytes.

    Raises:
        CodecError: The value holds something else (the message says where), refers to itself, has tuples more than
            32 deep inside each other, or one array of 4 GiB or more (use :func:`pack_frames`).

    Example:
        >>> unpack(pack([np.zeros((0, 2), "f2"), {1: (b"a", "b")}]))
        [array([], shape=(0, 2), dtype=float16), {1: (b'a', 'b')}]
    """
    return _packb(obj, _default)


def unpack(buf: Buffer, *, copy: bool = True, max_bytes: int = _DEFAULT_LIMIT) -> Any:
    """Turn bytes made by :func:`pack` back into the value.

    Args:
        buf: The bytes, exactly one message.
        copy: True: arrays own their memory and may be written to. False: arrays are read-only and cost one
            copy less.
        max_bytes: A longer ``buf`` is refused.

    Returns:
        The value.

    Raises:
        CodecError: ``buf`` is cut short, has something after its end, is too long or was not made by
            :func:`pack`.
    """
    return _unpackb(buf, _hook_copying if copy else _hook_viewing, max_bytes)


def pack_frames(obj: object, *, min_bytes: int = _FRAME_MIN) -> list[Buffer]:
    """Like :func:`pack`, but large arrays stay where they are and go along as buffers of their own.

    This is what a multipart message wants: no byte of a large C-contiguous array is copied.

    Args:
        obj: As for :func:`pack`; arrays may be of any size.
        min_bytes: Arrays of at least this many bytes become frames.

    Returns:
        ``[message, array, array, ...]``. The frames refer to the memory of the arrays: send them before the
        arrays change.

    Raises:
        CodecError: The value holds something that cannot be packed.
    """
    frames: list[Buffer] = [b""]

    def default(value: Any, depth: int = 0) -> object:
        is_array = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
        if is_array and value.nbytes >= min_bytes and not (value.dtype.hasobject or value.dtype.kind == "T"):
            data = contiguous(value)
            # dtypes such as datetime64 have no buffer of their own: all go as bytes
            frames.append(data.reshape(-1).view(np.uint8).data)
            payload = struct.pack("<I", len(frames) - 1) + array_head(value.dtype, value.shape)
            return msgpack.ExtType(_FRAME, payload)
        return _default(value, depth, default)

    frames[0] = _packb(obj, default)
    return frames


def unpack_frames(frames: Sequence[Buffer], *, max_bytes: int = _DEFAULT_LIMIT) -> Any:
    """Turn the frames of :func:`pack_frames` back into the value, without copying the large arrays.

    Args:
        frames: All frames in order; anything with the buffer protocol.
        max_bytes: More bytes than this, over all frames, are refused.

    Returns:
        The value. Arrays that travelled as frames are views of them: they keep the frames alive and are
        read-only where the frame is; small arrays own their memory.

    Raises:
        CodecError: A frame is missing, left over, of the wrong size, or was not made by :func:`pack_frames`.
    """
    views = [memoryview(frame).cast("B") for frame in frames]
    if not views:
        raise CodecError("a message of no frames at all: expected what pack_frames() returns.")
    total = sum(view.nbytes for view in views)
    if total > max_bytes:
        raise CodecError(f"refused a message of {total:,} bytes: the limit is max_bytes={max_bytes:,}.")
    used: set[int] = set()

    def hook(code: int, data: bytes, depth: int = 0) -> object:
        if code == _FRAME:
            (number,) = struct.unpack_from("<I", data)
            if not 1 <= number < len(views):
                raise CodecError(f"the message refers to frame {number}, but {len(views) - 1} came with it.")
            used.add(number)
            return read_array(data, 4, views[number])
        return _from_ext(code, data, True, hook, depth)

    value = _unpackb(views[0], hook, max_bytes)
    if len(used) != len(views) - 1:
        raise CodecError(f"{len(views) - 1} frames came with a message that refers to {len(used)}.")
    return value


# ---- packing


def _packb(obj: object, default: Callable[[Any], Any]) -> bytes:
    try:
        # strict_types: subclasses (np.float64 is one of float) must come to default(), or lose their type.
        return msgpack.packb(obj, default=default, strict_types=True, unicode_errors="surrogatepass")  # type: ignore[return-value]
    except CodecError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CodecError(f"cannot pack this value: {_blame(obj) or error}") from error


def _one_deeper(function: Callable[..., Any], depth: int) -> Callable[..., Any]:
    """Return the hook for the messages inside this one, when packing and when unpacking."""
    if depth == _DEPTH:
        raise CodecError(f"Tuples and arrays of objects are nested more than {_DEPTH} deep in each other.")
    return functools.partial(function, depth=depth + 1)


def _default(value: Any, depth: int = 0, inner: Callable[..., Any] | None = None) -> object:
    """Turn a value that msgpack does not know into an extension type, or into the plain type that it extends.

    Args:
        value: The value.
        depth: How many messages the value's message is inside of.
        inner: The function for the parts of tuples, masked arrays and arrays of objects; None: this one.
    """
    kind = type(value)
    if isinstance(value, tuple):
        return msgpack.ExtType(_TUPLE, _packb(list(value), _one_deeper(inner or _default, depth)))
    if isinstance(value, np.ma.MaskedArray):
        return _pack_masked(value, _one_deeper(inner or _default, depth))
    if isinstance(value, np.ndarray):
        return _pack_array(value, depth, inner or _default)
    if isinstance(value, np.generic):
        if value.dtype.hasobject:
            raise TypeError("a NumPy scalar that holds Python objects cannot be packed")
        boxed = np.asarray(value)  # its dtype, not value.dtype: that of np.str_("") has no bytes
        if isinstance(value, (str, bytes)) and len(value) and not any(boxed.tobytes()):
            raise TypeError("NumPy takes a text of NULs for an empty one: make it Python's own str or bytes")
        return msgpack.ExtType(_SCALAR, array_head(boxed.dtype, ()) + contiguous(boxed).tobytes())
    if kind is int:  # msgpack asks only about those outside 64 bits
        return msgpack.ExtType(_BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
    if kind is complex:
        return msgpack.ExtType(_COMPLEX, struct.pack("<dd", value.real, value.imag))
    plain = next((base for base in (list, dict, str, bytes, int, float) if isinstance(value, base)), None)
    if plain is not None:
        return plain(value)  # type: ignore[call-overload]
    raise TypeError(_no_way(value))


def _no_way(value: object) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return (
        f"a {kind} cannot be packed. Arrays, numbers, strings, bytes, None, lists, tuples and dicts can: "
        "convert it in a MapData before it is written or sent"
    )


def _pack_array(array: np.ndarray, depth: int, inner: Callable[..., Any]) -> msgpack.ExtType:
    if array.dtype.kind in "OT":
        payload = _packb([list(array.shape), array.ravel().tolist()], _one_deeper(inner, depth))
        return msgpack.ExtType(_OBJECTS if array.dtype.kind == "O" else _STRINGS, payload)
    if array.dtype.hasobject:
        raise TypeError(f"an array of {array.dtype}, which has fields of Python objects, cannot be packed")
    if array.nbytes > _EXT_MAX - DTYPE_TEXT_MAX:
        raise ValueError(f"an array of {array.nbytes:,} bytes does not fit into one message: use pack_frames")
    data = contiguous(array)
    return msgpack.ExtType(_ARRAY, array_head(array.dtype, array.shape) + data.tobytes())


def _pack_masked(array: np.ma.MaskedArray, default: Callable[[Any], Any]) -> msgpack.ExtType:
    mask = None if array.mask is np.ma.nomask else np.asarray(array.mask)
    known = getattr(array, "_fill_value", None)  # None: not asked for yet; fill_value itself would make one
    fill = None if known is None else np.asarray(known)
    return msgpack.ExtType(_MASKED, _packb([array.data, mask, fill, bool(array.hardmask)], default))


def _blame(obj: object, path: str = "the value", seen: tuple[int, ...] = ()) -> str:
    """Find the first part of a value that cannot be packed, and why; called after a failure."""
    if id(obj) in seen:
        return f"{path} contains itself"
    if len(seen) > 200:
        return f"{path[:60]}... is nested more than 200 deep"
    seen = (*seen, id(obj))
    if isinstance(obj, dict):
        parts = [
            part for key, value in obj.items() for part in ((f"{path}'s key {key!r}", key), (f"{path}[{key!r}]", value))
        ]
    elif isinstance(obj, (list, tuple)):
        parts = [(f"{path}[{i}]", value) for i, value in enumerate(obj)]
    elif isinstance(obj, np.ndarray) and obj.dtype.kind == "O":
        parts = [(f"{path}.flat[{i}]", value) for i, value in enumerate(obj.ravel().tolist())]
    else:
        try:
            msgpack.packb(obj, default=_default, strict_types=True, unicode_errors="surrogatepass")
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            return f"{path}: {error}"
        return ""
    return next(filter(None, (_blame(value, where, seen) for where, value in parts)), "")


# ---- unpacking


def _unpackb(buf: Buffer, hook: Callable[[int, bytes], Any], max_bytes: int) -> Any:
    size = len(buf) if type(buf) is bytes else memoryview(buf).nbytes
    if size > max_bytes:
        raise CodecError(f"refused a message of {size:,} bytes: the limit is max_bytes={max_bytes:,}.")
    try:
        return msgpack.unpackb(buf, ext_hook=hook, strict_map_key=False, unicode_errors="surrogatepass")
    except CodecError:
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
        RecursionError,
        struct.error,
        msgpack.UnpackException,
    ) as error:
        detail = str(error) or type(error).__name__
        raise CodecError(f"{size:,} bytes are not a message of this codec, or are damaged: {detail}") from error


def _hook_copying(code: int, data: bytes, depth: int = 0) -> object:
    if code != _ARRAY:
        return _from_ext(code, data, True, _hook_copying, depth)
    head = short_head(data[:6])  # the common case, without the detour
    if head is not None:
        dtype, itemsize, shape_from, start = head
        shape = shape_from(data)
        # The length is exact and not 0. Anything else takes the way below, which says what is wrong, or keeps S0 as S0.
        if math.prod(shape) * itemsize + start == len(data) != start:
            if itemsize == 1:  # needs no alignment, so the quickest copy will do, the head included
                return np.ndarray(shape, dtype, bytearray(data), start)
            return np.array(np.ndarray(shape, dtype, data, start))  # quicker than .copy()
    return owned(read_array(data))


unpack_fast = functools.partial(
    msgpack.unpackb, ext_hook=_hook_copying, strict_map_key=False, unicode_errors="surrogatepass"
)
"""``unpack(buf)`` without checks around it, for loops over many small messages; damage raises what msgpack raises."""


def _hook_viewing(code: int, data: bytes, depth: int = 0) -> object:
    return _from_ext(code, data, False, _hook_viewing, depth)


def _from_ext(code: int, data: bytes, copy: bool, hook: Callable[[int, bytes], Any], depth: int) -> object:
    if code == _ARRAY:
        return owned(read_array(data)) if copy else read_array(data)
    if code == _SCALAR:
        return _scalar(read_array(data))
    if code == _TUPLE:
        items = _unpackb(data, _one_deeper(hook, depth), len(data))
        if type(items) is not list:
            raise CodecError(f"a tuple came as a {type(items).__name__}.")
        return tuple(items)
    if code in (_OBJECTS, _STRINGS):
        shape, items = shape_and_elements(_unpackb(data, _one_deeper(hook, depth), len(data)))
        if code == _STRINGS and not all(type(item) is str for item in items):
            raise CodecError("an array of strings holds something else.")
        array = np.empty(len(items), object if code == _OBJECTS else np.dtypes.StringDType())
        for i, item in enumerate(items):  # one by one: NumPy would make an axis of elements of equal length
            array[i] = item
        return array.reshape(shape)
    if code == _MASKED:
        return masked_array(*_unpackb(data, _one_deeper(hook, depth), len(data)))
    if code == _BIG_INT:
        return int.from_bytes(data, "little", signed=True)
    if code == _COMPLEX:
        return complex(*struct.unpack("<dd", data))
    raise CodecError(f"unknown extension type {code}: made by something else, or by a newer flowtrain.")


def _scalar(boxed: np.ndarray) -> object:
    """Return the NumPy scalar in a 0-d array. A text keeps the NULs at its end, which indexing would leave out."""
    kind = boxed.dtype.kind
    if kind not in "SU" or not any(data := boxed.tobytes()):  # an empty text travels as one NUL
        return boxed[()]
    if kind == "S":
        return np.bytes_(data)
    order = "utf-32-be" if boxed.dtype.byteorder == ">" else "utf-32-le"
    return np.str_(data.decode(order, "surrogatepass"))
