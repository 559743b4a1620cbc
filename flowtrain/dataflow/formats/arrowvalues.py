"""Arrow columns (of Parquet files and Hugging Face datasets) as NumPy and Python values, converted without loss.

=======================================  =========================================================================
Arrow                                    a cell
=======================================  =========================================================================
bool, int8 ... uint64, float16 ... 64    a NumPy number of that dtype
string                                   str
binary, fixed-size binary                bytes
date32, date64, timestamp                datetime64 in its unit; with a time zone: the instant in UTC
duration                                 timedelta64 in its unit
time32, time64, decimal                  ``datetime.time``, ``decimal.Decimal``
dictionary                               the value
list, large list, fixed-size list        an array of the numbers; of anything else than numbers a list
fixed-shape tensor                       an array of its shape
struct, map                              a dict; a list of (key, value)
another extension type                   what it is stored as
=======================================  =========================================================================

Each cell is a copy, which its reader may change. A null is an error unless ``missing`` gives a value for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ...utils.errors import DataFlowError
from ...utils.optional import require
from ..core.datapoint import Component
from .arrowcells import (
    Arrays,
    ArrowArray,
    ArrowType,
    Bytes,
    Cells,
    Chunks,
    Dictionary,
    Lists,
    Maps,
    NullsFilled,
    NullsRefused,
    Numbers,
    Objects,
    Structs,
)

__all__ = ["arrow", "cells_of", "gathers", "null_paths", "numbers_of", "unreadable"]

_BLOCKED = ("sparse_union", "dense_union", "run_end_encoded", "list_view", "large_list_view", "month_day_nano_interval")
_BYTES = ("string", "large_string", "binary", "large_binary")  # types whose cells lie end to end in one buffer


def arrow() -> ModuleType:
    """Import the package pyarrow, or raise the error that names the extra to install."""
    return require("pyarrow", extra="parquet", needed_for="Reading Arrow's columns")


def unreadable(kind: ArrowType) -> str | None:
    """The name of an Arrow type, or of a type nested in it, that is not supported; None where all of it can be read."""
    if str(kind).startswith(_BLOCKED):
        return str(kind)
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    inner += [kind.storage_type] if isinstance(kind, arrow().BaseExtensionType) else []
    return next(filter(None, map(unreadable, inner)), None)


def null_paths(kind: ArrowType, path: str) -> list[str]:
    """The keys of ``missing`` for a column and its parts: ``path``, ``path.field``, elements of lists ``path[]``."""
    pa, types = arrow(), arrow().types
    if isinstance(kind, pa.BaseExtensionType):
        return null_paths(kind.storage_type, path)
    if types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return [path, *(part for field in fields for part in null_paths(field.type, f"{path}.{field.name}"))]
    if types.is_map(kind):
        return [path, *null_paths(kind.key_type, f"{path}.key"), *null_paths(kind.item_type, f"{path}.value")]
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [path, *null_paths(kind.value_type, f"{path}[]")]
    return [path]


def gathers(kind: ArrowType) -> bool:
    """Whether cells of this type batch into an array with a row per cell, so that ``Cells.gather`` may be used."""
    return _is_number(kind) or _is_moment(kind) or str(kind) in _BYTES


def _is_number(kind: ArrowType) -> bool:
    types = arrow().types
    return types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind)


def _is_moment(kind: ArrowType) -> bool:
    types = arrow().types
    return types.is_date(kind) or types.is_timestamp(kind) or types.is_duration(kind)


def cells_of(
    column: ArrowArray, path: str, missing: Mapping[str, Any], inner_of: Callable[[Any], Cells] | None = None
) -> Cells:
    """The cells of a column.

    Args:
        column: A pyarrow Array or ChunkedArray.
        path: The column's name; within it fields are ``path.field`` and the elements of a list ``path[]``.
        missing: Path -> fill value for nulls there.
        inner_of: Makes the cells of an Array, in which those of null rows may be anything; None: by the Array's type.

    Returns:
        The cells; reading a null that has no fill value raises `NullCell`.

    Raises:
        DataFlowError: A fill value is no value of the column's type.
    """
    if hasattr(column, "chunks"):
        parts = [cells_of(chunk, path, missing, inner_of) for chunk in column.chunks if len(chunk)]
        if len(parts) == 1:
            return parts[0]
        return Chunks(parts, list(accumulate(len(chunk) for chunk in column.chunks if len(chunk))))
    pa, kind = arrow(), column.type
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.FixedShapeTensorType):
        return cells_of(column.storage, path, missing, inner_of)
    inner = _without_nulls(column, path, missing) if inner_of is None else inner_of(column)
    if path in missing:
        fill = _fitting(missing[path], kind.value_type if pa.types.is_dictionary(kind) else kind, path)
        if fill is None or column.null_count:  # None changes the type of cells, in chunks without nulls too
            return NullsFilled(inner, _null_rows(column), fill)
    return NullsRefused(inner, _null_rows(column), path) if column.null_count else inner


def _null_rows(column: ArrowArray) -> np.ndarray:
    return column.is_null().to_numpy(zero_copy_only=False)


def _without_nulls(column: ArrowArray, path: str, missing: Mapping[str, Any]) -> Cells:
    """The cells of an Array; those of null rows may be anything, since `cells_of` covers them.

    An Array may be a slice. pyarrow applies the slice to ``offsets``, ``storage`` and ``field()``, but not to
    ``buffers()``, where positions begin at ``column.offset``, nor to ``values``, to which a list's ``offsets`` refer.
    """
    pa, kind = arrow(), column.type
    types = pa.types
    if types.is_dictionary(kind):
        return Dictionary(cells_of(column.dictionary, path, missing), numbers_of(column.indices))
    if isinstance(kind, pa.FixedShapeTensorType):
        return Arrays(_tensors(column))
    if _is_number(kind):
        return Numbers(numbers_of(column))
    if _is_moment(kind):
        return Numbers(column.to_numpy(zero_copy_only=False))
    if str(kind) in _BYTES:
        width = np.int64 if str(kind).startswith("large") else np.int32
        _, ends, data = column.buffers()
        offsets = _view(ends, width, column.offset, len(column) + 1)
        return Bytes(memoryview(data or b""), offsets, "string" in str(kind))
    if str(kind) in ("string_view", "binary_view"):
        return _without_nulls(column.cast(pa.large_string() if "string" in str(kind) else pa.large_binary()), path, {})
    if types.is_fixed_size_binary(kind):
        width, data = kind.byte_width, column.buffers()[1]
        start = column.offset * width
        offsets = start + np.arange(len(column) + 1, dtype=np.int64) * width
        return Bytes(memoryview(data or b""), offsets, False)
    if types.is_fixed_size_list(kind):
        size, start = kind.list_size, column.offset * kind.list_size  # not flatten(): it leaves out null rows
        child = column.values.slice(start, len(column) * size)
        offsets = np.arange(len(column) + 1, dtype=np.int64) * size
        return Lists(offsets, cells_of(child, f"{path}[]", missing))
    if types.is_map(kind):
        keys, items = cells_of(column.keys, f"{path}.key", missing), cells_of(column.items, f"{path}.value", missing)
        return Maps(np.asarray(column.offsets), keys, items)
    if types.is_list(kind) or types.is_large_list(kind):
        return Lists(np.asarray(column.offsets), cells_of(column.values, f"{path}[]", missing))
    if types.is_struct(kind):
        fields = [kind.field(i).name for i in range(kind.num_fields)]
        # Not flatten(): it makes each field of a null struct null, and these would be refused as nulls of the fields.
        made = [cells_of(column.field(i), f"{path}.{name}", missing) for i, name in enumerate(fields)]
        return Structs(fields, made)
    return Objects(column)  # decimals, times, nulls


def numbers_of(column: ArrowArray) -> np.ndarray:
    """Numbers in their own dtype, anything where they are null.

    ``to_numpy`` would turn integers with nulls among them into float64, which rounds those above 2**53.
    """
    dtype = np.dtype(column.type.to_pandas_dtype())
    if dtype == np.bool_:
        return column.fill_null(False).to_numpy(zero_copy_only=False)
    return _view(column.buffers()[1], dtype, column.offset, len(column))


def _view(buffer: Any, dtype: npt.DTypeLike, start: int, count: int) -> np.ndarray:
    """``count`` elements of an Arrow buffer from element ``start``, as a view."""
    if buffer is None or not buffer.size:  # Arrow may leave out the buffer of an empty array
        return np.zeros(count, dtype)
    return np.frombuffer(buffer, dtype, count, start * np.dtype(dtype).itemsize)


def _tensors(column: ArrowArray) -> np.ndarray:
    """The values of a fixed-shape tensor array: (rows, ...), its axes in the logical order."""
    kind, storage = column.type, column.storage
    size = storage.type.list_size
    values = numbers_of(storage.values.slice(storage.offset * size, len(storage) * size))
    permutation = kind.permutation or list(range(len(kind.shape)))
    return values.reshape(len(column), *kind.shape).transpose(0, *(axis + 1 for axis in permutation))


def _fitting(fill: Component, kind: ArrowType, path: str) -> Component:
    """A fill value for nulls, converted to a cell of the column's type.

    Raises:
        DataFlowError: The type has no such value.
    """
    if fill is None:
        return None
    types, said = arrow().types, f"missing={{{path!r}: {fill!r}}}: {path!r} is {kind}"
    none_such = DataFlowError(f"{said}, which has no such value. Give one that it has, or None")
    if _is_number(kind):
        value = _as_number(fill, np.dtype(kind.to_pandas_dtype()))
        if value is None:
            raise none_such
        return value
    if _is_moment(kind):
        unit = "D" if types.is_date32(kind) else "ms" if types.is_date64(kind) else kind.unit
        try:
            value = (np.timedelta64 if types.is_duration(kind) else np.datetime64)(fill, unit)
        except (TypeError, ValueError) as error:
            raise none_such from error
        if not np.isnat(value) and value != fill:
            raise DataFlowError(f"{said}, which does not hold it exactly")
        return value
    wanted = str if "string" in str(kind) else bytes if "binary" in str(kind) else None
    if not str(kind).endswith(">") and wanted is not None and not isinstance(fill, wanted):
        raise DataFlowError(f"{said}: a {wanted.__name__} or None is needed")
    if (types.is_list(kind) or types.is_large_list(kind)) and _is_number(kind.value_type):
        dtype = np.dtype(kind.value_type.to_pandas_dtype())
        numbers = [_as_number(item, dtype) for item in fill] if np.iterable(fill) else [None]
        if None in numbers:
            raise DataFlowError(f"{said}, which has no such value. Give a list of numbers that it has, or None")
        return np.array(numbers, dtype)
    return fill


def _as_number(fill: Component, dtype: np.dtype) -> Component:
    """A number converted to a dtype; None where the dtype does not have exactly this number."""
    if isinstance(fill, (bool, np.bool_)) != (dtype == np.bool_) or np.ndim(fill):
        return None
    with np.errstate(all="ignore"):
        try:
            value = np.asarray(fill).astype(dtype)[()]
            # NumPy compares a float32 with a Python float as float32, in which 1e300 is inf too: hence isinf.
            alike = value == fill and np.isinf(value) == np.isinf(fill)
            return value if alike or (fill != fill and value != value) else None
        except (TypeError, ValueError, OverflowError):
            return None
