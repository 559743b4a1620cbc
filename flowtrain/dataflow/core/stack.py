"""Stacking datapoints into columns. No value is changed, cast or cut on the way.

The dtype of a column follows from its rows alone: arrays and NumPy scalars keep theirs; Python's bool becomes bool,
int becomes int64, float becomes float32 (the one conversion there is: what networks compute in); strings, bytes and
any other object become columns of objects. A list of numbers counts as an array of them. A dict is stacked key by
key. Rows that differ in shape or dtype are an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ipc.buffers import empty
from ...utils.errors import DataFlowError

__all__ = ["Stacker", "stack"]

_SCALARS: dict[type, type] = {bool: np.bool_, int: np.int64, float: np.float32, complex: np.complex64}
_FLOAT32_INT = 2**24  # the whole numbers up to it are exact in float32


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
            "all datapoints of a batch must have the same"
        )


class _Column:
    """One component of all rows."""

    def write(self, row: int, value: Any) -> None:
        raise NotImplementedError

    def finish(self, count: int) -> Any:
        raise NotImplementedError


class _ArrayColumn(_Column):
    """Rows that are arrays of one shape and dtype."""

    def __init__(self, first: np.ndarray, rows: int, where: str) -> None:
        self._shape, self._dtype, self._where = first.shape, first.dtype, where
        self._data = empty((rows, *first.shape), first.dtype)

    def write(self, row: int, value: Any) -> None:
        if type(value) is not np.ndarray:
            value = _as_array(value)
        if value is None or value.shape != self._shape or value.dtype != self._dtype:
            raise self._differs(row, value)
        self._data[row] = value

    def finish(self, count: int) -> np.ndarray:
        return self._data if count == len(self._data) else self._data[:count]

    def _differs(self, row: int, value: Any) -> DataFlowError:
        if value is None:
            return DataFlowError(f"{self._where}: row 0 is an array of shape {self._shape}, row {row} is not an array")
        if value.shape != self._shape:
            return DataFlowError(
                f"{self._where} cannot be stacked: row 0 has shape {self._shape}, row {row} has shape {value.shape}. "
                "Resize or crop to one shape before, or use PaddedBatchData, BatchDataByShape or use_list=True"
            )
        return DataFlowError(
            f"{self._where} cannot be stacked: row 0 has dtype {self._dtype}, row {row} has dtype {value.dtype}; "
            "nothing is cast silently, so make them one dtype where they are made"
        )


class _ScalarColumn(_Column):
    """Rows that are Python numbers or NumPy scalars, all of one type."""

    def __init__(self, first: Any, rows: int, where: str) -> None:
        self._type, self._where = type(first), where
        self._data = empty((rows,), first.dtype if isinstance(first, np.generic) else _SCALARS[type(first)])

    def write(self, row: int, value: Any) -> None:
        if type(value) is not self._type:
            if type(value) is np.ndarray and value.shape == () and value.dtype == self._data.dtype:
                value = value[()]
            else:
                raise DataFlowError(
                    f"{self._where} cannot be stacked: row 0 is {self._type.__name__}, row {row} is "
                    f"{type(value).__name__}; nothing is cast silently, so make them one type where they are made"
                )
        try:
            self._data[row] = value
        except OverflowError as error:
            raise DataFlowError(
                f"{self._where}: {value} in row {row} does not fit into int64; make it a NumPy number of a dtype "
                "that holds it, e.g. numpy.uint64"
            ) from error

    def finish(self, count: int) -> np.ndarray:
        return self._data if count == len(self._data) else self._data[:count]


class _ObjectColumn(_Column):
    """Rows of anything else: strings, bytes, None, objects."""

    def __init__(self, rows: int, where: str) -> None:
        self._data, self._where = np.empty(rows, object), where

    def write(self, row: int, value: Any) -> None:
        self._data[row] = value

    def finish(self, count: int) -> np.ndarray:
        return self._data[:count]


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


def _column(first: Any, rows: int, where: str) -> _Column:
    if isinstance(first, dict):
        return _DictColumn(rows, where)
    if type(first) in _SCALARS or (isinstance(first, np.generic) and not isinstance(first, (str, bytes))):
        return _ScalarColumn(first, rows, where)
    array = _as_array(first)
    return _ObjectColumn(rows, where) if array is None else _ArrayColumn(array, rows, where)


def _as_array(value: Any) -> np.ndarray | None:
    """An array, or a list of numbers as one; None for anything else."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (np.bool_, np.number)):
        return np.asarray(value)
    if not isinstance(value, (list, tuple)):
        return None
    kinds = set(map(type, _leaves(value)))
    if not kinds or not kinds <= _SCALARS.keys():
        return None
    try:
        array = np.asarray(value)
    except ValueError:  # ragged in itself
        return None
    if array.dtype == np.float64:
        exact = float in kinds and all(abs(leaf) <= _FLOAT32_INT for leaf in _leaves(value) if type(leaf) is int)
        return array.astype(np.float32) if exact and bool not in kinds else None
    return array if len(kinds) == 1 and array.dtype != object else None


def _leaves(value: Any) -> Any:
    for item in value:
        if isinstance(item, (list, tuple)):
            yield from _leaves(item)
        else:
            yield item
