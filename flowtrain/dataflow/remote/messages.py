"""What a receiver and its senders say to each other, and the schema that each message is checked against.

`read` is the one way from frames to a message: nothing is done with a message, not even its token compared, before its
size, fields, types and ranges are right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ...ipc.wire import BadMessage, decode
from ...utils.schema import (
    Anything,
    Flag,
    ListOf,
    Nothing,
    Nullable,
    Number,
    Record,
    Row,
    Schema,
    Text,
    Whole,
    mismatch,
)

__all__ = ["Data", "Hello", "Kind", "Request", "described", "fit", "read"]

MOST_PARTS = 4096
"""Parts of a flow that can only be iterated, and so senders of one: the receiver keeps books for each."""

_NAME, _TEXT, _TRACE = 10_000, 100_000, 1_000_000  # characters; longer ones are cut by who sends them


class Kind(IntEnum):
    """The kinds of messages."""

    HELLO = 1
    """Sender: what it has: size, whether by index, which part, its token."""
    REQUEST = 2
    """Receiver: a task's number, its three arguments, and how to begin a walk or None."""
    DATA = 3
    """Sender: a task's number, datapoints, what the job returned, seconds, an error or None."""
    PING = 4
    """Receiver: nothing; it fails where the sender is gone."""
    BYE = 5
    """Receiver: nothing more is wanted."""
    REFUSED = 6
    """Receiver: why the sender's flow does not fit."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A sender introduces itself.

    Attributes:
        by_index: Whether its flow is indexable.
        size: The flow's length, None where it has none.
        part: (which part this is, how many there are).
        what: The flow's description.
        token: The shared secret of the key files; empty without keys.
    """

    by_index: bool
    size: int | None
    part: tuple[int, int]
    what: str
    token: str


@dataclass(frozen=True, slots=True)
class Request:
    """A task for a sender.

    Attributes:
        number: Of the task.
        args: (first, end, epoch) by index, else (place, how many, which part).
        begin: Of a walk: (epoch, position, how many to pass over); None: it goes on.
    """

    number: int
    args: tuple[int, int, int]
    begin: tuple[int, Any, int] | None


@dataclass(frozen=True, slots=True)
class Data:
    """What a sender made of a task.

    Attributes:
        number: Of the task.
        made: The datapoints.
        extra: By index None, else (whether the walk has ended, [position] or None); None after an error.
        seconds: How long it took.
        problem: The type, text and traceback of the error that ended it, or None.
    """

    number: int
    made: list[Any]
    extra: tuple[bool, list[Any] | None] | None
    seconds: float
    problem: tuple[str, str, str] | None


@dataclass(frozen=True)
class _Form:
    """A kind's schema, the most bytes it may have (None: as many as the receiver allows), and what it becomes."""

    schema: Schema
    most: int | None
    make: Callable[[Any], Any]


_FORMS = {
    Kind.HELLO: _Form(
        Record(
            {
                "by_index": Flag(),
                "size": Nullable(Whole(0)),
                "part": Row(Whole(0, MOST_PARTS - 1), Whole(1, MOST_PARTS)),
                "what": Text(_NAME),
                "token": Text(100, r"[\x21-\x7e]*"),
            }
        ),
        1 << 16,
        lambda value: Hello(**{**value, "part": tuple(value["part"])}),
    ),
    Kind.REQUEST: _Form(
        Row(Whole(0), Row(Whole(0), Whole(0), Whole(0)), Nullable(Row(Whole(0), Anything(), Whole(0)))),
        1 << 24,
        lambda value: Request(value[0], tuple(value[1]), value[2]),
    ),
    Kind.DATA: _Form(
        Row(
            Whole(0),
            ListOf(Anything(depth=None)),
            Nullable(Row(Flag(), Nullable(Row(Anything())))),
            Number(0),
            Nullable(Row(Text(_NAME), Text(_TEXT), Text(_TRACE))),
        ),
        None,
        lambda value: Data(*value),
    ),
    Kind.PING: _Form(Nothing(), 100, lambda value: None),
    Kind.BYE: _Form(Nothing(), 100, lambda value: None),
    Kind.REFUSED: _Form(Text(_TEXT), 1 << 20, str),
}


def read(frames: Sequence[Any], kinds: Collection[Kind], max_bytes: int) -> tuple[Kind, Any]:
    """Read a message and check it.

    Args:
        frames: As they came.
        kinds: Those that make sense from this peer.
        max_bytes: The most that any message may have.

    Returns:
        The kind, and a `Hello`, `Request`, `Data`, str (REFUSED) or None (PING, BYE).

    Raises:
        ForeignFrame: It is no message of this protocol and version.
        BadMessage: It is one that is not expected, too large, damaged, or that its kind's schema does not allow.
    """
    forms: dict[int, _Form] = {kind: _FORMS[kind] for kind in kinds}
    limits = {kind: max_bytes if form.most is None else min(form.most, max_bytes) for kind, form in forms.items()}
    number, value = decode(frames, limits)
    kind = Kind(number)
    problem = mismatch(value, forms[kind].schema, kind.name.lower())
    if problem is not None:
        raise BadMessage(problem)
    message = forms[kind].make(value)
    if kind == Kind.HELLO:
        _check_hello(message)
    return kind, message


def _check_hello(hello: Hello) -> None:
    part, count = hello.part
    if part >= count:
        raise BadMessage(f"hello['part'] is {part} of {count}: parts count from 0")
    if hello.by_index and hello.size is None:
        raise BadMessage("hello['size'] is null, and the flow is said to be indexable")


def fit(data: Data, args: tuple[int, int, int], by_index: bool) -> str | None:
    """Say how an answer differs from what its task asked for, or None.

    Args:
        data: The answer.
        args: The task's arguments.
        by_index: Whether the flow is indexable.
    """
    wanted = args[1] - args[0] if by_index else args[1]
    made = len(data.made)
    complete = made == wanted or (not by_index and data.extra is not None and data.extra[0])
    if made > wanted or (data.problem is None and not complete):
        return f"{made} datapoints came where {wanted} were asked for"
    if (data.extra is None) != (by_index or data.problem is not None):
        return "it says of a walk what belongs to a flow by index, or the other way round"
    return None


def described(error: Exception, trace: str) -> list[str]:
    """An error as it travels in a DATA message."""
    return [type(error).__name__[:_NAME], str(error)[:_TEXT], trace[-_TRACE:]]
