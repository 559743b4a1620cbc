"""From Python values to arrays, by NumPy's rules and without loss: what NumPy would round, widen or unmask is an error.

A Python bool becomes bool, an int int64, a float float64, a complex complex128; NumPy scalars and arrays keep their
dtype. A list (or tuple) of numbers or of arrays of one shape and dtype is an array of them. Anything else (strings,
bytes, None, objects, lists with one of these) is no array: where many of them are stacked, they become a column of
dtype object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ...utils.errors import DataFlowError, first_few
from .components import items_of
from .datapoint import Component

__all__ = ["SCALARS", "as_array", "check_unmasked", "column_of", "is_hollow", "refuse_masked"]

SCALARS: dict[type, Any] = {bool: np.bool_, int: np.int64, float: np.float64, complex: np.complex128}
"""Python's numbers and the dtypes that they become."""

_EXACT_INT = 2**53  # the whole numbers up to it are exact in float64
_NESTED = (list, tuple)
_UNMASKED = frozenset([*SCALARS, str, bytes, type(None), np.ndarray])  # exact types: none of their values has a mask
_WHOLE = re.compile(r"(?:dictionary<values=)?(u?int(?=\d)|bool)")  # as pandas, pyarrow and NumPy name such dtypes


def as_array(value: Component, where: str, dtype: npt.DTypeLike = np.float64) -> np.ndarray | None:
    """Convert a value to an array if that changes nothing about it.

    Args:
        value: Anything.
        where: What it is, for errors: ``"BatchData(2): component 0, row 3"``.
        dtype: The dtype of an empty list, which has none of its own.

    Returns:
        The array; None for a value that is no array (strings, bytes, None, objects, lists with one of these in it).

    Raises:
        DataFlowError: The value is a masked array, a list whose rows differ in length, shape or dtype, or a whole
            number that int64 does not hold.

    Example:
        >>> as_array([1, 2.5], "x"), as_array("text", "x")
        (array([1. , 2.5]), None)
    """
    if isinstance(value, np.ndarray):
        check_unmasked(value, where)
        return value
    if type(value) in SCALARS:  # the exact type: np.float64 is a float too, and an IntEnum, an object, is an int
        return _filled(value, SCALARS[type(value)], where)
    if isinstance(value, np.generic):
        return None if isinstance(value, (str, bytes)) else np.asarray(value)
    if not isinstance(value, _NESTED):
        return None
    leaves = list(_leaves(value))
    kinds = set(map(type, leaves))
    if kinds <= SCALARS.keys():
        return _filled(value, _common(leaves, kinds, where) if kinds else dtype, where)
    if not all(kind in SCALARS or issubclass(kind, (np.ndarray, np.generic)) for kind in kinds):
        return None
    if any(issubclass(kind, (str, bytes)) for kind in kinds):  # NumPy's strings
        return None
    for leaf in leaves:
        if isinstance(leaf, np.ndarray):
            check_unmasked(leaf, where)
    # Compared before NumPy sees them: np.array([np.int64(1), np.float32(2)]) would be float64 without a word.
    dtypes = {np.dtype(SCALARS[type(leaf)]) if type(leaf) in SCALARS else leaf.dtype for leaf in leaves}
    if len(dtypes) > 1:
        raise DataFlowError(
            f"{where} is a {type(value).__name__} of {' and '.join(sorted(map(str, dtypes)))}; nothing is cast "
            "silently, so make them one dtype where they are made"
        )
    return _filled(value, dtypes.pop(), where)


def column_of(values: object, where: str) -> np.ndarray:
    """Convert something array-like with a row per datapoint to an array: an array, a table's column, a list.

    Args:
        values: An array, or anything that NumPy can make one of (a pandas Series, an h5py or netCDF4 variable).
        where: What it is, for errors.

    Raises:
        DataFlowError: NumPy would lose something: a mask, whole numbers among which some are missing.
    """
    column = as_array(values, where)
    if column is not None:
        return column
    try:
        column = np.asanyarray(values)
    except ValueError as error:
        raise DataFlowError(f"{where} is no regular array: {error}") from error
    check_unmasked(column, where)
    held = _held_kind(values)
    if held in "iub" and column.dtype.kind not in "iub":
        raise DataFlowError(
            f"{where} is of {getattr(values, 'dtype', None) or getattr(values, 'type', None)} with values missing; "
            f"NumPy has no such numbers, and {'rounds them to float64' if held in 'iu' else 'keeps objects'}. Fill "
            "them (.fillna(-1)), drop those rows (.dropna()), or say what they shall be: .astype('float64') or "
            ".astype(object)"
        )
    return column


def is_hollow(value: object) -> bool:
    """Whether a value is a list without anything in it, at any depth (``[[], []]``): it may stand for any dtype."""
    return isinstance(value, _NESTED) and next(_leaves(value), value) is value


def check_unmasked(array: np.ndarray, where: str) -> None:
    """Raise on a masked array, whose mask NumPy's own functions leave behind."""
    if isinstance(array, np.ma.MaskedArray):
        raise DataFlowError(
            f"{where} is a masked array, and its mask would be lost: what is masked would pass for data. Say what "
            "stands there, x.filled(value), or make the mask a component: [x.filled(0), np.ma.getmaskarray(x)]"
        )


def refuse_masked(value: Component, where: str) -> None:
    """Raise if there is a masked array anywhere in a datapoint."""
    if not _holds_masked(value):
        return
    check_unmasked(value, where)
    for place, item in items_of(value):
        refuse_masked(item, f"{where}, component {place!r}")


def _holds_masked(value: object) -> bool:
    kind = type(value)
    if kind in _UNMASKED:  # quickly: each datapoint that is written is looked at
        return False
    if isinstance(value, np.ndarray):
        return isinstance(value, np.ma.MaskedArray)
    if isinstance(value, dict):
        return any(map(_holds_masked, value.values()))
    return isinstance(value, _NESTED) and any(map(_holds_masked, value))


def _leaves(value: list[Any] | tuple[Any, ...]) -> Iterator[Any]:
    for item in value:
        if isinstance(item, _NESTED):
            yield from _leaves(item)
        else:
            yield item


def _common(leaves: list[Any], kinds: set[type], where: str) -> npt.DTypeLike:
    """The dtype that holds Python numbers of all these types exactly."""
    if len(kinds) == 1:
        return SCALARS[next(iter(kinds))]
    if bool in kinds:
        raise DataFlowError(
            f"{where} is a list of {' and '.join(sorted(kind.__name__ for kind in kinds))}; nothing is cast silently, "
            "so make them one type where they are made, or components of their own"
        )
    for leaf in leaves:
        if type(leaf) is int and abs(leaf) > _EXACT_INT:
            raise DataFlowError(f"{where} is a list of int and float, and float64 does not hold its {leaf} exactly")
    return np.complex128 if complex in kinds else np.float64


def _filled(value: Component, dtype: npt.DTypeLike, where: str) -> np.ndarray:
    try:
        return np.array(value, dtype)
    except OverflowError as error:
        raise DataFlowError(
            f"{where}: a whole number does not fit into int64; make it a NumPy number of a dtype that holds it, e.g. "
            f"numpy.uint64 ({error})"
        ) from error
    except ValueError:
        _refuse_ragged(value, where)


def _refuse_ragged(value: Component, where: str) -> NoReturn:
    shapes = list(dict.fromkeys(map(_shown_shape, value)))
    raise DataFlowError(
        f"{where} is a list whose rows differ in shape ({first_few(shapes, 4)}): no regular array. Bring them to one "
        "shape where they are made, or keep the rows apart (BatchData(..., use_list=True); as a source DataFromList)"
    )


def _shown_shape(item: object) -> str:
    if isinstance(item, np.ndarray):
        return str(item.shape)
    return f"({len(item)}, ...)" if isinstance(item, _NESTED) else "()"


def _held_kind(values: object) -> str:
    """NumPy's kind letter of the whole numbers or bools that a table's column holds: i, u or b; "?" for all others."""
    # By the column's own dtype: with values missing, np.asarray has made floats or objects of them already.
    dtype = getattr(values, "dtype", getattr(values, "type", None))
    dtype = getattr(getattr(dtype, "categories", None), "dtype", dtype)  # of a pandas category: its values'
    found = _WHOLE.match(str(dtype).lower())  # not interval, which begins alike
    return found.group(1)[0] if found else "?"
