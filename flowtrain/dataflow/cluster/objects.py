"""Python values in the form in which they go through Ray's object store: a pickle, and the memory of large arrays.

Pickle's protocol 5 hands out the memory of large arrays. Ray copies it once, into the store of the machine where it was
made, and every process of a machine reads it there without a copy, but read-only. What a consumer or a user's function
may write to is copied out of it, once.

The channel is Ray's own: whoever can put objects into a Ray cluster can run code in it anyway, so pickle adds nothing
that a stranger could do.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from ...ipc import buffers
from ...ipc.parcel import dump

__all__ = ["packed", "parts_of", "shared", "unpacked"]


def packed(value: object) -> list[Any]:
    """A value in parts: its pickle, then its large arrays' memory as uint8, which is not copied here.

    Raises:
        NotSendable: Pickle cannot carry it; the message names the part.
    """
    return parts_of(*dump(value))


def parts_of(data: bytes, views: list[memoryview]) -> list[Any]:
    """As ``packed``, of a value that is pickled already."""
    return [data, *(np.frombuffer(view, np.uint8) for view in views)]


def unpacked(parts: list[Any]) -> Any:
    """The value, whose arrays are the caller's own."""
    data, *arrays = parts
    return pickle.loads(data, buffers=[_own(array) for array in arrays])


def shared(parts: list[Any], writable: list[bool]) -> Any:
    """The value, whose arrays lie in Ray's object store unless they have to be writable.

    Args:
        parts: As ``packed`` gave them.
        writable: Of each array: whether it was so where it was made.
    """
    data, *arrays = parts
    kept = [_own(array) if own else array for array, own in zip(arrays, writable, strict=True)]
    return pickle.loads(data, buffers=kept)


def _own(array: np.ndarray) -> np.ndarray:
    """A copy that begins at a 64-byte boundary, as TensorFlow wants of memory that it takes over without a copy."""
    room = buffers.empty(array.nbytes + buffers.ALIGNMENT, np.uint8)
    start = -room.__array_interface__["data"][0] % buffers.ALIGNMENT
    own = room[start : start + array.nbytes]
    own[:] = array
    return own
