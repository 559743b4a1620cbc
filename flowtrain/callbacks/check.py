"""Checks of a user's callback: misspelt hooks, old spellings and wrong signatures, which would fail silently."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from typing import Any

from flowtrain.utils.arguments import misnamed, refuse_class
from flowtrain.utils.errors import ConfigError
from flowtrain.utils.old_names import OLD_NAMES

from .base import HOOKS, Callback

__all__ = ["check_callback", "check_methods"]

# Method -> names of the arguments that the trainer passes.
_CALLS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(HOOKS, ()),
    "after_run": ("values",),
    "next_step": (),
    "state_dict": (),
    "load_state_dict": ("state",),
    "reset": (),
}

# Method names of Tensorpack (with a leading underscore) and Keras -> flowtrain's.
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

# Least similarity (difflib's ratio) at which a method's name counts as a misspelt hook. With one letter too many or few
# it is 0.9 and more; names of a user's own, trigger_all or on_trigger, stay below 0.83, and so do two different hooks.
_NEAR = 0.87


def check_callback(callback: Any) -> None:
    """Refuse an object that is not a callback, or whose hooks would never be called or could not be called.

    The trainer checks every callback of its list, and a ProxyCallback checks the one that it wraps.

    Args:
        callback: The object that the user passed.

    Raises:
        ConfigError: It is not a Callback, a method has an old or misspelt hook name, a hook does not accept the
            arguments that it is called with, or ``super().__init__()`` was not called; says what to write instead.

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
    if inspect.isfunction(getattr(type(callback), "name", None)):
        raise ConfigError(
            f"{type(callback).__name__}.name is a method and not a string. It is the callback's name in messages "
            "and checkpoints: write @property above def name(self), or give the attribute another name."
        )
    needed = next((cls for cls in type(callback).__mro__[1:] if _sets_up_in_init(cls)), None)
    if needed is not None and not callback._initialized:
        raise ConfigError(
            f"{type(callback).__name__}.__init__ does not call that of {needed.__name__}, which sets up what its hooks "
            f"need. Write super().__init__(...) in it, with the arguments of {needed.__name__}."
        )


def _sets_up_in_init(cls: type) -> bool:
    """Whether a class is a callback of this package with an ``__init__`` of its own."""
    return (
        cls is not Callback
        and cls.__module__.startswith(Callback.__module__.rpartition(".")[0])
        and ("__init__" in vars(cls))
    )


def check_methods(
    thing: object, base: type, calls: dict[str, tuple[str, ...]], other_spellings: dict[str, str]
) -> None:
    """Check a subclass's methods against the methods that its base class says are called.

    Args:
        thing: An instance of a subclass of `base`.
        base: The class whose methods are overridden.
        calls: Method that is called -> names of its arguments.
        other_spellings: Method name of another library -> its name here.

    Raises:
        ConfigError: See `check_callback`.
    """
    kind = type(thing).__name__
    if isinstance(thing, type) and issubclass(thing, base):  # other classes are answered as any other object
        refuse_class(_a(base.__name__), thing)
    if not isinstance(thing, base):
        raise ConfigError(f"expected {_a(base.__name__)}, got {thing!r:.100} ({kind}).{_of_keras(thing)}")
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


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _of_keras(thing: object) -> str:
    """What to write instead of a callback of Keras."""
    if not type(thing).__module__.startswith("keras."):
        return ""
    kind = type(thing).__name__
    ours = "flowtrain.EarlyStopping" if kind == "EarlyStopping" else OLD_NAMES.get(kind, "a Callback of your own")
    return f" Keras's fit calls it, and nothing here does. Write {ours} instead."


def _own_names(kind: type, base: type) -> Iterator[str]:
    """Names that a class and those of its ancestors that derive from `base` define; mixins are left alone."""
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
    if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        raise ConfigError(f"{kind}.{name} has a yield in it, so calling it runs nothing; write {wanted} with a return.")
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
