"""A crew of threads of this process: nothing is copied or sent, but only one thread at a time runs Python code."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

from ...ipc.pool import Task
from ...ipc.worker import Job
from ...utils.errors import overdue
from .crew import Made
from .nesting import enter_worker_thread

__all__ = ["ThreadCrew", "Thrown"]

_LOOK = 1.0  # seconds between looks at whether a datapoint takes too long


class Thrown:
    """An exception caught in this process, in the form in which crews report the error that ended a task.

    Args:
        error: The exception. Its traceback may refer to this object, so ``restore`` lets go of it: no cycle remains.
    """

    def __init__(self, error: BaseException) -> None:
        self._error: list[BaseException] = [error]

    def restore(self) -> BaseException:
        """Return the exception; it can be called once."""
        return self._error.pop()


@dataclass(slots=True)
class _Note:
    """What a thread is making now, for the consumer that finds it stuck."""

    datapoint: int
    since: float  # time.monotonic()
    task: Task
    out: list[Any]  # the task's results so far; the thread goes on appending
    made: int  # how many of them there were when this datapoint was begun


class ThreadCrew:
    """Crew whose workers are threads of this process.

    Args:
        jobs: The job of each thread; they may all be the same object.
        window: How many tasks may be ahead of the consumer.
        timeout: Seconds that one datapoint may take.
        name: Whose they are, for errors.
    """

    def __init__(self, jobs: list[Any], window: int, timeout: float, name: str) -> None:
        self.workers = workers = len(jobs)
        self.window, self.name, self.closed = window, name, False
        self._timeout = timeout
        self._tasks: list[queue.SimpleQueue[tuple[Task, Any] | None]] = [queue.SimpleQueue() for _ in range(workers)]
        self._results: queue.SimpleQueue[Made] = queue.SimpleQueue()
        self._loads = [0] * workers
        self._notes: list[_Note | None] = [None] * workers
        # Tasks answered with an error in place of the threads that are stuck in them. A thread cannot be killed: if it
        # answers after all, that is one answer too many, and is passed over.
        self._given_up: list[Task] = []
        for number, job in enumerate(jobs):
            arguments = (job, self._tasks[number], self._results, self._notes, number)
            threading.Thread(target=_work, args=arguments, name=f"flowtrain-worker-{number}", daemon=True).start()

    def idlest(self) -> int:
        return self._loads.index(min(self._loads))

    def submit(self, worker: int, args: tuple[int, int, int], value: object = None) -> Task:
        task = Task(0, worker, 0, args)
        self._loads[worker] += 1
        self._tasks[worker].put((task, value))
        return task

    def poll(self) -> Made | None:
        try:
            return self._counted(self._results.get_nowait())
        except queue.Empty:
            return None

    def wait(self, worker: int | None = None) -> Made:
        while True:
            try:
                result = self._counted(self._results.get(timeout=min(_LOOK, self._timeout)))
            except queue.Empty:
                result = self._overdue()
            if result is not None:
                return result

    def _counted(self, result: Made) -> Made | None:
        if result.task in self._given_up:
            return None
        self._loads[result.task.worker] -= 1
        return result

    def _overdue(self) -> Made | None:
        """Answer in place of a thread that is stuck: what it had made, and an error."""
        now = time.monotonic()
        for number, note in enumerate(self._notes):
            if note is None or now - note.since < self._timeout or note.task in self._given_up:
                continue
            self._given_up.append(note.task)
            seconds, doing = now - note.since, f"making datapoint {note.datapoint}"
            error = overdue(f"thread {number} of {self.name}", doing, seconds, self._timeout)
            return Made(note.task, seconds, (note.out[: note.made], None, Thrown(error)))
        return None

    def close(self) -> None:
        """Tell the threads to end, each after the task that it is doing; it does not wait for them."""
        if not self.closed:
            self.closed = True
            for tasks in self._tasks:
                with contextlib.suppress(queue.Empty):
                    while True:  # what was not begun is not wanted
                        tasks.get_nowait()
                tasks.put(None)

    def __del__(self) -> None:
        self.close()


def _work(
    job: Job,
    tasks: queue.SimpleQueue[tuple[Task, Any] | None],
    results: queue.SimpleQueue[Made],
    notes: list[_Note | None],
    number: int,
) -> None:
    """Run a thread's tasks until the crew is closed.

    It refers to the crew's queues and not to the crew: one that is dropped without ``close`` can be collected, and
    ``__del__`` ends its threads.
    """
    enter_worker_thread()
    while (item := tasks.get()) is not None:
        results.put(_done(job, *item, notes, number))
        notes[number] = None
        del item  # or the datapoint that was sent would live until the next task comes


def _done(job: Job, task: Task, value: Any, notes: list[_Note | None], number: int) -> Made:
    out: list[Any] = []
    extra = failure = None
    start = time.perf_counter()

    def mark(datapoint: int) -> None:
        notes[number] = _Note(datapoint, time.monotonic(), task, out, len(out))

    try:
        extra = job.run(task.args, value, out, mark)
    except BaseException as error:
        failure = Thrown(error)
    return Made(task, time.perf_counter() - start, (out, extra, failure))
