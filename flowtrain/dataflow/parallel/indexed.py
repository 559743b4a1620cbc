"""The walk over an indexable flow whose datapoints are made by workers: exactly the serial one."""

from __future__ import annotations

from collections import deque
from typing import Any

from ...ipc.pool import Lost
from ..core.cursor import Cursor, Datapoint
from .crew import Crew, Result
from .grouping import Grouping

__all__ = ["IndexedCursor"]


class IndexedCursor(Cursor):
    """Hands out index ranges to workers, and their datapoints in order.

    Args:
        stage: The parallel stage: has ``_take_crew(epoch)`` and ``_give_back(crew)``.
        epoch: Which epoch.
        state: The index to go on at.
    """

    knows_after_error = True

    def __init__(self, stage: Any, epoch: int, state: int | None = None) -> None:
        super().__init__(epoch)
        self._stage: Any = stage
        self._crew: Crew | None = None
        self._next = self._asked = stage._checked_position(state)
        self._limit = stage.size_or_none()
        self._done: dict[int, Result] = {}  # by first index
        self._out: dict[int, int] = {}  # by first index: the worker that has it
        self._ready: deque[Datapoint] = deque()
        self._failure: Any = None
        self._grouping = Grouping()

    def __next__(self) -> Datapoint:
        while not self._ready:
            if self._failure is not None:
                raise self._ended_by()
            if self._next == self._limit:
                self._finish()
                raise StopIteration
            self._advance()
        datapoint = self._ready.popleft()
        self._next += 1
        return datapoint

    def state(self) -> int:
        return self._next

    def close(self) -> None:
        crew, self._crew, self._stage = self._crew, None, None
        self._done.clear()
        self._ready.clear()  # they hold shared memory
        if crew is not None:
            crew.close()

    def _ended_by(self) -> BaseException:
        """The error to raise. Nothing here refers to it: its traceback refers to this walk, and both shall go."""
        failure, self._failure = self._failure, None
        self.close()
        return failure.restore()

    def _finish(self) -> None:
        stage, crew = self._stage, self._crew
        self._crew = self._stage = None
        if crew is not None:
            stage._give_back(crew)

    def _advance(self) -> None:
        """Get the group that is due."""
        if self._stage is None:  # closed
            raise StopIteration
        crew = self._crew = self._crew or self._stage._take_crew(self.epoch)
        self._hand_out(crew)
        result = self._done.pop(self._next, None)
        if result is not None:  # workers are ahead: see what else they have done, so that the idlest is the idlest
            while (event := crew.poll()) is not None:
                self._take(crew, event)
        while result is None:
            self._take(crew, crew.wait(self._out.get(self._next)))
            result = self._done.pop(self._next, None)
        first, end, _ = result.task.args
        self._grouping.learn(end - first, result.seconds, result.used)
        made, _, self._failure = result.take()
        self._ready.extend(made)
        del result, made
        self._hand_out(crew)

    def _take(self, crew: Crew, event: Result | Lost) -> None:
        if isinstance(event, Lost):
            for task in event.tasks:
                self._submit(crew, task.args)
        else:
            first = event.task.args[0]
            self._done[first] = event
            del self._out[first]

    def _hand_out(self, crew: Crew) -> None:
        while len(self._out) + len(self._done) < crew.window and self._asked != self._limit:
            end = self._asked + self._grouping.size
            if self._limit is not None:
                end = min(end, self._limit)
            self._submit(crew, (self._asked, end, self.epoch))
            self._asked = end

    def _submit(self, crew: Crew, args: tuple[int, int, int]) -> None:
        self._out[args[0]] = crew.submit(crew.idlest(), args).worker
