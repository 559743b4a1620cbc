"""Cursors: iterators over one epoch of a flow that can say where they are.

``DataFlow._open`` decides which one walks a flow, once, when an iteration begins:

* ``IndexCursor`` if the flow is indexable and everything is made in this process: ``get`` of 0, 1, 2, ...
* ``AheadCursor`` (ahead.py) if it is indexable and a stage beneath has workers: the indices that ``get`` would
  need of that stage are handed to its workers ahead of time.
* ``StageCursor`` if it is not indexable: the stage's ``_walk``, a generator over the cursors of the flows beneath.
* ``IteratorCursor`` over an iterator that a source, or a user's ``__iter__``, starts for each epoch.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar

from ...utils.errors import USER_ERRORS, DataFlowError, StateError
from . import process
from .datapoint import Datapoint, Position
from .guards import unguarded

if TYPE_CHECKING:
    from .base import DataFlow

__all__ = [
    "Cursor",
    "Datapoint",
    "IndexCursor",
    "IteratorCursor",
    "PositionPacer",
    "StageCursor",
    "checked_index",
    "empty_epoch",
    "foreign_position",
    "in_a_row",
    "promised_size",
]


_END = object()


class Cursor:
    """Iterator over one epoch of a flow that knows its position.

    Making a cursor acquires nothing (no process, no file): that happens at the first ``next``.

    Attributes:
        knows_after_error: True if, after ``__next__`` raised, ``state()`` still returns the position of the failed
            datapoint.
    """

    knows_after_error: ClassVar[bool] = False

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.exhausted = False

    def __iter__(self) -> Iterator[Datapoint]:
        return self

    def __next__(self) -> Datapoint:
        raise NotImplementedError

    def state(self) -> Position:
        """The position after the last datapoint that was handed out: numbers, strings, lists and dicts."""
        raise NotImplementedError

    def close(self) -> None:
        """Release what the cursor holds; ``state`` still answers afterwards."""


def foreign_position(flow: object, state: object) -> StateError:
    """The error for a saved position that a flow's cursor cannot have given."""
    return StateError(f"{flow}: the saved position {state!r:.80} is of another kind of flow")


def checked_index(flow: DataFlow, state: object) -> int:
    """A saved position in an indexable flow, as an index.

    Raises:
        StateError: It is a position of another kind of flow, or beyond the end of this one.
    """
    if state is None:
        return 0
    if not isinstance(state, int):
        raise foreign_position(flow, state)
    size = flow.size_or_none()
    if size is not None and state > size:
        raise StateError(f"the saved position is {state}, but {flow} has only {size} datapoints")
    return state


class PositionPacer:
    """Takes a cursor's position now and then, which costs at most a fiftieth of the time.

    A position may be large (the buffer of a shuffle), and no constant interval is right for both tiny and slow
    datapoints: so the next one is due after 50 times what the last one took, and after 50 ms at the least.

    Args:
        first: Seconds until the first one is due.

    Attributes:
        due: The ``time.monotonic()`` from which on the next one is taken.
    """

    def __init__(self, first: float = 0.05) -> None:
        self.due = time.monotonic() + first

    def position(self, cursor: Cursor) -> list[Position] | None:
        """The cursor's position if one is due, in a list, as a position may itself be None; else None."""
        return [self.take(cursor)] if time.monotonic() >= self.due else None

    def take(self, cursor: Cursor) -> Position:
        """The cursor's position, whether or not one is due."""
        now = time.monotonic()
        position = cursor.state()
        self.due = now + 50 * max(time.monotonic() - now, 0.001)
        return position


class IndexCursor(Cursor):
    """Cursor over an indexable flow in this process: ``get`` of one index after the other."""

    knows_after_error = True

    def __init__(self, flow: DataFlow, epoch: int, state: Position = None) -> None:
        super().__init__(epoch)
        self._flow, self._get = flow, flow.get
        self._next = checked_index(flow, state)
        self._limit = flow.size_or_none()

    def __iter__(self) -> Iterator[Datapoint]:
        # A generator costs half of what __next__ does for each datapoint; both keep the position in self._next. It is
        # set before the yield, so that a state taken while the consumer works on a datapoint is the one after it.
        get, epoch, limit, here = unguarded(self._get), self.epoch, self._limit, process.current
        while (index := self._next) != limit:
            if here is not process.current:  # the child of a fork: files are opened anew
                self._flow._ensure_reset()
                here = process.current
            try:
                datapoint = get(index, epoch)
            except USER_ERRORS as error:
                self._flow._fail(error, index, epoch)
            self._next = index + 1
            yield datapoint

    def __next__(self) -> Datapoint:
        index = self._next
        if index == self._limit:
            raise StopIteration
        try:
            datapoint = self._get(index, self.epoch)
        except USER_ERRORS as error:
            self._flow._fail(error, index, self.epoch)
        self._next = index + 1
        return datapoint

    def state(self) -> int:
        return self._next


def empty_epoch(stage: DataFlow, flow: DataFlow) -> DataFlowError:
    """The error for a flow without datapoints that a stage is to repeat."""
    return DataFlowError(f"{stage}: an epoch of {flow} is empty, so repeating it gives nothing")


def in_a_row(flow: DataFlow, first: int, stop: int, epoch: int) -> Iterator[Datapoint]:
    """Make consecutive datapoints of an indexable flow, ``first`` to ``stop - 1``; errors name the datapoint."""
    if flow._reset_in is not process.current:
        flow._ensure_reset()
    get = unguarded(flow.get)
    for index in range(first, stop):
        try:
            datapoint = get(index, epoch)
        except USER_ERRORS as error:
            flow._fail(error, index, epoch)
        yield datapoint  # not within try: a GeneratorExit is then the end of this walk


def promised_size(flow: DataFlow) -> int | None:
    """The least number of datapoints that an iterator of the flow has to give; None if no length was declared for it.

    A ``__len__`` counts if it is defined in the class that defines ``__iter__`` or in one derived from it. An inherited
    one is the length of the flow beneath.
    """
    # Without this check a StopIteration that escapes from inside a user's __iter__ (next() on an empty iterator) would
    # be a short epoch without a word, since a for loop cannot tell it from the end.
    kinds = type(flow).__mro__
    says = next(number for number, kind in enumerate(kinds) if "__len__" in vars(kind))
    iterates = next(number for number, kind in enumerate(kinds) if "__iter__" in vars(kind))
    return flow.size_or_none() if says <= iterates else None


def _of_a_function(error: StopIteration, iterator: object) -> bool:
    """Whether the StopIteration comes from a function that ``map``, ``filter`` or the like calls.

    They pass it on, and it would be taken for their end.
    """
    if type(iterator).__module__ not in ("builtins", "itertools"):
        return False
    # At a true end the traceback has our own frame alone, as iterators in C leave none, or also the __next__ of an
    # iterator in Python. Any other frame is that of a function.
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
    return bool(frames) and not {"__next__", "next"} & set(frames)


class IteratorCursor(Cursor):
    """Cursor over an iterator that the flow starts anew for each epoch; a position is a count, reached by replaying.

    An iterator (``flow._start_iterator(epoch)``) that gives fewer datapoints than ``flow._promised_size()`` is an
    error: a StopIteration that escapes from a function inside of it looks just like its end.
    """

    knows_after_error = True

    def __init__(self, flow: DataFlow, epoch: int, state: Position = None) -> None:
        super().__init__(epoch)
        self._flow = flow
        if not isinstance(state, (int, NoneType)):
            raise foreign_position(flow, state)
        self._count = state or 0
        self._iterator: Iterator[Datapoint] | None = None
        self._rng: Any = None
        self._most: int | None = None

    def __next__(self) -> Datapoint:
        flow = self._flow
        if self._rng is not None:
            # The flow has one attribute `rng` for all its iterations: another one may have set its own meanwhile.
            flow.rng = self._rng  # type: ignore[attr-defined]
        try:
            if self._iterator is None:
                self._iterator = self._started()
            datapoint = next(self._iterator)
        except StopIteration as error:
            if _of_a_function(error, self._iterator):
                flow._fail(error, self._count, self.epoch)
            size = flow._promised_size()
            if size is not None and self._count < size:
                raise flow._ended_early(size, self._count, self.epoch) from None
            raise
        except USER_ERRORS as error:
            flow._fail(error, self._count, self.epoch)
        if self._count == self._most:
            raise flow._gave_more(self._count, self.epoch)  # type: ignore[attr-defined]
        self._count += 1
        return datapoint

    def _started(self) -> Iterator[Datapoint]:
        flow = self._flow
        self._most = flow._promised_size() if flow._size_is_exact else None
        try:
            iterator = flow._start_iterator(self.epoch)
        except StopIteration as error:  # from the function that makes the iterator: not the end of the data
            flow._fail(error, 0, self.epoch)
        self._rng = vars(flow).get("rng")
        # A generator cannot be set to a position: what was handed out is made again and dropped. Slow, and exact.
        for done in range(self._count if flow._replays else 0):
            if next(iterator, self) is self:
                raise StateError(f"{flow} ended after {done} datapoints; its saved position is {self._count}")
        return iterator

    def state(self) -> int:
        return self._count

    def close(self) -> None:
        closing = getattr(self._iterator, "close", None)
        if closing is not None:
            closing()


class StageCursor(Cursor):
    """Cursor of a stage that is not indexable, over the cursors of the flows beneath (its inputs).

    The stage defines ``_walk(walk, memory)``, a generator of its datapoints, which opens the inputs with ``walk.open``.
    Before each ``yield`` it sets ``walk.memory`` to what it needs to go on after that datapoint: a few numbers.

    A position is ``[memory, positions of the inputs]``. The inputs are asked for theirs when it is taken. A stage that
    has read further than what it has handed out sets ``walk.inputs_at`` as well: to the positions of the inputs from
    which it goes on with ``walk.memory``.
    """

    def __init__(self, stage: DataFlow, epoch: int, state: object = None) -> None:
        super().__init__(epoch)
        self._stage = stage
        if state is not None and not (isinstance(state, (list, tuple)) and len(state) == 2):
            raise foreign_position(stage, state)
        self.memory, self.inputs_at = state or (None, None)
        self._saved: list[Any] = list(self.inputs_at or ())  # of inputs that were not opened yet
        self._inputs: list[Cursor | None] = []
        self._steps: Iterator[Datapoint] = stage._walk(self, self.memory)

    def open(self, flow: DataFlow, epoch: int | None = None, number: int = 0) -> Cursor:
        """Open an input: at its saved position the first time, later at the start of an epoch.

        Args:
            flow: The flow beneath.
            epoch: The epoch of that flow; None: the same as the stage's.
            number: Which input; the cursor that it had before is closed.
        """
        inputs, saved = self._inputs, self._saved
        inputs.extend([None] * (number + 1 - len(inputs)))
        saved.extend([None] * (number + 1 - len(saved)))
        before = inputs[number]
        if before is not None:
            before.close()
        cursor = inputs[number] = flow._open(self.epoch if epoch is None else epoch, saved[number])
        saved[number] = None
        # Until each input has been opened at its saved position, the loaded positions stand: the others know none.
        if all(position is None for position in saved):
            self.inputs_at = None
        return cursor

    @property
    def resumes_inputs(self) -> bool:
        """Whether an input is still to be opened at a saved position."""
        return any(position is not None for position in self._saved)

    def adopt(self, cursor: Cursor) -> Cursor:
        """Take a cursor that is open already as the only input: one that spans several epochs of the stage."""
        self._inputs[:], self._saved[:], self.inputs_at = [cursor], [None], None
        return cursor

    def take(self, flow: DataFlow, epoch: int, number: int = 0) -> tuple[Datapoint, int]:
        """Take the next datapoint of an open input; at the end of its epoch, the first of the next one.

        Args:
            flow: The flow beneath.
            epoch: The epoch of that flow that the input is in.
            number: Which input.

        Returns:
            The datapoint, and the epoch that it is of.

        Raises:
            DataFlowError: The next epoch is empty.
        """
        datapoint = next(self._inputs[number], _END)  # type: ignore[arg-type]
        if datapoint is _END:
            epoch += 1
            datapoint = next(self.open(flow, epoch, number), _END)
            if datapoint is _END:
                raise empty_epoch(self._stage, flow)
        return datapoint, epoch

    def release(self) -> Cursor | None:
        """Give up the only input, which is returned: closing this cursor will leave it open.

        The position stays as it is now.
        """
        self.inputs_at = (self.state() or (None, None))[1]
        return self._inputs.pop()

    def __iter__(self) -> Iterator[Datapoint]:
        return self._steps

    def __next__(self) -> Datapoint:
        return next(self._steps)

    def state(self) -> list[Any] | None:
        positions = self.inputs_at
        if positions is None:
            if self.memory is None and not self._inputs:  # nothing was read: the start of the epoch
                return None
            positions = [None if cursor is None else cursor.state() for cursor in self._inputs]
        return [self.memory, positions]

    def close(self) -> None:
        self.inputs_at = (self.state() or (None, None))[1]  # what is done below must not move the position
        self._steps.close()  # type: ignore[attr-defined]
        for cursor in self._inputs:
            if cursor is not None:
                cursor.close()
