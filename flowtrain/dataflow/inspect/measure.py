"""Instrumentation of a flow: the time that each stage takes, in this process and in its workers.

The flow is copied, and the copy's stages get timed versions of ``get`` and of all other methods that make datapoints.
Every thread of every process adds what it measures to a file of its own in a folder, mapped into memory. So it does
not matter how the stages reach their workers, and no measurement travels with the data.
"""

from __future__ import annotations

import copy
import functools
import mmap
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..core.base import DataFlow
from ..core.cursor import Cursor
from ..core.datapoint import Datapoint, Position
from ..core.undecoded import Undecoded, with_undecoded

__all__ = ["Clock", "Stage", "instrumented"]

_CELLS = 3  # int64 for each stage: datapoints made, wall time, CPU time (ns)
_INNER = "_serial"  # the attribute in which a parallel stage keeps the stage that its workers do
_SCHEDSTAT = "/proc/thread-self/schedstat"  # CPU time, time ready to run but without a core (ns), time slices


class Clock:
    """Sums of time by stage, for each thread of each process. Pickled to a worker, it measures into the same folder.

    Args:
        folder: The folder of the files.
        stages: How many stages there are.
    """

    def __init__(self, folder: str, stages: int) -> None:
        self.folder, self.stages = folder, stages
        self.waits: dict[int, list[float]] = {}
        """Seconds that each step of a stage's walk took in this process, by stage."""
        self._local = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        return Clock, (self.folder, self.stages)

    def part(self) -> _Part:
        """The sums of the calling thread."""
        part = getattr(self._local, "part", None)
        if part is None or part.pid != os.getpid():
            part = self._local.part = _Part(self.folder, self.stages)
        return part

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the sums until now.

        Returns:
            Two arrays, the sums of the calling thread and those of all others, float64 (stages + 1, 3): datapoints,
            wall time and CPU time in ns of each stage, without the stages beneath. The first entry of the last row is
            the run-queue delay in ns: time in which a thread was ready to run but had no core.
        """
        here, elsewhere = np.zeros((2, self.stages + 1, _CELLS))
        mine = self.part().name
        for path in Path(self.folder).iterdir():
            cells = np.fromfile(path, np.int64, here.size)
            if cells.size == here.size:  # else its thread has opened it, and not given it its size yet
                into = here if path.name == mine else elsewhere
                into += cells.reshape(here.shape)
        return here, elsewhere


class _Part:
    """The sums of one thread, in its file, and which stage it is in at the moment."""

    def __init__(self, folder: str, stages: int) -> None:
        self.pid = os.getpid()
        self.name = f"{self.pid}-{threading.get_native_id()}"
        os.makedirs(folder, exist_ok=True)  # on another machine it is not there
        path = os.path.join(folder, self.name)
        size = 8 * _CELLS * (stages + 1)
        with open(path, "w+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self.cells = memoryview(self._map).cast("q")
        # The stage whose call is running (-1: none), and the time that this call has spent in stages beneath.
        self.stage, self.wall, self.cpu = -1, 0, 0
        self._delay = _CELLS * stages
        self._schedstat = os.open(_SCHEDSTAT, os.O_RDONLY) if os.path.exists(_SCHEDSTAT) else -1

    def note_delay(self) -> None:
        """Write down the thread's run-queue delay until now: no stage's doing, but that of other programs."""
        if self._schedstat >= 0:
            self.cells[self._delay] = int(os.pread(self._schedstat, 80, 0).split()[1])

    def __del__(self) -> None:
        if getattr(self, "_schedstat", -1) >= 0:
            os.close(self._schedstat)


def _timed(clock: Clock, number: int, count: int, call: Callable[..., Any], *args: object) -> Any:
    """Call a function, and add its time to a stage, without that of timed calls within it, which count as their own."""
    part = clock.part()
    outer = part.stage, part.wall, part.cpu
    part.stage, part.wall, part.cpu = number, 0, 0
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    try:
        made = call(*args)
    except BaseException:
        count = 0
        raise
    finally:
        wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
        cells, cell = part.cells, number * _CELLS
        if outer[0] != number:  # else a stage's cursor calls the stage's own get: the same datapoint again
            cells[cell] += count
        cells[cell + 1] += wall - part.wall
        cells[cell + 2] += cpu - part.cpu
        part.stage, part.wall, part.cpu = outer[0], outer[1] + wall, outer[2] + cpu
        if outer[0] < 0:  # once for each outermost call, since it costs a system call
            part.note_delay()
    return made


class _TimedCursor(Cursor):
    """A cursor whose steps are timed."""

    def __init__(self, cursor: Cursor, clock: Clock, number: int) -> None:
        super().__init__(cursor.epoch)
        self._cursor, self._clock, self._number = cursor, clock, number

    def __next__(self) -> Datapoint:
        start = time.perf_counter()
        made = _timed(self._clock, self._number, 1, self._cursor.__next__)
        self._clock.waits.setdefault(self._number, []).append(time.perf_counter() - start)
        return made

    def state(self) -> Position:
        return self._cursor.state()

    def close(self) -> None:
        self._cursor.close()


class _TimedFunction:
    """A stage's function, timed: for stages that are taken apart, so that workers apply the function alone."""

    def __init__(self, func: Callable[..., Any], clock: Clock, number: int) -> None:
        self._func, self._clock, self._number = func, clock, number
        self.__name__ = getattr(func, "__name__", type(func).__name__)

    def __call__(self, *args: Any) -> Any:
        return _timed(self._clock, self._number, 1, self._func, *args)


class Stage:
    """One stage of a flow that is measured.

    Attributes:
        number: Its row in the clock's sums.
        flow: The stage itself, as the user built it.
        parent: The stage above; None for the uppermost.
        workers: How many workers it has.
    """

    def __init__(self, number: int, flow: DataFlow, parent: Stage | None) -> None:
        self.number, self.flow, self.parent = number, flow, parent
        self.workers = flow.worker_count


def instrumented(ds: DataFlow, folder: str) -> tuple[Any, Clock, list[Stage]]:
    """Make a timed copy of a flow.

    Args:
        ds: The flow; it is left alone.
        folder: An empty one, for the clock's files.

    Returns:
        The copy, the clock, and the stages from the top down.
    """
    stages: list[Stage] = []
    _listed(ds, None, stages)
    clock = Clock(folder, len(stages))
    numbers = {id(stage.flow): stage.number for stage in stages}
    return _copied(ds, clock, numbers, 0, {}, inner=False), clock, stages


def _listed(flow: DataFlow, parent: Stage | None, stages: list[Stage]) -> None:
    if any(stage.flow is flow for stage in stages):
        return
    stage = Stage(len(stages), flow, parent)
    stages.append(stage)
    inner = vars(flow).get(_INNER)
    for child in [inner] if inner is not None else flow.children():
        _listed(child, stage, stages)


def _copied(
    flow: DataFlow, clock: Clock, numbers: dict[int, int], above: int, made: dict[int, Any], inner: bool
) -> DataFlow:
    """A timed copy of a flow and of all flows that it holds; one that is not listed as a stage counts as the one above.

    ``made`` has the copies by id of the original, so that a flow that is used twice is copied once. ``inner`` is True
    for what the workers of a parallel stage do.
    """
    if id(flow) in made:
        return made[id(flow)]
    number = numbers.get(id(flow), above)
    twin: Any = copy.copy(flow)
    made[id(flow)] = twin
    for name, value in list(vars(twin).items()):
        within = inner or name == _INNER
        if isinstance(value, DataFlow):
            vars(twin)[name] = _copied(value, clock, numbers, number, made, within)
        elif isinstance(value, (list, tuple)) and value and all(isinstance(part, DataFlow) for part in value):
            vars(twin)[name] = type(value)(_copied(part, clock, numbers, number, made, within) for part in value)
    if inner and callable(func := getattr(flow, "func", None)):
        twin.func = _TimedFunction(func, clock, number)  # workers may apply it without the stage
    if twin._crews is not None:
        twin._crews = copy.copy(twin._crews)  # workers of its own: those of the original are left alone
    for method in _TIMED:  # attributes of the copy, found before the methods of its class
        vars(twin)[method] = functools.partial(_timed_method, twin, method, clock, number)
    for method in ("_open", "_cursor_over"):
        vars(twin)[method] = functools.partial(_timed_open, twin, method, clock, number)
    return twin


_TIMED: dict[str, Callable[..., int]] = {
    "get": lambda index, epoch=0: 1,
    "_get_undecoded": lambda index, epoch: 1,
    "get_batch": lambda indices, epoch=0: len(indices),
    "_assemble": lambda parts, index, epoch: 1,
}
"""Name of a method that makes datapoints -> how many it makes for given arguments."""


def _timed_method(flow: DataFlow, name: str, clock: Clock, number: int, *args: Any) -> Any:
    """Call a method of a stage's class, timed."""
    made = _timed(clock, number, _TIMED[name](*args), getattr(type(flow), name), flow, *args)
    if name != "_get_undecoded" or flow.children():
        return made
    return with_undecoded(made, lambda picture: _TimedPicture(picture, clock, number))


class _TimedPicture(Undecoded):
    """An undecoded picture whose decoding is counted as its source's, whichever stage asks for it."""

    def __init__(self, picture: Undecoded, clock: Clock, number: int) -> None:
        self.shape = picture.shape
        self._picture, self._clock, self._number = picture, clock, number

    def read(self) -> np.ndarray:
        return _timed(self._clock, self._number, 0, self._picture.read)

    def read_region(self, region: tuple[int, int, int, int]) -> np.ndarray:
        return _timed(self._clock, self._number, 0, self._picture.read_region, region)


def _timed_open(flow: DataFlow, name: str, clock: Clock, number: int, *args: Any) -> Cursor:
    """Call a method of a stage that makes a cursor, whose steps are timed."""
    cursor = getattr(type(flow), name)(flow, *args)
    # It is timed already if the stage hands on the cursor of the flow beneath: the steps are that flow's then.
    return cursor if isinstance(cursor, _TimedCursor) else _TimedCursor(cursor, clock, number)
