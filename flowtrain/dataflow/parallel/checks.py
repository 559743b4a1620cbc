"""Checks of what users give to parallel stages."""

from __future__ import annotations

import operator
from typing import Any

from ...utils.errors import ConfigError, closest

__all__ = ["check_timeout", "check_whole", "refuse_old"]

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
