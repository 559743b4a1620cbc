"""Cursor over an indexable flow that lies above a stage with workers: it plans ahead which indices they should make.

By definition datapoint i of the flow is ``get(i, epoch)``. Which datapoints of the flows beneath that takes is known
without making any: each stage says it in ``_needs``. So the cursor looks ahead: it hands the indices that are needed
of a stage with workers to these workers, in the order in which they will be needed, and makes each datapoint of the
flow with ``_assemble`` when what it needs has come. Order and values are those of ``get`` by construction, and the
position is an index, as everywhere.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from ...utils.errors import USER_ERRORS, DataFlowError
from .cursor import Cursor, Datapoint, checked_index
from .datapoint import Position

if TYPE_CHECKING:
    from .base import DataFlow

__all__ = [
    "AheadCursor",
    "Needs",
    "Piece",
    "Planner",
    "Run",
    "RunQueue",
    "got",
    "has_workers",
    "made_ahead",
    "made_at",
]

Run = tuple[int, int, int]
"""Consecutive datapoints: (first index, the index after the last, epoch)."""

Needs = Sequence[tuple["DataFlow", int, int, int]]
"""Runs of flows beneath: (flow, first index, the index after the last, epoch)."""

Piece = tuple[int, int, Needs]
"""What consecutive datapoints need: (first index, the index after the last, needs). If a piece has more than one
datapoint, each need has as many, and datapoint i of the piece takes the i-th of each. A piece of one datapoint takes
all of each need."""

_Key = tuple[int, int, int]  # identifies a datapoint beneath: id of its flow, index, epoch
_PLANNED = 4096  # how many datapoints of a stage are planned before they are made, at most: enough to fill any window
_END = object()


def has_workers(flow: DataFlow) -> bool:
    """Whether a stage of the flow would make its datapoints in workers if the flow were walked here and now."""
    return flow._makes_in_workers() or any(has_workers(child) for child in flow.children())


class RunQueue:
    """First-in, first-out queue of runs: the indices that a cursor is to give, in order."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._queue = deque(runs)

    @classmethod
    def span(cls, first: int, stop: int | None, epoch: int) -> RunQueue:
        """A queue of the indices from ``first`` to ``stop - 1``; ``stop`` None: without an end."""
        return cls([(first, sys.maxsize if stop is None else stop, epoch)] if first != stop else [])

    @property
    def ended(self) -> bool:
        """True if no indices follow. Before that ``take`` may still return none: which ones follow is not known yet."""
        return not self._queue

    def add(self, first: int, stop: int, epoch: int) -> None:
        """Append a run."""
        _append(self._queue, first, stop, epoch)

    def take(self, count: int) -> list[Run]:
        """The next ``count`` indices as runs, or fewer."""
        queue = self._queue
        taken: list[Run] = []
        while count > 0 and queue:
            first, stop, epoch = queue[0]
            if stop - first > count:
                queue[0] = first + count, stop, epoch
                stop = first + count
            else:
                queue.popleft()
            count -= stop - first
            _append(taken, first, stop, epoch)
        return taken


def _append(runs: list[Run] | deque[Run], first: int, stop: int, epoch: int) -> None:
    # Merged into the last run if it continues that: else thousands of single indices would travel one by one.
    if runs and runs[-1][1:] == (first, epoch):
        runs[-1] = runs[-1][0], stop, epoch
    else:
        runs.append((first, stop, epoch))


class AheadCursor(Cursor):
    """Cursor over an indexable flow with workers beneath.

    Args:
        flow: The flow.
        epoch: Which epoch.
        state: The index to go on at; None: the start.
    """

    knows_after_error = True

    def __init__(self, flow: DataFlow, epoch: int, state: Position = None) -> None:
        super().__init__(epoch)
        self._next = checked_index(flow, state)
        self._opened: list[Cursor] = []
        runs = RunQueue.span(self._next, flow.size_or_none(), epoch)
        self._steps = made_ahead(flow, runs, epoch, self._opened)

    def __iter__(self) -> Iterator[Datapoint]:
        for datapoint in self._steps:  # cheaper than calling __next__; both keep the position
            self._next += 1
            yield datapoint

    def __next__(self) -> Datapoint:
        datapoint = next(self._steps)
        self._next += 1
        return datapoint

    def state(self) -> int:
        return self._next

    def close(self) -> None:
        self._steps = iter(())
        for cursor in self._opened:
            cursor.close()


def made_ahead(flow: DataFlow, runs: RunQueue, epoch: int, opened: list[Cursor]) -> Iterator[Datapoint]:
    """Make datapoints of a flow at given indices, with the help of its workers.

    Args:
        flow: Indexable, itself or a flow beneath with workers.
        runs: The indices.
        epoch: The cursor's epoch, for messages.
        opened: The cursors that have to be closed are added here.

    Raises:
        DataFlowError: A user's stage that defines no ``_needs`` lies above threads, which cannot make its datapoints.
    """
    if flow._makes_in_workers():
        cursor = flow._cursor_over(runs, flow, epoch)
    elif flow._passes:
        return made_ahead(flow.children()[0], runs, epoch, opened)
    elif flow._knows_needs:
        return _assembled(Planner(flow, runs, epoch, opened))
    else:  # a stage of a user's own: `get` makes a datapoint anywhere, so the workers can make its datapoints too
        cursor = _topmost_with_workers(flow)._cursor_over(runs, flow, epoch)
    opened.append(cursor)
    return cursor


def made_at(flow: DataFlow, indices: Sequence[int], epoch: int) -> list[Datapoint]:
    """Make some datapoints of an indexable flow, with the workers beneath if there are any."""
    if not has_workers(flow):
        return [got(flow, index, epoch) for index in indices]
    opened: list[Cursor] = []
    try:
        return list(made_ahead(flow, RunQueue((index, index + 1, epoch) for index in indices), epoch, opened))
    finally:
        for cursor in opened:
            cursor.close()


def _topmost_with_workers(flow: DataFlow) -> DataFlow:
    child = next(filter(has_workers, flow.children()))
    return child if child._makes_in_workers() else _topmost_with_workers(child)


def got(flow: DataFlow, index: int, epoch: int) -> Datapoint:
    """``flow.get``, with the datapoint named in its errors."""
    try:
        return flow.get(index, epoch)
    except USER_ERRORS as error:
        flow._fail(error, index, epoch)


def _assembled(planner: Planner) -> Iterator[Datapoint]:
    flow = planner.flow
    assemble = flow._assemble
    while (piece := planner.take()) is not None:
        epoch = piece[2]
        for index, parts in planner.made(piece):
            try:
                datapoint = assemble(parts, index, epoch)
            except USER_ERRORS as error:
                flow._fail(error, index, epoch)
            yield datapoint


_Plan = tuple[int, int, int, Needs]
"""A ``Piece`` with its epoch: (first index, the index after the last, epoch, needs)."""


class Planner:
    """Plans which datapoints of the flows beneath a stage needs, and takes them as they come.

    It is driven from below: a cursor beneath that wants indices for its workers takes them of its ``_Requested``, which
    has the planner plan so many of the stage's datapoints that there are enough. The plans wait until the stage's
    own cursor takes them. Both sides see them in one order, so what comes next out of a cursor beneath is what the
    next plan needs.

    Args:
        flow: The stage.
        runs: Which of its datapoints are to be made.
        epoch: The cursor's epoch, for messages.
        opened: The cursors that have to be closed are added here.
    """

    def __init__(self, flow: DataFlow, runs: RunQueue, epoch: int, opened: list[Cursor]) -> None:
        self.flow, self._runs = flow, runs
        self._plans: deque[_Plan] = deque()
        self._planned = 0  # datapoints in the plans
        # By id of the flow beneath: its requests and datapoints; None for one without workers, which is made by get.
        self._inputs: dict[int, tuple[_Requested, Iterator[Datapoint]] | None] = {}
        self._held: dict[_Key, Datapoint] = {}  # datapoints beneath that a later datapoint needs too
        self._known: dict[_Key, None] = {}  # the keys that _held will have when the latest plan is made
        children = flow.children()
        for child in {id(child): child for child in children}.values():
            self._inputs[id(child)] = None
            if has_workers(child):
                requested = _Requested(self)
                self._inputs[id(child)] = requested, iter(made_ahead(child, requested, epoch, opened))
        # If one cursor makes several parts of a datapoint, those of a longer piece cannot be taken side by side, as
        # `made` does it: both would come from the same iterator.
        self._one_by_one = bool(flow._reuses) or len(self._inputs) < len(children)

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to plan."""
        return self._runs.ended

    def plan(self, count: int) -> bool:
        """Plan up to ``count`` more datapoints; False if none can be planned now."""
        # Bounded: if only some datapoints need an input (as in ConcatData or CacheData), the window of that input's
        # workers could ask for the plans of the whole epoch at once.
        runs = self._runs.take(min(count, _PLANNED - self._planned))
        inputs, plans, reuses = self._inputs, self._plans, self.flow._reuses
        for run in runs:
            self._planned += run[1] - run[0]
            pieces = self.flow._needs(*run)
            for first, stop, needs in _single(pieces) if self._one_by_one else pieces:
                if reuses:
                    needs = [(child, i, i + 1, below) for child, start, end, below in needs for i in range(start, end)]
                plans.append((first, stop, run[2], needs))
                for child, start, end, below in needs:
                    source = inputs[id(child)]
                    if source is not None and not (reuses and self._is_known((id(child), start, below))):
                        source[0].add(start, end, below)
        return bool(runs)

    def _is_known(self, key: _Key) -> bool:
        """Whether a datapoint beneath will still be held when it is needed; if not, it is noted as requested now."""
        # This foretells what `_held` will hold when the plan is made: both are dicts in order of insertion that forget
        # their oldest at the same size, so the two stay alike without a datapoint having been made.
        if key in self._known:
            return True
        self._known[key] = None
        if len(self._known) > self.flow._reuses:
            del self._known[next(iter(self._known))]
        return False

    def take(self, most: int = _PLANNED) -> _Plan | None:
        """The plan of the next datapoints, ``most`` of them or fewer; None at the end, or if none is known yet."""
        if not self._plans and not self.plan(1):
            if self.ended:
                self._let_go()
            return None
        first, stop, epoch, needs = self._plans.popleft()
        if stop - first > most:
            rest = [(child, start + most, end, below) for child, start, end, below in needs]
            self._plans.appendleft((first + most, stop, epoch, rest))
            needs = [(child, start, start + most, below) for child, start, _, below in needs]
            stop = first + most
        self._planned -= stop - first
        return first, stop, epoch, needs

    def _let_go(self) -> None:
        """Take the cursors beneath to their end, where they give their workers back for the next epoch."""
        for source in self._inputs.values():
            if source is not None and next(source[1], _END) is not _END:
                raise AssertionError("a datapoint was asked for that nothing needs")

    def made(self, plan: _Plan) -> Iterator[tuple[int, list[Datapoint]]]:
        """Yield the index of each planned datapoint with its parts, the datapoints beneath that it is made of."""
        first, stop, _, needs = plan
        if stop - first == 1:
            made = self._held_or_made if self.flow._reuses else self._stream
            yield first, [part for need in needs for part in made(*need)]
            return
        index = first - 1
        for index, *parts in zip(range(first, stop), *[self._stream(*need) for need in needs], strict=False):
            yield index, parts
        if index != stop - 1:
            raise DataFlowError(f"a flow beneath {self.flow} ended before its datapoint {index + 1}")

    def _stream(self, child: DataFlow, first: int, stop: int, epoch: int) -> Iterator[Datapoint]:
        source = self._inputs[id(child)]
        if source is None:
            return (got(child, index, epoch) for index in range(first, stop))
        return islice(source[1], stop - first)

    def _held_or_made(self, child: DataFlow, first: int, stop: int, epoch: int) -> list[Datapoint]:
        """As ``_stream``, but the last few datapoints are held: overlapping windows need each of them several times."""
        key, held = (id(child), first, epoch), self._held
        if key in held:
            return [held[key]]
        made = list(self._stream(child, first, stop, epoch))
        held.update((key, datapoint) for datapoint in made)
        if len(held) > self.flow._reuses:
            del held[next(iter(held))]
        return made


def _single(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Divide pieces of several datapoints into pieces of one."""
    for first, stop, needs in pieces:
        if stop - first == 1:
            yield first, stop, needs
            continue
        for number in range(stop - first):
            alone = [(child, start + number, start + number + 1, below) for child, start, _, below in needs]
            yield first + number, first + number + 1, alone


class _Requested(RunQueue):
    """The indices that a stage needs of one flow beneath; they are planned when that flow's cursor takes them."""

    def __init__(self, planner: Planner) -> None:
        super().__init__()
        self._planner = planner
        self._waiting = 0

    @property
    def ended(self) -> bool:
        return not self._queue and self._planner.ended

    def add(self, first: int, stop: int, epoch: int) -> None:
        super().add(first, stop, epoch)
        self._waiting += stop - first

    def take(self, count: int) -> list[Run]:
        while self._waiting < count and self._planner.plan(count - self._waiting):
            pass
        taken = super().take(count)
        self._waiting -= sum(stop - first for first, stop, _ in taken)
        return taken
