"""More stages that group datapoints: padded batches, batches of one shape, windows."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...utils.arguments import check_int, old_spellings
from ...utils.errors import DataFlowError
from ..core.base import DataFlow, ProxyDataFlow
from ..core.components import Key, check_key, missing_component, protected
from ..core.cursor import Cursor, Datapoint, IndexCursor
from ..core.stack import Stacker, stack
from ..core.values import as_array, check_unmasked, is_hollow
from .batch import GroupingData
from .slices import out_of_range

__all__ = ["BatchDataByShape", "PaddedBatchData", "WindowData"]


class PaddedBatchData(GroupingData):
    """Stack datapoints into batches, padding arrays that are smaller than the largest of the batch.

    Lists of numbers (tokens, say) count as arrays; an empty list takes the dtype and the number of axes of the others.

    Args:
        ds: The flow beneath.
        batch_size: How many datapoints to a batch.
        pad_value: What to fill up with, at the end of each axis; one for all components, or a dict of component
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

    def __init__(self, ds: DataFlow, batch_size: int, pad_value: Any = 0, remainder: bool = False) -> None:
        super().__init__(ds, batch_size, remainder)
        self.pad_value = pad_value

    def _collector(self, rows: int) -> Any:
        return _Padder(self.pad_value, self.describe())


class _Padder:
    """Collects rows; arrays are stacked at the end, when the largest shape is known."""

    def __init__(self, pad_value: Any, owner: str) -> None:
        self._rows: list[Any] = []
        self._pad, self._owner = pad_value, owner

    def add(self, datapoint: Any) -> None:
        """Keep a row, its lists of numbers as arrays."""
        row, items = len(self._rows), _items(datapoint)
        if items is not None:
            read = {key: self._read(key, value, row) for key, value in items}
            datapoint = read if isinstance(datapoint, dict) else list(read.values())
        self._rows.append(datapoint)

    def finish(self) -> Any:
        largest: dict[Any, np.ndarray] = {}  # of each component an array of the padded shape, and its dtype
        for row, datapoint in enumerate(self._rows):
            for key, value in _items(datapoint) or ():
                if isinstance(value, np.ndarray) and value.ndim:
                    held = largest.get(key)
                    if held is not None and held.ndim != value.ndim:
                        raise DataFlowError(
                            f"{self._owner}: component {key!r} cannot be stacked: rows before have {held.ndim} axes, "
                            f"row {row} has shape {value.shape}. Padding makes axes longer, and never more of them"
                        )
                    shape = value.shape if held is None else tuple(map(max, held.shape, value.shape))
                    largest[key] = np.broadcast_to(np.empty((), value.dtype if held is None else held.dtype), shape)
        return stack([self._padded(datapoint, largest) for datapoint in self._rows], self._owner)

    def _read(self, key: Any, value: Any, row: int) -> Any:
        if not isinstance(value, (list, tuple)) or is_hollow(value):
            return value
        array = as_array(value, f"{self._owner}: component {key!r}, row {row}")
        return value if array is None else array

    def _padded(self, datapoint: Any, largest: dict[Any, np.ndarray]) -> Any:
        items = _items(datapoint)
        if items is None:
            return datapoint  # the error is the stacker's
        padded = {key: self._filled(key, value, largest.get(key)) for key, value in items}
        return padded if isinstance(datapoint, dict) else list(padded.values())

    def _filled(self, key: Any, value: Any, largest: np.ndarray | None) -> Any:
        if largest is None:
            return value
        if is_hollow(value):  # it tells neither its dtype nor its axes
            value = np.empty((0,) * largest.ndim, largest.dtype)
        if not isinstance(value, np.ndarray) or value.shape == largest.shape or value.ndim != largest.ndim:
            return value
        check_unmasked(value, f"{self._owner}: component {key!r}")
        pad = self._pad.get(key, 0) if isinstance(self._pad, dict) else self._pad
        out = np.empty(largest.shape, value.dtype)
        try:
            out[...] = pad
            fits = bool(np.all(out.flat[0] == pad)) or pad != pad or value.dtype.kind == "f"  # NaN is not itself
        except (OverflowError, ValueError, TypeError):
            fits = False
        if not fits:
            raise DataFlowError(f"{self._owner}: pad_value={pad!r} does not fit the {value.dtype} of component {key!r}")
        out[tuple(map(slice, value.shape))] = value
        return out


def _items(datapoint: Any) -> Iterable[tuple[Any, Any]] | None:
    """The components with their keys; None of what is no datapoint."""
    if isinstance(datapoint, dict):
        return datapoint.items()
    return enumerate(datapoint) if isinstance(datapoint, (list, tuple)) else None


@old_spellings(idx="index")
class BatchDataByShape(ProxyDataFlow):
    """Stack datapoints whose shape is the same: batches of pictures of many sizes, none of them cut or padded.

    A batch is handed out as soon as ``batch_size`` datapoints of a shape are there.

    Args:
        ds: The flow beneath.
        batch_size: How many datapoints to a batch.
        index: The component whose shape counts.
        remainder: Whether what is left at the end of an epoch is handed out as smaller batches, in the order in
            which their shapes came up.

    Order: that in which batches fill up. Not indexable and without a length.

    State: that of ``ds`` and, where ``ds`` is indexable, the numbers of the datapoints that wait; else a count, and
    going on walks ``ds`` up to it.

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

    @property
    def indexable(self) -> bool:
        return False

    def __len__(self) -> int:
        raise TypeError(f"the length of {self} is not known: it depends on the shapes")

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        return DataFlow.get(self, index, epoch)

    def shape_of(self, datapoint: Any) -> tuple[int, ...]:
        """The shape that decides with whom a datapoint is stacked."""
        try:
            value = datapoint[self.index]
        except (LookupError, TypeError) as error:
            raise missing_component(datapoint, self.index, self.describe()) from error
        if isinstance(value, np.ndarray):
            return value.shape
        array = as_array(value, f"{self.describe()}: component {self.index!r}")
        return () if array is None else array.shape

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        return _ShapeCursor(self, epoch, state)

    def describe(self) -> str:
        return f"BatchDataByShape({self.batch_size})"


class _ShapeCursor(Cursor):
    def __init__(self, stage: BatchDataByShape, epoch: int, state: Any = None) -> None:
        super().__init__(epoch)
        self._stage = stage
        self._handed, self._read, self._waiting, below = state or (0, 0, [], None)
        self._replays = not stage.ds.indexable
        self._child = stage.ds._open(epoch, None if self._replays else below)
        self._groups: dict[Any, list[tuple[int, Any]]] = {}
        self._began = self._ended = False

    def __next__(self) -> Datapoint:
        if not self._began:
            self._begin()
        batch = self._filled()
        self._handed += 1
        return batch

    def _begin(self) -> None:
        self._began = True
        if self._replays:
            self._read = 0
            for _ in range(self._handed):
                self._filled()
            return
        for number in self._waiting:
            self._put(number, self._stage.ds.get(number, self.epoch))

    def _put(self, number: int, datapoint: Any) -> list[tuple[int, Any]]:
        group = self._groups.setdefault(self._stage.shape_of(datapoint), [])
        group.append((number, datapoint))
        return group

    def _filled(self) -> Datapoint:
        stage = self._stage
        if not self._ended:
            for datapoint in self._child:
                group = self._put(self._read, datapoint)
                self._read += 1
                if len(group) == stage.batch_size:
                    return self._stacked(stage.shape_of(datapoint))
            self._ended = True
        if stage.remainder and self._groups:
            return self._stacked(next(iter(self._groups)))
        raise StopIteration

    def _stacked(self, shape: Any) -> Any:
        return stack([datapoint for _, datapoint in self._groups.pop(shape)], self._stage.describe())

    def state(self) -> list[Any]:
        if not self._began:
            return [self._handed, self._read, list(self._waiting), None if self._replays else self._child.state()]
        waiting = [] if self._replays else [number for group in self._groups.values() for number, _ in group]
        return [self._handed, self._read, waiting, None if self._replays else self._child.state()]

    def close(self) -> None:
        self._child.close()


class WindowData(ProxyDataFlow):
    """Stack datapoints that follow each other into windows that may overlap: for time series and videos.

    Args:
        ds: The flow beneath.
        size: How many datapoints to a window.
        shift: By how many datapoints the next window starts later; None takes ``size``: no overlap.
        stride: The distance of a window's datapoints.
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
        below = ds.size_or_none()
        if below is not None and below < self.span and not remainder:
            raise DataFlowError(f"WindowData: {ds} has {below} datapoints, a window spans {self.span}")

    def __len__(self) -> int:
        below = len(self.ds)
        return -(-below // self.shift) if self.remainder else (below - self.span) // self.shift + 1

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        below = self.ds.size_or_none()
        first = index * self.shift
        stop = first + self.span if below is None else min(first + self.span, below)
        if index < 0 or stop <= first or (stop < first + self.span and not self.remainder):
            raise out_of_range(self, index)
        return self._stacked([self.ds.get(place, epoch) for place in range(first, stop, self.stride)])

    def _stacked(self, rows: list[Any]) -> Any:
        stacker = Stacker(len(rows), self.describe())
        for row in rows:
            stacker.add(row)
        return stacker.finish()

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        return IndexCursor(self, epoch, state) if self.indexable else _WindowCursor(self, epoch, state)

    def describe(self) -> str:
        return f"WindowData({self.window})"


class _WindowCursor(Cursor):
    def __init__(self, stage: WindowData, epoch: int, state: Any = None) -> None:
        super().__init__(epoch)
        self._stage = stage
        self._child = stage.ds._open(epoch, state)
        self._held: collections.deque[tuple[Any, Any]] = collections.deque()  # with the position before each

    def __next__(self) -> Datapoint:
        stage, held = self._stage, self._held
        while len(held) < stage.span:
            before = self._child.state()
            datapoint = next(self._child, held)
            if datapoint is held:
                break
            held.append((before, datapoint))
        if not held or (len(held) < stage.span and not stage.remainder):
            raise StopIteration
        rows = [
            protected(held[place][1]) for place in range(0, len(held), stage.stride)
        ]  # the next window has them too
        window = stage._stacked(rows)
        for _ in range(min(stage.shift, len(held))):
            held.popleft()
        for _ in range(stage.shift - stage.span):  # windows with gaps between them
            next(self._child, None)
        return window

    def state(self) -> Any:
        return self._held[0][0] if self._held else self._child.state()

    def close(self) -> None:
        self._child.close()
