"""Datapoints turned into columns, one per component: the writing side of HDF5, npz and Parquet files.

A column is *fixed* where each row is an array of one shape and dtype (or a Python int, float or bool): it is stored as
one array with a row per datapoint, which any tool reads. Otherwise it is *variable*: stored are the rows' bytes end to
end, and the end of each row. A fixed column that meets a row of another form is rewritten as a variable one.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ...ipc.codec import CodecError, pack, unpack
from ...utils.errors import FormatError
from ..core.datapoint import Component
from .framing import crc32c
from .layout import split

__all__ = ["Column", "ColumnSpool", "row_value"]

FIXED_KINDS = ("array", "int", "float", "bool")
_SCALARS = {int: ("int", "<i8"), float: ("float", "<f8"), bool: ("bool", "|b1")}
_ENDS = np.dtype("<u8")
_CRCS = np.dtype("<u4")


def _divides(value: dict[Any, Any]) -> bool:
    """Whether each entry of a dict within a datapoint becomes a column of its own; else the dict is one component."""
    return bool(value) and all(type(key) is str and _is_plain(key) for key in value)


def _is_plain_dtype(dtype: np.dtype) -> bool:
    """Whether every tool that reads npz or HDF5 knows this dtype: no long double, date, string or bfloat16."""
    # isbuiltin is 1 for NumPy's own in the machine's byte order, 0 for structured and swapped ones, 2 for those that
    # another package has registered. A long double has 16 bytes, and a complex one 32.
    return dtype.kind in "biufc" and dtype.isbuiltin == 1 and dtype.itemsize <= (16 if dtype.kind == "c" else 8)


def _is_plain(key: str) -> bool:
    """Whether a key can name an array in a file: no path, and no name that `ColumnSpool.arrays` makes itself."""
    odd = key.startswith((".", "__")) or key.endswith((".bytes", ".ends")) or "/" in key
    return bool(key) and key.isprintable() and not odd


@dataclass
class Column:
    """Type of a column: how a value is encoded as the bytes of a row, and decoded.

    Attributes:
        kind: ``array``, ``int``, ``float``, ``bool`` (fixed); ``bytes``, ``str``, ``packed`` (variable).
        dtype: NumPy's ``dtype.str`` of a fixed column's rows.
        shape: Shape of a fixed column's rows.
        version: How often the column was rewritten.
    """

    kind: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    # Part of the names of the spool's files: a rewritten column gets new files, since a resumed write begins with those
    # of the last commit.
    version: int = 0

    @staticmethod
    def of(value: Component) -> Column:
        """The type of column for a component, from its first value."""
        kind = type(value)
        if kind is np.ndarray and _is_plain_dtype(value.dtype):
            return Column("array", value.dtype.str, value.shape)
        if kind in _SCALARS:
            return Column(*_SCALARS[kind])
        return Column(kind.__name__ if kind in (bytes, str) else "packed")

    @property
    def fixed(self) -> bool:
        return self.kind in FIXED_KINDS

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def encode(self, value: Component) -> bytes | None:
        """The bytes of a row, or None where this type of column cannot hold the value exactly."""
        kind = type(value)
        if self.kind == "array":
            suits = kind is np.ndarray and value.dtype.str == self.dtype and value.shape == self.shape
            # isbuiltin 2: a dtype of another package, which may have the `str` of one of NumPy's.
            return value.tobytes() if suits and value.dtype.isbuiltin != 2 else None
        if self.fixed:
            suits = kind.__name__ == self.kind and not (kind is int and not -(1 << 63) <= value < 1 << 63)
            return np.array(value, self.dtype).tobytes() if suits else None
        if self.kind == "bytes":
            return value if kind is bytes else None
        if self.kind == "str":
            try:
                return value.encode() if kind is str else None
            except UnicodeEncodeError:  # a lone surrogate, as in file names that are not UTF-8: the codec carries it
                return None
        return pack(value)

    def value(self, row: Component) -> Component:
        """Decode a row; see :func:`row_value`."""
        return row_value(self.kind, row)

    def widened(self, value: Component) -> Column:
        """A type of column for all values that this one can hold, and for one that it cannot."""
        return Column("packed", version=self.version + 1)


def row_value(kind: str, row: Component) -> Component:
    """Decode a row: the inverse of ``Column.encode``.

    Args:
        kind: The column's kind.
        row: A row of a fixed column's array; the bytes of a variable column's row.
    """
    if kind == "array":
        return np.array(row)
    if kind in FIXED_KINDS:
        return row.item()
    if kind == "bytes":
        return bytes(row)
    if kind == "str":
        return str(row, "utf-8")
    return unpack(row)


class ColumnSpool:
    """Columns under construction: each grows in files of its own, which the sink joins into one file at the end.

    Neither an npz nor an HDF5 file can grow row by row in all its arrays and be committed in between.

    Args:
        folder: An existing folder.
        position: What ``commit`` returned in an earlier process, to go on from there; None starts anew.
        column: The format's class of columns.

    Attributes:
        count: The number of rows.
        layout: The layout of every datapoint; None before the first.
        columns: Name -> column.
    """

    def __init__(self, folder: str, position: list[Any] | None = None, column: type[Column] = Column) -> None:
        self._folder, self._column = folder, column
        self._files: dict[tuple[str, str], BinaryIO] = {}  # by the column's name, and which part of it
        self._crc = crc32c()
        self.count, self.layout, columns, sizes = position or (0, None, {}, {})
        self.columns = {name: column(kind, dtype, tuple(shape), v) for name, (kind, dtype, shape, v) in columns.items()}
        self._sizes = Counter(sizes)  # bytes of each variable column

    def append(self, datapoint: object) -> None:
        """Add a row to each column.

        Raises:
            FormatError: The datapoint has other components than the first, or one that cannot be written.
        """
        leaves: dict[str, Any] = {}

        def leaf(name: str, value: object) -> str:
            leaves[name or "value"] = value
            return name or "value"

        layout = split(datapoint, _divides, leaf)
        if self.layout is None:
            self.layout = layout
            self.columns = {name: self._column.of(value) for name, value in leaves.items()}
        elif layout != self.layout:
            raise FormatError(
                f"datapoint {self.count} has the components {_names(layout)}, the first one had "
                f"{_names(self.layout)}: a table has the same columns in all rows. "
                "Write to LMDB, TFRecord or tar instead."
            )
        try:  # encode all before the first is written: a component that fails must not leave columns of unequal length
            rows = {name: self._encode(name, value) for name, value in leaves.items()}
        except CodecError as error:
            raise FormatError(f"datapoint {self.count}: {error}") from error
        for name, row in rows.items():
            self._put(name, row)
        self.count += 1

    def commit(self) -> list[Any]:
        """Make all rows durable; returns the position from which a later process can go on."""
        self._flush(sync=True)
        columns = {name: [c.kind, c.dtype, list(c.shape), c.version] for name, c in self.columns.items()}
        return [self.count, self.layout, columns, dict(self._sizes)]

    def arrays(self) -> dict[str, np.ndarray]:
        """The columns as memory-mapped arrays, under their names in a file.

        A fixed column is ``name``; a variable one ``name.bytes`` (uint8) and ``name.ends`` (uint64, a row's end in the
        bytes). Each has ``__crc__/name`` too: the CRC32C of each row, uint32.
        """
        self._flush()
        found: dict[str, np.ndarray] = {}
        for name, column in self.columns.items():
            found[f"__crc__/{name}"] = self._mapped(name, "crc", _CRCS, (self.count,))
            if column.fixed:
                found[name] = self._mapped(name, "rows", np.dtype(column.dtype), (self.count, *column.shape))
            else:
                found[f"{name}.bytes"] = self._mapped(name, "rows", np.dtype("u1"), (self._sizes[name],))
                found[f"{name}.ends"] = self._mapped(name, "ends", _ENDS, (self.count,))
        return found

    def header(self) -> dict[str, Any]:
        """What a reader needs besides the arrays: the number of rows, the datapoint's layout, the columns' kinds.

        It repeats dtypes and shapes, because an npz and an HDF5 file store theirs without a checksum.
        """
        kinds = {name: column.kind for name, column in self.columns.items()}
        forms = {name: [array.dtype.str, list(array.shape)] for name, array in self.arrays().items()}
        return {"version": 2, "count": self.count, "layout": self.layout, "kinds": kinds, "arrays": forms}

    def close(self) -> None:
        files, self._files = self._files, {}
        with contextlib.ExitStack() as stack:  # on a full disk closing one fails; the others are closed nevertheless
            for file in files.values():
                stack.callback(file.close)

    # -- files

    def _encode(self, name: str, value: object) -> bytes:
        row = self.columns[name].encode(value)
        if row is None:
            self._rewrite(name, value)
            row = self.columns[name].encode(value)
        return row  # type: ignore[return-value]

    def _put(self, name: str, row: bytes) -> None:
        self._file(name, "rows").write(row)
        self._file(name, "crc").write(_CRCS.type(self._crc(row)).tobytes())
        if not self.columns[name].fixed:
            self._sizes[name] += len(row)
            self._file(name, "ends").write(_ENDS.type(self._sizes[name]).tobytes())

    def _rewrite(self, name: str, value: Component) -> None:
        """Widen a column so that it can hold a value: rows so far are encoded again, into new files."""
        self._flush()  # arrays() maps the files
        old = self.columns[name]
        read = _reader(self.arrays(), name, old)
        column = self.columns[name] = old.widened(value)
        self._sizes[name] = 0
        for part in ("rows", "crc", "ends"):
            if (name, part) in self._files:
                self._files[name, part].close()
            self._files[name, part] = open(self._path(name, part), "w+b")  # noqa: SIM115 - closed by close()
        for number in range(self.count):
            row = column.encode(old.value(read(number)))  # by way of the value, so that reading gives the same type
            assert row is not None, "a column that is widened holds what it held"
            self._put(name, row)

    def _path(self, name: str, part: str) -> str:
        place = list(self.columns).index(name)  # a column's name may be no file name, or too long for one
        return os.path.join(self._folder, f"{place}-{self.columns[name].version}.{part}")

    def _file(self, name: str, part: str) -> BinaryIO:
        if (name, part) not in self._files:
            path = self._path(name, part)
            file = open(path, "r+b" if os.path.exists(path) else "w+b")  # noqa: SIM115 - closed by close()
            self._files[name, part] = file
            file.truncate(self._length(name, part))  # drop rows after the last commit: they are made again
            file.seek(0, os.SEEK_END)
        return self._files[name, part]

    def _length(self, name: str, part: str) -> int:
        column = self.columns[name]
        if part == "rows":
            return self.count * column.row_bytes if column.fixed else self._sizes[name]
        return self.count * (4 if part == "crc" else 8)

    def _flush(self, sync: bool = False) -> None:
        for file in self._files.values():
            file.flush()
            if sync:
                os.fsync(file.fileno())

    def _mapped(self, name: str, part: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        if math.prod(shape) == 0:  # mmap refuses an empty file
            return np.empty(shape, dtype)
        return np.memmap(self._path(name, part), dtype, "r", shape=shape)


def _reader(arrays: dict[str, np.ndarray], name: str, column: Column) -> Callable[[int], Component]:
    """The function that reads a row of a spooled column, as :func:`row_value` takes it."""
    if column.fixed:
        return arrays[name].__getitem__
    data, ends = arrays[f"{name}.bytes"], arrays[f"{name}.ends"]
    return lambda number: data[int(ends[number - 1]) if number else 0 : int(ends[number])].tobytes()


def _names(layout: object) -> str:
    if isinstance(layout, list):
        return f"list of {len(layout)}"
    return repr(layout) if not isinstance(layout, dict) else "{" + ", ".join(map(repr, layout)) + "}"
