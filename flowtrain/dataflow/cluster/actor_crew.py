"""A crew of workers that are Ray actors: deals tasks to the actors that have started, and again when one is lost."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ...ipc.failures import Failure
from ...ipc.payload import Payload
from ...ipc.pool import Lost, Task
from ...utils.errors import WorkerDied, WorkerTimeout, overdue
from .actor import Maker
from .objects import packed, parts_of, unpacked

__all__ = ["RayCrew", "RayResult"]

logger = logging.getLogger("flowtrain.dataflow")
_LOOK = 1.0  # seconds between checks of whether anything takes too long
_GRACE = 5.0  # seconds beyond the timeout in which an actor should itself interrupt the datapoint, and answer
_DEATHS = 3  # how many actors may die of one task, or in one place without an answer in between
_TELL = 5.0  # seconds of waiting for an actor to start before a warning; the next comes after twice as long, and so on
_SECONDS = 0.5  # of work in a message, which costs some 8 ms of CPU in all of Ray's processes
_BYTES = 48 << 20  # the most bytes in a message
_SHARE = 0.25  # of the smallest object store: the most that all messages of a crew may take
_ANSWER = 30.0  # seconds that an actor may take to send its measurements


class RayResult:
    """Result of a task; it stays in Ray's object store until it is taken."""

    def __init__(self, task: Task, seconds: float, used: int, parts: list[Any]) -> None:
        self.task, self.seconds, self.used = task, seconds, used
        self._parts: list[Any] | None = parts

    def take(self) -> tuple[list[Any], Any, Failure | None]:
        """Unpack it: (datapoints, what the job returned, failure or None). Arrays are copied out of the store, once."""
        parts, self._parts = self._parts, None
        assert parts is not None
        return unpacked(parts)

    def drop(self) -> None:
        """Let go of the result's memory in the object store without unpacking it."""
        self._parts = None


@dataclass(slots=True, eq=False)
class _Work:
    """A task as it is sent to an actor.

    Attributes:
        task: The task.
        parts: The packed value that is sent along, or None.
        count: How many datapoints the actor has to make for it, those that a walk only passes over included.
        deaths: How many actors died while it was the first of their tasks.
    """

    task: Task
    parts: list[Any] | None
    count: int
    deaths: int = 0


@dataclass(slots=True, eq=False)
class _Place:
    """One of the crew's workers, whose actor is replaced when it dies.

    Attributes:
        actor: Ray's handle of the actor.
        loading: Reference to the answer of its ``load``; None: it has started.
        pid: Its process id, 0 until it has started.
        deaths: How many actors died here since the last answer.
        since: When the actor was requested, got work after being idle, or last answered; ``time.monotonic``.
        out: Its tasks by the reference to their results, in the order in which it does them.
    """

    actor: Any = None
    loading: Any = None
    pid: int = 0
    deaths: int = 0
    since: float = 0.0
    out: dict[Any, _Work] = field(default_factory=dict)


class RayCrew:
    """Ray actors that all have the same job; the counterpart of ``WorkerPool`` on a cluster.

    Actors get tasks once they have started: work begins with the first, and the others join in as the cluster has
    room for them.

    Args:
        cluster: A :class:`flowtrain.dataflow.Ray`.
        payload: The job.
        workers: How many actors.
        window: How many tasks may be with the actors, or done and not taken, at a time.
        bound: Whether a task can be done only by the actor that it names, because it goes on with that actor's walk.
        timeout: Seconds that one datapoint may take.
        restart: Replace an actor that died, and have its tasks done again; otherwise its death is an error.
        preload: Modules to import before the job is unpacked.
        name: The stage, for errors.

    Raises:
        FlowtrainError: There is no such cluster.
    """

    def __init__(
        self,
        cluster: Any,
        payload: Payload,
        workers: int,
        *,
        window: int,
        bound: bool,
        timeout: float,
        restart: bool,
        preload: tuple[str, ...],
        name: str,
    ) -> None:
        self.workers, self.window, self.timeout, self.restart, self.name = workers, window, timeout, restart, name
        self.tag: Any = None  # of KeptCrews: the job and seeds that the actors were started with
        self._cluster, self._bound, self._preload = cluster, bound, preload
        self._pid = os.getpid()
        self._ray = ray = cluster.connect(name)
        self._job = ray.get_runtime_context().get_job_id()  # after ray.shutdown() and a new init it is another one
        # Ray restarts and retries nothing: a walk's actor has a state that only the cursor can rebuild, and `_lose` has
        # to know of each death.
        self._maker = ray.remote(Maker).options(
            max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD", **cluster.options()
        )
        self._writable = [not view.readonly for view in payload.views]
        # Into the object store once, not with each actor's `load`: all actors of a machine read one copy.
        self._payload = ray.put(parts_of(payload.data, payload.views))
        payload.views.clear()
        stores = [node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node["Alive"]]
        fitting = int(_SHARE * min(stores, default=0) / window)
        self.together = _SECONDS, max(1 << 20, min(_BYTES, fitting))  # see Grouping
        self._queue: deque[_Work] = deque()  # for any actor
        self._bound_queues: list[deque[_Work]] = [deque() for _ in range(workers)]
        self._arrived: deque[RayResult | Lost] = deque()
        self._number = 0  # of the next task
        self._places = [_Place() for _ in range(workers)]
        try:
            for number in range(workers):
                self._start(number)
        except BaseException:
            self.close()
            raise

    # ---------------------------------------------------------------- the interface of `parallel.crew.Crew`

    @property
    def closed(self) -> bool:
        """Whether the actors are gone, or Ray with them."""
        if not self._places or self._pid != os.getpid() or not self._ray.is_initialized():
            return True
        return self._ray.get_runtime_context().get_job_id() != self._job

    @property
    def pids(self) -> list[int]:
        """The actors' process ids, each on its machine; 0: not started yet."""
        return [place.pid for place in self._places]

    def idlest(self) -> int:
        """A number for `submit`, which does not matter: `_deal` picks the actor when one has time for the task."""
        return 0

    def submit(self, worker: int, args: tuple[int, int, int], value: Any = None) -> Task:
        """Queue a task for the actors.

        Args:
            worker: Which actor does it, where the job is a walk; otherwise any may.
            args: Arguments of the job's ``run``.
            value: A value to send along, or None.
        """
        task = Task(self._number, worker, 0, args)
        self._number += 1
        # A walk's args are (place, how many, ...), its value (epoch, position, how many to pass over); an index job's
        # args are (first, end, epoch).
        count = args[1] + (value[2] if value is not None else 0) if self._bound else args[1] - args[0]
        work = _Work(task, None if value is None else packed(value), max(count, 1))
        (self._bound_queues[worker] if self._bound else self._queue).append(work)
        self._deal()
        return task

    def poll(self) -> RayResult | Lost | None:
        """The next result that has arrived, without waiting; None if there is none."""
        if not self._arrived:
            self._receive(0)
        return self._arrived.popleft() if self._arrived else None

    def wait(self, worker: int | None = None) -> RayResult | Lost:
        """Wait for the next result.

        Args:
            worker: Not used: results of all actors are waited for at once.

        Raises:
            WorkerDied: An actor has died, and ``restart`` is off or does not help.
            WorkerTimeout: No actor has started in time, or one has hung for longer than ``timeout``.
        """
        asked, told = time.monotonic(), _TELL
        while not self._arrived:
            self._receive(_LOOK)
            if self._arrived:
                break
            self._check_times()
            if (waited := time.monotonic() - asked) >= told and not self._started():
                told *= 2
                logger.warning("%s has waited %.0f s for Ray: %s", self.name, waited, self._missing())
        return self._arrived.popleft()

    def files(self, folder: str, here: str) -> dict[str, bytes]:
        """The files that actors on other machines have in a folder, name -> content; see ``Maker.files``."""
        found: dict[str, bytes] = {}
        for number, place in enumerate(self._places):
            if place.loading is None:
                with contextlib.suppress(self._ray.exceptions.RayError):  # dead: its measurements are lost
                    answer = place.actor.files.remote(folder, here)
                    given = self._ray.get(answer, timeout=_ANSWER)
                    found |= {f"actor{number}-{name}": data for name, data in given.items()}
        return found

    def close(self) -> None:
        """End the actors. Arrays that were handed out stay valid: they are copies."""
        alive = not self.closed  # of a Ray that is gone, or of the parent of a fork, no actor may be killed
        places, self._places = self._places, []
        self._queue.clear()
        self._bound_queues.clear()
        self._arrived.clear()
        self._payload = None
        for place in places if alive else ():
            self._kill(place)

    def __del__(self) -> None:
        if not sys.is_finalizing():  # Ray's own exit ends the actors, and its modules may be torn down already
            with contextlib.suppress(Exception):
                self.close()

    # ---------------------------------------------------------------- tasks

    def _start(self, number: int) -> None:
        place = self._places[number]
        place.actor = self._maker.remote(number, self.timeout)
        place.loading = place.actor.load.remote(self._preload, self._payload, self._writable)
        place.pid, place.since = 0, time.monotonic()

    def _started(self) -> bool:
        """Whether the actors without which nothing can arrive have started: those with bound tasks, or else any one."""
        if self._bound:
            waited = [place for place, queue in zip(self._places, self._bound_queues, strict=True) if queue]
            return all(place.loading is None for place in waited)
        return any(place.loading is None for place in self._places)

    def _deal(self) -> None:
        """Give queued tasks to actors that have started: bound ones to their own, others to the one with the fewest."""
        for number, queue in enumerate(self._bound_queues):
            while queue and self._places[number].loading is None:
                self._give(self._places[number], queue.popleft())
        ready = [place for place in self._places if place.loading is None]
        # At least two: while the answer to one task travels, the actor does the next. Otherwise equal shares of the
        # window.
        depth = max(2, -(-self.window // len(ready))) if ready else 0
        while self._queue and ready:
            place = min(ready, key=lambda place: len(place.out))
            if len(place.out) >= depth:
                break
            self._give(place, self._queue.popleft())

    def _give(self, place: _Place, work: _Work) -> None:
        if not place.out:  # it was idle: `_check_times` must not count that time
            place.since = time.monotonic()
        parts = work.parts
        if parts is not None and len(parts) > 1:  # arrays go by way of the object store
            parts = self._ray.put(parts)
        place.out[place.actor.work.remote(self.name, work.task.args, parts)] = work

    def _receive(self, timeout: float) -> None:
        """Take in what has come, or wait for it."""
        # A walk's results in its order: a small result can be here before a larger one that was made earlier.
        upto = 1 if self._bound else None
        owners = {ref: place for place in self._places for ref in islice(place.out, upto)}
        owners |= {place.loading: place for place in self._places if place.loading is not None}
        if not owners:
            return
        refs = list(owners)
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)  # all that are here, with one call
        if not ready and timeout:
            ready, _ = self._ray.wait(refs, num_returns=1, timeout=timeout)
        for ref in ready:
            place = owners[ref]
            if ref is place.loading or ref in place.out:  # else its actor was lost a moment ago
                self._take(place, ref)
        if ready:
            self._deal()

    def _take(self, place: _Place, ref: object) -> None:
        try:
            answer = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError:  # an error of the actor's own code: no use in trying again
            self.close()
            raise
        except self._ray.exceptions.RayError as error:
            self._lose(place, error)
            return
        place.since = time.monotonic()
        if ref is place.loading:
            place.loading = None
            place.pid, failure = answer
            if failure is not None:
                self.close()
                raise failure.restore()
            return
        place.deaths = 0
        work = place.out.pop(ref)
        (seconds, used), *parts = answer
        self._arrived.append(RayResult(work.task, seconds, used, parts))

    # ---------------------------------------------------------------- what goes wrong

    def _lose(self, place: _Place, error: BaseException) -> None:
        """Replace an actor that died, and have its tasks done again.

        Raises:
            WorkerDied: ``restart`` is off, or too many actors died of the same task or in the same place.
        """
        number = self._places.index(place)
        works = list(place.out.values())
        place.out.clear()
        place.deaths += 1
        if works:  # an actor does its tasks in order: it died of the first that it had not answered
            works[0].deaths += 1
        deaths = max([place.deaths, *(work.deaths for work in works)])
        if not self.restart or deaths > _DEATHS:
            doing = f"making {_which(works[0])}" if works else "starting" if place.loading is not None else "idle"
            often = "; so did the actors that took its place" if self.restart else ""
            again = "" if self.restart else ". With restart=True another actor makes its datapoints again"
            pid = f" (pid {place.pid})" if place.pid else ""
            self.close()
            raise WorkerDied(f"actor {number} of {self.name}{pid} has ended while {doing}{often}{again}") from error
        why = str(error).strip().partition("\n")[0][:300]
        logger.warning("actor %d of %s has ended, another one takes its place: %s", number, self.name, why)
        self._kill(place)
        self._start(number)
        if self._bound:
            tasks = [work.task for work in (*works, *self._bound_queues[number])]
            self._bound_queues[number].clear()
            self._arrived.append(Lost(number, tasks))
        else:
            self._queue.extendleft(reversed(works))
            self._deal()

    def _check_times(self) -> None:
        """Raise WorkerTimeout if an actor hangs, or if none has started in time."""
        now = time.monotonic()
        for number, place in enumerate(self._places):
            work = next(iter(place.out.values()), None)
            if work is not None and now - place.since > work.count * self.timeout + _GRACE:
                who, also = f"actor {number} of {self.name} (pid {place.pid})", " each, and does not answer"
                self.close()
                raise overdue(who, f"making {_which(work)}", now - place.since, self.timeout, also)
        if not self._started() and now - min(place.since for place in self._places) > self._cluster.start_timeout:
            text = f"{self.name} has waited {self._cluster.start_timeout:g} s for Ray: {self._missing()}"
            self.close()
            raise WorkerTimeout(text)

    def _missing(self) -> str:
        """What keeps actors from starting, for messages: what each wants, and what the cluster has free."""
        started = sum(place.loading is None for place in self._places)
        have, free = self._ray.cluster_resources(), self._ray.available_resources()
        names = [name for name in ("CPU", *self._cluster.resources) if name in have or name in self._cluster.resources]
        room = ", ".join(f"{free.get(name, 0):g} of {have.get(name, 0):g} {name}" for name in names)
        return (
            f"{started} of {self.workers} actors have started. Each wants {self._cluster.wants()}; the cluster has "
            f"{room} free"
        )

    def _kill(self, place: _Place) -> None:
        with contextlib.suppress(Exception):  # it may be gone already
            self._ray.kill(place.actor, no_restart=True)


def _which(work: _Work) -> str:
    first, count = work.task.args[0], work.count
    return f"datapoint {first}" if count == 1 else f"datapoints {first} to {first + count - 1}"
