"""The base of stages that make one datapoint out of each that they are given."""

from __future__ import annotations

from typing import Any

from ..core.base import ProxyDataFlow
from ..core.cursor import Cursor, Datapoint, IndexCursor

__all__ = ["DROPPED", "AppliedCursor", "EachData"]


class _Dropped:
    """The type of the mark for a datapoint that a stage leaves out."""

    def __reduce__(self) -> str:
        return "DROPPED"


DROPPED = _Dropped()
"""What ``_apply`` returns to leave a datapoint out; only of stages that are not indexable then."""


class EachData(ProxyDataFlow):
    """A stage that is a function of a datapoint, its index and the epoch.

    A subclass defines ``_apply``. The stage is indexable where the flow beneath is.
    """

    def _apply(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint:
        raise NotImplementedError

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        return self._apply(self.ds.get(index, epoch), index, epoch)

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        return IndexCursor(self, epoch, state) if self.indexable else AppliedCursor(self, epoch, state)


class AppliedCursor(Cursor):
    """The walk of an ``EachData`` over a flow that can only be iterated."""

    def __init__(self, stage: EachData, epoch: int, state: Any = None) -> None:
        super().__init__(epoch)
        self._stage = stage
        self._index, below = state or (0, None)
        self._child = stage.ds._open(epoch, below)

    def __next__(self) -> Datapoint:
        while True:
            datapoint = next(self._child)
            index = self._index
            self._index = index + 1
            datapoint = self._stage._apply(datapoint, index, self.epoch)
            if datapoint is not DROPPED:
                return datapoint

    def state(self) -> list[Any]:
        return [self._index, self._child.state()]

    def close(self) -> None:
        self._child.close()
