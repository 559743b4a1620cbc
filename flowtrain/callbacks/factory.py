"""CallbackFactory: a callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from flowtrain.utils.errors import ConfigError, closest

from .base import HOOKS, Callback

__all__ = ["CallbackFactory"]


class CallbackFactory(Callback):
    """A callback made of functions, where a class would be too much.

    Args:
        **hooks: ``hook=function``. Each function takes the callback (with `trainer`, `epoch_num`, `global_step`);
            that of `after_run` also takes the values.

    Raises:
        ConfigError: There is no such hook, or a value is not callable.

    Example:
        >>> CallbackFactory(trigger_epoch=lambda self: print("epoch", self.epoch_num))
        CallbackFactory
    """

    def __new__(cls, **hooks: Callable[..., Any]) -> CallbackFactory:
        """Make an instance of a new subclass that has exactly these hooks.

        They stand on a class, not on the instance, so that a copy's hooks are bound to the copy.
        """
        for name, function in hooks.items():
            if name not in HOOKS:
                raise ConfigError(f"CallbackFactory: there is no hook {name!r}. {closest(name, HOOKS)}")
            if not callable(function):
                raise ConfigError(f"CallbackFactory: {name}={function!r:.60} is no function.")
        return object.__new__(type(cls.__name__, (cls,), {name: _method(f) for name, f in hooks.items()}))

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        super().__init__()


def _method(function: Callable[..., Any]) -> FunctionType:
    """The function itself; any other callable (a partial, an object) in a function, as only functions bind `self`."""
    return function if isinstance(function, FunctionType) else lambda self, *values: function(self, *values)
