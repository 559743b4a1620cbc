"""Walks over a flow: iterators over one epoch that can say where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..utils.errors import StateError

__all__ = ["Cursor", "Datapoint", "IndexCursor", "IterCursor", "walk"]

Datapoint = Any
"""A list (or tuple) or a dict of components."""


class Cursor:
    """One walk over one epoch of a flow: an iterator that can say where it is.

    Making a cursor acquires nothing (no process, no file): that happens at the first ``next``.
    """

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


def walk(cursor: Cursor) -> Iterator[Datapoint]:
    """Hand out a cursor's datapoints, and close it however the consumer leaves."""
    try:
        yield from cursor
        cursor.exhausted = True
    finally:
        cursor.close()
