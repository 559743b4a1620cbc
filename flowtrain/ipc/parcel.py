"""Python values in a slot: large arrays as raw bytes, the rest as a pickle, and a message that says where they lie.

Pickle is safe here and only here: the slot is memory that nobody but a process and its own workers can open. Pickle's
protocol 5 hands out the memory of large arrays instead of copying it; an array that already lies in the slot stays
where it is. The other side gets views.
"""

from __future__ import annotations

import copyreg
import inspect
import pickle
import struct
import types
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle
import numpy as np

from ..utils.errors import FlowtrainError, error_text
from .arena import SlotWriter

__all__ = ["HEADER", "NotSendable", "Parcel", "culprit", "dump", "out_of_band", "pack", "parse", "relocate", "unpack"]

HEADER = struct.Struct("<qii5q")
"""Of a message: the task's number, slot, flags, three numbers of the sender's choice, place and length of the pickle.
The table of the arrays follows."""

_ENTRY = struct.Struct("<qq")
_IN_BAND = 4096  # bytes; a smaller array is copied into the pickle: cheaper than an entry of its own
_ELSEWHERE = -1  # the place of what did not fit into the slot: it comes as a frame of its own


# NumPy's own way to pickle these two leaves out the NULs at their end.
copyreg.pickle(np.bytes_, lambda text: (np.bytes_, (bytes(text),)))
copyreg.pickle(np.str_, lambda text: (np.str_, (str.__str__(text),)))


class NotSendable(FlowtrainError, TypeError):
    """A datapoint holds something that cannot go from one process to another."""


class Parcel:
    """The places of a packed value in the shared memory.

    Attributes:
        place: Offset of the pickle, in bytes from the memory's start.
        length: Bytes of the pickle.
        table: (place, length) of each large array.
        frames: Arrays and pickle that did not fit into the slot, in order; their place is -1.
    """

    __slots__ = ("frames", "length", "place", "table")

    def __init__(self, place: int, length: int, table: list[tuple[int, int]], frames: Sequence[Any] = ()) -> None:
        self.place, self.length, self.table, self.frames = place, length, table, list(frames)

    @property
    def end(self) -> int:
        """The offset after its last byte in the memory; 0 if nothing of it lies there."""
        # No value lies at 0, as the memory begins with the status of the workers; -1 is a frame, 0 the empty parcel.
        return max(
            [place + length for place, length in ((self.place, self.length), *self.table) if place > 0], default=0
        )

    def message(self, number: int, slot: int, flags: int, a: int = 0, b: int = 0, c: int = 0) -> list[Any]:
        """Make the frames that describe the parcel to the other side."""
        head = HEADER.pack(number, slot, flags, a, b, c, self.place, self.length)
        return [head + b"".join([_ENTRY.pack(*entry) for entry in self.table]), *self.frames]


EMPTY = Parcel(0, 0, [])


def pack(value: object, writer: SlotWriter) -> Parcel:
    """Write a value into the open slot.

    Args:
        value: Anything that pickle or cloudpickle can carry.
        writer: The writer, with the slot open.

    Returns:
        The places of the value.

    Raises:
        NotSendable: Pickle cannot carry it; the message names the part.
    """
    data, views = dump(value)
    table, frames = [], []
    for raw in views:
        place = writer.place_of(raw)
        if place is None:
            place = _copy(raw, writer)
        if place is None:
            frames.append(bytes(raw))
            place = _ELSEWHERE
        table.append((place, raw.nbytes))
    place = _copy(memoryview(data), writer)
    if place is None:
        frames.append(data)
        place = _ELSEWHERE
    return Parcel(place, len(data), table, frames)


def relocate(parcel: Parcel, writer: SlotWriter) -> None:
    """Copy the arrays that lie in the slot to other places, because user code holds, and may change, the first ones."""
    frames, at = [], 0  # frames go in the order of the table, so those of before and those of now are merged
    for i, (place, length) in enumerate(parcel.table):
        if place == _ELSEWHERE:
            frames.append(parcel.frames[at])
            at += 1
            continue
        raw = writer.arena.bytes[place : place + length].data
        new = _copy(raw, writer)
        if new is None:
            frames.append(bytes(raw))
            new = _ELSEWHERE
        parcel.table[i] = new, length
    parcel.frames = frames + parcel.frames[at:]


def parse(head: bytes) -> tuple[tuple[int, ...], Parcel]:
    """Read the first frame of a message.

    Returns:
        (number, slot, flags, a, b, c), and the parcel, still without its frames.
    """
    values = HEADER.unpack_from(head)
    return values[:6], Parcel(values[6], values[7], list(_ENTRY.iter_unpack(head[HEADER.size :])))


def unpack(parcel: Parcel, view: Callable[[int, int], Any], memory: np.ndarray) -> Any:
    """Unpickle the value of a parcel.

    Args:
        parcel: The places of the value.
        view: (place, length) -> the buffer for a large array: a view of the slot, or a copy.
        memory: All shared bytes, for the pickle itself.

    Returns:
        The value; its large arrays lie in the buffers.

    Raises:
        NotSendable: The pickle cannot be loaded here.
    """
    frames = iter(parcel.frames)
    # bytearray: arrays are handed out as the consumer's own, to be written to; those over bytes would be read-only
    buffers = [
        np.frombuffer(bytearray(next(frames)), np.uint8) if place == _ELSEWHERE else view(place, length)
        for place, length in parcel.table
    ]
    place, length = parcel.place, parcel.length
    data = next(frames) if place == _ELSEWHERE else memory[place : place + length]
    try:
        return pickle.loads(data, buffers=buffers)  # type: ignore[arg-type]
    except MemoryError:
        raise
    except Exception as error:  # whatever the __setstate__ of a user's class raises
        raise NotSendable(
            f"what the other process handed over cannot be unpickled here: {error_text(error)}. Put its "
            "class into a module (the main script's lose their __slots__ on the way), or hand over what it is made of."
        ) from error


def _copy(raw: memoryview, writer: SlotWriter) -> int | None:
    place = writer.reserve(raw.nbytes)
    if place is not None:
        writer.arena.bytes[place : place + raw.nbytes] = np.frombuffer(raw, np.uint8)
    return place


def dump(value: object, name: str = "the value") -> tuple[bytes, list[memoryview]]:
    """Pickle a value with its large arrays out of band: returns the pickle and the arrays' memory, which is not copied.

    Args:
        value: Anything that pickle or cloudpickle can carry.
        name: What the value is called in errors.

    Raises:
        NotSendable: Pickle cannot carry it; the message names the part.
    """
    views: list[memoryview] = []
    # The plain pickler first: cloudpickle takes 19 us for a tiny datapoint in place of 3, and few need it.
    try:
        return pickle.dumps(value, 5, buffer_callback=out_of_band(views, _IN_BAND)), views
    except Exception:  # lambdas, classes of the main script
        views.clear()
    try:
        return cloudpickle.dumps(value, 5, out_of_band(views, _IN_BAND)), views  # type: ignore[call-arg]
    except Exception as error:
        raise NotSendable(
            f"{culprit(value, name)} cannot go from one process to another: {error}. "
            "Make it in the consumer (a MapData after the workers), or hand over what it is made of."
        ) from error


def out_of_band(views: list[memoryview], least: int) -> Callable[[pickle.PickleBuffer], bool]:
    """Make a pickler's ``buffer_callback`` that collects buffers of ``least`` bytes and more, and pickles others."""

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < least:
            return True
        views.append(raw)
        return False

    return keep_inside


def culprit(value: object, path: str, seen: tuple[int, ...] = ()) -> str:
    """Name the innermost part of a value that pickle cannot carry, and its type; called after a failure."""
    seen = (*seen, id(value))
    for name, part in _parts(value, path):
        if id(part) in seen:
            continue
        try:
            cloudpickle.dumps(part, 5, lambda buffer: False)  # type: ignore[call-arg]  # copies no large array
        except Exception:
            return culprit(part, name, seen)
    return f"{path} of type {type(value).__name__}"


def _parts(value: object, path: str) -> list[tuple[str, object]]:
    """Return the parts of a value with their names: items, attributes, or what a function refers to."""
    if isinstance(value, dict):
        return [(f"{path}[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"{path}[{key}]", part) for key, part in enumerate(value)]
    if isinstance(value, types.MethodType):
        return [(f"{path}.__self__", value.__self__)]
    try:
        if isinstance(value, types.FunctionType):
            held = inspect.getclosurevars(value)
            found = {**held.globals, **held.nonlocals}
            return [(f"{name!r} in {value.__qualname__}", part) for name, part in found.items()]
        state = value.__getstate__()
    except Exception:  # of a user's own __getstate__, or a variable that has no value yet
        return []
    attributes = state if isinstance(state, dict) else {}
    return [(f"{type(value).__name__}.{name}", part) for name, part in attributes.items()]
