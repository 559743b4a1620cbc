"""Exceptions on their way from a worker to the consumer: of their own type, with the worker's traceback as cause."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

import cloudpickle

from ..utils.errors import FlowtrainError, shown_as

__all__ = ["Failure", "WorkerError", "WorkerTraceback"]


class WorkerTraceback(Exception):
    """Cause of an error that was raised in a worker; its text is the worker's traceback."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class WorkerError(FlowtrainError, RuntimeError):
    """An error in a worker whose type cannot be made in this process; the message holds its name and text."""


class Failure:
    """An exception in a form that can always be sent: pickled, or in parts, and in any case as text.

    Args:
        error: The exception, as caught.
        where: The worker, for the traceback's first line.

    Attributes:
        kind: The qualified name of the exception's class.
    """

    def __init__(self, error: BaseException, where: str) -> None:
        self.where = where
        self.traceback = "".join(traceback.format_exception(error))
        self.kind, self.text = type(error).__qualname__, _text(error)
        self.data = _whole(error)
        self.parts = None if self.data else _in_parts(error)
        self.told_as: BaseException | None = None  # what to raise in its place

    def restore(self) -> BaseException:
        """Return the exception, to be raised in the consumer."""
        error = self._made()
        error.__cause__ = WorkerTraceback(f"{self.where}\n{self.traceback}")
        return error

    def _made(self) -> BaseException:
        if self.told_as is not None:
            return self.told_as
        try:
            if self.data:
                return pickle.loads(self.data)
            if self.parts:
                return _from_parts(*pickle.loads(self.parts))
        except Exception:  # a module that only the worker has
            pass
        return WorkerError(f"{self.kind}: {self.text}")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its message cannot be shown)"


def _whole(error: BaseException) -> bytes | None:
    """Pickle an exception; None if unpickling gives another one, as for constructors that take other arguments."""
    try:
        data = cloudpickle.dumps(error)
        again = pickle.loads(data)
    except Exception:  # constructor arguments that pickle does not know, a lock among the attributes, ...
        return None
    # By name: a class of the main script travels by value, so the class that comes back is another object.
    same = type(again).__qualname__ == type(error).__qualname__ and _text(again) == _text(error)
    return data if same else None


def _in_parts(error: BaseException) -> bytes | None:
    """Pickle an exception's type and message, with those of its arguments and attributes that can be pickled."""
    args = tuple(arg if _sendable(arg) else repr(arg) for arg in error.args)
    attributes = {name: value for name, value in vars(error).items() if _sendable(value)}
    kind: Any
    for kind in type(error).__mro__:  # the nearest type that can be sent
        if not issubclass(kind, BaseException):
            continue
        try:
            data = cloudpickle.dumps((kind, args, attributes, _text(error)))
            _from_parts(*pickle.loads(data))
        except Exception:
            continue
        return data
    return None


def _from_parts(kind: Any, args: tuple[Any, ...], attributes: dict[str, Any], text: str) -> BaseException:
    """Make an exception without calling its constructor, whose arguments are not known."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    # Its __str__ may need what did not travel.
    return error if _text(error) == text else shown_as(text, kind, args, attributes)


def _sendable(value: object) -> bool:
    try:
        pickle.loads(cloudpickle.dumps(value))
    except Exception:
        return False
    return True
