"""Cursor of the map stages with workers: sends datapoints of the flow beneath, or indices, and hands out the results.

Where the tasks of a walk come from differs (``_Walked``, ``_Indices``, ``_Planned``); the window of tasks, the
reorder buffer and the position are the same, in ``SentCursor``.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ...ipc.parcel import NotSendable
from ...ipc.pool import Lost
from ..core import process
from ..core.ahead import Planner, Run, RunQueue, got, has_workers
from ..core.base import DataFlow
from ..core.cursor import Cursor, Datapoint, PositionPacer, foreign_position
from ..core.datapoint import Position
from ..stages.each import DROPPED
from .crew import Crew, CrewCursor, Result
from .threads import Thrown

__all__ = ["SentCursor"]


_Group = tuple[list[Datapoint] | None, list[Run] | None]
"""What a task sends along: (datapoints, runs of their indices). Datapoints None: the worker makes them by index. Runs
None: the index of each datapoint is its place in the walk."""


class _Walked:
    """Task source that iterates a flow in this process and sends its datapoints along.

    It keeps positions of the flow from time to time, as a saved state has to reopen the flow at one of them.
    """

    def __init__(self, ds: DataFlow, epoch: int, state: dict[str, Any]) -> None:
        self.place: int = state["from"]  # of the next datapoint
        self._walk = ds._open(epoch, state["below"])
        self._positions: deque[tuple[int, Any]] = deque([(self.place, state["below"])])
        self._pacer = PositionPacer()
        self.ended = False
        self.error: Exception | None = None  # of the flow, due after all that came before it

    def take(self, count: int) -> tuple[int, _Group]:
        """Take up to ``count`` datapoints; returns how many, and what to send."""
        # A saved state without a position of its own place reopens the flow at the last one, and passes over some.
        if (taken := self._pacer.position(self._walk)) is not None:
            self._positions.append((self.place, taken[0]))
        made = []
        for _ in range(count):
            try:
                made.append(next(self._walk))
            except StopIteration:
                self.ended = True
                break
            except Exception as error:  # kept: the datapoints before it come first, as in the serial walk
                self.error, self.ended = error, True
                break
        self.place += len(made)
        return len(made), (made, None)

    def state(self, following: int, ahead: set[int]) -> dict[str, Any]:
        """The position to save: handed out are all places before ``following``, and after it those in ``ahead``."""
        positions = self._positions
        # The last one before the first gap: what is handed out next has to come from the reopened flow.
        while len(positions) > 1 and positions[1][0] <= following:
            positions.popleft()
        start, below = positions[0]
        return {"from": start, "below": below, "next": following, "ahead": sorted(ahead)}

    def close(self) -> None:
        self._walk.close()


class _Indices:
    """Task source over an indexable flow: the workers make the datapoints by index, nothing is sent along."""

    error: Exception | None = None

    def __init__(self, limit: int | None, state: dict[str, Any]) -> None:
        self.place: int = state["next"]
        self.ended = self.place == limit
        self._limit = limit

    def take(self, count: int) -> tuple[int, _Group]:
        if self._limit is not None:
            count = min(count, self._limit - self.place)
        self.place += count
        self.ended = self.place == self._limit
        return count, (None, None)

    def state(self, following: int, ahead: set[int]) -> dict[str, Any]:
        return {"from": following, "below": None, "next": following, "ahead": sorted(ahead)}

    def close(self) -> None:
        pass


class _Planned:
    """Task source over chosen datapoints of the indexable flow beneath, which are made first and then sent along.

    Workers further down make them ahead of time, as a ``Planner`` asks; without any, this process makes them.
    """

    def __init__(self, stage: DataFlow, runs: RunQueue, epoch: int, first: int) -> None:
        self.place = first
        self._opened: list[Cursor] = []
        (self._below,), self._runs = stage.children(), runs
        self._planner = Planner(stage, runs, epoch, self._opened) if has_workers(self._below) else None
        self.ended = False
        self.error: Exception | None = None

    def take(self, count: int) -> tuple[int, _Group]:
        made: list[Datapoint] = []
        runs: list[Run] = []
        try:  # into lists of this frame: what was made before an error is sent all the same, the error comes after it
            self._make(count, made, runs)
        except Exception as error:
            self.error, self.ended = error, True
        self.place += len(made)
        return len(made), (made, runs)

    def _make(self, count: int, made: list[Datapoint], runs: list[Run]) -> None:
        if self._planner is None:  # nothing beneath has workers
            runs += self._runs.take(count)
            for first, stop, epoch in runs:
                for index in range(first, stop):
                    made.append(got(self._below, index, epoch))
            self.ended = self._runs.ended
            return
        while len(made) < count:
            plan = self._planner.take(count - len(made))
            if plan is None:
                self.ended = self._planner.ended
                return
            runs.append(plan[:3])
            for _, (datapoint,) in self._planner.made(plan):
                made.append(datapoint)

    def state(self, following: int, ahead: set[int]) -> int:
        return following

    def close(self) -> None:
        for cursor in self._opened:
            cursor.close()


_Source = _Walked | _Indices | _Planned


class SentCursor(CrewCursor):
    """Cursor whose crew applies the stage to datapoints: in order, or (``strict=False``) in order of completion.

    A place is the number of a datapoint in the walk, before any are dropped. A group is the datapoints of one task,
    named by its first place.

    Args:
        stage: Has ``_take_crew(epoch, flow)``, ``_give_back(crew)`` and ``_keeps_sent``.
        source: Where the tasks come from.
        epoch: Which epoch.
        strict: Whether the order is kept.
        state: ``next``, the first place that was not handed out yet, and ``ahead``, the places after it that were.
    """

    knows_after_error = True  # a place counts when it is handed out, and groups before a failure are handed out first

    def __init__(self, stage: Any, source: _Source, epoch: int, strict: bool, state: dict[str, Any]) -> None:
        super().__init__(stage, epoch)
        self._strict, self._keeps_sent = strict, stage._keeps_sent
        self._source = source
        self._next: int = state["next"]  # the first place that was not handed out
        self._ahead: set[int] = set(state["ahead"])  # the places after it that were, without the order
        self._sent: dict[int, _Group | None] = {}  # groups that are out or done, in the order of sending
        self._done: dict[int, Result] = {}  # reorder buffer: the groups among them that are done
        self._order: deque[int] = deque()  # done groups that are due, in the order in which to hand out
        self._ready: deque[tuple[int, Datapoint]] = deque()  # of the group that is being handed out, with places

    @classmethod
    def over_walk(cls, stage: DataFlow, walked: DataFlow | None, epoch: int, strict: bool, state: object) -> SentCursor:
        """Open the walk over one epoch at a position.

        Args:
            stage: The stage.
            walked: The flow whose datapoints are sent; None: workers make them by index.
            epoch: Which epoch.
            strict: Whether the order is kept.
            state: What ``state()`` of such a walk returned; None: the start.

        Raises:
            StateError: It is the position of another kind of walk.
        """
        if state is None:
            state = {"from": 0, "below": None, "next": 0, "ahead": []}
        if not isinstance(state, dict) or {"from", "below", "next", "ahead"} - set(state):
            raise foreign_position(stage, state)
        source = _Indices(stage.size_or_none(), state) if walked is None else _Walked(walked, epoch, state)
        return cls(stage, source, epoch, strict, state)

    @classmethod
    def over_runs(cls, stage: DataFlow, runs: RunQueue, epoch: int, first: int) -> SentCursor:
        """Open the walk over some datapoints of an indexable stage, in order; its position is a number.

        Args:
            stage: The stage.
            runs: Which datapoints.
            epoch: Which epoch.
            first: The number of the first one.
        """
        return cls(stage, _Planned(stage, runs, epoch, first), epoch, True, {"next": first, "ahead": []})

    def __next__(self) -> Datapoint:
        if self._process is not process.current:
            raise self._foreign()
        while True:
            while self._ready:
                place, datapoint = self._ready.popleft()
                self._count(place)  # of a dropped one too: a walk that is resumed must not make it again
                if datapoint is not DROPPED:
                    return datapoint
            if self._failure is not None:
                raise self._ended_by()
            if not self._advance():
                self._finish()
                raise StopIteration

    def state(self) -> Position:
        return self._source.state(self._next, self._ahead)

    def _forget(self) -> None:
        self._done.clear()
        self._ready.clear()
        self._source.close()

    def _finish(self) -> None:
        self._source.close()
        super()._finish()

    def _count(self, place: int) -> None:
        self._ahead.add(place)
        while self._next in self._ahead:
            self._ahead.discard(self._next)
            self._next += 1

    def _advance(self) -> bool:
        """Wait for the group that is due and put its datapoints into ``_ready``; False at the end."""
        crew = self._working()
        if crew is None:
            return False
        self._send(crew)
        if not self._sent:  # all groups before the source's end, or its error, were handed out
            if self._source.error is not None:
                self._failure, self._source.error = Thrown(self._source.error), None
                raise self._ended_by()
            return False
        while (event := crew.poll()) is not None:
            self._take(crew, event)
        while not self._due():
            self._take(crew, crew.wait())
        first = self._order.popleft()
        result = self._done.pop(first)
        del self._sent[first]
        start, end, _ = result.task.args
        self._grouping.learn(end - start, result.seconds, result.used)
        made, _, self._failure = self._taken(result)
        self._ready.extend(enumerate(made, start))
        del made, result  # so that this frame holds no view of the slot while it waits for the source
        self._send(crew)
        return True

    def _due(self) -> bool:
        if not self._strict:
            return bool(self._order)
        # A dict keeps the order of insertion, and a lost group that is submitted again stays in its place.
        first = next(iter(self._sent))
        if first in self._done:
            self._order.append(first)
            return True
        return False

    def _take(self, crew: Crew, event: Result | Lost) -> None:
        if isinstance(event, Lost):
            for task in event.tasks:
                crew.submit(crew.idlest(), task.args, self._sent[task.args[0]])
            return
        first = event.task.args[0]
        self._done[first] = event
        if not self._strict:
            self._order.append(first)

    def _send(self, crew: Crew) -> None:
        source = self._source
        # The window counts groups until they are handed out, done ones too: each holds a slot, and one slow group must
        # not let the others run ahead without a bound.
        while len(self._sent) < crew.window and not source.ended:
            first = source.place
            # Without the order, what was handed out before the position was saved has gaps. The flow beneath is opened
            # before the first gap, and what was handed out after it is passed over, one by one.
            resuming = bool(self._ahead) and first <= max(self._ahead)
            count, (group, runs) = source.take(1 if resuming else self._grouping.size)
            passed = max(0, self._next - first)  # handed out before the position was saved
            if count <= passed or first + passed in self._ahead:
                if not count:
                    break
                continue
            args: Run = first + passed, first + count, self.epoch
            sent = None if group is None else (group[passed:], runs)
            try:
                crew.submit(crew.idlest(), args, sent)
            except NotSendable as error:
                raise self._placed(error) from error.__cause__
            # A copy of what a worker that is replaced would need again; where none is replaced it would only be memory.
            self._sent[args[0]] = sent if self._keeps_sent else None
