"""The outermost walk over a flow: the iterator that ``iter(flow)`` returns, and what lets it go on after an error."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from ...utils.errors import DataFlowError
from .cursor import Cursor, PositionPacer
from .datapoint import Datapoint, Position

__all__ = ["Iteration", "RetracedCursor"]

_RETRACED = {"from", "skip"}


class RetracedCursor(Cursor):
    """Outermost cursor for non-seekable flows: keeps periodic positions, so that a failed datapoint can be replayed.

    An error may come from any stage of the chain, whose lower stages have then read further than its upper ones: no
    stage's own position is that of the failed datapoint. So positions are saved on the way, as often as it is cheap;
    after an error the position is the last of them and the number of datapoints to skip from there.

    Args:
        cursor: The cursor beneath.
        state: The position at which it was opened.
        skip: How many datapoints to pass over from there.
    """

    def __init__(self, cursor: Cursor, state: object, skip: int) -> None:
        super().__init__(cursor.epoch)
        self._cursor, self._known, self._since = cursor, state, skip
        self._left = skip  # how many are still to be passed over
        self._pacer = PositionPacer(first=0.0)
        self._clear = not skip  # whether the cursor's own position is that of the consumer

    @staticmethod
    def parsed(state: object) -> tuple[Any, int]:
        """Split a saved position into the position at which to open the walk and the number of datapoints to skip."""
        return (state["from"], state["skip"]) if isinstance(state, dict) and set(state) == _RETRACED else (state, 0)

    def __next__(self) -> Datapoint:
        while self._left:
            next(self._cursor)
            self._left -= 1
            self._clear = not self._left
        # Compared here: a call for each datapoint would be a twentieth of the time of a flow that does nothing.
        if self._clear and time.monotonic() >= self._pacer.due:
            self._known, self._since = self._pacer.take(self._cursor), 0
        self._clear = False  # stays so if the next line raises
        datapoint = next(self._cursor)
        self._since, self._clear = self._since + 1, True
        return datapoint

    def state(self) -> Position:
        return self._cursor.state() if self._clear else {"from": self._known, "skip": self._since}

    def close(self) -> None:
        self._cursor.close()


class Iteration:
    """The iterator that ``iter(flow)`` returns: hands out a cursor's datapoints, and closes it however the loop ends.

    Raises:
        DataFlowError: Two threads take datapoints of one iterator at once.
    """

    def __init__(self, cursor: Cursor) -> None:
        self._steps = _steps(cursor)

    def __iter__(self) -> Iteration:
        return self

    def __next__(self) -> Datapoint:
        try:
            # `for` resumes a generator faster than a call of next() does. A generator that has ended gives nothing.
            for datapoint in self._steps:
                return datapoint
        except ValueError as error:
            self._explain(error)
            raise
        raise StopIteration

    def close(self) -> None:
        """End the iteration; ``state_dict`` of the flow still gives its position."""
        try:
            self._steps.close()
        except ValueError as error:
            self._explain(error)
            raise

    def _explain(self, error: ValueError) -> None:
        # The interpreter lets one thread at a time into a generator, so no lock is needed. Raised by our generator, the
        # error has one frame in its traceback; with more it comes from a generator of the user's.
        here = error.__traceback__ is not None and error.__traceback__.tb_next is None
        if here and str(error) == "generator already executing":
            raise DataFlowError(
                "two threads use one iterator of a flow at once: give it to one of them, which passes the datapoints "
                "on; or let MultiThreadRunner or MultiThreadMapData run the flow's work in threads"
            ) from None


def _steps(cursor: Cursor) -> Generator[Datapoint, None, None]:
    try:
        yield from cursor
        cursor.exhausted = True  # not after a break or an error: the position is then a place within the epoch
    finally:
        cursor.close()
