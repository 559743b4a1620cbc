"""Checks of what users give to parallel stages."""

from __future__ import annotations

import operator
from typing import Any

from ...utils.errors import ConfigError, StateError, closest

__all__ = ["check_timeout", "check_whole", "checked_position", "refuse_old"]

_OLD = {
    "nr_proc": "num_proc",
    "nr_prefetch": "num_prefetch",
    "hwm": "num_prefetch",
    "nr_thread": "num_thread",
    "remainder_": "remainder",
}


def check_whole(stage: str, name: str, value: Any, least: int) -> int:
    """A whole number of at least ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ConfigError(f"{stage}: {name} must be a whole number of at least {least}, got {value!r}")
    return number


def check_timeout(stage: str, value: Any) -> float:
    """A number of seconds above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise ConfigError(f"{stage}: timeout must be a number of seconds above 0 (e.g. 300), got {value!r}")
    return float(value)


def refuse_old(stage: str, given: dict[str, Any]) -> None:
    """Raise on arguments that do not exist, naming today's spelling of old ones."""
    for name in given:
        if name in _OLD:
            raise TypeError(f"{stage}: {name}= is called {_OLD[name]}= here")
        known = ["num_prefetch", "num_proc", "num_thread", "timeout", "restart", "duplicate", "preload"]
        raise TypeError(f"{stage} has no argument {name!r}. {closest(name, known)}")


def checked_position(stage: Any, state: Any) -> int:
    """A saved position in an indexable flow, as an index."""
    if state is None:
        return 0
    if not isinstance(state, int):
        raise StateError(f"{stage}: the saved position {state!r:.80} is of another kind of flow")
    size = stage.size_or_none()
    if size is not None and state > size:
        raise StateError(f"the saved position is {state}, but {stage} has only {size} datapoints")
    return state
