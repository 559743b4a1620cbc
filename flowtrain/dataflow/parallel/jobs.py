"""Jobs of workers: make datapoints by index, apply a function to datapoints that are sent, or walk a part of a flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...utils.errors import USER_ERRORS
from ..core.base import DataFlow
from ..core.cursor import Cursor, PositionPacer
from ..core.datapoint import Position

__all__ = ["ApplyJob", "IndexJob", "WalkJob"]

Mark = Callable[[int], None]


class IndexJob:
    """Job that makes datapoints by index.

    A task is (first, end, epoch): the indices from ``first`` to ``end - 1``. Other indices are sent along as a list of
    such runs; the task's own numbers are then places in the walk.

    Args:
        flow: The flow, indexable.
    """

    def __init__(self, flow: DataFlow) -> None:
        self.flow = flow

    def run(self, args: tuple[int, int, int], value: Any, out: list[Any], mark: Mark) -> None:
        flow = self.flow
        flow._ensure_reset()  # in the worker: what reset_state opens must not be shared between processes
        for first, end, epoch in value or (args,):
            for index in range(first, end):
                mark(index)
                try:
                    out.append(flow.get(index, epoch))
                except USER_ERRORS as error:
                    flow._fail(error, index, epoch)


class ApplyJob:
    """Job that applies a stage's function to datapoints that are sent along.

    A task is (first place, end, epoch); sent along are the datapoints and the runs of their indices, or None where the
    places are the indices.

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
    """Job that walks a flow, a few datapoints at a time; the walk stays open in the worker from task to task.

    A task is (place in the walk, how many datapoints, which of the flows). The first task of a walk brings (epoch,
    position, how many datapoints to pass over from there). A task returns (whether the walk has ended, the position
    after the task in a list, or None).

    Args:
        flows: One for each worker. All workers have the same job, so each is told which flow is its own.
    """

    def __init__(self, flows: list[DataFlow]) -> None:
        self.flows = flows
        self._walk: Cursor | None = None
        self._ended = False
        self._pacer = PositionPacer()

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
        # The consumer counts from the last position that it was told.
        return self._ended, None if self._ended else self._pacer.position(walk)

    def _begin(self, flow: DataFlow, epoch: int, position: Position, skip: int) -> None:
        if self._walk is not None:
            self._walk.close()
        flow._ensure_reset()
        self._walk, self._ended = flow._open(epoch, position), False
        self._pacer = PositionPacer()
        for _ in range(skip):
            next(self._walk)
