"""How ``write`` lays datapoints out in a Parquet file, so that each comes back as it was.

Each component is a column. Values for which Parquet has a type are stored in it, so that any tool reads them; the rest
as bytes:

========  ==============================  ==========================================================
kind      component                       column
========  ==============================  ==========================================================
int       Python int                      int64
float     Python float                    double
bool      Python bool                     bool
scalar    NumPy number, date or time      of its dtype
array     arrays of one dtype and shape   without axes: a number; 1-D, but not uint8: a list of numbers;
                                          else their bytes, in C order
vector    1-D arrays of any length        a list of numbers; uint8: their bytes
str       str                             string
bytes     bytes                           binary
packed    anything else, or of any type   binary: the value, packed by flowtrain
========  ==============================  ==========================================================

The file's key-value metadata has, under ``flowtrain``, a sealed msgpack map in base64: version, count (of datapoints),
layout (how components make a datapoint), columns (name -> [kind, dtype, shape]), rows (of each row group) and crcs
(name -> a CRC32C for each row group, as `checksum` computes it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...utils.errors import DataFlowError, FormatError
from ..core.datapoint import Component
from .arrowcells import ArrowArray, ArrowSchema, Cells
from .arrowvalues import arrow
from .columns import Column, row_value
from .framing import crc32c

__all__ = [
    "HEADER",
    "MARK",
    "ParquetColumn",
    "arrow_column",
    "as_written",
    "check_name",
    "checksum",
    "has_mark",
    "marked",
]

HEADER = b"flowtrain"
# Redundant signs of a header. If a damaged byte hides its key, or all key-value metadata, a file of `write` would
# otherwise be read as one of another program: without checksums, and with other datapoints.
MARK = b"flowtrain.version"
_FIELD_ID, _FIRST_ID = b"PARQUET:field_id", 0x666C6F77  # "flow" in ASCII

_NATIVE = ("biuf", (1, 2, 4, 8))
_MOMENTS = ("M8[D]", "M8[ms]", "M8[us]", "M8[ns]", "m8[ms]", "m8[us]", "m8[ns]")


def _is_native(dtype: np.dtype) -> bool:
    """Whether Arrow has a type of numbers or bools with the same values."""
    kinds, sizes = _NATIVE
    return dtype.isbuiltin == 1 and dtype.kind in kinds and dtype.itemsize in sizes and dtype.isnative


class ParquetColumn(Column):
    """A column of a Parquet file: the kinds of `Column`, and besides them ``scalar`` and ``vector``."""

    @staticmethod
    def of(value: Component) -> Column:
        if isinstance(value, np.generic) and _fits(value):
            return ParquetColumn("scalar", value.dtype.str)
        column = Column.of(value)
        return ParquetColumn(column.kind, column.dtype, column.shape)

    @property
    def fixed(self) -> bool:
        return self.kind == "scalar" or super().fixed

    def encode(self, value: Component) -> bytes | None:
        if self.kind == "scalar":
            suits = isinstance(value, np.generic) and value.dtype.str == self.dtype and _fits(value)
            return value.tobytes() if suits else None
        if self.kind == "vector":
            return value.tobytes() if self._is_vector(value) else None
        return super().encode(value)

    def value(self, row: Component) -> Component:
        if self.kind == "scalar":
            return np.asarray(row, self.dtype)[()]
        if self.kind == "vector":
            return np.frombuffer(row, self.dtype).copy()
        return super().value(row)

    def widened(self, value: Component) -> Column:
        same = self.kind == "array" and len(self.shape) == 1 and self._is_vector(value)
        return ParquetColumn("vector" if same else "packed", self.dtype if same else "", version=self.version + 1)

    def _is_vector(self, value: Component) -> bool:
        suits = type(value) is np.ndarray and value.dtype.str == self.dtype and value.ndim == 1
        return suits and _is_native(value.dtype)


def _fits(value: np.generic) -> bool:
    """Whether a NumPy scalar comes back unchanged from an Arrow column of its dtype."""
    if type(value) in (np.str_, np.bytes_):
        return False
    if value.dtype.kind in "Mm":
        name = value.dtype.str.lstrip("<>=|")
        # Arrow keeps days (date32) in 32 bits, NumPy in 64; NaT is a null
        wide = name == "M8[D]" and not np.isnat(value) and abs(int(value.astype(np.int64))) >= 2**31
        return value.dtype.isnative and name in _MOMENTS and not wide
    return _is_native(value.dtype)


def check_name(path: str) -> None:
    """Refuse a path that pyarrow cannot open.

    Raises:
        DataFlowError: The path is not valid UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DataFlowError(
            f"{path!r} is a name that is not in UTF-8, and pyarrow opens no such file: rename it, or its folder"
        ) from error


def arrow_column(column: Column, arrays: dict[str, np.ndarray], name: str, start: int, stop: int) -> ArrowArray:
    """Rows ``start`` to ``stop`` of a spooled column as an Arrow array.

    The types are the large ones throughout, whose offsets have 64 bits: 32 would end at 2 GiB in a row group.
    """
    pa = arrow()
    if column.fixed:
        rows = np.ascontiguousarray(arrays[name][start:stop])
        if not column.shape and (column.kind == "scalar" or _is_native(rows.dtype)):
            return pa.array(rows)
        ends = np.arange(len(rows) + 1, dtype=np.int64) * column.row_bytes
        data = rows.tobytes()
    else:
        ends = arrays[f"{name}.ends"][start:stop].astype(np.int64)
        first = int(arrays[f"{name}.ends"][start - 1]) if start else 0
        ends = np.concatenate([[0], ends - first]).astype(np.int64)
        data = arrays[f"{name}.bytes"][first : first + int(ends[-1])].tobytes()
    if _is_list(column):
        values = np.frombuffer(data, column.dtype)
        return pa.LargeListArray.from_arrays(ends // values.itemsize, pa.array(values))
    kind = pa.large_string() if column.kind == "str" else pa.large_binary()
    return pa.Array.from_buffers(kind, stop - start, [None, pa.py_buffer(ends), pa.py_buffer(data)])


def _is_list(column: Column) -> bool:
    # 1-D arrays of uint8 are often encoded pictures; as lists of numbers they are read at a thirtieth of the speed
    one = column.kind == "vector" or (column.kind == "array" and len(column.shape) == 1)
    return one and _is_native(np.dtype(column.dtype)) and column.dtype != "|u1"


def marked(schema: ArrowSchema) -> ArrowSchema:
    """Give the fields of a schema the ids that `has_mark` looks for; Parquet keeps them in the footer, per column."""
    fields = [schema.field(i) for i in range(len(schema))]
    return arrow().schema([f.with_metadata({_FIELD_ID: str(_FIRST_ID + i)}) for i, f in enumerate(fields)])


def has_mark(schema: ArrowSchema) -> bool:
    """Whether some field has the id that ``write`` gave it."""
    numbers = [(schema.field(i).metadata or {}).get(_FIELD_ID) for i in range(len(schema))]
    return any(number == str(_FIRST_ID + i).encode() for i, number in enumerate(numbers))


def checksum(column: ArrowArray) -> int:
    """The CRC32C of the values of a column, which does not depend on how Arrow or Parquet encode it.

    It covers, one after the other: the name of the type (for lists: the type of their elements); for texts, bytes and
    lists the length of each cell (int64); the bytes of all cells (a byte for each bool; nulls as NumPy's NaT).
    """
    pa = arrow()
    cells = column.combine_chunks()
    if pa.types.is_dictionary(cells.type):  # texts are read as dictionaries, and were large_string when written
        cells = cells.dictionary_decode()
        cells = cells.cast(pa.large_string() if pa.types.is_string(cells.type) else cells.type)
    kind = cells.type
    parts = [str(kind.value_type if pa.types.is_large_list(kind) else kind).encode()]
    if pa.types.is_large_list(kind):
        ends = np.asarray(cells.offsets)  # of a slice: they need not begin at 0
        parts += [np.diff(ends).tobytes(), _bytes_of(cells.values.slice(ends[0], ends[-1] - ends[0]))]
    elif pa.types.is_large_binary(kind) or pa.types.is_large_string(kind):
        _, offsets, data = cells.buffers()
        ends = np.frombuffer(offsets, np.int64, len(cells) + 1, cells.offset * 8)
        parts += [np.diff(ends).tobytes(), data.slice(ends[0], ends[-1] - ends[0]).to_pybytes() if data else b""]
    else:
        parts.append(_bytes_of(cells))
    return crc32c()(b"".join(parts))


def _bytes_of(array: ArrowArray) -> bytes:
    # Not Arrow's buffers: they hold bools as bits, and anything at all where a cell is null.
    return array.to_numpy(zero_copy_only=False).tobytes()


class _Written(Cells):
    """Cells that are converted back to the values that ``write`` was given."""

    def __init__(self, cells: Cells, column: ParquetColumn) -> None:
        self._cells, self._column = cells, column

    def get(self, row: int) -> Component:
        return self._made(self._cells.get(row))

    def rows(self, start: int, stop: int) -> list[Any]:
        return list(map(self._made, self._cells.rows(start, stop)))

    def gather(self, rows: np.ndarray) -> np.ndarray:
        cells = self._cells
        return cells.gather(rows) if self._column.kind in ("int", "float", "bool") else super().gather(rows)

    def _made(self, cell: Component) -> Component:
        column = self._column
        if column.kind == "vector":
            return np.frombuffer(bytearray(cell), column.dtype) if isinstance(cell, bytes) else cell
        if column.kind == "array":
            if isinstance(cell, bytes):
                return np.frombuffer(bytearray(cell), column.dtype).reshape(column.shape)
            found = np.asarray(cell)
            if found.shape != column.shape:
                raise FormatError(f"an array of {found.shape} where {column.shape} was written")
            return found
        return row_value(column.kind, cell)


def as_written(form: tuple[str, str, Sequence[int]], cells: Cells) -> Cells:
    """Wrap stored cells, so that they give the values that ``write`` was given.

    Args:
        form: [kind, dtype, shape] of the column, from the header.
        cells: The cells as the file stores them.
    """
    kind, dtype, shape = form
    made = ParquetColumn(kind, dtype, tuple(shape))
    return cells if kind in ("str", "bytes", "scalar") else _Written(cells, made)
