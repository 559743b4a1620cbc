"""Walking a file source a run of records at a time: what a step costs in Python is then paid once a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import length_hint

import numpy as np

from ..core.cursor import Datapoint, IndexCursor
from ..core.datapoint import Position
from ..sources.memory import Ordered

__all__ = ["RUN_BYTES", "ReadRun", "RunCursor"]

RUN_BYTES = 1 << 18  # a run ends when its records have as many: they should still be in the CPU's cache when handed out

_RECORDS = 32  # and when it has as many records
_PLACES = 1024  # places of records computed at once

ReadRun = Callable[[Sequence[int]], list[Datapoint]]
"""Given the places of some records, reads the first of them, at least one; raises where that one is damaged."""


class RunCursor(IndexCursor):
    """The walk over a source that reads ahead a few records, in the order in which they are handed out.

    Args:
        flow: The source: an ``Ordered``.
        epoch: Which pass.
        state: The position to go on from.
        reader: Returns the function that reads; called at the first step, since making a cursor opens nothing.
    """

    def __init__(self, flow: Ordered, epoch: int, state: Position, reader: Callable[[], ReadRun]) -> None:
        super().__init__(flow, epoch, state)
        self._flow, self._reader = flow, reader
        self._read: ReadRun | None = None
        # what is left of the run, and the position after it: one object, so that threads see its parts agree
        self._run: tuple[Iterator[Datapoint], int] = iter(()), self._next
        self._places: tuple[int, list[int]] = -1, []

    def __iter__(self) -> Iterator[Datapoint]:  # type: ignore[override]
        """The rest of the walk; ``state`` keeps up with it."""
        return chain.from_iterable(iter(self._following, None))

    def __next__(self) -> Datapoint:
        for datapoint in self._run[0]:
            return datapoint
        following = self._following()
        if following is None:
            raise StopIteration
        return next(following)

    def state(self) -> int:
        left, end = self._run
        return end - length_hint(left)

    def close(self) -> None:
        self._run = iter(()), self.state()

    def _following(self) -> Iterator[Datapoint] | None:
        """What is left of the run, or else the next one; None at the end."""
        left, start = self._run
        if length_hint(left):
            return left
        if start == self._limit:
            return None
        read = self._read
        if read is None:
            read = self._read = self._reader()
        run = read(self._places_from(start))
        self._run = iter(run), start + len(run)
        return self._run[0]

    def _places_from(self, start: int) -> list[int]:
        number, offset = divmod(start, _PLACES)
        if self._places[0] != number:
            first = number * _PLACES
            indices = np.arange(first, min(first + _PLACES, self._limit or 0))
            self._places = number, self._flow._places(indices, self.epoch).tolist()
        return self._places[1][offset : offset + _RECORDS]
