"""Stacking datapoints into columns. No value is changed, cast or cut on the way.

The dtype of a column follows from its rows alone, as :mod:`~flowtrain.dataflow.core.values` says: arrays and NumPy
scalars keep theirs; Python's bool becomes bool, int int64, float float64; a list of numbers counts as an array of
them. Strings, bytes and any other object become columns of dtype object. A dict is stacked key by key. Rows that differ
in shape, dtype or kind are an error, whichever of them comes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ...ipc.buffers import empty
from ...utils.errors import DataFlowError
from .datapoint import Component, Datapoint
from .values import SCALARS, as_array, is_hollow

__all__ = ["Collector", "Stacker", "stack"]


def stack(datapoints: Sequence[Any], owner: str) -> Datapoint:
    """Stack datapoints into columns.

    Args:
        datapoints: At least one; lists, tuples or dicts with the same components.
        owner: Named in errors.

    Returns:
        A list or dict of columns with one row per datapoint.
    """
    stacker = Stacker(len(datapoints), owner)
    stacker.extend(datapoints)
    return stacker.finish()


class Collector:
    """Makes one datapoint of several: is given them row by row, then asked for the result.

    Attributes:
        count: How many rows it was given.
    """

    count = 0

    def extend(self, datapoints: Iterable[Any]) -> None:
        """Take more rows, each before the next one is made."""
        for datapoint in datapoints:
            self._add(datapoint)
            self.count += 1

    def _add(self, datapoint: Datapoint) -> None:
        raise NotImplementedError

    def finish(self) -> Datapoint:
        """The datapoint made of all rows."""
        raise NotImplementedError


class Stacker(Collector):
    """Columns that are filled row by row, each row as soon as it is made.

    The memory is allocated when the first row is there, since that row tells the shapes.

    Args:
        rows: How many rows there is room for.
        owner: Named in errors.
    """

    def __init__(self, rows: int, owner: str) -> None:
        self._rows, self._owner = rows, owner
        self._keys: list[Any] = []
        self._kind: type = list
        self._columns: list[_Column] = []
        self._plain: list[_Plain] = []

    def extend(self, datapoints: Iterable[Any]) -> None:
        kind, plain, row = self._kind, self._plain, self.count
        for datapoint in datapoints:
            if type(datapoint) is not kind or not row:
                self._begin(datapoint)
                kind, plain = self._kind, self._plain
            if len(datapoint) != len(plain) or (kind is dict and datapoint.keys() != self._known):
                raise self._different(datapoint)
            # What fits is written from here, through local names: calls and attributes would take as long as copying
            # a few kilobytes. Dtypes are compared by identity, which is quick; NumPy has one object for each built-in
            # dtype, and what is equal without being the same goes through `write`.
            for key, exact, dtype, shape, data, write in plain:
                value = datapoint[key]
                if type(value) is exact and (dtype is None or (value.dtype is dtype and value.shape == shape)):
                    try:
                        data[row] = value
                        continue
                    except OverflowError:
                        pass  # a whole number beyond int64: `write` raises the error that says so
                    except ValueError:
                        # Records take contiguous arrays alone. The rows that follow are likely like this one, so all
                        # columns are written as plain arrays from here on.
                        columns = self._columns
                        plain = self._plain = [(*p[:4], c.data, p[5]) for p, c in zip(plain, columns, strict=True)]
                write(row, value)
            self.count = row = row + 1
            datapoint = value = None  # the next one is made now, and may then reuse the memory of this one

    def finish(self) -> Datapoint:
        """The columns, cut to the rows that were given."""
        columns = [column.finish(self.count) for column in self._columns]
        if self._kind is dict:
            return dict(zip(self._keys, columns, strict=True))
        return columns

    def _begin(self, datapoint: object) -> None:
        if not isinstance(datapoint, (list, tuple, dict)):
            raise DataFlowError(
                f"{self._owner}: a datapoint is a list, a tuple or a dict of components; got "
                f"{type(datapoint).__name__} in row {self.count}. Return [x] instead of x where it is made."
            )
        if self.count:
            if isinstance(datapoint, dict) != (self._kind is dict):
                raise self._different(datapoint)
            return  # a list among tuples, an OrderedDict among dicts: the components count
        self._kind = dict if isinstance(datapoint, dict) else type(datapoint)
        self._keys = list(datapoint) if isinstance(datapoint, dict) else list(range(len(datapoint)))
        self._known = set(self._keys)
        values = datapoint.values() if isinstance(datapoint, dict) else datapoint
        self._columns = [
            _column(value, self._rows, f"{self._owner}: component {key!r}")
            for key, value in zip(self._keys, values, strict=True)
        ]
        self._plain = [
            (key, one.exact, one.dtype, one.shape, _as_records(one), one.write)
            for key, one in zip(self._keys, self._columns, strict=True)
        ]

    def _different(self, datapoint: Datapoint) -> DataFlowError:
        had = f"the keys {self._keys}" if self._kind is dict else f"{len(self._keys)} components"
        got = f"the keys {list(datapoint)}" if isinstance(datapoint, dict) else f"{len(datapoint)} components"
        return DataFlowError(
            f"{self._owner}: row 0 has {had}, row {self.count} has {got}: "
            f"all datapoints of a batch must have the same{self._mend(datapoint)}"
        )

    def _mend(self, datapoint: object) -> str:
        if self._kind is not dict or not isinstance(datapoint, dict):
            return ""
        missing = next(key for key in [*self._keys, *datapoint] if key not in self._known or key not in datapoint)
        return f". Where one may be missing, fill it below: MapData(ds, lambda dp: {{{missing!r}: ..., **dp}})"


_Plain = tuple[Any, "type | None", Any, "tuple[int, ...]", Any, Callable[[int, Any], None]]
"""A column's attributes for the loop over rows: key, exact, dtype, shape, data (as records) and write."""


class _Column:
    """One component of all rows. The first row decides the kind of column.

    Attributes:
        data: The memory of the column.
        exact: The type of values that may be written into it as they are; None: each has to go through ``write``.
        dtype: For arrays, the dtype that such a value must have too; None: the type is enough.
        shape: For arrays, the shape that it must have.
    """

    data: Any = None
    exact: type | None = None
    dtype: Any = None
    shape: tuple[int, ...] = ()

    def write(self, row: int, value: object) -> None:
        raise NotImplementedError

    def finish(self, count: int) -> Component:
        return self.data if count == len(self.data) else self.data[:count]


class _ArrayColumn(_Column):
    """Rows that are arrays of one shape and dtype."""

    def __init__(self, first: np.ndarray, rows: int, where: str, row: int) -> None:
        self.exact, self.shape, self.dtype, self._where, self._first = np.ndarray, first.shape, first.dtype, where, row
        self.data = empty((rows, *first.shape), first.dtype)  # in a worker this is the consumer's memory: written once

    def write(self, row: int, value: object) -> None:
        if type(value) is not np.ndarray:
            value = self._read(row, value)
        if value.shape != self.shape or value.dtype != self.dtype:
            raise self._differs(row, value)
        self.data[row] = value

    def _read(self, row: int, value: Component) -> np.ndarray:
        array = as_array(value, f"{self._where}, row {row}", self.dtype)
        if array is None:
            raise DataFlowError(
                f"{self._where} cannot be stacked: row {self._first} is {_shown_array(self.shape, self.dtype)}, row "
                f"{row} is not an array but {_shown_object(value)}"
            )
        return array

    def _differs(self, row: int, value: np.ndarray) -> DataFlowError:
        if value.shape != self.shape:
            return DataFlowError(
                f"{self._where} cannot be stacked: row {self._first} has shape {self.shape}, row {row} has shape "
                f"{value.shape}. Resize or crop to one shape before, or use PaddedBatchData, BatchDataByShape or "
                "use_list=True"
            )
        return DataFlowError(
            f"{self._where} cannot be stacked: row {self._first} has dtype {self.dtype}, row {row} has dtype "
            f"{value.dtype}; nothing is cast silently, so make them one dtype where they are made"
        )


def _as_records(column: _Column) -> Any:
    """A column's memory as records, one void value a row: writing a row is a copy of bytes, in a third of the time.

    For rows of 512 bytes to 1 MiB: NumPy takes the bytes through the buffer protocol, for which it keeps some 100
    bytes with each array, too much for smaller ones; of larger ones the copy itself takes most of the time.
    """
    if not (isinstance(column, _ArrayColumn) and column.shape and column.dtype.kind in "biufcmM"):
        return column.data
    data, size = column.data, column.dtype.itemsize * math.prod(column.shape)
    return np.ndarray(len(data), f"V{size}", data) if 512 <= size < 1 << 20 else data


class _ScalarColumn(_Column):
    """Rows that are numbers of one dtype: Python's or NumPy's."""

    def __init__(self, first: Component, rows: int, where: str, row: int) -> None:
        self.exact = self._type = type(first)
        self._where, self._first = where, row
        self.data = empty((rows,), SCALARS.get(type(first)) or first.dtype)

    def write(self, row: int, value: Component) -> None:
        if type(value) is not self.exact:
            value = self._read(row, value)
        try:
            self.data[row] = value
        except OverflowError as error:
            raise DataFlowError(
                f"{self._where}: {value} in row {row} does not fit into int64; make it a NumPy number of a dtype "
                "that holds it, e.g. numpy.uint64"
            ) from error

    def _read(self, row: int, value: object) -> Component:
        """Read a value of another type than the first row's; its dtype must be the column's: an int beside an int64."""
        array = as_array(value, f"{self._where}, row {row}")
        if array is None or array.shape or array.dtype != self.data.dtype:
            got = _shown_object(value) if array is None else _shown_number(value, array)
            raise DataFlowError(
                f"{self._where} cannot be stacked: row {self._first} is {self._type.__name__}, row {row} is {got}; "
                "nothing is cast silently, so make them one type where they are made"
            )
        return array[()]


class _ObjectColumn(_Column):
    """Rows of anything else: strings, bytes, None, objects."""

    def __init__(self, first: Component, rows: int, where: str, row: int) -> None:
        self.data, self._where, self._first, self._held = np.empty(rows, object), where, row, first
        # Strings are never arrays. Among other objects each has to be looked at: a list of numbers would be one.
        self.exact = type(first) if isinstance(first, (str, bytes)) else None

    def write(self, row: int, value: Component) -> None:
        if type(value) is not self.exact:
            self._check(row, value)
        self.data[row] = value

    def _check(self, row: int, value: object) -> None:
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
    """Rows that are empty lists so far: they fit any column of lists, and the first row that is none decides which."""

    def __init__(self, rows: int, where: str) -> None:
        self._rows, self._where = rows, where
        self._held: list[Any] = []
        self._column: _Column | None = None

    def write(self, row: int, value: object) -> None:
        if self._column is None and is_hollow(value):
            self._held.append(value)
            return
        if self._column is None:
            if isinstance(value, dict):
                raise DataFlowError(f"{self._where} cannot be stacked: row 0 is an empty list, row {row} is a dict")
            self._column = self._filled(_column(value, self._rows, self._where, row))
        self._column.write(row, value)

    def finish(self, count: int) -> Component:
        if self._column is None:  # all were empty: float64, NumPy's dtype for an empty list
            first = np.array(self._held[0], np.float64)
            self._column = self._filled(_ArrayColumn(first, self._rows, self._where, 0))
        return self._column.finish(count)

    def _filled(self, column: _Column) -> _Column:
        for row, value in enumerate(self._held):
            column.write(row, value)
        return column


class _DictColumn(_Column):
    """Rows that are dicts: stacked key by key."""

    def __init__(self, rows: int, where: str) -> None:
        self._stacker, self._where = Stacker(rows, where), where

    def write(self, row: int, value: object) -> None:
        if not isinstance(value, dict):
            raise DataFlowError(f"{self._where}: row 0 is a dict, row {row} is {type(value).__name__}")
        self._stacker.extend((value,))

    def finish(self, count: int) -> Component:
        return self._stacker.finish()


def _column(first: object, rows: int, where: str, row: int = 0) -> _Column:
    if isinstance(first, dict):
        return _DictColumn(rows, where)
    # timedelta64 is a np.number, but its type does not tell its unit: it goes by dtype, as an array without axes.
    if type(first) in SCALARS or (isinstance(first, (np.number, np.bool_)) and not isinstance(first, np.timedelta64)):
        return _ScalarColumn(first, rows, where, row)
    if is_hollow(first):
        return _HollowColumn(rows, where)
    array = as_array(first, f"{where}, row {row}")
    return _ObjectColumn(first, rows, where, row) if array is None else _ArrayColumn(array, rows, where, row)


def _shown_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return f"an array of shape {shape} and dtype {dtype}"


def _shown_number(value: object, array: np.ndarray) -> str:
    return _shown_array(array.shape, array.dtype) if array.shape else type(value).__name__


def _shown_object(value: object) -> str:
    kind = type(value).__name__
    return "None (dtype object)" if value is None else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} (dtype object)"
