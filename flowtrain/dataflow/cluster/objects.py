"""Python values packed for Ray's object store: a pickle, and beside it the memory of large arrays.

Pickle's protocol 5 passes the memory of large arrays out of band. Ray copies it once, into the object store of the
machine where it was made; every process of a machine reads it there without a copy, but read-only. Arrays that a
consumer or a user's function may write to are copied out of the store, once.

Pickle is no risk here: whoever can put objects into a Ray cluster can run code in it anyway.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from ...ipc import buffers
from ...ipc.parcel import dump

__all__ = ["packed", "parts_of", "shared", "unpacked"]


def packed(value: object) -> list[Any]:
    """Pack a value: its pickle, then the memory of its large arrays as uint8 arrays, which are views.

    Raises:
        NotSendable: Pickle cannot carry the value; the message names the part.
    """
    return parts_of(*dump(value))


def parts_of(data: bytes, views: list[memoryview]) -> list[Any]:
    """Pack a value that is pickled already, as :func:`packed` does."""
    return [data, *(np.frombuffer(view, np.uint8) for view in views)]


def unpacked(parts: list[Any]) -> Any:
    """Unpack a value; its arrays are writable copies of the caller's own."""
    data, *arrays = parts
    return pickle.loads(data, buffers=[_own(array) for array in arrays])


def shared(parts: list[Any], writable: list[bool]) -> Any:
    """Unpack a value; its arrays are read-only views of Ray's object store, unless they have to be writable.

    Args:
        parts: As :func:`packed` gave them.
        writable: Of each array: whether it was writable where it was made.
    """
    data, *arrays = parts
    kept = [_own(array) if own else array for array, own in zip(arrays, writable, strict=True)]
    return pickle.loads(data, buffers=kept)


def _own(array: np.ndarray) -> np.ndarray:
    """Copy an array to memory aligned to 64 bytes, which TensorFlow can take over without another copy."""
    room = buffers.empty(array.nbytes + buffers.ALIGNMENT, np.uint8)
    start = -room.__array_interface__["data"][0] % buffers.ALIGNMENT
    own = room[start : start + array.nbytes]
    own[:] = array
    return own
