"""The protocol between a parallel stage and its workers, a crew, and the base of cursors over what a crew makes."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from ...ipc.parcel import NotSendable
from ...ipc.pool import Lost, Task
from ...ipc.worker import Job
from ...utils.errors import DataFlowError, annotate_error
from ..core import process
from ..core.base import DataFlow
from ..core.cursor import Cursor
from .task_size import Grouping

__all__ = [
    "Crew",
    "CrewCursor",
    "CrewStage",
    "Failed",
    "InlineCrew",
    "Made",
    "Result",
]


class Result(Protocol):
    """A worker's reply to one task.

    Attributes:
        task: The task.
        seconds: Wall time of the task in the worker.
        used: Bytes that the results take in shared memory; 0 where none is shared.
    """

    task: Task
    seconds: float
    used: int

    def take(self) -> tuple[list[Any], Any, Failed | None]:
        """Unpack it: (datapoints, what the job returned, the error that ended the task or None)."""
        ...

    def drop(self) -> None:
        """Free its memory without unpacking it."""
        ...


class Made:
    """A `Result` whose datapoints are in this process already, in no shared memory."""

    used = 0

    def __init__(self, task: Task, seconds: float, value: tuple[list[Any], Any, Any]) -> None:
        self.task, self.seconds, self._value = task, seconds, value

    def take(self) -> tuple[list[Any], Any, Any]:
        return self._value

    def drop(self) -> None:
        pass


class Crew(Protocol):
    """The workers of one walk: processes, threads, or actors of a cluster.

    Attributes:
        window: How many tasks may be out, or done and not taken, at a time.
        name: Whose workers they are, for errors.
    """

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

    def submit(self, worker: int, args: tuple[int, int, int], value: object = None) -> Task:
        """Give a worker a task; ``value`` is sent along."""
        ...

    def poll(self) -> Result | Lost | None:
        """Return a reply that has arrived, or None, without waiting."""
        ...

    def wait(self, worker: int | None = None) -> Result | Lost:
        """Wait for a reply, rather of the given worker than of another."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


class Failed(Protocol):
    """The error that ended a task, as it travels."""

    def restore(self) -> BaseException:
        """Return the exception, to be raised here."""
        ...


class CrewStage(Protocol):
    """What a ``CrewCursor`` needs of its stage; ``WorkerStage`` has it."""

    def _take_crew(self, epoch: int, flow: DataFlow | None) -> Crew:
        """Return workers that make datapoints of ``flow`` by index; None: that do the stage's own kind of task."""
        ...

    def _give_back(self, crew: Crew) -> None:
        """Take the workers back when the walk is complete."""
        ...


class CrewCursor(Cursor):
    """Base of cursors whose datapoints are made by a crew.

    A subclass calls ``_working`` for its crew, sets ``_failure`` to the error that a result's ``take`` returned, and
    raises ``_ended_by()`` once the datapoints before the error are handed out.

    Args:
        stage: Supplies the crew.
        epoch: Which epoch.
    """

    _flow: DataFlow | None = None  # see CrewStage._take_crew

    def __init__(self, stage: CrewStage, epoch: int) -> None:
        super().__init__(epoch)
        self._stage: CrewStage | None = stage
        self._crew: Crew | None = None
        self._failure: Failed | None = None
        self._grouping = Grouping()
        self._process = process.current

    def _foreign(self) -> DataFlowError:
        """Return the error for ``next`` in the child of a fork: workers answer only the process that started them."""
        return DataFlowError(
            "this iteration was begun in another process, of which this one is a fork: its workers belong to that one. "
            "Iterate over the flow itself here: iter(ds) starts workers of this process"
        )

    def _working(self) -> Crew | None:
        """Return the crew, taken at the first call; None when the walk is closed."""
        if self._process is not process.current:
            raise self._foreign()
        if self._stage is not None and self._crew is None:
            self._crew = self._stage._take_crew(self.epoch, self._flow)
            self._grouping.suit(self._crew)
        return self._crew

    def _forget(self) -> None:
        """Drop results and datapoints, which hold slots of the shared memory."""
        raise NotImplementedError

    def close(self) -> None:
        crew, self._crew, self._stage = self._crew, None, None
        self._forget()
        if crew is not None:
            crew.close()

    def _ended_by(self) -> BaseException:
        """Close the walk and return the error to raise."""
        # Not kept in an attribute: its traceback refers to this cursor, and the two would keep each other, the crew
        # and its slots alive until the garbage collector comes by.
        failure, self._failure = self._failure, None
        assert failure is not None
        error = failure.restore()
        error = self._placed(error) if isinstance(error, NotSendable) else error
        self.close()
        return error

    def _placed(self, error: NotSendable) -> BaseException:
        """Name the stage in an error of pickling, which no stage has named: no function of the user's raised it."""
        return annotate_error(error, f"{self._stage}, epoch {self.epoch}")

    def _taken(self, result: Result) -> tuple[list[Any], Any, Failed | None]:
        """Unpack a result; an error of unpickling names the stage."""
        try:
            return result.take()
        except NotSendable as error:
            raise self._placed(error) from error.__cause__

    def _finish(self) -> None:
        """Give the crew back at the end of the walk, for the next one."""
        stage, crew = self._stage, self._crew
        self._crew = self._stage = None
        if crew is not None and stage is not None:
            stage._give_back(crew)


class InlineCrew:
    """Synchronous stand-in for a crew, for ``num_proc=0``: runs a task in this process when its result is requested.

    Args:
        job: Runs the tasks.
    """

    workers = window = 1
    closed = False

    def __init__(self, job: Job) -> None:
        self.name = "this process"
        self._job = job
        self._tasks: deque[tuple[Task, Any]] = deque()

    def idlest(self) -> int:
        return 0

    def submit(self, worker: int, args: tuple[int, int, int], value: object = None) -> Task:
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
    seconds, used = 1.0, 0  # so that Grouping keeps groups at one datapoint: none is made before it is wanted

    def __init__(self, job: Job, task: Task, value: object) -> None:
        self.task = task
        self._job, self._value = job, value

    def take(self) -> tuple[list[Any], Any, Any]:
        out: list[Any] = []
        return out, self._job.run(self.task.args, self._value, out, lambda datapoint: None), None

    def drop(self) -> None:
        pass
