"""Components of a datapoint, be it a list, a tuple or a dict: naming, replacing and protecting them."""

from __future__ import annotations

import copy
import datetime
import decimal
import fractions
import pathlib
import types
from typing import Any

import numpy as np

from ...utils.errors import DataFlowError, closest
from .datapoint import Component, Datapoint

__all__ = ["Key", "check_key", "holds_objects", "items_of", "missing_component", "own_objects", "protected", "replaced"]

Key = int | str
"""A position in a list or tuple, or a key of a dict."""


def check_key(key: object, owner: str) -> Key:
    """Raise unless a component is named by a whole number or a string."""
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        return int(key)
    if isinstance(key, str):
        return key
    raise DataFlowError(f"{owner}: a component is named by a position (int) or a dict's key (str), not {key!r}")


def items_of(datapoint: Datapoint) -> list[tuple[Any, Component]]:
    """The components with their positions or keys; none of what is no list, tuple or dict."""
    if isinstance(datapoint, dict):
        return list(datapoint.items())
    return list(enumerate(datapoint)) if isinstance(datapoint, (list, tuple)) else []


def missing_component(datapoint: object, key: Key, owner: str) -> DataFlowError:
    """The error for a datapoint that has no such component."""
    if isinstance(datapoint, dict):
        return DataFlowError(
            f"{owner}: the datapoint has no component {key!r}. {closest(str(key), [str(k) for k in datapoint])}"
        )
    if not isinstance(datapoint, (list, tuple)):
        return DataFlowError(
            f"{owner}: a datapoint is a list, a tuple or a dict of components; "
            f"got {type(datapoint).__name__}. Return [x] instead of x where it is made."
        )
    if isinstance(key, str):
        return DataFlowError(
            f"{owner}: component {key!r} was asked for by name, but the datapoint is a {type(datapoint).__name__} of "
            f"{len(datapoint)} components: give a position from 0 to {len(datapoint) - 1}"
        )
    return DataFlowError(f"{owner}: component {key} was asked for, but the datapoint has only {len(datapoint)}")


def replaced(datapoint: Datapoint, key: Key, value: object) -> Datapoint:
    """A copy of the datapoint with one component changed; what was given stays as it is."""
    if isinstance(datapoint, tuple):
        changed: Any = list(datapoint)
        changed[key] = value
        return tuple(changed) if type(datapoint) is tuple else type(datapoint)(*changed)  # else a named tuple
    changed = datapoint.copy()
    changed[key] = value
    return changed


def protected(datapoint: Datapoint) -> Datapoint:
    """What is handed out of a datapoint that its owner keeps: the consumer's changes do not reach the original.

    Lists, dicts, sets and other objects that can change are copied, however deep they lie, and arrays are read-only
    views: a function that writes into one raises, instead of changing what the next epoch will see. What cannot be
    copied (an open file, a lock) is handed out as it is.
    """
    kind = type(datapoint)
    # The commonest cases of _own, without a call for each component: sources in memory do this for each datapoint.
    if kind is list or kind is tuple:
        return kind(
            [
                value
                if type(value) in _UNCHANGING
                else _frozen(value)
                if type(value) is np.ndarray
                else _own(value, {})
                for value in datapoint
            ]
        )
    if kind is dict:
        return {
            key: value
            if type(value) in _UNCHANGING
            else _frozen(value)
            if type(value) is np.ndarray
            else _own(value, {})
            for key, value in datapoint.items()
        }
    return _own(datapoint, {})


def holds_objects(column: np.ndarray) -> bool:
    """Whether an array holds Python objects that can change, as lists can and strings cannot."""
    return column.dtype.hasobject and not all(type(value) in _UNCHANGING for value in column.ravel().tolist())


_UNCHANGING: frozenset[type] = frozenset(
    [
        *(int, float, bool, complex, str, bytes, type(None), range, types.FunctionType),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
        *(decimal.Decimal, fractions.Fraction, pathlib.PosixPath, pathlib.PurePosixPath),
        *(set(np.sctypeDict.values()) - {np.void, np.object_}),  # the fields of a structured scalar can be set
    ]
)
"""Types whose objects never change, so that they need no copy."""


def _own(value: Component, copies: dict[int, Any]) -> Component:
    """A copy that shares nothing changeable with the value; ``copies`` are those made so far, by id of the value."""
    kind = type(value)
    if kind in _UNCHANGING:
        return value
    if kind is np.ndarray or (isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)):
        return _frozen(value)
    if id(value) in copies:  # a list that occurs twice is one list in the copy too; one that holds itself ends here
        return copies[id(value)]
    if kind is list:
        made = copies[id(value)] = []
        made.extend(_own(item, copies) for item in value)
        return made
    if kind is dict:
        made = copies[id(value)] = {}
        made.update((key, _own(item, copies)) for key, item in value.items())  # type: ignore[union-attr]
        return made
    if kind is tuple:
        return tuple([_own(item, copies) for item in value])
    if kind is types.MappingProxyType:  # deepcopy refuses it
        return types.MappingProxyType(_own(dict(value), copies))  # type: ignore[call-overload]
    if kind is memoryview:
        return value.toreadonly()  # type: ignore[attr-defined]
    try:
        return copy.deepcopy(value, copies)  # our dict of copies by id is just what deepcopy's memo is
    except Exception:  # whatever an object's own __deepcopy__ or __reduce__ raises
        return value


def _frozen(array: np.ndarray) -> np.ndarray:
    if array.dtype.hasobject and holds_objects(array):
        array = own_objects(array)
    view = array[...]
    view.setflags(write=False)
    return view


def own_objects(array: np.ndarray) -> np.ndarray:
    """A copy of an array of objects, in which the objects that can change are copies too."""
    if array.dtype != object:  # objects in the fields of a structured dtype
        return copy.deepcopy(array)
    made, copies = np.empty(array.shape, object), {}
    for place, value in enumerate(array.ravel().tolist()):
        made.flat[place] = _own(value, copies)
    return made
