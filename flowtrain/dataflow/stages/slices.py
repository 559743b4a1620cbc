"""Stages that hand out a part of a flow (the first, all but the first, every n-th), and ShuffleData."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np

from ...utils.arguments import check_int
from ...utils.errors import DataFlowError
from ..core.base import DataFlow
from ..core.cursor import Datapoint, StageCursor
from ..core.datapoint import Memory
from ..core.proxy import ProxyDataFlow
from ..core.random_flow import RNGDataFlow
from .index_map import IndexMap, check_indices, endless, out_of_range

__all__ = ["ShardData", "ShuffleData", "SkipData", "TakeData"]


class _Part(IndexMap, ProxyDataFlow):
    """The base of stages whose datapoint i is datapoint ``first + i * step`` of the flow beneath."""

    first: int = 0
    step: int = 1
    limit: int | None = None  # how many datapoints there are at most

    def _size(self, below: int) -> int:
        """The stage's length over a flow of length ``below``."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self._size(len(self.ds))

    @property
    def vectorized(self) -> bool:
        return self.ds.vectorized

    def _source(self, index: int, epoch: int) -> tuple[DataFlow, int, int]:
        size = self.size_or_none()
        if index < 0 or (size is not None and index >= size):
            raise out_of_range(self, index)
        return self.ds, self.first + index * self.step, epoch

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Datapoint:
        indices = np.asarray(indices)
        check_indices(self, indices)
        return self.ds.get_batch(self.first + indices * self.step, epoch)

    def _walk(self, walk: StageCursor, memory: Memory) -> Iterator[Datapoint]:
        handed = memory or 0
        passed = self.step - 1 if handed else self.first
        rest = itertools.islice(walk.open(self.ds), passed, None, self.step)
        for datapoint in itertools.islice(rest, None if self.limit is None else self.limit - handed):
            handed += 1
            walk.memory = handed
            yield datapoint


class TakeData(_Part):
    """Hand out only the first datapoints of each epoch: to try something on little data, or to bound an endless flow.

    Args:
        ds: The flow beneath.
        num: How many; fewer where ``ds`` has fewer.

    Order: that of ``ds``; indexable and vectorised where ``ds`` is.

    State: that of ``ds``.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(TakeData(DataFromList([[1], [2], [3]]), 2))
        [[1], [2]]
    """

    _in_order = True

    def __init__(self, ds: DataFlow, num: int) -> None:
        super().__init__(ds)
        self.limit = self._num = check_int("TakeData", "num", num)

    def _size(self, below: int) -> int:
        return min(self._num, below)

    def __len__(self) -> int:
        return self._num if endless(self.ds) else super().__len__()

    def rows_per_datapoint(self) -> int | None:
        return self.ds.rows_per_datapoint()

    def describe(self) -> str:
        return f"TakeData({self._num})"


class SkipData(_Part):
    """Leave out the first datapoints of each epoch.

    Args:
        ds: The flow beneath.
        num: How many to leave out.

    Order: that of ``ds``; indexable and vectorised where ``ds`` is.

    State: that of ``ds``.

    Raises:
        DataFlowError: Nothing would be left.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(SkipData(DataFromList([[1], [2], [3]]), 2))
        [[3]]
    """

    _in_order = True

    def __init__(self, ds: DataFlow, num: int) -> None:
        super().__init__(ds)
        self.first = check_int("SkipData", "num", num, least=0)
        size = ds.size_or_none()
        if size is not None and self.first >= size:
            raise DataFlowError(f"SkipData({num}) leaves nothing of {ds}, which has {size} datapoints")

    def _size(self, below: int) -> int:
        return below - self.first

    def describe(self) -> str:
        return f"SkipData({self.first})"


class ShardData(_Part):
    """Hand out every n-th datapoint: one machine's or one process's part of a flow.

    Args:
        ds: The flow beneath, built alike everywhere.
        num_shards: How many parts there are.
        index: Which part, from 0: it gets the datapoints ``index``, ``index + num_shards``, ...

    Order: that of ``ds``; indexable and vectorised where ``ds`` is. The parts together are ``ds``, each datapoint
    once; where ``len(ds)`` is no multiple of ``num_shards`` the first parts have one more.

    State: that of ``ds``.

    Raises:
        DataFlowError: There is no such part, or it would be empty.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(ShardData(DataFromList([[1], [2], [3]]), num_shards=2, index=0))
        [[1], [3]]
    """

    def __init__(self, ds: DataFlow, num_shards: int, index: int) -> None:
        super().__init__(ds)
        self.step = check_int("ShardData", "num_shards", num_shards)
        self.first = check_int("ShardData", "index", index, least=0)
        if self.first >= self.step:
            raise DataFlowError(f"ShardData: index is from 0 to num_shards - 1 = {self.step - 1}, not {index}")
        size = ds.size_or_none()
        if size is not None and self.first >= size:
            raise DataFlowError(f"ShardData: part {index} of {num_shards} is empty: {ds} has only {size} datapoints")

    def _size(self, below: int) -> int:
        return (below - self.first + self.step - 1) // self.step

    def describe(self) -> str:
        return f"ShardData({self.first} of {self.step})"


class ShuffleData(IndexMap, ProxyDataFlow, RNGDataFlow):
    """Hand out a flow's datapoints in a new random order each epoch: a full shuffle, without a buffer.

    Args:
        ds: The flow beneath; indexable and finite. Sources have ``shuffle=True`` for the same.
        seed: None takes the default.

    Order: depends on (seed, epoch). It is computed by index and never stored, so 10**9 datapoints shuffle at once.
    Indexable; vectorised where ``ds`` is.

    State: one number.

    Raises:
        DataFlowError: ``ds`` can only be iterated (use ``LocallyShuffleData``), or never ends.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> sorted(ShuffleData(DataFromList([[1], [2], [3]])))
        [[1], [2], [3]]
    """

    def __init__(self, ds: DataFlow, seed: int | Literal["random"] | None = None) -> None:
        ProxyDataFlow.__init__(self, ds)
        RNGDataFlow.__init__(self, seed)
        if not ds.indexable:
            raise DataFlowError(
                f"ShuffleData needs to reach any datapoint alone, but {ds._blocker()} can only be iterated. Shuffle "
                "beneath it, or use LocallyShuffleData, which shuffles within a buffer"
            )
        if endless(ds):
            raise DataFlowError(
                f"ShuffleData: {ds} never ends. Shuffle beneath RepeatedData, or use LocallyShuffleData"
            )

    @property
    def vectorized(self) -> bool:
        return self.ds.vectorized

    def _source(self, index: int, epoch: int) -> tuple[DataFlow, int, int]:
        size = len(self)
        if not 0 <= index < size:
            raise out_of_range(self, index)
        return self.ds, self.stream.permutation(size, epoch)[index], epoch

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Datapoint:
        return self.ds.get_batch(self.stream.permutation(len(self), epoch).take(indices), epoch)
