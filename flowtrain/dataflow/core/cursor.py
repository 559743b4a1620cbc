"""Walks over a flow: iterators over one epoch that can say where they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, ClassVar

from ...utils.errors import StateError

__all__ = ["Cursor", "Datapoint", "IndexCursor", "IterCursor", "RetracedCursor", "walk"]

Datapoint = Any
"""A list (or tuple) or a dict of components."""


class Cursor:
    """One walk over one epoch of a flow: an iterator that can say where it is.

    Making a cursor acquires nothing (no process, no file): that happens at the first ``next``.

    Attributes:
        knows_after_error: True if, after ``__next__`` raised, ``state()`` still returns the position of the failed
            datapoint.
    """

    knows_after_error: ClassVar[bool] = False

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.exhausted = False

    def __iter__(self) -> Cursor:
        return self

    def __next__(self) -> Datapoint:
        raise NotImplementedError

    def state(self) -> Any:
        """The position after the last datapoint that was handed out: numbers, lists, dicts, arrays."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what the walk holds; ``state`` still answers afterwards."""


class IndexCursor(Cursor):
    """The walk over an indexable flow: ``get`` of one index after the other."""

    knows_after_error = True

    def __init__(self, flow: Any, epoch: int, state: int | None = None) -> None:
        super().__init__(epoch)
        self._get = flow.get
        self._next = state or 0
        limit = flow.size_or_none()
        if limit is not None and self._next > limit:
            raise StateError(f"the saved position is {self._next}, but {flow} has only {limit} datapoints")
        self._limit = limit

    def __next__(self) -> Datapoint:
        index = self._next
        if index == self._limit:
            raise StopIteration
        datapoint = self._get(index, self.epoch)
        self._next = index + 1
        return datapoint

    def state(self) -> int:
        return self._next


class IterCursor(Cursor):
    """The walk over a user's own ``__iter__``; its position is a count, and going back there replays."""

    knows_after_error = True

    def __init__(self, flow: Any, epoch: int, state: int | None = None) -> None:
        super().__init__(epoch)
        self._flow = flow
        self._skip = self._count = state or 0
        self._source: Iterator[Datapoint] | None = None
        self._rng: Any = None

    def __next__(self) -> Datapoint:
        if self._rng is not None:
            self._flow.rng = self._rng  # another walk over the same flow may have set its own meanwhile
        if self._source is None:
            self._source = self._started()
            for done in range(self._skip):
                if next(self._source, self) is self:
                    raise StateError(f"{self._flow} ended after {done} datapoints; its saved position is {self._skip}")
        datapoint = next(self._source)
        self._count += 1
        return datapoint

    def _started(self) -> Iterator[Datapoint]:
        flow = self._flow
        for child in flow.children():  # so that the flows it walks are in the same epoch, in any process
            child._epoch, child._resume = self.epoch, None
        flow._begin(self.epoch)
        self._rng = vars(flow).get("rng")
        return iter(flow._user_iter())  # type: ignore[misc]

    def state(self) -> int:
        return self._count

    def close(self) -> None:
        closing = getattr(self._source, "close", None)
        if closing is not None:
            closing()


class RetracedCursor(Cursor):
    """Outermost cursor for non-seekable flows: keeps periodic positions, so that a failed datapoint can be replayed.

    An error may come from any stage of the chain, whose lower stages have then read further than its upper ones: no
    stage's own position is that of the failed datapoint. So positions are saved on the way, as often as it is cheap;
    after an error the position is the last of them and the number of datapoints to skip from there.

    Args:
        cursor: The walk.
        state: Where it was opened.
        skip: How many datapoints to pass over from there.
    """

    def __init__(self, cursor: Cursor, state: Any, skip: int) -> None:
        super().__init__(cursor.epoch)
        self._cursor, self._known, self._since = cursor, state, skip
        self._left = skip  # to pass over before the next one
        self._note_at = 0.0
        self._clear = not skip  # whether the walk is just where the consumer is

    @staticmethod
    def parsed(state: Any) -> tuple[Any, int]:
        """What to open a walk with, and how many datapoints to pass over, of a saved position."""
        return (state["from"], state["skip"]) if isinstance(state, dict) and set(state) == _RETRACED else (state, 0)

    def __next__(self) -> Datapoint:
        while self._left:
            next(self._cursor)
            self._left -= 1
            self._clear = not self._left
        if self._clear and (now := time.monotonic()) >= self._note_at:
            self._known, self._since = self._cursor.state(), 0
            self._note_at = now + 50 * max(time.monotonic() - now, 0.001)
        self._clear = False
        datapoint = next(self._cursor)
        self._since, self._clear = self._since + 1, True
        return datapoint

    def state(self) -> Any:
        return self._cursor.state() if self._clear else {"from": self._known, "skip": self._since}

    def close(self) -> None:
        self._cursor.close()


_RETRACED = {"from", "skip"}


def walk(cursor: Cursor) -> Iterator[Datapoint]:
    """Hand out a cursor's datapoints, and close it however the consumer leaves."""
    try:
        yield from cursor
        cursor.exhausted = True
    finally:
        cursor.close()
