"""Columns whose cells are taken by row: what `arrowvalues` makes of Arrow arrays. Each cell that is taken is a copy."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from ...utils.errors import DataFlowError
from ..core.datapoint import Component

__all__ = [
    "Arrays",
    "ArrowArray",
    "ArrowSchema",
    "ArrowTable",
    "ArrowType",
    "Bytes",
    "Cells",
    "Chunks",
    "Dictionary",
    "Grids",
    "Lists",
    "Maps",
    "NullCell",
    "NullsFilled",
    "NullsRefused",
    "Numbers",
    "Objects",
    "Structs",
]

# Classes of pyarrow, which is imported when it is used, and has no types that a checker reads.
ArrowArray: TypeAlias = Any
"""A pyarrow Array or ChunkedArray."""
ArrowSchema: TypeAlias = Any
ArrowTable: TypeAlias = Any
ArrowType: TypeAlias = Any
"""A pyarrow DataType."""


class NullCell(DataFlowError):
    """A null cell was read, and ``missing`` gives no value for its column."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path!r} has no value (null). Say what stands there, missing={{{path!r}: ...}} (a value of its type, or "
            "None), or leave the column out with columns=[...]"
        )


class Cells:
    """One column, whose cells are taken by row number."""

    def get(self, row: int) -> Component:
        """The cell of one row."""
        raise NotImplementedError

    def rows(self, start: int, stop: int) -> list[Any]:
        """The cells of the rows from ``start`` up to, not including, ``stop``."""
        return [self.get(row) for row in range(start, stop)]

    def piece(self, start: int, stop: int) -> Component:
        """The cells of these rows as the elements of a list: an array where they are numbers."""
        return self.rows(start, stop)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """The cells of any rows as one array; called only for types of which ``arrowvalues.gathers`` is true."""
        column = np.empty(len(rows), object)  # np.array() of texts has a dtype <U, which drops NULs at their end
        column[:] = [self.get(row) for row in rows.tolist()]
        return column


class Numbers(Cells):
    """Cells that are NumPy scalars: numbers, dates and times.

    Args:
        values: A row per cell.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def get(self, row: int) -> Component:
        return self.values[row]

    def rows(self, start: int, stop: int) -> list[Any]:
        return list(self.values[start:stop])

    def piece(self, start: int, stop: int) -> Component:
        return self.values[start:stop].copy()

    def gather(self, rows: np.ndarray) -> np.ndarray:
        return self.values[rows]


class Arrays(Numbers):
    """Cells that are arrays of one shape."""

    def get(self, row: int) -> Component:
        return np.array(self.values[row])

    def rows(self, start: int, stop: int) -> list[Any]:
        return [np.array(row) for row in self.values[start:stop]]

    def piece(self, start: int, stop: int) -> Component:
        return self.rows(start, stop)


class Bytes(Cells):
    """Cells of bytes, or of UTF-8 text, that lie one after the other.

    Args:
        data: The bytes of all cells.
        offsets: Where each cell begins in ``data``, and where the last one ends: one more than there are cells.
        text: Whether cells are str.
    """

    def __init__(self, data: memoryview, offsets: np.ndarray, text: bool) -> None:
        self._data, self._offsets, self._text = data, offsets, text

    def get(self, row: int) -> Component:
        piece = self._data[self._offsets[row] : self._offsets[row + 1]]
        return str(piece, "utf-8") if self._text else bytes(piece)

    def rows(self, start: int, stop: int) -> list[Any]:
        ends, data = self._offsets[start : stop + 1].tolist(), self._data
        pieces = (data[a:b] for a, b in pairwise(ends))
        return [str(piece, "utf-8") for piece in pieces] if self._text else list(map(bytes, pieces))


class Lists(Cells):
    """Cells that are lists; lists of numbers are 1-D arrays.

    Args:
        offsets: Where each list begins in ``items``, and where the last one ends.
        items: The elements of all lists.
    """

    def __init__(self, offsets: np.ndarray, items: Cells) -> None:
        self._offsets, self._items = offsets, items

    def get(self, row: int) -> Component:
        return self._items.piece(int(self._offsets[row]), int(self._offsets[row + 1]))


class Maps(Cells):
    """Cells that are lists of (key, value); a dict would lose keys that repeat, which Arrow allows."""

    def __init__(self, offsets: np.ndarray, keys: Cells, items: Cells) -> None:
        self._offsets, self._keys, self._items = offsets, keys, items

    def get(self, row: int) -> Component:
        start, stop = int(self._offsets[row]), int(self._offsets[row + 1])
        return list(zip(self._keys.rows(start, stop), self._items.rows(start, stop), strict=True))


class Structs(Cells):
    """Cells that are dicts, with a column for each key."""

    def __init__(self, names: list[str], fields: list[Cells]) -> None:
        self._names, self._fields = names, fields

    def get(self, row: int) -> Component:
        return {name: field.get(row) for name, field in zip(self._names, self._fields, strict=True)}


class Objects(Cells):
    """Cells that pyarrow makes: immutable Python objects such as ``Decimal`` and ``datetime.time``."""

    def __init__(self, column: ArrowArray) -> None:
        self._column = column

    def get(self, row: int) -> Component:
        return self._column[row].as_py()

    def rows(self, start: int, stop: int) -> list[Any]:
        return self._column.slice(start, stop - start).to_pylist()


class Grids(Cells):
    """Cells that are arrays, stored as lists of lists; the first axis may differ in length from row to row.

    Args:
        values: The numbers of all rows, flat.
        offsets: Where each row begins in ``values``, and where the last one ends.
        shape: Shape of a row; -1 for the axis of any length.
    """

    def __init__(self, values: np.ndarray, offsets: np.ndarray, shape: tuple[int, ...]) -> None:
        self._values, self._offsets, self._shape = values, offsets, shape

    @classmethod
    def of(cls, column: ArrowArray, shape: Sequence[int], numbers: Callable[[ArrowArray], np.ndarray]) -> Grids:
        """The cells of a pyarrow ListArray of ListArrays; ``numbers`` makes a NumPy array of the innermost values."""
        # pyarrow applies an array's slice to `offsets` and not to `values`: so these fit each other.
        offsets = np.asarray(column.offsets)
        inner = column.values
        while hasattr(inner, "offsets"):  # lists lie end to end, so the offsets of their elements compose
            offsets, inner = np.asarray(inner.offsets)[offsets], inner.values
        return cls(numbers(inner), offsets, tuple(-1 if size is None else size for size in shape))

    def get(self, row: int) -> Component:
        return self._values[self._offsets[row] : self._offsets[row + 1]].reshape(self._shape).copy()


class Dictionary(Cells):
    """Dictionary-encoded cells: row -> index -> value.

    Args:
        values: The distinct values.
        numbers: Of each row: the index of its value.
    """

    def __init__(self, values: Cells, numbers: np.ndarray) -> None:
        self._values, self._numbers = values, numbers

    def get(self, row: int) -> Component:
        return self._values.get(int(self._numbers[row]))

    def gather(self, rows: np.ndarray) -> np.ndarray:
        return self._values.gather(self._numbers[rows])


class NullsRefused(Cells):
    """Cells of which reading a null one raises `NullCell`."""

    def __init__(self, inner: Cells, null: np.ndarray, path: str) -> None:
        self._inner, self._null, self._path = inner, null, path

    def _check(self, rows: slice | np.ndarray) -> None:
        if self._null[rows].any():
            raise NullCell(self._path)

    def get(self, row: int) -> Component:
        self._check(slice(row, row + 1))
        return self._inner.get(row)

    def rows(self, start: int, stop: int) -> list[Any]:
        self._check(slice(start, stop))
        return self._inner.rows(start, stop)

    def piece(self, start: int, stop: int) -> Component:
        self._check(slice(start, stop))
        return self._inner.piece(start, stop)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        self._check(rows)
        return self._inner.gather(rows)


class NullsFilled(Cells):
    """Cells with a fill value in place of the nulls."""

    def __init__(self, inner: Cells, null: np.ndarray, fill: Component) -> None:
        self._inner, self._null, self._fill = inner, null, fill

    def get(self, row: int) -> Component:
        return copy.deepcopy(self._fill) if self._null[row] else self._inner.get(row)

    def piece(self, start: int, stop: int) -> Component:
        """As of all cells; but where the fill value is None, always a list."""
        inner = self._inner
        # By the fill value, not by whether a null is there: else the type of a cell would change from row to row.
        if type(inner) is not Numbers or self._fill is None:
            return self.rows(start, stop)
        return np.where(self._null[start:stop], self._fill, inner.values[start:stop])

    def gather(self, rows: np.ndarray) -> np.ndarray:
        null = self._null[rows]
        if not null.any() and self._fill is not None:
            return self._inner.gather(rows)
        if type(self._inner) is Numbers and self._fill is not None:
            return np.where(null, self._fill, self._inner.gather(rows))
        return super().gather(rows)


class Chunks(Cells):
    """A column in several pieces, one after the other.

    Args:
        parts: The pieces.
        ends: The row number after each piece's last row.
    """

    def __init__(self, parts: list[Cells], ends: list[int]) -> None:
        self._parts, self._ends = parts, ends

    def get(self, row: int) -> Component:
        number = bisect_right(self._ends, row)
        return self._parts[number].get(row - (self._ends[number - 1] if number else 0))

    def gather(self, rows: np.ndarray) -> np.ndarray:
        numbers = np.searchsorted(self._ends, rows, "right")
        found: Any = None
        for number in np.unique(numbers).tolist() or [0]:  # of no rows: an empty array, of the column's dtype
            chosen = numbers == number
            part = self._parts[number].gather(rows[chosen] - (self._ends[number - 1] if number else 0))
            if found is None:
                found = np.empty((len(rows), *part.shape[1:]), part.dtype)
            found[chosen] = part
        return found
