"""What a parallel stage asks of its workers, and the base of walks whose datapoints they make."""

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
    "Result",
]


class Result(Protocol):
    """What a worker made of a task."""

    task: Task
    seconds: float
    used: int

    def take(self) -> tuple[list[Any], Any, Failed | None]:
        """(datapoints, what the job returned, a failure or None)."""
        ...

    def drop(self) -> None:
        """Free the result without unpacking it."""
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

    def submit(self, worker: int, args: tuple[int, int, int], value: object = None) -> Task:
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
        """Drop results and datapoints, which hold slots of the shared memory."""
        raise NotImplementedError

    def close(self) -> None:
        crew, self._crew, self._stage = self._crew, None, None
        self._forget()
        if crew is not None:
            crew.close()

    def _ended_by(self) -> BaseException:
        """The error to raise. It is not kept: its traceback refers to this walk, and would keep it alive."""
        failure, self._failure = self._failure, None
        assert failure is not None
        error = failure.restore()
        error = self._placed(error) if isinstance(error, NotSendable) else error
        self.close()
        return error

    def _placed(self, error: NotSendable) -> BaseException:
        """What cannot travel is not of a function of the user's, whose stage would name itself."""
        return annotate_error(error, f"{self._stage}, epoch {self.epoch}")

    def _taken(self, result: Result) -> tuple[list[Any], Any, Failed | None]:
        """What a result holds; an error names the stage."""
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
    seconds, used = 1.0, 0  # one datapoint at a time

    def __init__(self, job: Job, task: Task, value: object) -> None:
        self.task = task
        self._job, self._value = job, value

    def take(self) -> tuple[list[Any], Any, Any]:
        out: list[Any] = []
        return out, self._job.run(self.task.args, self._value, out, lambda datapoint: None), None

    def drop(self) -> None:
        pass
