"""The workers of one parallel stage, kept from one epoch to the next."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ...ipc.payload import Payload
from ...ipc.pool import Lost, Task, WorkerPool
from ...ipc.worker import Job
from ...utils.errors import ConfigError, DataFlowError
from ..core import process
from ..core.base import DataFlow
from ..core.cursor import Cursor
from .task_size import Grouping

__all__ = [
    "Cluster",
    "Crew",
    "CrewCursor",
    "CrewStage",
    "Crews",
    "Failed",
    "InlineCrew",
    "KeptCrews",
    "ProcessCrews",
    "Result",
    "crews_on",
    "named",
    "replaces",
]

_COMPARED = 1 << 22  # bytes: a pickle up to this size is made again each epoch, to see whether the flow has changed
_COMPARED_SECONDS = 0.05


class Result(Protocol):
    """What a worker made of a task."""

    task: Task
    seconds: float
    used: int

    def take(self) -> tuple[list[Any], Any, Failed | None]:
        """(datapoints, what the job returned, a failure or None)."""
        ...

    def drop(self) -> None:
        """Let go of it."""
        ...


class Crew(Protocol):
    """Workers, be they processes or threads."""

    window: int
    name: str

    @property
    def workers(self) -> int:
        """How many there are."""
        ...

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


class Failed(Protocol):
    """An error that a task ended with."""

    def restore(self) -> BaseException:
        """The exception, to be raised here."""
        ...


class CrewStage(Protocol):
    """A stage whose walks have workers."""

    def _take_crew(self, epoch: int, flow: DataFlow | None) -> Crew:
        """Workers for a walk that make datapoints of a flow; None: what the stage itself has them do."""
        ...

    def _give_back(self, crew: Crew) -> None:
        """Take the workers back when the walk is complete."""
        ...


class CrewCursor(Cursor):
    """The base of walks whose datapoints are made by a crew.

    A subclass calls ``_working`` for its crew, sets ``_failure`` to what a result's ``take`` returned as such, and
    raises ``_ended_by()`` when the datapoints before it are handed out.

    Args:
        stage: Gives the workers.
        epoch: Which epoch.
    """

    _flow: DataFlow | None = None

    def __init__(self, stage: CrewStage, epoch: int) -> None:
        super().__init__(epoch)
        self._stage: CrewStage | None = stage
        self._crew: Crew | None = None
        self._failure: Failed | None = None
        self._grouping = Grouping()
        self._process = process.current

    def _foreign(self) -> DataFlowError:
        """The error in the child of a fork: workers answer one process alone."""
        return DataFlowError(
            "this iteration was begun in another process, of which this one is a fork: its workers belong to that one. "
            "Iterate over the flow itself here: iter(ds) starts workers of this process"
        )

    def _working(self) -> Crew | None:
        """The crew, taken at first need; None when the walk is closed."""
        if self._process is not process.current:
            raise self._foreign()
        if self._stage is not None and self._crew is None:
            self._crew = self._stage._take_crew(self.epoch, self._flow)
            self._grouping.suit(self._crew)
        return self._crew

    def _forget(self) -> None:
        """Let go of results and datapoints: they hold shared memory."""
        raise NotImplementedError

    def close(self) -> None:
        crew, self._crew, self._stage = self._crew, None, None
        self._forget()
        if crew is not None:
            crew.close()

    def _ended_by(self) -> BaseException:
        """The error to raise. Nothing here refers to it: its traceback refers to this walk, and both shall go."""
        failure, self._failure = self._failure, None
        assert failure is not None
        self.close()
        return failure.restore()

    def _finish(self) -> None:
        """Give the crew back at the end of the walk, for the next one."""
        stage, crew = self._stage, self._crew
        self._crew = self._stage = None
        if crew is not None and stage is not None:
            stage._give_back(crew)


class Crews(Protocol):
    """Where a parallel stage has its workers from."""

    def take(self, make_job: Callable[[], Job], marks: Any, name: str) -> Crew:
        """Workers for one walk; see :meth:`KeptCrews.take`."""
        ...

    def give_back(self, crew: Crew) -> None:
        """Keep the workers of a walk that is complete, for the next one."""
        ...

    def collect(self, folder: str) -> None:
        """Have files that workers on other machines wrote into a folder in that folder here."""
        ...

    def cores(self) -> int:
        """How many cores the workers can have."""
        ...

    def close(self) -> None:
        """End workers that wait for the next walk."""
        ...


class Cluster(Protocol):
    """Machines that a parallel stage can have its workers on: :class:`flowtrain.dataflow.Ray`."""

    def crews(self, workers: int, window: int, *, timeout: float, restart: bool, preload: tuple[str, ...]) -> Crews:
        """What gives walks their workers; the arguments are those of :class:`ProcessCrews`."""
        ...


def crews_on(
    cluster: Cluster | None,
    owner: str,
    workers: int,
    window: int,
    *,
    timeout: float,
    restart: bool,
    preload: tuple[str, ...],
) -> Crews:
    """Worker processes of this machine, or of a cluster.

    Args:
        cluster: None: this machine.
        owner: The stage, for errors.
        workers: How many.
        window: How many tasks may be ahead of the consumer.
        timeout: Seconds that one datapoint may take.
        restart: Whether to replace workers that died.
        preload: Modules to import before the flow is unpacked.

    Raises:
        ConfigError: ``cluster`` is none.
    """
    if cluster is None:
        return ProcessCrews(workers, window, timeout=timeout, restart=restart, preload=preload)
    if not callable(getattr(cluster, "crews", None)):
        raise ConfigError(
            f"{owner}: cluster must be flowtrain.dataflow.Ray(address=...) or None (processes of this machine), "
            f"got {cluster!r:.200}"
        )
    return cluster.crews(workers, window, timeout=timeout, restart=restart, preload=preload)


def replaces(restart: bool | None, cluster: Cluster | None) -> bool:
    """Whether workers that died are replaced; where a user has not said so: on a cluster."""
    return cluster is not None if restart is None else bool(restart)


def named(cluster: Cluster | None) -> str:
    """The end of a stage's description that says where its workers are."""
    return "" if cluster is None else f", cluster={cluster!r}"


class KeptCrews:
    """Gives walks their workers, and takes them back when an epoch is complete.

    The workers hold a copy of the flow from when they were started. Where the flow has changed since (a loaded seed,
    an attribute that the user set), they are replaced.

    Args:
        workers: How many.
        window: How many tasks may be ahead of the consumer.
    """

    def __init__(self, workers: int, window: int) -> None:
        self.workers, self.window = workers, window
        self._idle: Any = None

    def _start(self, payload: Payload, job: Job, name: str) -> Any:
        """Start workers.

        Args:
            payload: The job, packed.
            job: The job itself, to see of what kind it is.
            name: Whose they are, for errors.
        """
        raise NotImplementedError

    def take(self, make_job: Callable[[], Job], marks: Any, name: str) -> Crew:
        """Workers for one walk, ready or being started.

        Args:
            make_job: Gives the job.
            marks: Compared with those of the idle workers: the flow's seeds.
            name: Whose they are, for errors.
        """
        pool, self._idle = self._idle, None
        job = payload = None
        if pool is not None and not pool.closed:
            data, known = pool.tag
            if data is not None:
                job = make_job()
                payload = Payload(job)
            if known == marks and (payload is None or payload.data == data):
                pool.name = name
                return pool
            pool.close()
        if payload is None or job is None:
            job = make_job()
            payload = Payload(job)
        # Workers hold the flow as it was. Whether it has changed is seen by pickling it once more, which needs no duty
        # of the user's and finds an attribute of any stage; of a flow that is costly to pickle only the seeds are
        # compared.
        small = len(payload.data) <= _COMPARED and payload.seconds <= _COMPARED_SECONDS
        tag = payload.data if small else None, marks
        pool = self._start(payload, job, name)
        pool.tag = tag
        return pool

    def give_back(self, crew: Crew) -> None:
        """Keep the workers of a walk that is complete, for the next one."""
        if hasattr(crew, "tag") and (self._idle is None or self._idle.closed):
            self._idle = crew
        else:
            crew.close()

    def collect(self, folder: str) -> None:
        """Nothing: workers of this machine write into the folder itself."""

    def cores(self) -> int:
        """How many cores the workers can have."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def close(self) -> None:
        """End workers that wait for the next walk."""
        pool, self._idle = self._idle, None
        if pool is not None:
            pool.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_idle": None}


class ProcessCrews(KeptCrews):
    """Worker processes of this machine.

    Args:
        workers: How many.
        window: How many tasks may be ahead of the consumer.
        options: Of :class:`flowtrain.ipc.pool.WorkerPool`.
    """

    def __init__(self, workers: int, window: int, **options: Any) -> None:
        super().__init__(workers, window)
        self.options = options

    def _start(self, payload: Payload, job: Job, name: str) -> WorkerPool:
        return WorkerPool(payload, self.workers, window=self.window, name=name, **self.options)


class InlineCrew:
    """Synchronous stand-in for a crew: runs a task when its result is requested.

    Args:
        job: What to do.
    """

    workers = window = 1
    closed = False

    def __init__(self, job: Job) -> None:
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

    def __init__(self, job: Job, task: Task, value: Any) -> None:
        self.task = task
        self._job, self._value = job, value

    def take(self) -> tuple[list[Any], Any, Any]:
        out: list[Any] = []
        return out, self._job.run(self.task.args, self._value, out, lambda datapoint: None), None

    def drop(self) -> None:
        pass
