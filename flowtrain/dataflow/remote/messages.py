"""Messages between a receiver and its senders, and the schema that each is checked against.

`read` is the only way from frames to a message: a message is not used in any way, not even its token is compared,
before its size, fields, types and ranges have been checked.
"""

from __future__ import annotations

import traceback
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
    """HELLO: a sender introduces itself and its flow.

    Attributes:
        by_index: Whether the sender makes datapoints by index; else it walks its part.
        size: The flow's length, None if unknown.
        part: (number of the sender's part, number of parts).
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
    """REQUEST: a task for a sender.

    Attributes:
        number: The task's number.
        args: By index (first, end, epoch), else (place in the walk, how many, which part).
        begin: For a walk that begins: (epoch, position, how many to pass over). None: the walk goes on, or the flow is
            served by index.
    """

    number: int
    args: tuple[int, int, int]
    begin: tuple[int, Any, int] | None


@dataclass(frozen=True, slots=True)
class Data:
    """DATA: a sender's answer to a task.

    Attributes:
        number: The task's number.
        made: The datapoints.
        extra: By index None, else (whether the walk has ended, [position] or None); None after an error.
        seconds: How long the task took.
        problem: Type, text and traceback of the error that ended the task, or None.
    """

    number: int
    made: list[Any]
    extra: tuple[bool, list[Any] | None] | None
    seconds: float
    problem: tuple[str, str, str] | None


@dataclass(frozen=True)
class _Form:
    """How messages of a kind are read.

    Attributes:
        schema: What the value must be.
        most: The most bytes; None: as many as the receiver allows.
        make: Makes the message of a value that fits the schema.
    """

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
    """Decode a message and check it.

    Args:
        frames: The frames as received.
        kinds: The kinds that this peer may send.
        max_bytes: The most bytes of any message.

    Returns:
        The kind, and a `Hello`, `Request`, `Data`, str (REFUSED) or None (PING, BYE).

    Raises:
        ForeignFrame: It is no message of this protocol and version.
        BadMessage: It is a message, but of a kind that is not expected, too large, damaged, or against the schema.
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
    """How an answer differs from what its task asked for, as a clause; None if it does not.

    The schema knows one message alone: a sender that answers with too few or too many datapoints would shift all those
    that follow.

    Args:
        data: The answer.
        args: The task's arguments.
        by_index: Whether the flow is served by index.
    """
    wanted = args[1] - args[0] if by_index else args[1]
    made = len(data.made)
    complete = made == wanted or (not by_index and data.extra is not None and data.extra[0])
    if made > wanted or (data.problem is None and not complete):
        return f"{made} datapoints came where {wanted} were asked for"
    if (data.extra is None) != (by_index or data.problem is not None):
        return "it says of a walk what belongs to a flow by index, or the other way round"
    return None


def described(error: Exception) -> list[str]:
    """An error as the field ``problem`` of a DATA message, cut to the lengths that its schema allows."""
    trace = "".join(traceback.format_exception(error))
    return [type(error).__name__[:_NAME], str(error)[:_TEXT], trace[-_TRACE:]]
