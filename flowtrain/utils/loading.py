"""Loading a user's script only for what it defines: its calls that would train or serve end the loading."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

__all__ = ["LoadingEnded", "look_only", "looking", "only_to_run", "to_run"]

_looking = 0


class LoadingEnded(BaseException):
    """Raised when a script that is loaded for its definitions reaches a call that would train or serve.

    Derived from BaseException, as SystemExit is: the script's own ``except Exception`` must not swallow it.

    Attributes:
        call: The call, as a user writes it: ``"train()"``.
        file: The file that makes the call.
        line: The line of the call in that file.
    """

    def __init__(self, call: str, file: str, line: int) -> None:
        super().__init__(f"{call} in line {line} of {file}")
        self.call, self.file, self.line = call, file, line


@contextlib.contextmanager
def look_only() -> Iterator[None]:
    """Scope in which everything that would train or serve raises `LoadingEnded` instead."""
    global _looking
    _looking += 1
    try:
        yield
    finally:
        _looking -= 1


@contextlib.contextmanager
def to_run() -> Iterator[None]:
    """Scope within :func:`look_only` in which the command line itself runs what was loaded."""
    global _looking
    before, _looking = _looking, 0
    try:
        yield
    finally:
        _looking = before


def looking() -> bool:
    """Whether a script is being loaded only for what it defines."""
    return _looking > 0


def only_to_run(call: str) -> None:
    """Raise `LoadingEnded` if a script is loaded only for what it defines; the first line of all that starts a run.

    Args:
        call: The call as a user writes it, for messages: ``"train()"``.

    Raises:
        LoadingEnded: The script is loaded only for what it defines.
    """
    if not looking():
        return
    # The innermost frame outside of flowtrain is the user's call.
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).split(".")[0] == "flowtrain":
        frame = frame.f_back
    raise LoadingEnded(call, frame.f_code.co_filename, frame.f_lineno)
