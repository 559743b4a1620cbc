"""Cursor over a flow that can only be iterated: each worker walks a part, and the parts take turns (round robin)."""

from __future__ import annotations

from collections import deque
from typing import Any

from ...ipc.pool import Lost
from ...utils.errors import StateError
from ..core import process
from ..core.cursor import Datapoint, foreign_position
from .crew import Crew, CrewCursor, CrewStage, Result

__all__ = ["WalkedCursor"]


class _Part:
    """One worker's part of the flow, as the consumer sees it.

    Its position is a pair: a position of the worker's cursor, which may be large and is only told now and then, and
    how many datapoints after it were handed out.
    """

    def __init__(self, position: object, skip: int, ended: bool, share: int | None) -> None:
        self.position, self.skip = position, skip
        self.ended = ended  # no further datapoints will be asked for; some may still be ready
        self.share = share  # how many datapoints to ask for; None: until the part ends
        self.asked = 0  # how many were asked for
        self.handed = 0  # how many were handed out
        # Positions that the worker told, within what is ready: (how many datapoints after the entry before, position).
        self.told: deque[tuple[int, Any]] = deque()
        self.ready: deque[Datapoint] = deque()
        self.failure: Any = None  # to be raised when what is ready was handed out
        self.begun = False  # whether the worker was told where its walk begins
        self.out = 0  # tasks that are with the worker
        self.results: deque[Result] = deque()  # replies that are not unpacked yet

    def pop(self) -> Datapoint:
        datapoint = self.ready.popleft()
        self.skip += 1
        self.handed += 1
        if self.told:
            until, position = self.told[0]
            if until == 1:
                self.told.popleft()
                self.position, self.skip = position, 0
            else:
                self.told[0] = until - 1, position
        return datapoint

    def state(self) -> list[Any]:
        return [self.position, self.skip, self.ended and not self.ready]


class WalkedCursor(CrewCursor):
    """Hands out one datapoint of each part in turn; a part that has ended is left out.

    So the order depends on the number of parts alone, not on who is faster. With one part it is that of the flow.

    Args:
        stage: The parallel stage.
        epoch: Which epoch.
        state: What ``state()`` returned; None: the start.
        parts: How many parts.
        shares: How many datapoints each part gives at most; None: all that it has.

    Raises:
        StateError: ``state`` is of another kind of walk, or of another number of parts.
    """

    knows_after_error = True  # positions are of what was handed out, and a failure comes after what is ready

    def __init__(
        self, stage: CrewStage, epoch: int, state: object, parts: int, shares: list[int] | None = None
    ) -> None:
        super().__init__(stage, epoch)
        saved = _checked(state, parts, stage)
        self._turn = saved["turn"]
        lefts = saved["left"] or shares or [None] * parts
        self._parts = [
            _Part(position, skip, ended, left)
            for (position, skip, ended), left in zip(saved["parts"], lefts, strict=True)
        ]

    def __next__(self) -> Datapoint:
        if self._process is not process.current:
            raise self._foreign()
        for _ in self._parts:
            part = self._parts[self._turn]
            filled = self._fill(part)  # before the turn goes on: an error leaves the position at this part
            self._turn = (self._turn + 1) % len(self._parts)
            if filled:
                return part.pop()
        self._finish()
        raise StopIteration

    def state(self) -> dict[str, Any]:
        lefts = [None if part.share is None else part.share - part.handed for part in self._parts]
        return {"turn": self._turn, "parts": [part.state() for part in self._parts], "left": lefts}

    def _forget(self) -> None:
        for part in self._parts:
            part.ready.clear()
            part.results.clear()

    def _finish(self) -> None:
        # Tasks that ask past the end of a part are still out. The crew is used again for the next epoch, which must not
        # receive their replies; and a reply that is not taken holds its slot.
        crew = self._crew
        while crew is not None and any(part.out for part in self._parts):
            self._arrived(crew, crew.wait())
        for part in self._parts:
            while part.results:
                part.results.popleft().drop()
        super()._finish()

    def _fill(self, part: _Part) -> bool:
        """Wait until datapoints of a part are ready; False when it has no more."""
        while not part.ready:
            if part.failure is not None:
                self._failure, part.failure = part.failure, None
                raise self._ended_by()
            if part.ended or part.handed == part.share:
                part.ended = True
                return False
            crew = self._working()
            if crew is None:
                return False
            self._ask_all(crew)
            while not part.results:
                self._arrived(crew, crew.wait())
                self._ask_all(crew)
            self._open(part, part.results.popleft())
            self._ask_all(crew)
        return True

    def _open(self, part: _Part, result: Result) -> None:
        self._grouping.learn(result.task.args[1], result.seconds, result.used)
        made, extra, part.failure = self._taken(result)
        part.ready.extend(made)
        if extra is None:
            return
        ended, told = extra
        part.ended = part.ended or ended
        if told is not None and made:
            waiting = sum(until for until, _ in part.told)
            part.told.append((len(part.ready) - waiting, told[0]))

    def _ask_all(self, crew: Crew) -> None:
        # Each part has its own share of the window, since the turns are fixed: a fast part that used all of it would
        # leave none for the part whose turn it is, for ever.
        depth = max(1, crew.window // len(self._parts))
        for number, part in enumerate(self._parts):
            while not part.ended and part.failure is None and part.out + len(part.results) < depth:
                count = self._grouping.size if part.share is None else min(self._grouping.size, part.share - part.asked)
                if count == 0:
                    break
                begin = None if part.begun else (self.epoch, part.position, part.skip + len(part.ready))
                crew.submit(number, (part.asked, count, number), begin)
                part.begun = True
                part.asked += count
                part.out += 1

    def _arrived(self, crew: Crew, event: Result | Lost) -> None:
        if not isinstance(event, Lost):
            part = self._parts[event.task.worker]
            part.out -= 1
            part.results.append(event)
            return
        # A new worker: it passes over what was handed out or is ready, and goes on from there. Results that are not
        # opened yet go too: the new worker makes their datapoints again, and there is one count of where it begins.
        part = self._parts[event.worker]
        part.out = 0
        if part.ended or part.failure is not None:
            return
        for result in part.results:
            result.drop()
        part.results.clear()
        part.begun, part.asked = False, part.handed + len(part.ready)


def _checked(state: object, parts: int, owner: object) -> dict[str, Any]:
    if state is None:
        return {"turn": 0, "parts": [[None, 0, False]] * parts, "left": None}
    if not isinstance(state, dict) or {"turn", "parts", "left"} - set(state):
        raise foreign_position(owner, state)
    if len(state["parts"]) != parts:
        raise StateError(
            f"{owner}: the position was saved with {len(state['parts'])} workers, each walking a part of the flow, "
            f"and there are {parts} now. Resume with num_proc={len(state['parts'])}."
        )
    return state
