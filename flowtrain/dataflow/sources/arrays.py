"""Vectorised sources over arrays and tables in memory, for rows too small to be handled one by one in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ...ipc.buffers import empty
from ...utils.errors import DataFlowError
from ..core.components import holds_objects, own_objects, protected
from ..core.cursor import Datapoint
from ..core.stack import stack
from ..core.values import as_array, column_of
from .memory import Ordered

__all__ = ["DataFromArrays", "DataFromPandas"]


class DataFromArrays(Ordered):
    """Yield the rows of arrays: datapoint i is row i of each.

    Under ``BatchData`` (also with ``MapData(..., batched=True)`` between) a whole batch is gathered in one call:
    millions of rows per second from one process.

    Args:
        *arrays: Arrays with the same number of rows (memory-mapped ones too); datapoints are lists. Or one dict of
            arrays; datapoints are dicts.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.

    Rows that are arrays are read-only views, numbers are NumPy scalars of the array's dtype, objects (lists, dicts) are
    copies. Batches are copies.

    Order: that of the arrays, or with ``shuffle`` one that depends on (seed, epoch). Indexable and vectorised.

    State: one number.

    Raises:
        DataFlowError: No array is given, the arrays have no rows, or their numbers of rows differ.

    Example:
        >>> x, y = np.zeros((100, 28, 28), np.float32), np.arange(100)
        >>> image, label = next(iter(DataFromArrays(x, y, shuffle=True)))
        >>> image.shape, label.dtype
        ((28, 28), dtype('int64'))
    """

    def __init__(self, *arrays: Any, shuffle: bool = False, seed: int | Literal["random"] | None = None) -> None:
        super().__init__(shuffle, seed)
        self._named = len(arrays) == 1 and isinstance(arrays[0], Mapping)
        given = dict(arrays[0]) if self._named else dict(enumerate(arrays))
        if not given:
            raise DataFlowError(f"{type(self).__name__} got no array")
        if len(arrays) == 1 and isinstance(arrays[0], list | tuple):
            _refuse_list_of_arrays(type(self).__name__, arrays[0])
        self._columns = {key: _read_only(array, key, type(self).__name__) for key, array in given.items()}
        sizes = {key: len(column) for key, column in self._columns.items()}
        if len(set(sizes.values())) > 1:
            rows = ", ".join(f"{key!r} has {size}" for key, size in sizes.items())
            raise DataFlowError(f"{type(self).__name__}: all arrays must have the same number of rows, but {rows}")
        # Columns of mutable objects, which are copied for each consumer; a read-only array does not protect these.
        self._changeable = [key for key, column in self._columns.items() if holds_objects(column)]
        self._rows = next(iter(sizes.values()))
        if not self._rows:
            raise DataFlowError(f"{type(self).__name__}: the arrays have no rows: there is nothing to hand out")

    def __len__(self) -> int:
        return self._rows

    @property
    def vectorized(self) -> bool:
        return True

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        row = self._place(index, epoch)
        if self._named:
            datapoint: Any = {key: column[row] for key, column in self._columns.items()}
        else:
            datapoint = [column[row] for column in self._columns.values()]
        return protected(datapoint) if self._changeable else datapoint

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Datapoint:
        rows = self._places(indices, epoch)
        gathered = {key: _gathered(column, rows) for key, column in self._columns.items()}
        for key in self._changeable:
            gathered[key] = own_objects(gathered[key])
        return gathered if self._named else list(gathered.values())


class DataFromPandas(DataFromArrays):
    """Yield the rows of a pandas DataFrame as dicts with one component per column.

    Args:
        frame: The table.
        columns: The columns to take, whose names must be strings; None takes all.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.

    Numbers have their column's dtype; strings are str, categories their values. A column of whole numbers or bools with
    missing values (``Int64`` with ``NA``) has no NumPy dtype: it is an error that says how to fill it.

    Order: that of the table, or with ``shuffle`` one that depends on (seed, epoch). Indexable and vectorised.

    State: one number.

    Raises:
        DataFlowError: ``frame`` is no DataFrame, it has no rows, or a column does not exist or cannot be converted.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"age": [31, 54], "name": ["Ann", "Bo"]})
        >>> next(iter(DataFromPandas(frame)))
        {'age': np.int64(31), 'name': 'Ann'}
    """

    def __init__(
        self,
        frame: Any,
        columns: list[str] | None = None,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        if not hasattr(frame, "columns") or not hasattr(frame, "iloc"):
            raise DataFlowError(f"DataFromPandas takes a pandas DataFrame, got {type(frame).__name__}")
        names = list(frame.columns) if columns is None else list(columns)
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise DataFlowError(f"DataFromPandas: there is no column {missing[0]!r}. There are: {list(frame.columns)}")
        odd = [name for name in names if not isinstance(name, str)]
        if odd:
            raise DataFlowError(f"DataFromPandas: the column {odd[0]!r} has no string as its name; rename it before")
        twice = [name for name in names if getattr(frame[name], "ndim", 1) > 1]
        if twice:  # frame[name] is then a table of all columns of that name, which NumPy would cast to one dtype
            raise DataFlowError(f"DataFromPandas: there are several columns {twice[0]!r}; rename all but one before")
        super().__init__({name: frame[name] for name in names}, shuffle=shuffle, seed=seed)


def _refuse_list_of_arrays(kind: str, arrays: Sequence[Any]) -> None:
    """Raise on DataFromArrays([X, Y]): two components are meant, and X and Y would be the rows of one."""
    if any(isinstance(array, np.ma.MaskedArray) for array in arrays):
        return  # the caller refuses masked arrays, in this form and the other; that error helps more
    if arrays and all(isinstance(array, np.ndarray) and array.ndim for array in arrays):
        shapes = " and ".join(str(array.shape) for array in arrays[:3]) + (", ..." if len(arrays) > 3 else "")
        raise DataFlowError(
            f"{kind} takes each array by itself, got a {type(arrays).__name__} of {len(arrays)} arrays {shapes}. Write "
            f"{kind}(X, Y) instead of {kind}([X, Y]), or {kind}(*arrays); for one component whose rows they are: "
            f"{kind}(np.stack(arrays)), or DataFromList where their shapes differ."
        )


def _read_only(array: object, key: object, owner: str) -> np.ndarray:
    """Convert a user's array to a read-only view with one row per datapoint."""
    if isinstance(array, (str, bytes)) or not hasattr(array, "__len__"):
        raise DataFlowError(f"{owner}: {key!r} must be an array, got {type(array).__name__}")
    rows = _rows_of(array, f"{owner}: {key!r}")
    if rows.ndim == 0:
        what = "a single number" if rows.dtype != object else f"a {type(array).__name__}, of which NumPy makes no rows"
        raise DataFlowError(f"{owner}: {key!r} is {what}; an array with one row per datapoint is needed")
    # Objects, so that a row is a str or bytes, not NumPy's string of fixed width.
    view = rows.astype(object) if rows.dtype.kind in "US" else rows.view()
    view.flags.writeable = False
    return view


def _rows_of(array: object, where: str) -> np.ndarray:
    if isinstance(array, (list, tuple)) and len(array) and as_array(array, where) is None:
        return stack([[row] for row in array], where)[0]  # strings and objects, which stay what they are
    return column_of(array, where)


def _gathered(column: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if column.dtype == object or isinstance(column, np.memmap):
        return np.asarray(column[rows])
    # In a worker ``empty`` returns memory shared with the consumer, so a batch is written once. With mode="raise" NumPy
    # would gather into a buffer and copy that to ``out``; "clip" writes directly, and all rows are valid here.
    out = empty((len(rows), *column.shape[1:]), column.dtype)
    return column.take(rows, axis=0, out=out, mode="clip")
