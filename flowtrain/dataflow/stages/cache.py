"""CacheData: make each datapoint once, then hand it out from memory or disk."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from ...utils.errors import DataFlowError
from ...utils.storage import local_only
from ..core.ahead import Piece
from ..core.base import DataFlow
from ..core.chain import describe_chain
from ..core.cursor import Datapoint, StageCursor
from ..core.datapoint import Memory
from ..core.proxy import ProxyDataFlow
from ..core.random_flow import RNGDataFlow
from .cachestore import DiskStore, MemoryStore
from .index_map import endless, out_of_range

__all__ = ["CacheData"]

_INSTEAD = "What lies far away is for write(ds, url)."


class CacheData(ProxyDataFlow, RNGDataFlow):
    """Keep the datapoints of a flow's first epoch, and hand them out in every epoch: saves repeating slow decoding.

    Put it above what is slow and below what is random: augmentation beneath it would be the same in every epoch.

    Args:
        ds: The flow beneath; finite.
        path: A folder to keep the datapoints in, one file each, for the next run too. None keeps them in memory (of
            each worker process, if the stage lies beneath a parallel one). A folder belongs to one chain of stages,
            told by the names of the stages and of their functions, and to its length. Where their arguments or code
            have changed, the first and the last datapoint are made anew: if they are others, the folder is refused;
            else, and for other seeds, a warning says what has changed. Delete the folder when the data change.
        shuffle: Whether each epoch has a new order.
        seed: The seed of that order; None takes the default.

    A datapoint counts as kept only when all of it is there: files are written beside their place and renamed, and a
    first epoch that breaks off does not pass for a whole one. A damaged file is made anew.

    Order: that of ``ds``, or with ``shuffle`` one that depends on (seed, epoch). Indexable where ``ds`` is; then any
    worker may fill any part. Over a flow that can only be iterated, epoch 0 keeps that flow's order, and a later
    shuffled epoch that starts before the cache is complete fills it first.

    State: that of ``ds`` while the cache is being filled, then one number.

    Raises:
        DataFlowError: ``ds`` never ends, or the folder holds the datapoints of another flow, or of this one with other
            arguments or functions.

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
        self.path = None if path is None else Path(local_only(path, "the folder of CacheData", _INSTEAD))
        self.shuffle = shuffle
        self._store: MemoryStore | DiskStore = MemoryStore()
        if self.path is not None:
            remake = ds.get if ds.indexable else None
            recipe = describe_chain(ds, held=False)
            self._store = DiskStore(self.path, chain_of(ds), ds.size_or_none(), recipe, remake)

    def __len__(self) -> int:
        whole = self._store.whole
        return len(self.ds) if whole is None else whole

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        place = self._place(index, epoch)
        datapoint = self._store.load(place)
        # Epoch 0 whichever was asked for: what is kept must not depend on the epoch in which it was made.
        return self._store.save(place, self.ds.get(place, 0)) if datapoint is None else datapoint

    def _needs(self, first: int, stop: int, epoch: int) -> Iterator[Piece]:
        for index in range(first, stop):
            place = self._place(index, epoch)
            yield index, index + 1, () if self._store.holds(place) else ((self.ds, place, place + 1, 0),)

    def _assemble(self, parts: list[Datapoint], index: int, epoch: int) -> Datapoint:
        if not parts:
            return self.get(index, epoch)  # it is kept; where its file is damaged, it is made anew
        return self._store.save(self._place(index, epoch), parts[0])

    def rows_per_datapoint(self) -> int | None:
        each = self.ds.rows_per_datapoint()
        return each if each == 1 or not self.shuffle else None

    def _place(self, index: int, epoch: int) -> int:
        """The index of the flow beneath whose datapoint comes at an index."""
        size = len(self)
        if not 0 <= index < size:
            raise out_of_range(self, index)
        if not self.shuffle:
            return index
        return self.stream.permutation(size, epoch)[index]

    def _walk(self, walk: StageCursor, memory: Memory) -> Iterator[Datapoint]:
        index, store = memory or 0, self._store
        if store.whole is None:
            if not self.shuffle or walk.epoch == 0:
                yield from self._kept_along(walk, index)
                return
            for _ in self._kept_along(walk, 0):  # the whole flow beneath is read before the first datapoint
                pass
        walk.inputs_at = []  # from here on the position is the index alone
        size = len(self)
        for number in range(index, size):
            place = number if walk.epoch == 0 else self._place(number, walk.epoch)
            datapoint = store.load(place)
            if datapoint is None:
                raise DataFlowError(f"{self}: datapoint {number} is no longer in {self.path}; delete that folder")
            walk.memory = number + 1
            yield datapoint

    def _kept_along(self, walk: StageCursor, index: int) -> Iterator[Datapoint]:
        """Hand out the flow beneath, and keep each datapoint on the way."""
        # A position of a whole cache has none of the input. If that cache is gone (it was in the memory of another
        # process), the datapoints before the index are read and passed over.
        passed = 0 if walk.resumes_inputs else index
        child = walk.open(self.ds, 0)
        for datapoint in itertools.islice(child, passed, None):
            kept = self._store.save(index, datapoint)
            index += 1
            walk.memory = index
            yield kept
        size = self.ds.size_or_none()
        if size is not None and index < size:  # else a flow that was cut short would pass for the whole
            raise self.ds._ended_early(size, index, 0)
        self._store.finish(index)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if self.path is None:
            state["_store"] = MemoryStore()
        return state


def chain_of(ds: DataFlow) -> str:
    """Name a flow's stages from its source on: what a cache was made of."""
    beneath = ", ".join(chain_of(child) for child in ds.children())
    return f"{beneath} > {ds.describe()}" if beneath else ds.describe()
