"""Cursor over datapoints that workers make by index, handed out in exactly the serial order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ...ipc.pool import Lost
from ..core import process
from ..core.ahead import Run, RunQueue
from ..core.base import DataFlow
from ..core.cursor import Datapoint
from .crew import Crew, CrewCursor, CrewStage, Result

__all__ = ["IndexedCursor"]


_Out = tuple[Run, list[Run] | None, int]
"""A task without an answer yet: its arguments, the runs sent along (None: places are indices), the worker's number."""


class IndexedCursor(CrewCursor):
    """Hands indices to workers in groups, and the datapoints that they make to the consumer in order.

    A place is the number of a datapoint in the walk. A task's arguments are (first place, the place after the last,
    epoch). Where the places are not the indices, the runs of indices are sent along.

    Args:
        stage: The parallel stage.
        runs: The indices, in order.
        epoch: Which epoch.
        flow: The flow whose datapoints they are: the stage itself, or one above it.
        first: The first place; where the walk goes over an epoch in order, the first index.
    """

    knows_after_error = True  # _next counts what was handed out, and what was made before an error is handed out first

    def __init__(self, stage: CrewStage, runs: RunQueue, epoch: int, flow: DataFlow, first: int) -> None:
        super().__init__(stage, epoch)
        self._runs, self._flow = runs, flow
        self._next = self._asked = first  # the first place that was not handed out; that no task was made of
        self._done: dict[int, Result] = {}  # reorder buffer: replies by first place, until it is their turn
        self._out: dict[int, _Out] = {}  # by first place
        self._ready: deque[Datapoint] = deque()  # of the group that is being handed out

    def __iter__(self) -> Iterator[Datapoint]:
        ready, here = self._ready, self._process
        while self._fill():
            while ready:  # a generator costs half of what __next__ does for each datapoint
                if here is not process.current:
                    raise self._foreign()
                self._next += 1
                yield ready.popleft()  # in no variable: this frame outlives an error above, and would hold the slot

    def __next__(self) -> Datapoint:
        if not self._fill():
            raise StopIteration
        if self._process is not process.current:
            raise self._foreign()
        datapoint = self._ready.popleft()
        self._next += 1
        return datapoint

    def _fill(self) -> bool:
        """Wait until datapoints are ready; False at the end."""
        while not self._ready:
            if self._failure is not None:
                raise self._ended_by()
            if not self._advance():
                self._finish()
                return False
        return True

    def state(self) -> int:
        return self._next

    def _forget(self) -> None:
        self._done.clear()
        self._ready.clear()

    def _advance(self) -> bool:
        """Wait for the group that is due and put its datapoints into ``_ready``; False at the end."""
        crew = self._working()
        if crew is None:
            return False
        self._hand_out(crew)
        if self._next == self._asked:
            return False
        # By place in the walk, not by order of arrival: that alone makes the order that of the serial walk, whoever is
        # faster, and whoever makes a lost task again.
        result = self._done.pop(self._next, None)
        if result is not None:  # workers are ahead: see what else they have done, so that the idlest is the idlest
            while (event := crew.poll()) is not None:
                self._take(crew, event)
        while result is None:
            self._take(crew, crew.wait(self._out[self._next][2]))
            result = self._done.pop(self._next, None)
        first, end, _ = result.task.args
        self._grouping.learn(end - first, result.seconds, result.used)
        made, _, self._failure = self._taken(result)
        self._ready.extend(made)
        del result, made  # or this frame would keep a slot leased until the next group
        self._hand_out(crew)
        return True

    def _take(self, crew: Crew, event: Result | Lost) -> None:
        if isinstance(event, Lost):
            for task in event.tasks:  # any worker may make them again: get(index, epoch) depends on nothing else
                args, runs, _ = self._out[task.args[0]]
                self._submit(crew, args, runs)
        else:
            first = event.task.args[0]
            self._done[first] = event
            del self._out[first]

    def _hand_out(self, crew: Crew) -> None:
        # What is done and waits for its turn counts too: it holds a slot. Else one slow datapoint would let the others
        # run ahead without a bound.
        while len(self._out) + len(self._done) < crew.window:
            runs = self._runs.take(self._grouping.size)
            if not runs:
                break
            first = self._asked
            for start, stop, _ in runs:
                self._asked += stop - start
            args = first, self._asked, runs[0][2]
            self._submit(crew, args, None if runs == [args] else runs)

    def _submit(self, crew: Crew, args: Run, runs: list[Run] | None) -> None:
        self._out[args[0]] = args, runs, crew.submit(crew.idlest(), args, runs).worker
