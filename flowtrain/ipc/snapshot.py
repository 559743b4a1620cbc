"""Snapshot: what a job was when its workers were started, to see before the next epoch whether it has changed."""

from __future__ import annotations

import hashlib
import io
from operator import is_
from typing import Any

import cloudpickle
import numpy as np

from .payload import Payload

__all__ = ["Snapshot"]

# Up to these sizes a job is compared whole at each epoch, which takes milliseconds: bytes of its pickle (some thousand
# objects), and bytes of its large arrays, which are hashed at 1 GB/s.
_WHOLE_PICKLE = 1 << 18
_WHOLE_ARRAYS = 1 << 24
_LARGE_ITEMS = 256
_LARGE_BYTES = 1 << 16


class Snapshot:
    """What a job was when its workers were started.

    Workers hold a copy. Pickling the job once more finds an attribute that was set on any stage, or a variable of the
    script that a function uses, and asks no duty of the user. Whether a change is seen must depend on the job alone,
    never on how long pickling takes: on a busy machine the workers would go on with the old copy without a word.

    A job of up to 256 kB, and 16 MB of arrays, is compared whole. Of a larger one, long lists and dicts are compared by
    which objects they hold, large arrays by whether they are the same arrays: what is written into these in place is
    not seen.

    Args:
        job: The job.
        payload: Its pickle, before it is written.
    """

    def __init__(self, job: object, payload: Payload) -> None:
        self._digest = _digest(payload)
        self._outline = _Outline(job) if self._digest is None else None

    def is_of(self, job: object) -> bool:
        """Whether the job is still what it was.

        Raises:
            FlowtrainError: It cannot be pickled any more.
        """
        if self._outline is None:
            return self._digest == _digest(Payload(job))
        return self._outline.equals(_Outline(job))


def _digest(payload: Payload) -> bytes | None:
    """SHA-256 of a pickle with its arrays; None where it is large."""
    if len(payload.data) > _WHOLE_PICKLE or sum(view.nbytes for view in payload.views) > _WHOLE_ARRAYS:
        return None
    found = hashlib.sha256(payload.data)
    for view in payload.views:
        found.update(view)
    return found.digest()


class _Outline(cloudpickle.Pickler):
    """A pickle of a job in which a number stands for each large part, and these parts.

    Args:
        job: The job; one that Payload could pickle.
    """

    def __init__(self, job: object) -> None:
        file = io.BytesIO()
        super().__init__(file, 5)
        self._parts: list[Any] = []
        self.dump(job)
        self._data = file.getvalue()

    def persistent_id(self, value: Any) -> object:
        """The number of a large part, None for anything else; called by the pickler for each object."""
        if type(value) in (list, tuple) and len(value) >= _LARGE_ITEMS:
            self._parts.append(tuple(value))  # a copy, as items of the list may be replaced
        elif type(value) is dict and len(value) >= _LARGE_ITEMS:
            self._parts.append((*value, *value.values()))
        elif type(value) in (bytes, bytearray, str) and len(value) >= _LARGE_BYTES:
            self._parts.append(value[:])
        elif isinstance(value, np.ndarray) and value.nbytes >= _LARGE_BYTES:
            self._parts.append(value)  # held, so that its memory cannot become another array's
        else:
            return None
        return len(self._parts)

    def equals(self, other: _Outline) -> bool:
        """Whether both are of the same job, unchanged."""
        return self._data == other._data and all(map(_same, self._parts, other._parts))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(is_, one, other))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        # Some containers, pandas' among them, make new views of the same memory whenever they are pickled.
        return type(one) is type(other) and one.dtype == other.dtype and _place(one) == _place(other)
    return type(one) is type(other) and one == other


def _place(array: np.ndarray) -> tuple[object, ...]:
    return array.__array_interface__["data"][0], array.shape, array.strides
