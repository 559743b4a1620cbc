"""What workers do for a flow: make datapoints by index, walk a part of it, or apply a stage to what they are sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ...utils.errors import USER_ERRORS
from ..core.base import DataFlow
from ..core.cursor import Cursor
from ..core.datapoint import Position

__all__ = ["ApplyJob", "IndexJob", "WalkJob"]

Mark = Callable[[int], None]


class IndexJob:
    """Make datapoints by index.

    A task is (first, end, epoch), and those are the indices; or a list of such runs is sent along.

    Args:
        flow: Indexable.
    """

    def __init__(self, flow: DataFlow) -> None:
        self.flow = flow

    def run(self, args: tuple[int, int, int], value: Any, out: list[Any], mark: Mark) -> None:
        flow = self.flow
        flow._ensure_reset()
        for first, end, epoch in value or (args,):
            for index in range(first, end):
                mark(index)
                try:
                    out.append(flow.get(index, epoch))
                except USER_ERRORS as error:
                    flow._fail(error, index, epoch)


class ApplyJob:
    """Apply a stage's function to datapoints that were sent along.

    A task is (place of the first, end, epoch); what is sent along is the datapoints, and None or, where the places are
    not the indices, the runs of indices.

    Args:
        applied: Takes (datapoint, index, epoch).
    """

    def __init__(self, applied: Callable[[Any, int, int], Any]) -> None:
        self.applied = applied

    def run(self, args: tuple[int, int, int], value: Any, out: list[Any], mark: Mark) -> None:
        datapoints, runs = value
        rest = iter(datapoints)
        for first, end, epoch in runs or (args,):
            for index, datapoint in zip(range(first, end), rest, strict=False):
                mark(index)
                out.append(self.applied(datapoint, index, epoch))


class WalkJob:
    """Walk a flow, a few datapoints at a time; a task is (place in the walk, how many, which of the flows).

    The first task of a walk brings (epoch, position, how many to pass over from there).

    A task returns (whether the walk has ended, the position after the task or None). A position may be large (the
    buffer of a shuffle), so it is only told when telling has become cheap beside the time since the last one.

    Args:
        flows: One for each worker.
    """

    def __init__(self, flows: list[DataFlow]) -> None:
        self.flows = flows
        self._walk: Cursor | None = None
        self._ended = False
        self._told = self._cost = 0.0

    def run(self, args: tuple[int, int, int], value: Any, out: list[Any], mark: Mark) -> tuple[bool, Any]:
        place, count, which = args
        if value is not None:
            self._begin(self.flows[which], *value)
        walk = self._walk
        if walk is None:
            raise RuntimeError("a walk was asked for more datapoints before it was begun")
        for number in range(count):
            if self._ended:
                return True, None
            mark(place + number)
            try:
                out.append(next(walk))
            except StopIteration:
                self._ended = True
        return self._ended, None if self._ended else self._position(walk)

    def _begin(self, flow: DataFlow, epoch: int, position: Position, skip: int) -> None:
        if self._walk is not None:
            self._walk.close()
        flow._ensure_reset()
        self._walk, self._ended = flow._open(epoch, position), False
        self._told, self._cost = time.monotonic(), 0.001
        for _ in range(skip):
            next(self._walk)

    def _position(self, walk: Cursor) -> list[Position] | None:
        now = time.monotonic()
        if now - self._told < 50 * self._cost:
            return None
        position = walk.state()
        self._told = time.monotonic()
        self._cost = max(self._told - now, 0.001)
        return [position]
