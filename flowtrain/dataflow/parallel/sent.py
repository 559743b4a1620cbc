"""The walk of a stage that is applied by workers to datapoints which the consumer's process takes from the flow."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from ...ipc.pool import Lost
from ...utils.errors import StateError
from ..core.base import DataFlow
from ..core.cursor import Cursor, Datapoint
from ..stages.each import DROPPED
from .crew import Crew, Result
from .grouping import Grouping
from .threads import Thrown

__all__ = ["SentCursor"]


class _Source:
    """The datapoints to be sent to the workers, with the positions at which the flow could be opened again.

    A position may be large, so one is only taken when that is cheap beside the time since the last.
    """

    def __init__(self, ds: DataFlow, epoch: int, state: dict[str, Any]) -> None:
        self.index: int = state["from"]  # of the next datapoint
        self._walk = ds._open(epoch, state["below"])
        self._positions: deque[tuple[int, Any]] = deque([(self.index, state["below"])])
        self._taken_at, self._cost = time.monotonic(), 0.001
        self.ended = False
        self.error: Exception | None = None  # of the flow, due after all that came before it

    def take(self, count: int) -> list[Datapoint]:
        now = time.monotonic()
        if now - self._taken_at > 50 * self._cost:
            self._positions.append((self.index, self._walk.state()))
            self._taken_at = time.monotonic()
            self._cost = max(self._taken_at - now, 0.001)
        made = []
        for _ in range(count):
            try:
                made.append(next(self._walk))
            except StopIteration:
                self.ended = True
                break
            except Exception as error:
                self.error, self.ended = error, True
                break
        self.index += len(made)
        return made

    def before(self, index: int) -> tuple[int, Any]:
        """The last known position that is not after a datapoint, and which datapoint follows it."""
        positions = self._positions
        while len(positions) > 1 and positions[1][0] <= index:
            positions.popleft()
        return positions[0]

    def close(self) -> None:
        self._walk.close()


class _Indices:
    """The same for a flow of which workers make the datapoints by index: nothing is sent along."""

    def __init__(self, limit: int | None, state: dict[str, Any]) -> None:
        self.index: int = state["next"]
        self.ended, self.error = self.index == limit, None
        self._limit = limit

    def take(self, count: int) -> list[Datapoint]:
        if self._limit is not None:
            count = min(count, self._limit - self.index)
        self.index += count
        self.ended = self.index == self._limit
        return [None] * count

    def before(self, index: int) -> tuple[int, Any]:
        return index, None

    def close(self) -> None:
        pass


class SentCursor(Cursor):
    """Sends datapoints to workers, and hands out what they make of them: in order, or as it comes.

    Args:
        stage: Has ``_take_crew(epoch)``, ``_give_back(crew)``, ``strict`` and ``_keeps_sent``.
        walked: The flow whose datapoints are sent; None: workers make them by index.
        epoch: Which epoch.
        state: As ``state`` gave it: the position of the flow beneath, and what was handed out beyond it.
    """

    knows_after_error = True

    def __init__(self, stage: Any, walked: DataFlow | None, epoch: int, state: Any = None) -> None:
        super().__init__(epoch)
        if state is None:
            state = {"from": 0, "below": None, "next": 0, "ahead": []}
        if not isinstance(state, dict) or {"from", "below", "next", "ahead"} - set(state):
            raise StateError(f"{stage}: the saved position {state!r:.80} is of another kind of flow")
        self._stage: Any = stage
        self._strict: bool = stage.strict
        self._crew: Crew | None = None
        self._source: _Source | _Indices
        if walked is None:
            self._source = _Indices(stage.size_or_none(), state)
        else:
            self._source = _Source(walked, epoch, state)
        self._by_index = walked is None
        self._next: int = state["next"]  # all before it were handed out
        self._ahead: set[int] = set(state["ahead"])  # and these after it
        self._sent: dict[int, list[Datapoint] | None] = {}  # by first index; kept where workers may be replaced
        self._done: dict[int, Result] = {}
        self._order: deque[int] = deque()  # first indices, in the order in which to hand out
        self._ready: deque[tuple[int, Datapoint]] = deque()
        self._failure: Any = None
        self._grouping = Grouping()

    def __next__(self) -> Datapoint:
        while True:
            while self._ready:
                index, datapoint = self._ready.popleft()
                self._count(index)
                if datapoint is not DROPPED:
                    return datapoint
            if self._failure is not None:
                raise self._ended_by()
            if not self._advance():
                self._finish()
                raise StopIteration

    def state(self) -> dict[str, Any]:
        start, below = self._source.before(self._next)
        return {"from": start, "below": below, "next": self._next, "ahead": sorted(self._ahead)}

    def close(self) -> None:
        crew, self._crew, self._stage = self._crew, None, None
        self._done.clear()
        self._ready.clear()  # they hold shared memory
        self._source.close()
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
        self._source.close()
        if crew is not None:
            stage._give_back(crew)

    def _count(self, index: int) -> None:
        self._ahead.add(index)
        while self._next in self._ahead:
            self._ahead.discard(self._next)
            self._next += 1

    def _advance(self) -> bool:
        """Get the group that is due; False at the end."""
        if self._stage is None:  # closed
            return False
        crew = self._crew = self._crew or self._stage._take_crew(self.epoch)
        self._send(crew)
        if not self._sent:
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
        made, _, self._failure = result.take()
        self._ready.extend(enumerate(made, start))
        del made, result
        self._send(crew)
        return True

    def _due(self) -> bool:
        if not self._strict:
            return bool(self._order)
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
        while len(self._sent) < crew.window and not source.ended:
            first = source.index
            resuming = bool(self._ahead) and first <= max(self._ahead)  # one by one, where there are gaps
            group = source.take(1 if resuming else self._grouping.size)
            passed = max(0, self._next - first)  # handed out before the position was saved
            group, first = group[passed:], first + passed
            if group and first not in self._ahead:
                value = None if self._by_index else group
                crew.submit(crew.idlest(), (first, first + len(group), self.epoch), value)
                self._sent[first] = value if self._stage._keeps_sent else None
