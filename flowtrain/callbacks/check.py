"""Mistakes in a user's callback that would pass unnoticed: misspelt hooks, old spellings, wrong signatures."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from typing import Any

from flowtrain.utils.arguments import misnamed
from flowtrain.utils.errors import ConfigError

from .base import HOOKS, Callback

__all__ = ["check_callback", "check_methods"]

# How each method is called: placeholders for the arguments the trainer gives.
_CALLS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(HOOKS, ()),
    "after_run": ("values",),
    "next_step": (),
    "state_dict": (),
    "load_state_dict": ("state",),
    "reset": (),
}

# Spellings of Tensorpack (with a leading underscore) and of Keras, and today's.
_OTHER_SPELLINGS = {
    **{f"_{hook}": hook for hook in HOOKS},
    "_setup": "setup_graph",
    "before_step": "before_run",
    "after_step": "trigger_step",
    "on_train_begin": "before_train",
    "on_train_end": "after_train",
    "on_epoch_begin": "before_epoch",
    "on_epoch_end": "trigger_epoch",
    "on_batch_begin": "before_run",
    "on_batch_end": "trigger_step",
    "on_train_batch_begin": "before_run",
    "on_train_batch_end": "trigger_step",
}

_NEAR = 0.87


def check_callback(callback: Any) -> None:
    """Refuse what is no callback, or has a hook that would never be called or could not be called.

    The trainer calls it for every callback it is given, and so do callbacks that hold others.

    Args:
        callback: What the user gave.

    Raises:
        ConfigError: It is no Callback, a method's name is an old or a misspelt hook's, or a hook cannot take
            the arguments that it is called with; says what to write instead.

    Example:
        >>> class Bad(Callback):
        ...     def _trigger_epoch(self):
        ...         pass
        >>> check_callback(Bad())
        Traceback (most recent call last):
            ...
        flowtrain.utils.errors.ConfigError: Bad defines _trigger_epoch, which nothing calls. ...
    """
    check_methods(callback, Callback, _CALLS, _OTHER_SPELLINGS)
    needed = next((cls for cls in type(callback).__mro__[1:] if _sets_up_in_init(cls)), None)
    if needed is not None and not callback._initialized:
        raise ConfigError(
            f"{type(callback).__name__}.__init__ does not call that of {needed.__name__}, which sets up what its hooks "
            f"need. Write super().__init__(...) in it, with the arguments of {needed.__name__}."
        )


def _sets_up_in_init(cls: type) -> bool:
    return (
        cls is not Callback
        and cls.__module__.startswith(Callback.__module__.rpartition(".")[0])
        and ("__init__" in vars(cls))
    )


def check_methods(
    thing: object, base: type, calls: dict[str, tuple[str, ...]], other_spellings: dict[str, str]
) -> None:
    """Check the methods that a subclass defines against those that are called.

    Args:
        thing: An instance of a subclass of `base`.
        base: The class whose methods are overridden.
        calls: The methods that are called, with the names of the arguments they are given.
        other_spellings: Names of methods that belong elsewhere, with what they are here.

    Raises:
        ConfigError: See `check_callback`.
    """
    kind = type(thing).__name__
    if isinstance(thing, type) and issubclass(thing, base):
        raise ConfigError(f"{thing.__name__} is a class; give an instance: {thing.__name__}(...).")
    if not isinstance(thing, base):
        raise ConfigError(f"expected a {base.__name__}, got {thing!r:.100} ({kind}).")
    for name in _own_names(type(thing), base):
        if name in other_spellings:
            raise ConfigError(misnamed(kind, name, other_spellings[name]))
        near = difflib.get_close_matches(name, calls, n=1, cutoff=_NEAR)
        if near and name not in vars(base) and callable(getattr(type(thing), name)):
            raise ConfigError(
                f"{kind} defines {name}, which nothing calls. Did you mean {near[0]!r}? "
                "A method of your own needs a name that is less like a hook's."
            )
    for name, arguments in calls.items():
        _check_signature(kind, name, getattr(thing, name), arguments)


def _own_names(kind: type, base: type) -> Iterator[str]:
    """What a class and its ancestors below `base` define."""
    for cls in kind.__mro__:
        if cls is base:
            return
        if issubclass(cls, base):
            yield from vars(cls)


def _check_signature(kind: str, name: str, method: object, arguments: tuple[str, ...]) -> None:
    wanted = f"def {name}({', '.join(('self', *arguments))})"
    if not callable(method):
        raise ConfigError(f"{kind}.{name} is {method!r:.60}, not a method; write {wanted}.")
    if inspect.iscoroutinefunction(method):
        raise ConfigError(f"{kind}.{name} is async, which the trainer does not await; write {wanted}.")
    try:
        signature = inspect.signature(method)
    except ValueError:  # a builtin without one
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise ConfigError(
            f"{kind}.{name}{signature} cannot be called with ({', '.join(arguments)}): {error}. Write {wanted}."
        ) from None
