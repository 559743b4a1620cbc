"""Stages that stack datapoints of several shapes, or into windows: padded batches, batches by shape, windows."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...utils.arguments import check_int, old_spellings
from ...utils.errors import DataFlowError
from ..core.ahead import Piece, made_at
from ..core.base import DataFlow
from ..core.components import Key, check_key, items_of, missing_component, protected
from ..core.cursor import Datapoint, StageCursor
from ..core.datapoint import Component, Memory
from ..core.proxy import ProxyDataFlow
from ..core.stack import Collector, stack
from ..core.values import as_array, check_unmasked, is_hollow
from .batch import LEAVES_OUT, GroupingData
from .index_map import out_of_range

__all__ = ["BatchDataByShape", "PaddedBatchData", "WindowData"]


@old_spellings(**LEAVES_OUT)
class PaddedBatchData(GroupingData):
    """Stack datapoints into batches, padding arrays that are smaller than the largest of the batch.

    Lists of numbers (tokens, say) count as arrays; an empty list takes the dtype and the number of axes of the others.

    Args:
        ds: The flow beneath.
        batch_size: How many datapoints to a batch.
        pad_value: What to fill up with at the end of each axis: one value for all components, or a dict of component
            (position or key) -> value, the others taking 0. It must fit each array's dtype.
        remainder: Whether a last batch that is smaller is handed out.

    Order: that of ``ds``; indexable where ``ds`` is. The padded shape depends on the batch.

    State: that of ``ds``.

    Raises:
        DataFlowError: Arrays differ in their number of axes or dtype, or ``pad_value`` does not fit.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> ds = DataFromList([[np.array([1, 2, 3])], [np.array([4])]])
        >>> next(iter(PaddedBatchData(ds, 2, pad_value=-1)))
        [array([[ 1,  2,  3],
               [ 4, -1, -1]])]
    """

    def __init__(self, ds: DataFlow, batch_size: int, pad_value: object = 0, remainder: bool = False) -> None:
        super().__init__(ds, batch_size, remainder)
        self.pad_value = pad_value

    def _collector(self, rows: int) -> Collector:
        return _Padder(self.pad_value, self.describe())


class _Padder(Collector):
    """Collects rows; arrays are stacked at the end, when the largest shape is known."""

    def __init__(self, pad_value: object, owner: str) -> None:
        self._rows: list[Any] = []
        self._pad, self._owner = pad_value, owner

    def _add(self, datapoint: Datapoint) -> None:
        """Keep a row, its lists of numbers as arrays."""
        row = len(self._rows)
        self._rows.append(_changed(datapoint, lambda key, value: self._read(key, value, row)))

    def finish(self) -> Datapoint:
        # For each component an array of the padded shape and its dtype: one value, broadcast, which takes no memory.
        largest: dict[Any, np.ndarray] = {}
        for row, datapoint in enumerate(self._rows):
            for key, value in items_of(datapoint):
                if isinstance(value, np.ndarray) and value.ndim:
                    held = largest.get(key)
                    if held is not None and held.ndim != value.ndim:
                        raise DataFlowError(
                            f"{self._owner}: component {key!r} cannot be stacked: rows before have {held.ndim} axes, "
                            f"row {row} has shape {value.shape}. Padding makes axes longer, and never more of them"
                        )
                    shape = value.shape if held is None else tuple(map(max, held.shape, value.shape))
                    largest[key] = np.broadcast_to(np.empty((), value.dtype if held is None else held.dtype), shape)
        padded = [_changed(row, lambda key, value: self._filled(key, value, largest.get(key))) for row in self._rows]
        return stack(padded, self._owner)

    def _read(self, key: object, value: object, row: int) -> Component:
        if not isinstance(value, (list, tuple)) or is_hollow(value):
            return value
        array = as_array(value, f"{self._owner}: component {key!r}, row {row}")
        return value if array is None else array

    def _filled(self, key: object, value: object, largest: np.ndarray | None) -> Component:
        if largest is None:
            return value
        if is_hollow(value):  # it tells neither its dtype nor its axes
            value = np.empty((0,) * largest.ndim, largest.dtype)
        if not isinstance(value, np.ndarray) or value.shape == largest.shape or value.ndim != largest.ndim:
            return value
        check_unmasked(value, f"{self._owner}: component {key!r}")
        pad = self._pad.get(key, 0) if isinstance(self._pad, dict) else self._pad
        out, one = np.empty(largest.shape, value.dtype), np.empty(1, value.dtype)
        try:
            with np.errstate(over="raise"):
                one[:] = pad
            inexact = value.dtype.kind in "fc"
            rounds = inexact and isinstance(pad, (float, complex, np.inexact))
            # It fits if the cast keeps it. A float may be rounded, and NaN equals nothing. Compared by item(): NumPy
            # would cast a whole number to float16 too before comparing it with one.
            fits = bool(np.all((one[0].item() if inexact else one[0]) == pad)) or pad != pad or rounds
        except (ArithmeticError, ValueError, TypeError):
            fits = False
        if not fits:
            raise DataFlowError(f"{self._owner}: pad_value={pad!r} does not fit the {value.dtype} of component {key!r}")
        out[...] = one[0]
        out[tuple(map(slice, value.shape))] = value
        return out


def _changed(datapoint: Datapoint, change: Callable[[Any, Component], Component]) -> Datapoint:
    """A datapoint with ``change(key, component)`` for each component; what is none is left to the stacker to refuse."""
    if not isinstance(datapoint, (list, tuple, dict)):
        return datapoint
    made = {key: change(key, value) for key, value in items_of(datapoint)}
    return made if isinstance(datapoint, dict) else list(made.values())


@old_spellings(idx="index", **LEAVES_OUT)
class BatchDataByShape(ProxyDataFlow):
    """Stack datapoints of the same shape: batches out of pictures of many sizes, none of them cut or padded.

    A batch is handed out as soon as ``batch_size`` datapoints of a shape are there.

    Args:
        ds: The flow beneath.
        batch_size: How many datapoints to a batch.
        index: The component whose shape counts.
        remainder: Whether what is left at the end of an epoch is handed out as smaller batches, in the order in
            which their shapes came up.

    Order: that in which batches fill up. Not indexable and without a length.

    State: that of ``ds`` and, where ``ds`` is indexable, the indices of the datapoints that wait for a full batch; else
    a count, and going on reads ``ds`` from the start of the epoch.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> ds = DataFromList([[np.zeros(2)], [np.zeros(3)], [np.zeros(2)]])
        >>> [batch[0].shape for batch in BatchDataByShape(ds, 2, remainder=True)]
        [(2, 2), (1, 3)]
    """

    def __init__(self, ds: DataFlow, batch_size: int, index: Key = 0, remainder: bool = False) -> None:
        super().__init__(ds)
        self.batch_size = check_int("BatchDataByShape", "batch_size", batch_size)
        self.index, self.remainder = check_key(index, "BatchDataByShape"), remainder

    get = DataFlow.get  # it can only be iterated, also over a flow that is indexable

    def __len__(self) -> int:
        raise TypeError(f"the length of {self} is not known: it depends on the shapes")

    def shape_of(self, datapoint: Datapoint) -> tuple[int, ...]:
        """The shape that decides with whom a datapoint is stacked."""
        try:
            value = datapoint[self.index]
        except (LookupError, TypeError) as error:
            raise missing_component(datapoint, self.index, self.describe()) from error
        if isinstance(value, np.ndarray):
            return value.shape
        array = as_array(value, f"{self.describe()}: component {self.index!r}")
        return () if array is None else array.shape

    def _walk(self, walk: StageCursor, memory: Memory) -> Iterator[Datapoint]:
        handed, read, waiting = memory or (0, 0, [])
        # What waits belongs to the position. Over an indexable flow it is made again by index; else nothing makes those
        # datapoints alone, and the epoch is read again from its start.
        replays = not self.ds.indexable
        groups: dict[Any, list[tuple[int, Any]]] = {}
        if not replays:
            for number, datapoint in zip(waiting, made_at(self.ds, waiting, walk.epoch), strict=True):
                groups.setdefault(self.shape_of(datapoint), []).append((number, datapoint))
        batches = self._filled(walk.open(self.ds), 0 if replays else read, groups)
        for read, batch in itertools.islice(batches, handed if replays else 0, None):
            handed += 1
            if replays:
                walk.memory, walk.inputs_at = [handed, 0, []], [None]
            else:
                walk.memory = [handed, read, [number for group in groups.values() for number, _ in group]]
            yield batch

    def _filled(self, rest: Iterator[Datapoint], read: int, groups: dict[Any, Any]) -> Iterator[tuple[int, Datapoint]]:
        """Yield (number of datapoints read from the flow beneath so far, batch)."""
        for datapoint in rest:
            shape = self.shape_of(datapoint)
            group = groups.setdefault(shape, [])
            group.append((read, datapoint))
            read += 1
            if len(group) == self.batch_size:
                yield read, self._stacked(groups.pop(shape))
        while self.remainder and groups:  # in the order of the dict: that in which the shapes came up
            yield read, self._stacked(groups.pop(next(iter(groups))))

    def _stacked(self, group: list[tuple[int, Any]]) -> Datapoint:
        return stack([datapoint for _, datapoint in group], self.describe())

    def describe(self) -> str:
        return f"BatchDataByShape({self.batch_size})"


@old_spellings(**LEAVES_OUT)
class WindowData(ProxyDataFlow):
    """Stack consecutive datapoints into windows that may overlap: for time series and videos.

    Args:
        ds: The flow beneath.
        size: How many datapoints to a window.
        shift: How many datapoints lie between the starts of two windows; None takes ``size``: no overlap.
        stride: The distance between a window's datapoints; 2 takes every second one.
        remainder: Whether windows at the end that are not full are handed out.

    Order: that of ``ds``; indexable where ``ds`` is.

    State: that of ``ds`` at the window's start.

    Yields:
        Columns, stacked as ``BatchData`` does it.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> [w[0].tolist() for w in WindowData(DataFromList([[1], [2], [3], [4]]), 2, shift=1)]
        [[1, 2], [2, 3], [3, 4]]
    """

    def __init__(
        self, ds: DataFlow, size: int, shift: int | None = None, stride: int = 1, remainder: bool = False
    ) -> None:
        super().__init__(ds)
        self.window = check_int("WindowData", "size", size)
        self.shift = self.window if shift is None else check_int("WindowData", "shift", shift)
        self.stride = check_int("WindowData", "stride", stride)
        self.remainder = remainder
        self.span = (self.window - 1) * self.stride + 1
        self._reuses = self.span if self.shift < self.span else 0
        below = ds.size_or_none()
        if below is not None and below < self.span and not remainder:
            raise DataFlowError(f"WindowData: {ds} has {below} datapoints, a window spans {self.span}")

    def __len__(self) -> int:
        below = len(self.ds)
        return -(-below // self.shift) if self.remainder else (below - self.span) // self.shift + 1

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        first, stop = self._range(index)
        return self._stacked([self.ds.get(place, epoch) for place in range(first, stop, self.stride)])

    def _range(self, index: int) -> tuple[int, int]:
        """The datapoints of the flow beneath that a window covers: (first index, the index after the last)."""
        below = self.ds.size_or_none()
        first = index * self.shift
        stop = first + self.span if below is None else min(first + self.span, below)
        if index < 0 or stop <= first or (stop < first + self.span and not self.remainder):
            raise out_of_range(self, index)
        return first, stop

    def _stacked(self, rows: list[Any]) -> Datapoint:
        return stack(rows, self.describe())

    def _needs(self, first: int, stop: int, epoch: int) -> Iterator[Piece]:
        for index in range(first, stop):
            start, end = self._range(index)
            if self.stride == 1:
                yield index, index + 1, ((self.ds, start, end, epoch),)
            else:
                places = range(start, end, self.stride)
                yield index, index + 1, [(self.ds, place, place + 1, epoch) for place in places]

    def _assemble(self, parts: list[Datapoint], index: int, epoch: int) -> Datapoint:
        return self._shared(parts)

    def _shared(self, rows: list[Datapoint]) -> Datapoint:
        """Stack rows that the next window may hold too: each window gets objects of its own."""
        return self._stacked([protected(row) for row in rows])

    def _walk(self, walk: StageCursor, memory: object) -> Iterator[Datapoint]:
        child = walk.open(self.ds)
        rest = iter(child)
        held: collections.deque[tuple[Any, Any]] = collections.deque()  # (position before it, datapoint)
        while True:
            while len(held) < self.span:
                before = child.state()
                datapoint = next(rest, held)
                if datapoint is held:
                    break
                held.append((before, datapoint))
            if not held or (len(held) < self.span and not self.remainder):
                return
            window = self._shared([held[place][1] for place in range(0, len(held), self.stride)])
            for _ in range(min(self.shift, len(held))):
                held.popleft()
            for _ in range(self.shift - self.span):  # windows with gaps between them
                next(rest, None)
            # Windows overlap: the position is that of the next window's first row, which the input has already passed.
            walk.inputs_at = [held[0][0]] if held else None
            yield window

    def describe(self) -> str:
        return f"WindowData({self.window})"
