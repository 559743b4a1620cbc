"""Parser of Caffe's Datum message: a picture and its label in an LMDB record."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...utils.errors import FormatError
from ..core.base import Datapoint
from ..sources.decode import decode_image
from .protobuf import BYTES, FIXED32, VARINT, WireError, fields

__all__ = ["parse_datum"]

# the fields of caffe.proto's message Datum: number -> (name, wire types)
_FIELDS = {
    1: ("channels", (VARINT,)),
    2: ("height", (VARINT,)),
    3: ("width", (VARINT,)),
    4: ("data", (BYTES,)),
    5: ("label", (VARINT,)),
    6: ("float_data", (FIXED32, BYTES)),  # one by one, or packed
    7: ("encoded", (VARINT,)),
}


def parse_datum(key: bytes, value: bytes) -> Datapoint:
    """Parse a serialized Datum.

    Args:
        key: The record's key, for errors.
        value: The record.

    Returns:
        ``[picture, label]``: picture (H, W, C), uint8 or float32, RGB where there are three channels (Caffe stores
        channels first, and BGR); label an int.

    Raises:
        FormatError: The record is no Datum.
    """
    found: dict[str, Any] = {"channels": 0, "height": 0, "width": 0, "data": b"", "label": 0, "encoded": 0}
    floats = bytearray()
    try:
        for number, kind, content in fields(value):
            name, kinds = _FIELDS.get(number, (None, ()))
            if name is None:
                continue
            if kind not in kinds:
                raise FormatError(f"no Datum of Caffe: its field {name} is of another type")
            if name == "float_data":
                floats += content  # type: ignore[arg-type]
            else:
                found[name] = content
    except WireError as error:
        raise FormatError(f"no Datum of Caffe: {error}") from error
    label = int(found["label"])
    label -= (label >> 63) << 64  # protobuf writes a negative int32 as the varint of its 64-bit two's complement
    if found["encoded"]:
        return [decode_image(np.frombuffer(found["data"], np.uint8), repr(key)), label]
    shape = tuple(int(found[name]) for name in ("channels", "height", "width"))
    given, dtype = (bytes(floats), np.dtype("<f4")) if floats else (found["data"], np.dtype(np.uint8))
    size = shape[0] * shape[1] * shape[2]  # Python's integers: a claim of 2**64 does not wrap around
    if size == 0 or len(given) != size * dtype.itemsize:
        raise FormatError(f"no Datum of Caffe: {len(given)} bytes for a picture of channels, height, width {shape}")
    picture = np.frombuffer(given, dtype).reshape(shape)
    if shape[0] == 3:
        picture = picture[::-1]
    return [np.ascontiguousarray(picture.transpose(1, 2, 0)).astype(dtype.newbyteorder("="), copy=False), label]
