"""Stacking datapoints into columns. No value is changed, cast or cut on the way.

The dtype of a column follows from its rows alone, as :mod:`~flowtrain.dataflow.core.values` says: arrays and NumPy
scalars keep theirs; Python's bool becomes bool, int int64, float float64; a list of numbers counts as an array of
them. Strings, bytes and any other object become columns of dtype object. A dict is stacked key by key. Rows that differ
in shape, dtype or kind are an error, whichever of them comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ipc.buffers import empty
from ...utils.errors import DataFlowError
from .values import SCALARS, as_array, is_hollow

__all__ = ["Stacker", "stack"]


def stack(datapoints: Sequence[Any], owner: str) -> Any:
    """Stack some datapoints.

    Args:
        datapoints: At least one; lists, tuples or dicts with the same components.
        owner: Named in errors.

    Returns:
        A list or dict of columns with one row per datapoint.
    """
    stacker = Stacker(len(datapoints), owner)
    for datapoint in datapoints:
        stacker.add(datapoint)
    return stacker.finish()


class Stacker:
    """Columns that are filled row by row, each row as soon as it is made.

    The memory is asked for when the first row is there, since that row says the shapes.

    Args:
        rows: How many rows there is room for.
        owner: Named in errors.
    """

    def __init__(self, rows: int, owner: str) -> None:
        self.count = 0
        self._rows, self._owner = rows, owner
        self._keys: list[Any] = []
        self._kind: type = list
        self._columns: list[_Column] = []
        self._writers: list[Callable[[int, Any], None]] = []

    def add(self, datapoint: Any) -> None:
        """Write the next row."""
        row = self.count
        if type(datapoint) is not self._kind or not row:
            self._begin(datapoint)
        if self._kind is dict:
            if datapoint.keys() != self._known:
                raise self._different(datapoint)
            datapoint = [datapoint[key] for key in self._keys]
        elif len(datapoint) != len(self._writers):
            raise self._different(datapoint)
        for write, value in zip(self._writers, datapoint):  # noqa: B905 - lengths were compared
            write(row, value)
        self.count = row + 1

    def finish(self) -> Any:
        """The columns, as long as there are rows."""
        columns = [column.finish(self.count) for column in self._columns]
        if self._kind is dict:
            return dict(zip(self._keys, columns, strict=True))
        return columns

    def _begin(self, datapoint: Any) -> None:
        if not isinstance(datapoint, (list, tuple, dict)):
            raise DataFlowError(
                f"{self._owner}: a datapoint is a list, a tuple or a dict of components; got "
                f"{type(datapoint).__name__} in row {self.count}. Return [x] instead of x where it is made."
            )
        if self.count:
            if isinstance(datapoint, dict) or self._kind is dict:
                raise self._different(datapoint)
            return  # a list among tuples or the other way: the components count
        self._kind = dict if isinstance(datapoint, dict) else type(datapoint)
        self._keys = list(datapoint) if isinstance(datapoint, dict) else list(range(len(datapoint)))
        self._known = set(self._keys)
        values = datapoint.values() if isinstance(datapoint, dict) else datapoint
        self._columns = [
            _column(value, self._rows, f"{self._owner}: component {key!r}")
            for key, value in zip(self._keys, values, strict=True)
        ]
        self._writers = [column.write for column in self._columns]

    def _different(self, datapoint: Any) -> DataFlowError:
        def shown(keys: list[Any], kind: type) -> str:
            return f"the keys {keys}" if kind is dict else f"{len(keys)} components"

        got = shown(list(datapoint), dict) if isinstance(datapoint, dict) else f"{len(datapoint)} components"
        return DataFlowError(
            f"{self._owner}: row 0 has {shown(self._keys, self._kind)}, row {self.count} has {got}: "
            f"all datapoints of a batch must have the same{self._mend(datapoint)}"
        )

    def _mend(self, datapoint: Any) -> str:
        if self._kind is not dict or not isinstance(datapoint, dict):
            return ""
        missing = next(iter(self._known ^ set(datapoint)))
        return f". Where one may be missing, fill it below: MapData(ds, lambda dp: {{{missing!r}: ..., **dp}})"


class _Column:
    """One component of all rows."""

    def write(self, row: int, value: Any) -> None:
        raise NotImplementedError

    def finish(self, count: int) -> Any:
        raise NotImplementedError


class _ArrayColumn(_Column):
    """Rows that are arrays of one shape and dtype."""

    def __init__(self, first: np.ndarray, rows: int, where: str, row: int) -> None:
        self._shape, self._dtype, self._where, self._first = first.shape, first.dtype, where, row
        self._data = empty((rows, *first.shape), first.dtype)  # in a worker this is the consumer's memory: written once

    def write(self, row: int, value: Any) -> None:
        if type(value) is not np.ndarray:
            value = self._read(row, value)
        if value.shape != self._shape or value.dtype != self._dtype:
            raise self._differs(row, value)
        self._data[row] = value

    def finish(self, count: int) -> np.ndarray:
        return self._data if count == len(self._data) else self._data[:count]

    def _read(self, row: int, value: Any) -> np.ndarray:
        array = as_array(value, f"{self._where}, row {row}", self._dtype)
        if array is None:
            raise DataFlowError(
                f"{self._where} cannot be stacked: row {self._first} is {_shown_array(self._shape, self._dtype)}, row "
                f"{row} is not an array but {_shown_object(value)}"
            )
        return array

    def _differs(self, row: int, value: np.ndarray) -> DataFlowError:
        if value.shape != self._shape:
            return DataFlowError(
                f"{self._where} cannot be stacked: row {self._first} has shape {self._shape}, row {row} has shape "
                f"{value.shape}. Resize or crop to one shape before, or use PaddedBatchData, BatchDataByShape or "
                "use_list=True"
            )
        return DataFlowError(
            f"{self._where} cannot be stacked: row {self._first} has dtype {self._dtype}, row {row} has dtype "
            f"{value.dtype}; nothing is cast silently, so make them one dtype where they are made"
        )


class _ScalarColumn(_Column):
    """Rows that are numbers of one dtype: Python's or NumPy's."""

    def __init__(self, first: Any, rows: int, where: str, row: int) -> None:
        self._type, self._where, self._first = type(first), where, row
        self._data = empty((rows,), SCALARS.get(type(first)) or first.dtype)

    def write(self, row: int, value: Any) -> None:
        if type(value) is not self._type:
            value = self._read(row, value)
        try:
            self._data[row] = value
        except OverflowError as error:
            raise DataFlowError(
                f"{self._where}: {value} in row {row} does not fit into int64; make it a NumPy number of a dtype "
                "that holds it, e.g. numpy.uint64"
            ) from error

    def finish(self, count: int) -> np.ndarray:
        return self._data if count == len(self._data) else self._data[:count]

    def _read(self, row: int, value: Any) -> Any:
        """A value of another type, as it is where its dtype is the column's: an int beside an int64."""
        array = as_array(value, f"{self._where}, row {row}")
        if array is None or array.shape or array.dtype != self._data.dtype:
            got = _shown_object(value) if array is None else _shown_number(value, array)
            raise DataFlowError(
                f"{self._where} cannot be stacked: row {self._first} is {self._type.__name__}, row {row} is {got}; "
                "nothing is cast silently, so make them one type where they are made"
            )
        return array[()]


class _ObjectColumn(_Column):
    """Rows of anything else: strings, bytes, None, objects."""

    def __init__(self, first: Any, rows: int, where: str, row: int) -> None:
        self._data, self._where, self._first, self._held = np.empty(rows, object), where, row, first
        # of lists it has to be looked at each whether they are arrays
        self._type = type(first) if isinstance(first, (str, bytes)) else None

    def write(self, row: int, value: Any) -> None:
        if type(value) is not self._type:
            self._check(row, value)
        self._data[row] = value

    def finish(self, count: int) -> np.ndarray:
        return self._data[:count]

    def _check(self, row: int, value: Any) -> None:
        if is_hollow(value):
            return
        array = as_array(value, f"{self._where}, row {row}")
        if array is not None or isinstance(value, dict):
            got = "a dict" if array is None else _shown_number(value, array)
            raise DataFlowError(
                f"{self._where} cannot be stacked: row {self._first} is {_shown_object(self._held)}, row {row} is "
                f"{got}. Make all rows numbers (NaN or -1 where there is none), or all of them objects"
            )


class _HollowColumn(_Column):
    """Rows that are empty lists so far: the first row that is none says what they are."""

    def __init__(self, rows: int, where: str) -> None:
        self._rows, self._where = rows, where
        self._held: list[Any] = []
        self._column: _Column | None = None

    def write(self, row: int, value: Any) -> None:
        if self._column is None and is_hollow(value):
            self._held.append(value)
            return
        if self._column is None:
            if isinstance(value, dict):
                raise DataFlowError(f"{self._where} cannot be stacked: row 0 is an empty list, row {row} is a dict")
            self._column = _column(value, self._rows, self._where, row)
            for place, held in enumerate(self._held):
                self._column.write(place, held)
        self._column.write(row, value)

    def finish(self, count: int) -> Any:
        column = self._column
        if column is None:  # NumPy's dtype for what is empty
            column = _ArrayColumn(np.array(self._held[0], np.float64), self._rows, self._where, 0)
            for place, held in enumerate(self._held):
                column.write(place, held)
        return column.finish(count)


class _DictColumn(_Column):
    """Rows that are dicts: stacked key by key."""

    def __init__(self, rows: int, where: str) -> None:
        self._stacker, self._where = Stacker(rows, where), where

    def write(self, row: int, value: Any) -> None:
        if not isinstance(value, dict):
            raise DataFlowError(f"{self._where}: row 0 is a dict, row {row} is {type(value).__name__}")
        self._stacker.add(value)

    def finish(self, count: int) -> Any:
        return self._stacker.finish()


def _column(first: Any, rows: int, where: str, row: int = 0) -> _Column:
    if isinstance(first, dict):
        return _DictColumn(rows, where)
    # the type of a timedelta64 does not tell its unit, as its dtype does
    if type(first) in SCALARS or (isinstance(first, (np.number, np.bool_)) and not isinstance(first, np.timedelta64)):
        return _ScalarColumn(first, rows, where, row)
    if is_hollow(first):
        return _HollowColumn(rows, where)
    array = as_array(first, f"{where}, row {row}")
    return _ObjectColumn(first, rows, where, row) if array is None else _ArrayColumn(array, rows, where, row)


def _shown_array(shape: tuple[int, ...], dtype: Any) -> str:
    return f"an array of shape {shape} and dtype {dtype}"


def _shown_number(value: Any, array: np.ndarray) -> str:
    return _shown_array(array.shape, array.dtype) if array.shape else type(value).__name__


def _shown_object(value: Any) -> str:
    kind = type(value).__name__
    return "None (dtype object)" if value is None else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} (dtype object)"
