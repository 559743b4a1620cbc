"""``ds.explain()``: measures what each stage of a flow costs."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...utils.arguments import check_int
from ...utils.cores import available_cores
from ...utils.errors import DataFlowError
from ..core.base import DataFlow
from ..core.explanation import Explanation, StageCost
from .bottleneck import verdict
from .measure import Clock, Stage, instrumented
from .speed import Endless

__all__ = ["explain"]

_HERE = "here"


def explain(
    ds: DataFlow,
    n: int = 50,
    consumer: Callable[[Any], Any] | None = None,
    max_seconds: float = 30.0,
    quiet: bool = False,
) -> Explanation:
    """Measure what each stage of a flow costs; see ``DataFlow.explain``."""
    check_int("explain", "n", n, error=DataFlowError)
    with tempfile.TemporaryDirectory(prefix="flowtrain-explain-") as folder:
        flow, clock, stages = instrumented(ds, folder)
        run = _Run(flow, clock, stages, consumer)
        try:
            run.measure(n, max_seconds)
        finally:
            run.close()
        found = run.explained()
    if not quiet:
        sys.stdout.write(f"{found}\n")
        sys.stdout.flush()
    return found


class _Run:
    """One measurement of an instrumented flow: runs it, then turns the clock's sums into an ``Explanation``."""

    def __init__(
        self, flow: DataFlow, clock: Clock, stages: list[Stage], consumer: Callable[[Any], Any] | None
    ) -> None:
        self._flow, self._clock, self._stages, self._consumer = flow, clock, stages, consumer
        self._walk: Any = None
        self._consumed = 0.0

    def measure(self, n: int, max_seconds: float) -> None:
        # The first datapoint is taken apart: it starts the workers and opens the files.
        began = time.perf_counter()
        self._walk = Endless(self._flow, "explain")
        self._take()
        self.first = time.perf_counter() - began
        before = self._read()
        self._clock.waits.clear()
        self._consumed = 0.0
        start = now = time.perf_counter()
        count = 0
        while count < n and now - start < max_seconds:
            self._take()
            count += 1
            now = time.perf_counter()
        after = self._read()
        self.seconds, self.count = now - start, count
        self.here, self.elsewhere = (_without_delay(last - first) for last, first in zip(after, before, strict=True))

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        """The clock's sums until now: (this thread's, all others'), other machines' included."""
        for stage in _stages(self._flow):
            if stage._crews is not None:
                stage._crews.collect(self._clock.folder)
        return self._clock.read()

    def _take(self) -> None:
        datapoint = next(self._walk)
        if self._consumer is not None:
            taken = time.perf_counter()
            self._consumer(datapoint)
            self._consumed += time.perf_counter() - taken

    def close(self) -> None:
        if self._walk is not None:
            self._walk.close()
        for stage in _stages(self._flow):
            stage._end_workers()

    def explained(self) -> Explanation:
        made = (self.here + self.elsewhere)[:, 0]
        costs = [self._cost(stage) for stage in reversed(self._stages) if made[stage.number]]
        if self._consumer is not None:
            each = 1e3 * self._consumed / self.count
            costs.append(StageCost("(consumer)", _HERE, self.count, each, each, 1.0, 0.0, None, 0))
        total = sum(cost.ms_per_output for cost in costs) or 1.0
        costs = [dataclasses.replace(cost, share=cost.ms_per_output / total) for cost in costs]
        parallel = [stage for stage in self._stages if self._runs_workers(stage)]
        waited = sum(sum(self._clock.waits.get(stage.number, ())) for stage in parallel) / self.seconds
        workers = max((stage.workers for stage in parallel), default=0)
        cores = max((stage.flow._crews.cores() for stage in parallel if stage.flow._crews is not None), default=0)
        text = verdict(costs, workers, cores or available_cores())
        flows = [stage.flow for stage in reversed(self._stages)]
        notes = tuple(f"{flow.describe()} {note}" for flow in flows if (note := getattr(flow, "_note", "")))
        return Explanation(costs, self.count / self.seconds, self.first, min(waited, 1.0), text, notes)

    def _runs_workers(self, stage: Stage) -> bool:
        """Whether a stage had workers in this run: it was walked here, and something was measured elsewhere."""
        return stage.workers > 0 and bool(self.here[stage.number, 0]) and bool(self.elsewhere[:, 1].any())

    def _cost(self, stage: Stage) -> StageCost:
        number = stage.number
        here, elsewhere = self.here[number], self.elsewhere[number]
        parallel = self._runs_workers(stage)
        # What workers made costs what it cost them, and not the waiting for it here. A parallel stage that made nothing
        # itself shows the datapoints that it handed out here.
        made = elsewhere if elsewhere[0] or parallel else here
        owner = next((above for above in self._above(stage) if self._runs_workers(above)), None)  # whose workers
        where = _HERE
        if elsewhere[0] and (owner is not None or parallel):
            count = (owner or stage).workers
            where = f"{count} worker{'s' if count != 1 else ''}"
        count, wall, cpu = (int(value) for value in made)
        ms = wall * 1e-6 / count if count else 0.0
        per_output = ms * self._per_output(stage)
        queue = self._ready(stage) if parallel else None
        depth = sum(len(above.flow.children()) > 1 for above in self._above(stage))
        busy = min(cpu / wall, 1.0) if wall else 1.0
        shown = int(here[0]) if parallel and not count else count
        return StageCost(_name(stage.flow), where, shown, ms, per_output, busy, 0.0, queue, depth, stage.flow._advice)

    def _above(self, stage: Stage) -> Iterator[Stage]:
        while stage.parent is not None:
            stage = stage.parent
            yield stage

    def _per_output(self, stage: Stage) -> float:
        """How many datapoints of a stage go into one of the whole flow."""
        if stage.parent is None:
            return 1.0
        above = self._per_output(stage.parent)
        # Counts of one place are compared: workers have made more than what was taken of them here.
        for part in (self.here, self.elsewhere):
            own, parents = part[stage.number, 0], part[stage.parent.number, 0]
            if own and parents:
                return above * float(own) / float(parents)
        # They are made in different places: one for one, but for a batch that was stacked apart from its stage.
        batches = stage.parent.flow if not stage.parent.workers else None
        return above * getattr(batches, "batch_size", 1)

    def _ready(self, stage: Stage) -> float:
        """How often a datapoint of a parallel stage was there at once: within a tenth of the time between two."""
        soon = max(0.1 * self.seconds / self.count, 2e-4)
        return float(np.mean([wait < soon for wait in self._clock.waits[stage.number]]))


def _without_delay(measured: np.ndarray) -> np.ndarray:
    """Subtract run-queue delay from the stages' wall times, distributed by their non-CPU time."""
    # The kernel counts the delay of a thread, not of a stage; a stage that only computes can have had none.
    stages, delay = measured[:-1], measured[-1, 0]
    idle = stages[:, 1] - stages[:, 2]
    total = idle.sum()
    if total > 0:
        stages[:, 1] -= idle * min(delay / total, 1.0)
    return stages


def _stages(flow: DataFlow) -> Iterator[DataFlow]:
    yield flow
    for child in flow.children():
        yield from _stages(child)


def _name(flow: DataFlow) -> str:
    """The stage as messages name it; a lambda is told by its line, as there may be many."""
    code = getattr(getattr(flow, "func", None), "__code__", None)
    name = flow.describe()
    return name if code is None else name.replace("<lambda>", f"lambda in line {code.co_firstlineno}")
