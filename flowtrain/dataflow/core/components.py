"""Reading and replacing one component of a datapoint, be it a list, a tuple or a dict."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...utils.errors import DataFlowError, closest

__all__ = ["Key", "check_key", "missing_component", "protected", "replaced"]

Key = int | str
"""A position in a list or tuple, or a key of a dict."""


def check_key(key: Any, owner: str) -> Key:
    """Raise unless a component is named by a whole number or a string."""
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        return int(key)
    if isinstance(key, str):
        return key
    raise DataFlowError(f"{owner}: a component is named by a position (int) or a dict's key (str), not {key!r}")


def missing_component(datapoint: Any, key: Key, owner: str) -> DataFlowError:
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


def replaced(datapoint: Any, key: Key, value: Any) -> Any:
    """A copy of the datapoint with one component changed; what was given stays as it is."""
    if type(datapoint) is tuple:
        changed = list(datapoint)
        changed[key] = value  # type: ignore[call-overload]
        return tuple(changed)
    if isinstance(datapoint, tuple):  # a named tuple
        changed = list(datapoint)
        changed[key] = value  # type: ignore[call-overload]
        return type(datapoint)(*changed)
    changed = datapoint.copy()
    changed[key] = value
    return changed


def protected(datapoint: Any) -> Any:
    """The datapoint for handing out while its owner keeps it.

    The list or dict is a new one and arrays are read-only views: a function that writes into them raises, instead of
    changing what the next epoch will see.
    """
    if isinstance(datapoint, dict):
        return {key: _frozen(value) if isinstance(value, np.ndarray) else value for key, value in datapoint.items()}
    if type(datapoint) is list:
        return [_frozen(value) if isinstance(value, np.ndarray) else value for value in datapoint]
    if type(datapoint) is tuple:
        return tuple(_frozen(value) if isinstance(value, np.ndarray) else value for value in datapoint)
    return _frozen(datapoint) if isinstance(datapoint, np.ndarray) else datapoint


def _frozen(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
