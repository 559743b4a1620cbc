"""Stages that repeat epochs or single datapoints, or fill up an epoch of a given size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ...utils.arguments import check_int, old_spellings
from ...utils.errors import DataFlowError
from ..core.ahead import Piece
from ..core.base import DataFlow
from ..core.components import protected
from ..core.cursor import Datapoint, StageCursor, empty_epoch
from ..core.datapoint import Memory
from ..core.proxy import ProxyDataFlow
from .expand import ExpandedData
from .index_map import IndexMap, endless, out_of_range

__all__ = ["FixedSizeData", "RepeatedData", "RepeatedDataPoint"]

_AGAIN = 2**20
"""Epoch offset between two iterations of a stage that repeats the flow beneath for ever.

So no two of them share epochs of that flow, unless one goes on for more than a million.
"""


@old_spellings(nb="num", nr="num")
class RepeatedData(IndexMap, ProxyDataFlow):
    """Hand out a flow again and again, as one epoch.

    Args:
        ds: The flow beneath.
        num: How many times; -1 never ends.

    Order: each time is the next epoch of ``ds``: newly shuffled and newly augmented. Indexable where ``ds`` is.

    State: that of ``ds``, and how often it was repeated.

    Raises:
        DataFlowError: ``ds`` never ends by itself, or an epoch of it is empty.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(RepeatedData(DataFromList([[1], [2]]), 2))
        [[1], [2], [1], [2]]
    """

    _in_order = True

    def __init__(self, ds: DataFlow, num: int = -1) -> None:
        super().__init__(ds)
        self.num = -1 if num == -1 else check_int("RepeatedData", "num (or -1, which never ends)", num)
        if endless(ds):
            raise DataFlowError(f"RepeatedData: {ds} never ends by itself, so it cannot be repeated")

    def __len__(self) -> int:
        if self.num == -1:
            raise TypeError(f"{self} never ends")
        return len(self.ds) * self.num

    def _source(self, index: int, epoch: int) -> tuple[DataFlow, int, int]:
        size = len(self.ds)
        if not size:
            raise empty_epoch(self, self.ds)
        times, place = divmod(index, size)
        if index < 0 or times >= self.num > 0:
            raise out_of_range(self, index)
        return self.ds, place, self._below(times, epoch)

    def _below(self, times: int, epoch: int) -> int:
        """The epoch of the flow beneath."""
        return epoch * (self.num if self.num > 0 else _AGAIN) + times

    def _walk(self, walk: StageCursor, memory: Memory) -> Iterator[Datapoint]:
        times, some = memory or (0, False)  # epochs beneath that are complete; whether this one gave anything
        while times != self.num:
            for datapoint in walk.open(self.ds, self._below(times, walk.epoch)):
                some = True
                walk.memory = [times, some]
                yield datapoint
            if not some:
                raise empty_epoch(self, self.ds)
            times, some = times + 1, False

    def describe(self) -> str:
        return f"RepeatedData({self.num})"


@old_spellings(nb="num", nr="num")
class RepeatedDataPoint(ExpandedData):
    """Hand out each datapoint several times in a row: for several random crops of one decoded picture.

    Args:
        ds: The flow beneath; it makes each datapoint once.
        num: How many times.

    Order: that of ``ds``; indexable where ``ds`` is. Lists and dicts are handed out as copies, arrays as read-only
    views.

    State: that of ``ds``, and how often the datapoint was handed out.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(RepeatedDataPoint(DataFromList([[1], [2]]), 2))
        [[1], [1], [2], [2]]
    """

    _reuses = 1
    _caches = ("_held",)

    def __init__(self, ds: DataFlow, num: int) -> None:
        super().__init__(ds)
        self.num = check_int("RepeatedDataPoint", "num", num)
        self._held: tuple[int, int, Any] | None = None  # (index beneath, epoch, datapoint): set at once, for threads

    def __len__(self) -> int:
        return len(self.ds) * self.num

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        place = index // self.num
        held = self._held
        if held is None or held[:2] != (place, epoch):
            held = self._held = place, epoch, self.ds.get(place, epoch)
        return protected(held[2])

    def _needs(self, first: int, stop: int, epoch: int) -> Iterator[Piece]:
        for index in range(first, stop):
            place = index // self.num
            yield index, index + 1, ((self.ds, place, place + 1, epoch),)

    def _assemble(self, parts: list[Datapoint], index: int, epoch: int) -> Datapoint:
        return protected(parts[0])

    def _expand(self, datapoint: Datapoint, index: int, epoch: int) -> Iterable[Datapoint]:
        return (protected(datapoint) for _ in range(self.num))

    def describe(self) -> str:
        return f"RepeatedDataPoint({self.num})"


class FixedSizeData(IndexMap, ProxyDataFlow):
    """Give a flow epochs of a fixed size: 1,000 steps to an epoch, say, whatever the data's own size.

    Args:
        ds: The flow beneath.
        size: How many datapoints an epoch has. Where ``ds`` ends before that, its next epoch follows.
        keep_state: The next epoch goes on where the last one ended, so that all data are seen (the default). Without
            it each epoch begins at the start of an epoch of ``ds``.

    Order: that of ``ds``; indexable where ``ds`` is. Over a flow that can only be iterated, a later epoch in a new
    process first reads ``ds`` up to the place where it goes on.

    State: that of ``ds``.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> ds = FixedSizeData(DataFromList([[1], [2], [3]]), 2)
        >>> list(ds), list(ds)
        ([[1], [2]], [[3], [1]])
    """

    _in_order = True
    _caches = ("_kept",)

    def __init__(self, ds: DataFlow, size: int, keep_state: bool = True) -> None:
        super().__init__(ds)
        self._size = check_int("FixedSizeData", "size", size)
        self.keep_state = keep_state
        # The cursor at the end of an epoch, with which the next goes on: (_state_of that one, epoch beneath, cursor).
        self._kept: tuple[Any, int, Any] | None = None

    def __len__(self) -> int:
        return self._size

    def _source(self, index: int, epoch: int) -> tuple[DataFlow, int, int]:
        if not 0 <= index < self._size:
            raise out_of_range(self, index)
        below = self.ds.size_or_none()
        if below is None:  # it never ends
            return (self.ds, epoch * self._size + index, 0) if self.keep_state else (self.ds, index, epoch)
        if not below:
            raise empty_epoch(self, self.ds)
        if self.keep_state:
            times, place = divmod(epoch * self._size + index, below)
            return self.ds, place, times
        times, place = divmod(index, below)
        return self.ds, place, epoch * -(-self._size // below) + times  # each epoch has as many beneath for itself

    def _walk(self, walk: StageCursor, memory: Memory) -> Iterator[Datapoint]:
        handed, times = memory or (0, 0)
        if memory is not None:
            walk.open(self.ds, times)
        else:
            times, to_pass = self._begin_at(walk)
            for _ in range(to_pass):
                _, times = walk.take(self.ds, times)
        while handed < self._size:
            datapoint, times = walk.take(self.ds, times)
            handed += 1
            walk.memory = [handed, times]
            if handed == self._size and self.keep_state:
                # before the yield: whoever takes just this many datapoints never resumes this generator
                self._kept = self._state_of(walk.epoch + 1), times, walk.release()
            yield datapoint

    def _state_of(self, epoch: int) -> tuple[int, list[int]]:
        """What the datapoints of an epoch depend on: a kept cursor is of no use to another."""
        return epoch, [stage.seed for stage in self._random_stages()]

    def _begin_at(self, walk: StageCursor) -> tuple[int, int]:
        """Open the flow beneath at the start of an epoch: (epoch beneath, how many datapoints to pass over)."""
        below = self.ds.size_or_none()
        to_pass = 0
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] == self._state_of(walk.epoch):
            walk.adopt(kept[2])
            return kept[1], to_pass
        if kept is not None:  # a state of another epoch or other seeds was loaded, or two iterations go on at once
            kept[2].close()
        if self.keep_state:
            times, to_pass = divmod(walk.epoch * self._size, below) if below else (0, walk.epoch * self._size)
        else:
            times = walk.epoch * (-(-self._size // below) if below else _AGAIN)
        walk.open(self.ds, times)
        return times, to_pass

    def describe(self) -> str:
        return f"FixedSizeData({self._size})"
