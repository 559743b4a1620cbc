"""A callback from a few functions."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from flowtrain.utils.errors import ConfigError, closest

from .base import HOOKS, Callback

__all__ = ["CallbackFactory"]


class CallbackFactory(Callback):
    """Makes a callback of functions, for what is too small for a class.

    Args:
        **hooks: The name of a hook = a function that takes the callback (with `trainer`, `epoch_num`,
            `global_step`), and the values in `after_run`.

    Raises:
        ConfigError: No such hook, or no function.

    Example:
        >>> CallbackFactory(trigger_epoch=lambda self: print("epoch", self.epoch_num))
        CallbackFactory
    """

    def __new__(cls, **hooks: Callable[..., Any]) -> CallbackFactory:
        """Make an instance of a subclass that has these hooks and no others."""
        for name, function in hooks.items():
            if name not in HOOKS:
                raise ConfigError(f"CallbackFactory: there is no hook {name!r}. {closest(name, HOOKS)}")
            if not callable(function):
                raise ConfigError(f"CallbackFactory: {name}={function!r:.60} is no function.")
        return object.__new__(type(cls.__name__, (cls,), {name: _method(f) for name, f in hooks.items()}))

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        super().__init__()


def _method(function: Callable[..., Any]) -> FunctionType:
    """What becomes a method when it stands in a class; other callables do not."""
    return function if isinstance(function, FunctionType) else lambda self, *values: function(self, *values)
