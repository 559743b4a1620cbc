"""CacheData: make each datapoint once, then hand it out from memory or disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from ...utils.errors import DataFlowError
from ..core.base import DataFlow, ProxyDataFlow, RNGDataFlow
from ..core.cursor import Cursor, Datapoint, IndexCursor
from ..core.rng import Permutation
from .cachestore import DiskStore, MemoryStore
from .slices import endless, out_of_range

__all__ = ["CacheData"]


class CacheData(ProxyDataFlow, RNGDataFlow):
    """Keep what a flow gives in its first epoch, and hand that out in every epoch: for slow decoding that repeats.

    Put it above what is slow and below what is random: augmentation beneath it would be the same in every epoch.

    Args:
        ds: The flow beneath; finite.
        path: A folder to keep the datapoints in, one file each, for the next run too. None keeps them in memory (of
            each worker process, if the stage lies beneath a parallel one).
        shuffle: A new order each epoch.
        seed: Of the order; None takes the default.

    A datapoint counts as kept only when it is there as a whole: a first epoch that breaks off leaves nothing that
    would pass for the whole cache, and files are written beside their place and renamed. A damaged file is made anew.

    Order: that of ``ds``, or with ``shuffle`` one that depends on (seed, epoch). Indexable where ``ds`` is; then any
    worker may fill any part. Over a flow that can only be iterated, the first epoch keeps that flow's order, and an
    epoch that starts before the cache is whole fills it first if it is to be shuffled.

    State: that of ``ds`` while it is being kept, then one number.

    Raises:
        DataFlowError: ``ds`` never ends, or the folder holds the datapoints of another flow.

    Example:
        >>> from flowtrain.dataflow import DataFromList, MapData
        >>> ds = CacheData(MapData(DataFromList([[1], [2]]), lambda dp: [print("slow", dp[0]) or dp[0]]))
        >>> list(ds), list(ds)
        slow 1
        slow 2
        ([[1], [2]], [[1], [2]])
    """

    def __init__(
        self,
        ds: DataFlow,
        path: str | os.PathLike[str] | None = None,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        ProxyDataFlow.__init__(self, ds)
        RNGDataFlow.__init__(self, seed)
        if endless(ds):
            raise DataFlowError(
                f"CacheData: {ds} never ends; put TakeData or FixedSizeData around it, or cache beneath"
            )
        self.path = None if path is None else Path(path)
        self.shuffle = shuffle
        self._store = MemoryStore() if self.path is None else DiskStore(self.path, chain_of(ds), ds.size_or_none())
        self._order: tuple[int, Permutation] | None = None

    def __len__(self) -> int:
        whole = self._store.whole
        return len(self.ds) if whole is None else whole

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        size = len(self)
        if not 0 <= index < size:
            raise out_of_range(self, index)
        place = self._place(index, epoch, size)
        datapoint = self._store.load(place)
        if datapoint is None:
            datapoint = self._store.save(place, self.ds.get(place, 0))
        return datapoint

    def _place(self, index: int, epoch: int, size: int) -> int:
        if not self.shuffle or (epoch == 0 and not self.indexable):
            return index
        held = self._order
        if held is None or held[0] != epoch or held[1].size != size:
            held = self._order = epoch, self.stream.permutation(size, epoch)
        return held[1][index]

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        return IndexCursor(self, epoch, state) if self.indexable else _CacheCursor(self, epoch, state)

    def _set_seed(self, seed: int) -> None:
        super()._set_seed(seed)
        self._order = None

    def __getstate__(self) -> dict[str, Any]:
        state = {**super().__getstate__(), "_order": None}
        if self.path is None:
            state["_store"] = MemoryStore()
        return state


class _CacheCursor(Cursor):
    """The walk where the flow beneath can only be iterated: along with it while it is kept, then over what is kept."""

    def __init__(self, stage: CacheData, epoch: int, state: Any = None) -> None:
        super().__init__(epoch)
        self._stage = stage
        self._index, self._below = state or (0, None)
        self._child: Cursor | None = None

    def __next__(self) -> Datapoint:
        stage, store = self._stage, self._stage._store
        if self._child is None and store.whole is None:
            if stage.shuffle and self.epoch:
                self._fill()
            else:
                self._child = self._opened()
        index = self._index
        if self._child is None:
            size = len(stage)
            if index >= size:
                raise StopIteration
            datapoint = store.load(stage._place(index, self.epoch, size))
            if datapoint is None:
                raise DataFlowError(f"{stage}: datapoint {index} is no longer in {stage.path}; delete that folder")
        else:
            try:
                made = next(self._child)
            except StopIteration:
                store.finish(index)
                raise
            datapoint = store.save(index, made)
        self._index = index + 1
        return datapoint

    def _opened(self) -> Cursor:
        child = self._stage.ds._open(0, self._below)
        if self._below is None:
            for _ in range(self._index):  # the position was saved when all was kept, and no longer is
                next(child)
        return child

    def _fill(self) -> None:
        child, count = self._stage.ds._open(0), 0
        try:
            for count, datapoint in enumerate(child, 1):
                self._stage._store.save(count - 1, datapoint)
        finally:
            child.close()
        self._stage._store.finish(count)

    def state(self) -> list[Any]:
        return [self._index, self._below if self._child is None else self._child.state()]

    def close(self) -> None:
        if self._child is not None:
            self._below = self._child.state()
            self._child.close()


def chain_of(ds: DataFlow) -> str:
    """A flow's stages from its source on, by name: what a cache was made of."""
    beneath = ", ".join(chain_of(child) for child in ds.children())
    return f"{beneath} > {ds.describe()}" if beneath else ds.describe()
