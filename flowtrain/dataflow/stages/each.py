"""The base of one-to-one stages: each datapoint is made of one datapoint beneath, or left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..core.ahead import Piece
from ..core.cursor import Datapoint, StageCursor
from ..core.datapoint import Memory
from ..core.proxy import ProxyDataFlow

__all__ = ["DROPPED", "EachData"]


class _Dropped:
    """The type of ``DROPPED``."""

    def __reduce__(self) -> str:
        return "DROPPED"  # unpickled as the one object of the module, since it is compared by identity


DROPPED = _Dropped()
"""What ``_apply`` returns to leave a datapoint out. A stage that may do so is not indexable."""


class EachData(ProxyDataFlow):
    """A stage that is a function of a datapoint, its index and the epoch.

    A subclass defines ``_apply``. The stage is indexable where the flow beneath is.
    """

    def _apply(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint:
        raise NotImplementedError

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        return self._apply(self.ds.get(index, epoch), index, epoch)

    def _needs(self, first: int, stop: int, epoch: int) -> Iterable[Piece]:
        return ((first, stop, ((self.ds, first, stop, epoch),)),)

    def _assemble(self, parts: list[Datapoint], index: int, epoch: int) -> Datapoint:
        return self._apply(parts[0], index, epoch)

    def rows_per_datapoint(self) -> int | None:
        return self.ds.rows_per_datapoint() if self._indexable_itself() else None

    def _walk(self, walk: StageCursor, memory: Memory) -> Iterator[Datapoint]:
        for index, datapoint in enumerate(walk.open(self.ds), memory or 0):
            made = self._apply(datapoint, index, walk.epoch)
            walk.memory = index + 1  # after one that is dropped too: it belongs to the position of the input
            if made is not DROPPED:
                yield made
