"""Stages that repeat: epochs, single datapoints, or as much as a given size asks for."""

from __future__ import annotations

from typing import Any

from ...utils.arguments import check_int, old_spellings
from ...utils.errors import DataFlowError
from ..core.base import DataFlow, ProxyDataFlow
from ..core.components import protected
from ..core.cursor import Cursor, Datapoint, IndexCursor
from .expand import ExpandedData
from .slices import endless, out_of_range

__all__ = ["FixedSizeData", "RepeatedData", "RepeatedDataPoint"]

_AGAIN = 2**20
"""Epoch offset between two iterations of an endless RepeatedData."""


@old_spellings(nb="num", nr="num")
class RepeatedData(ProxyDataFlow):
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

    def __init__(self, ds: DataFlow, num: int = -1) -> None:
        super().__init__(ds)
        self.num = -1 if num == -1 else check_int("RepeatedData", "num (or -1, which never ends)", num)
        if endless(ds):
            raise DataFlowError(f"RepeatedData: {ds} never ends by itself, so it cannot be repeated")

    def __len__(self) -> int:
        if self.num == -1:
            raise TypeError(f"{self} never ends")
        return len(self.ds) * self.num

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        size = len(self.ds)
        times, place = divmod(index, size)
        if index < 0 or times >= self.num > 0:
            raise out_of_range(self, index)
        return self.ds.get(place, self._below(times, epoch))

    def _below(self, times: int, epoch: int) -> int:
        """The epoch of the flow beneath."""
        return epoch * (self.num if self.num > 0 else _AGAIN) + times

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        return IndexCursor(self, epoch, state) if self.indexable else _RepeatCursor(self, epoch, state)

    def describe(self) -> str:
        return f"RepeatedData({self.num})"


class _RepeatCursor(Cursor):
    def __init__(self, stage: RepeatedData, epoch: int, state: Any = None) -> None:
        super().__init__(epoch)
        self._stage = stage
        self._times, below, self._any = state or (0, None, False)
        self._child = stage.ds._open(stage._below(self._times, epoch), below)

    def __next__(self) -> Datapoint:
        stage = self._stage
        while True:
            for datapoint in self._child:
                self._any = True
                return datapoint
            if not self._any:
                raise DataFlowError(f"{stage}: an epoch of {stage.ds} is empty, so repeating it gives nothing")
            if self._times + 1 == stage.num:
                raise StopIteration
            self._child.close()
            self._times, self._any = self._times + 1, False
            self._child = stage.ds._open(stage._below(self._times, self.epoch))

    def state(self) -> list[Any]:
        return [self._times, self._child.state(), self._any]

    def close(self) -> None:
        self._child.close()


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

    def __init__(self, ds: DataFlow, num: int) -> None:
        super().__init__(ds)
        self.num = check_int("RepeatedDataPoint", "num", num)
        self._held: tuple[int, int, Any] | None = None  # one object, so that threads see its parts agree

    @property
    def indexable(self) -> bool:
        return self.ds.indexable

    def __len__(self) -> int:
        return len(self.ds) * self.num

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        place = index // self.num
        held = self._held
        if held is None or held[:2] != (place, epoch):
            held = self._held = place, epoch, self.ds.get(place, epoch)
        return protected(held[2])

    def _expand(self, datapoint: Datapoint, index: int, epoch: int) -> Any:
        return (protected(datapoint) for _ in range(self.num))

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        return IndexCursor(self, epoch, state) if self.indexable else super()._cursor(epoch, state)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_held": None}

    def describe(self) -> str:
        return f"RepeatedDataPoint({self.num})"


class FixedSizeData(ProxyDataFlow):
    """Give a flow epochs of a size of your choice: 1,000 steps to an epoch, whatever the data's own size.

    Args:
        ds: The flow beneath.
        size: How many datapoints an epoch has. Where ``ds`` ends before that, its next epoch follows.
        keep_state: The next epoch goes on where the last one ended, so that all data are seen (the default). Without
            it each epoch begins at the start of one of ``ds``.

    Order: that of ``ds``; indexable where ``ds`` is. Over a flow that can only be iterated, going on in a later epoch
    in a new process walks up to the place.

    State: that of ``ds``.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> ds = FixedSizeData(DataFromList([[1], [2], [3]]), 2)
        >>> list(ds), list(ds)
        ([[1], [2]], [[3], [1]])
    """

    def __init__(self, ds: DataFlow, size: int, keep_state: bool = True) -> None:
        super().__init__(ds)
        self._size = check_int("FixedSizeData", "size", size)
        self.keep_state = keep_state
        self._kept: tuple[int, _Chain] | None = None

    def __len__(self) -> int:
        return self._size

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        if not 0 <= index < self._size:
            raise out_of_range(self, index)
        below = self.ds.size_or_none()
        if below is None:  # it never ends
            return self.ds.get(epoch * self._size + index, 0) if self.keep_state else self.ds.get(index, epoch)
        if self.keep_state:
            times, place = divmod(epoch * self._size + index, below)
            return self.ds.get(place, times)
        times, place = divmod(index, below)
        return self.ds.get(place, epoch * -(-self._size // below) + times)

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        return IndexCursor(self, epoch, state) if self.indexable else _FixedCursor(self, epoch, state)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_kept": None}

    def describe(self) -> str:
        return f"FixedSizeData({self._size})"


class _Chain:
    """The epochs of a flow that can only be iterated, one after the other."""

    def __init__(self, ds: DataFlow, epoch: int, below: Any = None) -> None:
        self._ds, self.epoch = ds, epoch
        self._child = ds._open(epoch, below)

    def __next__(self) -> Datapoint:
        for _ in range(2):
            for datapoint in self._child:
                return datapoint
            self._child.close()
            self.epoch += 1
            self._child = self._ds._open(self.epoch)
        raise DataFlowError(f"FixedSizeData: an epoch of {self._ds} is empty, so repeating it gives nothing")

    def state(self) -> list[Any]:
        return [self.epoch, self._child.state()]

    def close(self) -> None:
        self._child.close()


class _FixedCursor(Cursor):
    def __init__(self, stage: FixedSizeData, epoch: int, state: Any = None) -> None:
        super().__init__(epoch)
        self._stage, self._given = stage, state
        self._handed = state[0] if state else 0
        self._chain: _Chain | None = None

    def __next__(self) -> Datapoint:
        stage = self._stage
        if self._handed >= len(stage):
            raise StopIteration
        if self._chain is None:
            self._chain = self._begun()
        datapoint = next(self._chain)
        self._handed += 1
        if self._handed == len(stage) and stage.keep_state:
            stage._kept, self._given = (self.epoch + 1, self._chain), self.state()
            self._chain = None
        return datapoint

    def _begun(self) -> _Chain:
        stage = self._stage
        if self._given is not None:
            return _Chain(stage.ds, *self._given[1])
        if not stage.keep_state:
            below = stage.ds.size_or_none()
            return _Chain(stage.ds, self.epoch * (-(-len(stage) // below) if below else _AGAIN))
        kept, stage._kept = stage._kept, None
        if kept is not None and kept[0] == self.epoch:
            return kept[1]
        if kept is not None:
            kept[1].close()
        return self._walked_up(self.epoch * len(stage))

    def _walked_up(self, place: int) -> _Chain:
        below = self._stage.ds.size_or_none()
        times, rest = divmod(place, below) if below else (0, place)
        chain = _Chain(self._stage.ds, times)
        for _ in range(rest):
            next(chain)
        return chain

    def state(self) -> Any:
        if self._chain is None:
            return self._given
        return [self._handed, self._chain.state()]

    def close(self) -> None:
        if self._chain is not None:
            self._given = self.state()
            self._chain.close()
            self._chain = None
