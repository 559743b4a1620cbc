"""Cursor over a file source that reads runs of records, so that the cost of a step in Python is paid once a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import length_hint

import numpy as np

from ..core import process
from ..core.cursor import Datapoint, IndexCursor
from ..core.datapoint import Position
from ..sources.memory import Ordered

__all__ = ["RUN_BYTES", "ReadRun", "RunCursor"]

RUN_BYTES = 1 << 18  # a run ends after so many bytes: they should still be in the CPU's cache when handed out

_RECORDS = 32  # and after so many records
_PLACES = 1024  # indices whose places in the file are computed by one call

ReadRun = Callable[[Sequence[int]], list[Datapoint]]
"""Given the places of some records, reads the first of them, at least one; raises where that one is damaged."""


class RunCursor(IndexCursor):
    """Index cursor that reads a few records ahead, in the order in which it hands them out.

    A record that cannot be read ends the run before it. The error is raised when its turn comes, after all datapoints
    before it, and ``state`` then counts exactly those.

    Args:
        flow: The source.
        epoch: The epoch.
        state: The position to go on from.
        reader: Returns the function that reads a run; called at the first step, since making a cursor opens nothing.
    """

    def __init__(self, flow: Ordered, epoch: int, state: Position, reader: Callable[[], ReadRun]) -> None:
        super().__init__(flow, epoch, state)
        self._flow, self._reader = flow, reader
        self._read: ReadRun
        self._process: object = None  # in which _read was made
        # The rest of the run, and the position after it: one object, so that `state` in another thread sees both agree.
        self._run: tuple[Iterator[Datapoint], int] = iter(()), self._next
        self._places: tuple[int, list[int]] = -1, []  # number of a block of indices, and the places of its records

    def __iter__(self) -> Iterator[Datapoint]:  # type: ignore[override]
        """The rest of the walk.

        ``chain`` runs no Python code for a datapoint. ``state`` needs none either: it counts what is left in the
        iterator that ``chain`` consumes.
        """
        return chain.from_iterable(iter(self._following, None))

    def __next__(self) -> Datapoint:
        for datapoint in self._run[0]:  # an iterator: this takes one, and costs no exception at the end of the run
            return datapoint
        following = self._following()
        if following is None:
            raise StopIteration
        return next(following)

    def state(self) -> int:
        left, end = self._run
        return end - length_hint(left)  # exact: `left` iterates over a list

    def close(self) -> None:
        self._run = iter(()), self.state()

    def _following(self) -> Iterator[Datapoint] | None:
        """The rest of the run if there is any, else the next run; None at the end."""
        left, start = self._run
        if length_hint(left):
            return left
        if start == self._limit:
            return None
        if self._process is not process.current:  # at the first step, and in the child of a fork: it opens files anew
            self._read, self._process = self._reader(), process.current
        run = self._read(self._places_from(start))
        self._run = iter(run), start + len(run)
        return self._run[0]

    def _places_from(self, start: int) -> list[int]:
        number, offset = divmod(start, _PLACES)
        if self._places[0] != number:
            first = number * _PLACES
            indices = np.arange(first, min(first + _PLACES, self._limit or 0))
            self._places = number, self._flow._places(indices, self.epoch).tolist()
        return self._places[1][offset : offset + _RECORDS]
