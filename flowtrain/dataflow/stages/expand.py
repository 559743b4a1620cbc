"""Stages that make several datapoints out of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ...utils.errors import USER_ERRORS, DataFlowError
from ..core.base import DataFlow
from ..core.cursor import Datapoint, StageCursor
from ..core.datapoint import Component, Memory
from ..core.proxy import ProxyDataFlow
from .map import check_callable, function_name

__all__ = ["ExpandedData", "FlatMapData", "UnbatchData"]


class ExpandedData(ProxyDataFlow):
    """The base of stages that make several datapoints of each.

    A subclass defines ``_expand``, the datapoints that one datapoint becomes.
    """

    def _expand(self, datapoint: Datapoint, index: int, epoch: int) -> Iterable[Datapoint]:
        raise NotImplementedError

    get = DataFlow.get  # it can only be iterated, also over a flow that is indexable

    def __len__(self) -> int:
        raise TypeError(f"the length of {self} is not known: each datapoint may become any number of them")

    def _walk(self, walk: StageCursor, memory: Memory) -> Iterator[Datapoint]:
        first, handed = memory or (0, 0)
        child = walk.open(self.ds)
        # A position is that before the current datapoint, and how many of its parts were handed out: going on makes it
        # again and passes those over.
        before = child.state()
        for index, datapoint in enumerate(child, first):
            try:
                for number, part in enumerate(self._expand(datapoint, index, walk.epoch), 1):
                    if number > handed:
                        walk.memory, walk.inputs_at = [index, number], [before]
                        yield part
            except Exception as error:  # not BaseException: a GeneratorExit at the yield is the end of this walk
                self._fail(error, index, walk.epoch)
            before, handed = child.state(), 0


class FlatMapData(ExpandedData):
    """Make any number of datapoints out of each: the tiles of a picture, the sentences of a text.

    Args:
        ds: The flow beneath.
        func: Takes a datapoint and returns, or yields, datapoints; none is fine.

    Order: that of ``ds``, and for each datapoint the order in which ``func`` gives its parts. Not indexable and without
    a length. If each datapoint becomes equally many, write a ``DataFlow`` with ``get`` instead, which is indexable.

    State: that of ``ds``, and how many parts of the current datapoint were handed out.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(FlatMapData(DataFromList([["a b"], ["c"]]), lambda dp: [[word] for word in dp[0].split()]))
        [['a'], ['b'], ['c']]
    """

    def __init__(self, ds: DataFlow, func: Callable[[Any], Iterable[Any]]) -> None:
        super().__init__(ds)
        check_callable(func, "FlatMapData", "a datapoint")
        self.func = func

    def _expand(self, datapoint: Datapoint, index: int, epoch: int) -> Iterable[Datapoint]:
        try:
            made = self.func(datapoint)
        except USER_ERRORS as error:
            self._fail(error, index, epoch)
        if not isinstance(made, Iterable) or isinstance(made, (str, bytes, dict)):
            raise DataFlowError(
                f"{self.describe()}: the function must return a list of datapoints (or yield them); for datapoint "
                f"{index} of epoch {epoch} it returned {type(made).__name__}"
            )
        return made

    def describe(self) -> str:
        return f"FlatMapData({function_name(self.func)})"


class UnbatchData(ExpandedData):
    """Take batches apart into datapoints again.

    Args:
        ds: A flow of batches: lists or dicts of columns with equally many rows.

    Order: that of ``ds``. Not indexable and without a length, since batches may be of any size.

    State: that of ``ds``, and how many rows of the current batch were handed out.

    Raises:
        DataFlowError: The columns of a batch have different numbers of rows.

    Example:
        >>> from flowtrain.dataflow import BatchData, DataFromList
        >>> list(UnbatchData(BatchData(DataFromList([["a"], ["b"]]), 2)))
        [['a'], ['b']]
    """

    def _expand(self, datapoint: Datapoint, index: int, epoch: int) -> Iterable[Datapoint]:
        columns = datapoint.values() if isinstance(datapoint, dict) else datapoint
        rows = {_rows(column) for column in columns} if isinstance(datapoint, (list, tuple, dict)) else {None}
        if len(rows) != 1 or None in rows:
            raise DataFlowError(
                f"UnbatchData: batch {index} of epoch {epoch} must be a list or dict of columns with equally many "
                f"rows; it has {sorted(map(str, rows))}"
            )
        for row in range(rows.pop() or 0):
            yield _row(datapoint, row)


def _rows(column: object) -> int | None:
    if isinstance(column, dict):
        counts = {_rows(part) for part in column.values()}
        return counts.pop() if len(counts) == 1 else None
    return len(column) if isinstance(column, list) or (isinstance(column, np.ndarray) and column.ndim) else None


def _row(batch: Datapoint, row: int) -> Datapoint:
    def one(column: Component) -> Component:
        return _row(column, row) if isinstance(column, dict) else column[row]

    if isinstance(batch, dict):
        return {key: one(column) for key, column in batch.items()}
    return [one(column) for column in batch]
