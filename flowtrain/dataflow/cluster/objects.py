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

__all__ = ["packed", "parts_of", "unpacked"]


def packed(value: object) -> list[Any]:
    """Pack a value: its pickle, then the memory of its large arrays as uint8 arrays, which are views.

    Raises:
        NotSendable: Pickle cannot carry the value; the message names the part.
    """
    return parts_of(*dump(value))


def parts_of(data: bytes, views: list[memoryview]) -> list[Any]:
    """Pack a value that is pickled already, as :func:`packed` does."""
    return [data, *(np.frombuffer(view, np.uint8) for view in views)]


def unpacked(parts: list[Any], writable: list[bool] | None = None) -> Any:
    """Unpack a value.

    Args:
        parts: As :func:`packed` gave them.
        writable: Of each array: whether it is copied, and so writable; else it is a read-only view of Ray's object
            store. None: all are copied.
    """
    data, *arrays = parts
    copied = [True] * len(arrays) if writable is None else writable
    return pickle.loads(data, buffers=[_own(a) if own else a for a, own in zip(arrays, copied, strict=True)])


def _own(array: np.ndarray) -> np.ndarray:
    """Copy an array to memory aligned to 64 bytes, which TensorFlow can take over without another copy."""
    room = buffers.empty(array.nbytes + buffers.ALIGNMENT, np.uint8)
    start = -room.__array_interface__["data"][0] % buffers.ALIGNMENT
    own = room[start : start + array.nbytes]
    own[:] = array
    return own
