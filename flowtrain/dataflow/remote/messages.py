"""What a receiver and its senders say to each other."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Kind"]


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
