"""The workers of one parallel stage, kept from one epoch to the next."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ...ipc.payload import Payload
from ...ipc.pool import Lost, Task, WorkerPool
from .threads import ThreadCrew

__all__ = ["Crew", "InlineCrew", "ProcessCrews", "Result"]

_LOG = logging.getLogger("flowtrain")
_COMPARED = 1 << 22  # bytes: a pickle up to this size is made again each epoch, to see whether the flow has changed
_COMPARED_SECONDS = 0.05
_PROCESSES = os.name == "posix"


class Result(Protocol):
    """What a worker made of a task."""

    task: Task
    seconds: float
    used: int

    def take(self) -> tuple[list[Any], Any, Any]:
        """(datapoints, what the job returned, a failure or None)."""
        ...

    def drop(self) -> None:
        """Let go of it."""
        ...


class Crew(Protocol):
    """Workers, be they processes or threads."""

    workers: int
    window: int
    name: str

    @property
    def closed(self) -> bool:
        """Whether the workers are gone."""
        ...

    def idlest(self) -> int:
        """The worker that has the fewest tasks to do."""
        ...

    def submit(self, worker: int, args: tuple[int, int, int], value: Any = None) -> Task:
        """Give a worker a task."""
        ...

    def poll(self) -> Result | Lost | None:
        """What has arrived, without waiting."""
        ...

    def wait(self, worker: int | None = None) -> Result | Lost:
        """The next result, best of the given worker."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


class ProcessCrews:
    """Gives walks their worker processes, and takes them back when an epoch is complete.

    The workers hold a copy of the flow from when they were started. Where the flow has changed since (a loaded seed,
    an attribute that the user set), they are replaced.

    Args:
        workers: How many.
        window: How many tasks may be ahead of the consumer.
        options: Of :class:`flowtrain.ipc.pool.WorkerPool`.
    """

    def __init__(self, workers: int, window: int, **options: Any) -> None:
        self.workers, self.window, self.options = workers, window, options
        self._idle: WorkerPool | None = None

    def take(self, make_job: Callable[[], Any], marks: Any, name: str) -> Crew:
        """Workers for one walk, ready or being started.

        On Windows they are threads: the same datapoints in the same order, slower where the flow spends its time in
        Python.

        Args:
            make_job: Gives the job.
            marks: Compared with those of the idle workers: the flow's seeds.
            name: Whose they are, for errors.
        """
        if not _PROCESSES:
            _LOG.info("%s uses threads: worker processes need Linux, macOS or another Unix", name)
            jobs = [make_job() for _ in range(self.workers)]
            return ThreadCrew(jobs, self.window, self.options["timeout"], name)
        pool, self._idle = self._idle, None
        payload = None
        if pool is not None and not pool.closed:
            data, known = pool.tag
            payload = Payload(make_job()) if data is not None else None
            if known == marks and (payload is None or payload.data == data):
                pool.name = name
                return pool
            pool.close()
        payload = payload or Payload(make_job())
        small = len(payload.data) <= _COMPARED and payload.seconds <= _COMPARED_SECONDS
        pool = WorkerPool(payload, self.workers, window=self.window, name=name, **self.options)
        pool.tag = payload.data if small else None, marks
        return pool

    def give_back(self, crew: Crew) -> None:
        """Keep the workers of a walk that is complete, for the next one."""
        if isinstance(crew, WorkerPool) and (self._idle is None or self._idle.closed):
            self._idle = crew
        else:
            crew.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_idle": None}


class InlineCrew:
    """Synchronous stand-in for a crew: runs a task when its result is requested.

    Args:
        job: What to do.
    """

    workers = window = 1
    closed = False

    def __init__(self, job: Any) -> None:
        self.name = "this process"
        self._job = job
        self._tasks: deque[tuple[Task, Any]] = deque()

    def idlest(self) -> int:
        return 0

    def submit(self, worker: int, args: tuple[int, int, int], value: Any = None) -> Task:
        task = Task(0, 0, 0, args)
        self._tasks.append((task, value))
        return task

    def poll(self) -> None:
        return None

    def wait(self, worker: int | None = None) -> Result:
        return _Inline(self._job, *self._tasks.popleft())

    def close(self) -> None:
        self._tasks.clear()


class _Inline:
    seconds, used = 1.0, 0  # one datapoint at a time

    def __init__(self, job: Any, task: Task, value: Any) -> None:
        self.task = task
        self._job, self._value = job, value

    def take(self) -> tuple[list[Any], Any, Any]:
        out: list[Any] = []
        return out, self._job.run(self.task.args, self._value, out, lambda datapoint: None), None

    def drop(self) -> None:
        pass
