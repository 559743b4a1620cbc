"""Batching: datapoints stacked into columns."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ...utils.arguments import check_int, old_spellings
from ...utils.errors import DataFlowError
from ..core.ahead import Piece
from ..core.base import DataFlow
from ..core.cursor import Datapoint, StageCursor, in_a_row
from ..core.proxy import ProxyDataFlow
from ..core.stack import Collector, Stacker
from .index_map import out_of_range

__all__ = ["LEAVES_OUT", "BatchData", "GroupingData"]

_REMAINDER = "Write remainder=True to keep a last batch that is smaller; it is left out by default"
LEAVES_OUT = {"drop_last": _REMAINDER, "drop_remainder": _REMAINDER}
"""Names of PyTorch and tf.data for the opposite of ``remainder``: today's name alone would turn the meaning round."""


class GroupingData(ProxyDataFlow):
    """The base of stages that make one datapoint out of ``batch_size`` consecutive ones.

    A subclass defines ``_collector``, which does that.
    """

    def __init__(self, ds: DataFlow, batch_size: int, remainder: bool) -> None:
        super().__init__(ds)
        self.batch_size = check_int(type(self).__name__, "batch_size", batch_size)
        self.remainder = remainder
        size = ds.size_or_none()
        if size is not None and size < self.batch_size and not remainder:
            raise DataFlowError(
                f"{type(self).__name__}: {size} datapoints do not fill one batch of {batch_size}, so there would be "
                "no batch at all. Take a smaller batch_size, or remainder=True for a last batch that is smaller"
            )

    def __len__(self) -> int:
        size = len(self.ds)
        return -(-size // self.batch_size) if self.remainder else size // self.batch_size

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        start, stop = self._range(index)
        return self._collected(in_a_row(self.ds, start, stop, epoch), stop - start)

    def _range(self, index: int) -> tuple[int, int]:
        """The datapoints of one batch: (first index, the index after the last)."""
        start = index * self.batch_size
        size = self.ds.size_or_none()
        stop = start + self.batch_size if size is None else min(start + self.batch_size, size)
        if index < 0 or stop <= start or (stop < start + self.batch_size and not self.remainder):
            raise out_of_range(self, index)
        return start, stop

    def _collector(self, rows: int) -> Collector:
        raise NotImplementedError

    def _needs(self, first: int, stop: int, epoch: int) -> Iterator[Piece]:
        for index in range(first, stop):
            yield index, index + 1, ((self.ds, *self._range(index), epoch),)

    def _assemble(self, parts: list[Datapoint], index: int, epoch: int) -> Datapoint:
        return self._collected(parts, len(parts))

    def _collected(self, rows: Iterable[Datapoint], count: int) -> Datapoint:
        collector = self._collector(count)
        collector.extend(rows)
        return collector.finish()

    def rows_per_datapoint(self) -> int | None:
        below = self.ds.rows_per_datapoint()
        return None if below is None else below * self.batch_size

    def _walk(self, walk: StageCursor, memory: object) -> Iterator[Datapoint]:
        # It reads no further than the batch that it hands out, so the position of the input says all, without a memory.
        rows = iter(walk.open(self.ds))
        count = self.batch_size
        while count == self.batch_size:
            collector = self._collector(self.batch_size)
            collector.extend(itertools.islice(rows, self.batch_size))
            count = collector.count
            if count == self.batch_size or (count and self.remainder):
                yield collector.finish()

    def describe(self) -> str:
        return f"{type(self).__name__}({self.batch_size})"


@old_spellings(**LEAVES_OUT)
class BatchData(GroupingData):
    """Stack consecutive datapoints into batches.

    Arrays keep their dtype and get one more axis in front; Python's bool, int and float become bool, int64 and
    float64, as NumPy makes of them; a list of numbers counts as an array. Strings, bytes and other objects become
    arrays of dtype object. Rows whose shapes or dtypes differ are an error that names them: use ``PaddedBatchData``,
    ``BatchDataByShape`` or ``use_list`` for those. So are masked arrays, whose mask would be lost.

    Args:
        ds: The flow beneath.
        batch_size: How many datapoints to a batch.
        remainder: Whether a last batch that is smaller is handed out. Without it (the default, as a training step
            wants one shape) the last ``len(ds) % batch_size`` datapoints of an epoch are left out.
        use_list: Components become lists of rows instead of arrays: for rows of different shapes.

    Order: that of ``ds``; indexable where ``ds`` is. Over a vectorised flow (``DataFromArrays``) a whole batch is
    made in one call.

    State: that of ``ds``.

    Raises:
        DataFlowError: Rows differ in shape, dtype or components, or there are fewer datapoints than one batch.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> next(iter(BatchData(DataFromList([[1, "a"], [2, "b"]]), 2)))
        [array([1, 2]), array(['a', 'b'], dtype=object)]
    """

    def __init__(self, ds: DataFlow, batch_size: int, remainder: bool = False, use_list: bool = False) -> None:
        super().__init__(ds, batch_size, remainder)
        self.use_list = use_list

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        if self.use_list or not self.ds.vectorized:
            return super().get(index, epoch)
        start, stop = self._range(index)
        return self.ds.get_batch(np.arange(start, stop), epoch)

    _needs = GroupingData._needs  # said anew, as a get of its own makes an inherited one void; it holds for both ways

    def _collector(self, rows: int) -> Collector:
        return _Lists() if self.use_list else Stacker(rows, self.describe())


class _Lists(Collector):
    """Collects components as lists of rows."""

    def __init__(self) -> None:
        self._rows: list[Any] = []

    def _add(self, datapoint: Datapoint) -> None:
        first = self._rows[0] if self._rows else datapoint
        if not isinstance(datapoint, (list, tuple, dict)) or len(datapoint) != len(first):
            raise DataFlowError(
                f"BatchData: row 0 is {first!r:.80}, row {len(self._rows)} is {datapoint!r:.80}: "
                "all datapoints of a batch must be lists or dicts with the same components"
            )
        self._rows.append(datapoint)

    def finish(self) -> Datapoint:
        if isinstance(self._rows[0], dict):
            return {key: [row[key] for row in self._rows] for key in self._rows[0]}
        return [list(column) for column in zip(*self._rows, strict=True)]
