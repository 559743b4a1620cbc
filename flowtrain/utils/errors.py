"""flowtrain's exceptions, and the place (stage, epoch, datapoint) that it adds to exceptions of users' functions.

Every error says what was given, what was expected and what to write instead.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable
from typing import Any

__all__ = [
    "USER_ERRORS",
    "CheckpointError",
    "ConfigError",
    "DataFlowError",
    "ExportError",
    "FlowtrainError",
    "FormatError",
    "ModelError",
    "StateError",
    "TensorNameError",
    "TrainingError",
    "WorkerDied",
    "WorkerTimeout",
    "annotate_error",
    "closest",
    "either",
    "error_text",
    "first_few",
    "overdue",
    "shown_as",
]


class FlowtrainError(Exception):
    """Base class of all errors that flowtrain raises on purpose."""


class ConfigError(FlowtrainError, ValueError):
    """An argument or a combination of arguments makes no sense."""


class DataFlowError(FlowtrainError, ValueError):
    """A dataflow was built or used in a way that cannot work, or its data does not fit."""


class StateError(DataFlowError):
    """A saved position does not belong to the flow that should load it."""


class FormatError(DataFlowError):
    """A file is cut short, damaged or not of the expected format; names file, record and offset."""


class WorkerDied(FlowtrainError, RuntimeError):
    """A worker process ended without being asked to; names the worker and the signal or exit code."""


class WorkerTimeout(FlowtrainError, TimeoutError):
    """A worker did not finish a datapoint within the bound; names the worker and the datapoint."""


def error_text(error: BaseException) -> str:
    """Tell an error's type and message in one line, for a message about what it led to: ``"ValueError: bad"``."""
    text = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def overdue(who: str, doing: str, seconds: float, limit: float, also: str = "") -> WorkerTimeout:
    """Make the error for a worker that has been at one thing for too long.

    Args:
        who: The worker: ``"thread 0 of MapData(f)"``.
        doing: ``"making datapoint 7"``.
        seconds: For how long.
        limit: The bound, ``timeout=``.
        also: What else is known, to be put after the bound.
    """
    return WorkerTimeout(
        f"{who} has been {doing} for {seconds:.1f} s, longer than {limit:g} s{also}. Raise timeout= if that is what "
        "it takes."
    )


class ModelError(FlowtrainError, ValueError):
    """A model description is wrong: names, shapes, variables or its cost."""


class TensorNameError(ModelError, KeyError):
    """No tensor of that name; the message lists the nearest names."""

    __str__ = Exception.__str__  # KeyError would show the message's repr


class CheckpointError(FlowtrainError, ValueError):
    """A checkpoint is damaged, or belongs to another model."""


class ExportError(FlowtrainError, ValueError):
    """A model cannot be exported as asked, or the export differs from the live model."""


class TrainingError(FlowtrainError, RuntimeError):
    """Training cannot go on."""


def closest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Make the end of an error message that names the nearest known names to a wrong one.

    Args:
        name: The wrong name.
        known: The names that exist.

    Returns:
        "Did you mean 'a' or 'b'?" where something is near, else "There are: ..." (or "There are none."), which of more
        than 20 names shows the first.

    Example:
        >>> closest("kernel_shape", ["kernel_size", "strides"])
        "Did you mean 'kernel_size'?"
    """
    if not known:
        return "There are none."
    near = _near(name, list(known))
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    shown = ", ".join(sorted(known)[:20])
    return f"There are: {shown}." if len(known) <= 20 else f"There are {len(known)}: {shown}, ..."


def _near(name: str, known: list[str]) -> list[str]:
    """The names that may have been meant, at most 5.

    One of the same letters (``get_data`` for ``getData``); else those spelt nearly the same, those whose words are
    among the given one's (``Flip`` for ``RandomFlip``), those spelt alike, and those that have all its words.
    """
    import difflib

    same = [each for each in known if _letters(each) == _letters(name)]
    if same:
        return same[:1]
    words = _words(name)
    parts = [each for each in known if _words(each) and _words(each) <= words]
    nearest, alike = (difflib.get_close_matches(name, known, n=5, cutoff=cutoff) for cutoff in (0.8, 0.5))
    longer = [each for each in known if words and words <= _words(each)]
    return list(dict.fromkeys([*nearest, *sorted(parts, key=len, reverse=True), *alike, *sorted(longer, key=len)]))[:5]


def _letters(name: str) -> str:
    return name.lower().replace("_", "")


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]{2,}", name)}


def either(words: Iterable[object]) -> str:
    """Name all of a few alternatives, for a message: ``"a, b or c"``."""
    *most, last = map(str, words)
    return f"{', '.join(most)} or {last}" if most else last


def first_few(names: Iterable[object], most: int = 5) -> str:
    """List names, for a message that should stay short: ``"a, b, c and 7 more"``."""
    listed = [str(name) for name in names]
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


USER_ERRORS = (Exception, GeneratorExit, SystemExit)
"""What a user's function may raise, and `annotate_error` adds the place to. Not KeyboardInterrupt, as nothing in the
function is its cause."""


def annotate_error(error: BaseException, where: str) -> BaseException:
    """Add the place of a failure to an error's message, keeping its type.

    A user's ``ValueError("bad")`` raised in a stage stays a ValueError and reads
    ``bad [in MapData, epoch 0, datapoint 7]``. Only the innermost place is added: calling this again on the way up
    changes nothing. What is no ``Exception`` gets the place as a note, and a SystemExit also a line in the log.

    Args:
        error: The error that was caught.
        where: The place, e.g. ``"MapData(augment), epoch 0, datapoint 7"``.

    Returns:
        The error to raise: the same object if its message could be changed in place, else an instance of a subclass of
        its type with the same attributes.
    """
    if getattr(error, "flowtrain_where", None) is not None:
        return error
    if not isinstance(error, Exception):  # the arguments of a SystemExit are the exit code
        error.add_note(f"[in {where}]")
        error.flowtrain_where = where  # type: ignore[attr-defined]
        if isinstance(error, SystemExit):  # of which Python prints nothing
            logging.getLogger("flowtrain").warning("SystemExit(%r) [in %s]", error.code, where)
        return error
    message = str(error)
    text = f"{message} [in {where}]" if message else f"[in {where}]"
    # Only with BaseException's __str__ is the message made of args; a class with its own is shown by a subclass.
    if type(error).__str__ is BaseException.__str__:
        error.args = (text,)
        with contextlib.suppress(Exception):
            error.flowtrain_where = where  # type: ignore[attr-defined]
        if str(error) == text:
            return error
    return _retyped(error, text, where)


def shown_as(text: str, kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    """Make an exception of a subclass of ``kind`` whose message is ``text``, whatever its arguments are.

    Args:
        text: The message.
        kind: The type. Its constructor is not called, as what that takes is not known.
        args: The exception's ``args``.
        attributes: The exception's ``__dict__``.
    """
    namespace = {"__str__": lambda self: text, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    made = type(kind.__name__, (kind,), namespace)
    error = made.__new__(made, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


def _retyped(error: BaseException, text: str, where: str) -> BaseException:
    """Make an error of a subclass that shows ``text``, for types whose message is not their first argument."""
    try:
        new = shown_as(text, type(error), error.args, error.__dict__)
        for slot in ("errno", "strerror", "filename", "filename2"):  # OSError keeps these outside of __dict__
            if hasattr(error, slot):
                setattr(new, slot, getattr(error, slot))
    except Exception:  # a type that cannot be subclassed or made: a note is the most that can be added
        error.add_note(f"in {where}")
        return error
    new.flowtrain_where = where  # type: ignore[attr-defined]
    new.__cause__, new.__context__ = error.__cause__, error.__context__
    new.__suppress_context__ = error.__suppress_context__
    return new.with_traceback(error.__traceback__)
