"""Checks of arguments: whole numbers, seconds, and spellings that other libraries or earlier versions have.

Every refusal names the owner, what was given, and what to write instead. Names are taken from the real signature, so
that an error can never advise an argument that does not exist.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Any, TypeVar

from .errors import ConfigError, FlowtrainError, closest, either

__all__ = [
    "NamesArguments",
    "OldName",
    "UnknownArgument",
    "as_int",
    "check_choice",
    "check_int",
    "check_names",
    "check_seconds",
    "if_given",
    "misnamed",
    "missing_name",
    "names_arguments",
    "old_spellings",
    "refuse_class",
    "refuse_unknown",
    "unknown_attribute",
]

T = TypeVar("T", bound=Callable[..., Any])
R = TypeVar("R")
V = TypeVar("V")


class UnknownArgument(ConfigError, TypeError):
    """An argument that does not exist; the message says today's spelling or the nearest names."""


class OldName(FlowtrainError, ImportError):
    """A module's name of another library or an earlier version; the message says today's.

    An ImportError, because ``from module import name`` would replace an AttributeError's message by its own.
    """


def check_int(
    owner: str,
    name: str,
    value: object,
    least: int | None = 1,
    most: int | None = None,
    error: type[FlowtrainError] = ConfigError,
) -> int:
    """Check that an argument is a whole number within bounds.

    Args:
        owner: Whose argument it is, for the message: ``"BatchData"``.
        name: The argument's name.
        value: What was given: an int or anything with ``__index__`` (NumPy's integers), but no bool.
        least: The smallest that is allowed; None: no bound.
        most: The largest that is allowed; None: no bound.
        error: The type to raise.

    Returns:
        The value as an int.

    Raises:
        ConfigError: It is no such number; or the given type of error.

    Example:
        >>> check_int("BatchData", "batch_size", 0)
        Traceback (most recent call last):
            ...
        flowtrain.utils.errors.ConfigError: BatchData: batch_size must be a whole number of at least 1, got 0
    """
    number = as_int(value)
    if number is None or (least is not None and number < least) or (most is not None and number > most):
        raise error(f"{owner}: {name} must be a whole number{_bounds(least, most)}, got {value!r:.200}")
    return number


def as_int(value: Any) -> int | None:
    """Convert an int, or anything with ``__index__``, to an int; None for anything else, bools included."""
    if isinstance(value, bool) or type(value).__name__ == "bool_":  # NumPy's bool has __index__ in some versions
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _bounds(least: int | None, most: int | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f" of at least {least}"
    return f" of at most {most}" if most is not None else ""


def check_seconds(owner: str, name: str, value: object) -> float:
    """Check that an argument is a time in seconds, above 0 and below 1e9; returns it as a float.

    Raises:
        ConfigError: It is no such number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise ConfigError(f"{owner}: {name} must be a number of seconds above 0 (e.g. 300), got {value!r:.200}")
    return float(value)


def check_choice(
    owner: str,
    name: str,
    value: V,
    choices: Iterable[object],
    error: type[FlowtrainError] = ConfigError,
    *,
    also: str = "",
) -> V:
    """Check that an argument is one of a few values; returns it.

    Args:
        owner: Whose argument it is, for the message.
        name: The argument's name.
        value: What was given.
        choices: What is allowed: strings, numbers, bools, None.
        error: The type to raise.
        also: What is allowed besides and was checked before: ``"a function of the sample"``.

    Raises:
        ConfigError: It is none of them; or the given type of error.

    Example:
        >>> check_choice("ImageFromFile", "depth", 16, ("keep", 8))
        Traceback (most recent call last):
            ...
        flowtrain.utils.errors.ConfigError: ImageFromFile: depth must be 'keep' or 8, got 16
    """
    allowed = list(choices)
    # True == 1 in Python; and what has no hash, such as an array, may have no bool for its == either.
    fits = isinstance(value, Hashable) and any(
        value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in allowed
    )
    if not fits:
        words = either([*map(repr, allowed), *([also] if also else [])])
        raise error(f"{owner}: {name} must be {words}, got {value!r:.200}")
    return value


def check_names(
    owner: str,
    name: str,
    value: Any,
    error: type[FlowtrainError] = ConfigError,
    *,
    least: int = 0,
    known: Iterable[str] | None = None,
) -> list[str]:
    """Check that an argument is a list of names, and no name alone.

    Args:
        owner: Whose argument it is, for the message.
        name: The argument's name.
        value: What was given: a list, a tuple or another collection of strings. No set, whose order is not defined.
        error: The type to raise.
        least: How many names there must be.
        known: The names that there are; None: any.

    Returns:
        The names.

    Raises:
        ConfigError: It is no such list; or the given type of error.

    Example:
        >>> check_names("ParquetData", "columns", "age")
        Traceback (most recent call last):
            ...
        flowtrain.utils.errors.ConfigError: ParquetData: columns must be a list of names, got 'age': write ['age']
    """
    # A generator is no list: looking at its names would use them up.
    listed = isinstance(value, Collection) and not isinstance(value, (str, bytes, Mapping, set, frozenset))
    if not listed or len(value) < least or not all(isinstance(one, str) for one in value):
        mend = f": write [{value!r}]" if isinstance(value, str) else ""
        raise error(f"{owner}: {name} must be a list of names{', at least one' * least}, got {value!r:.200}{mend}")
    names: list[str] = list(value)
    there = None if known is None else list(known)
    for one in names:
        if there is not None and one not in there:
            raise error(f"{owner} has no {one!r}. {closest(one, there)}")
    return names


def if_given(check: Callable[..., R], owner: str, name: str, value: object, *args: Any, **options: Any) -> R | None:
    """Check an argument that may be None, which stands for "not given".

    Example:
        >>> if_given(check_int, "SVMLightData", "num_features", None)
    """
    return None if value is None else check(owner, name, value, *args, **options)


def refuse_class(owner: str, value: object, error: type[FlowtrainError] = ConfigError) -> None:
    """Raise if a class is given where an object of it is meant.

    Example:
        >>> refuse_class("TrainConfig: model", dict)
        Traceback (most recent call last):
            ...
        flowtrain.utils.errors.ConfigError: TrainConfig: model must be an object, not its class: dict()
    """
    if isinstance(value, type):
        raise error(f"{owner} must be an object, not its class: {value.__name__}()")


def missing_name(module: str, name: str, known: Iterable[str], old: Mapping[str, str]) -> OldName | AttributeError:
    """Make the error that a module's ``__getattr__`` raises for a name that does not exist.

    Args:
        module: The module: ``"flowtrain.dataflow"``.
        name: The name that was asked for.
        known: The names that exist.
        old: Other libraries' name -> what to write instead: a name, or words that read on from "Write".

    Example:
        >>> missing_name("flowtrain.dataflow", "LMDBDataPoint", ["LMDBData"], {"LMDBDataPoint": "LMDBData"})
        OldName("flowtrain.dataflow has no 'LMDBDataPoint'. Write LMDBData instead.")
    """
    error = OldName if name in old else AttributeError
    wanted = old.get(name, "")
    advice = f"Write {wanted}." if " " in wanted else _advice(name, known, old, "")
    return error(f"{module} has no {name!r}. {advice}")


def unknown_attribute(owner: object, name: str, old: Mapping[str, str]) -> str:
    """Make the message for an attribute that an object lacks; ``old`` tells what to do for names of other libraries."""
    # No search for near names here: hasattr and getattr with a default ask for missing attributes all the time.
    said = f"{type(owner).__name__} has no attribute {name!r}"
    return f"{said}: {old[name]}" if name in old else said


def misnamed(owner: str, name: str, today: str) -> str:
    """Make the message for a method that a class defines under a name which nothing calls here.

    Example:
        >>> misnamed("Colorize", "_build_graph", "build_graph(self, *inputs)")
        'Colorize defines _build_graph, which nothing calls. Write build_graph(self, *inputs) instead.'
    """
    return f"{owner} defines {name}, which nothing calls. Write {today} instead."


def refuse_unknown(
    owner: str,
    given: Iterable[str],
    known: Iterable[str],
    old: Mapping[str, str],
    error: type[UnknownArgument] = UnknownArgument,
) -> None:
    """Raise on the first argument that does not exist.

    Args:
        owner: The class or function, for the message.
        given: The names of the keyword arguments that were given.
        known: The names that it takes.
        old: Other spelling -> today's argument, or a whole sentence (which has a space in it).
        error: The type to raise.

    Raises:
        UnknownArgument: One of them does not exist.
    """
    names = list(known)
    for name in given:
        if name not in names:
            raise error(f"{owner} has no argument {name!r}. {_advice(name, names, old, '=')}")


def _advice(name: str, known: Iterable[str], old: Mapping[str, str], mark: str) -> str:
    today = old.get(name)
    if today is not None and " " in today:
        return today if today.endswith(".") else f"{today}."
    names = list(known)
    if today is None or (mark and today not in names):
        return closest(name, names)
    return f"Write {today}{mark} instead."


def old_spellings(**old: str) -> Callable[[T], T]:
    """Decorate a class or function: an argument that it does not have is an error that says today's spelling.

    The signature stays as it is written, for editors and ``inspect.signature``; nothing has to take ``**kwargs``.

    Args:
        **old: Another spelling = today's argument, or a whole sentence (which has a space in it).

    Example:
        >>> @old_spellings(nr_proc="num_proc")
        ... class Prefetch:
        ...     def __init__(self, ds, num_proc=2):
        ...         self.num_proc = num_proc
        >>> Prefetch([], nr_proc=3)
        Traceback (most recent call last):
            ...
        flowtrain.utils.arguments.UnknownArgument: Prefetch has no argument 'nr_proc'. Write num_proc= instead.
    """

    def decorate(target: T) -> T:
        if not isinstance(target, type):
            return _refusing(target, target.__name__, old)  # type: ignore[return-value]
        cls: Any = target
        cls.__init__ = _refusing(cls.__init__, None, old)
        return cls

    return decorate


def names_arguments(target: T) -> T:
    """Decorate a class or function: the error for an argument that it does not have lists the nearest names.

    Base classes call it in ``__init_subclass__``, so that nothing has to be written at each class. Users' classes are
    left as they are: code that calls them may expect Python's own error.
    """
    made: Any = target
    if isinstance(made, type) and ("__init__" not in vars(made) or made.__module__.partition(".")[0] != _OURS):
        return target
    return old_spellings()(target)


class NamesArguments:
    """Base of classes whose subclasses refuse unknown arguments with the nearest names, see `names_arguments`."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        names_arguments(cls)


_OURS = __name__.partition(".")[0]


def _refusing(function: Callable[..., Any], owner: str | None, old: Mapping[str, str]) -> Callable[..., Any]:
    """Wrap a function to refuse unknown arguments.

    Args:
        function: The function.
        owner: Whose arguments they are, for the message; None: the class of the first argument.
        old: See `refuse_unknown`.
    """

    @functools.cache
    def accepted() -> tuple[list[str], bool]:  # not before it is asked for: inspect would slow down importing
        parameters = inspect.signature(function).parameters.values()
        known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
        return known, any(p.kind is p.VAR_KEYWORD for p in parameters)

    code = getattr(function, "__code__", None)
    positional: tuple[str, ...] = () if code is None else code.co_varnames[: code.co_argcount]
    most = sys.maxsize if code is None or code.co_flags & inspect.CO_VARARGS else len(positional)  # *args has no most

    @functools.wraps(function)
    def checked(*args: object, **kwargs: object) -> Any:
        if len(args) > most:
            raise _too_many(owner or type(args[0]).__name__, positional, len(args))
        if kwargs:
            known, takes_any = accepted()
            # A function with **kwargs takes any name, except one that is known to be an old spelling.
            given = [name for name in kwargs if name in old or not takes_any]
            refuse_unknown(owner or type(args[0]).__name__, given, known, old)
        return function(*args, **kwargs)

    return checked


def _too_many(owner: str, names: tuple[str, ...], given: int) -> UnknownArgument:
    own = [name for name in names if name != "self"]
    taken = (
        f"{len(own)} argument{'s' if len(own) > 1 else ''} by position ({', '.join(own)})" if own else "no arguments"
    )
    given -= len(names) - len(own)
    return UnknownArgument(f"{owner} takes {taken}, got {given}. Several values of one argument go into a list: [a, b]")
