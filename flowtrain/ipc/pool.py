"""A pool of workers: tasks go out, replies come back, and a worker that dies or hangs is noticed."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

from ..utils.errors import WorkerDied, WorkerTimeout, overdue
from .arena import Arena, SlotPool, SlotWriter
from .context import end_context
from .failures import Failure
from .host import BRIEF, Host, LinuxHost
from .launcher import launcher, signal_name
from .parcel import EMPTY, Parcel, pack, parse, unpack
from .payload import Payload
from .spawn import SpawnHost
from .worker import FROM_TASK, HELD, LOADING, Overdue

__all__ = ["Lost", "Reply", "Task", "WorkerPool", "shutdown"]

_SPARE = 4  # slots that a consumer may keep before it is handed copies
_START = 60.0  # seconds that a worker may take to start and unpack the flow
_GRACE = 1.0  # seconds that a worker has to stop what takes too long, before it is killed
_DEATHS = 3  # in a row without a reply between them, before restarting is given up
_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


@dataclass(slots=True)
class Task:
    """One piece of work that was given to a worker."""

    number: int
    worker: int
    slot: int
    args: tuple[int, int, int]


@dataclass(slots=True)
class Lost:
    """A worker died and was replaced; ``tasks`` are those that it had not answered, in the order of submission."""

    worker: int
    tasks: list[Task]


@dataclass(slots=True)
class Reply:
    """A worker's reply to a task; the results lie in the task's slot until they are taken or dropped."""

    task: Task
    seconds: float
    cpu_seconds: float
    used: int  # bytes of the slot
    _parcel: Parcel
    _pool: WorkerPool
    _kept: list[int] | None  # if user code in the worker holds arrays of the slot: the list of all slots it so holds
    _late: WorkerTimeout | None  # the error to raise, if the worker was interrupted in this task
    _taken: bool = False

    def take(self) -> tuple[list[Any], Any, Failure | None]:
        """Unpack the results: as views of the shared memory while slots are plenty, else as copies.

        Returns:
            (results, what the job's ``run`` returned, the error that ended it or None)
        """
        self._taken = True
        return self._pool._open(self)

    def drop(self) -> None:
        """Free the slot without unpacking the results."""
        if not self._taken:
            self._taken = True
            self._pool._free(self)


class WorkerPool:
    """Worker processes that all have the same job.

    Args:
        payload: The job.
        workers: How many.
        window: How many tasks may be out, or done and not taken, at a time.
        timeout: Seconds that one datapoint may take.
        restart: Replace a worker that died, and give its tasks back as ``Lost``; else a death is an error.
        preload: Modules to import once, before workers are forked.
        name: Whose workers they are, for errors.
        slot_bytes: The size of a slot; None: as large as the address space allows, 1 GB at most.

    Raises:
        FlowtrainError: The system refuses processes, descriptors or memory; the message says which.
    """

    def __init__(
        self,
        payload: Payload,
        workers: int,
        *,
        window: int,
        timeout: float,
        restart: bool = False,
        preload: tuple[str, ...] = (),
        name: str = "a flow",
        slot_bytes: int | None = None,
    ) -> None:
        self.workers, self.timeout, self.restart, self.name = workers, timeout, restart, name
        self.window = window
        self.tag: Any = None  # opaque; set and compared by the crews to see whose pool it is
        # One slot for each task that may be out, a few for a consumer that keeps arrays, and one for each worker: user
        # code in it may hold on to arrays of one slot for good (HELD), after which it writes nothing in place.
        self.arena = Arena.create(workers, window + _SPARE + workers, slot_bytes)
        self.slots = SlotPool(self.arena)
        self._writer = SlotWriter(self.arena)
        self._status = [self.arena.status(number) for number in range(workers)]
        self._tasks: list[deque[Task]] = [deque() for _ in range(workers)]
        self._given = [0] * workers  # tasks submitted since the worker was started
        self._since = [time.monotonic()] * workers  # when the worker was last known to make progress, see _check
        self._kept: list[list[int]] = [[] for _ in range(workers)]  # slots that user code in a worker holds on to
        self._late: dict[int, tuple[WorkerTimeout, float]] = {}  # interrupted workers: (error, when to kill)
        self._number = 0  # of the next task
        self._pending = 0  # tasks whose replies were not taken
        self._deaths = 0  # since the last reply
        self._arrived: deque[Reply | Lost] = deque()
        self._host: Host | None = None
        self._pid = os.getpid()
        _pools.add(self)
        try:
            self._host = _make_host(self.arena, payload, preload)
            for number in range(workers):
                self._host.start(number)
        except BaseException:
            self.close()
            raise

    # ---------------------------------------------------------------- tasks

    @property
    def closed(self) -> bool:
        """Whether the workers are gone, or belong to the process of which this one is a fork."""
        return self._host is None or self._pid != os.getpid()

    @property
    def pids(self) -> list[int]:
        """The workers' process ids."""
        return list(self._host.pids) if self._host is not None else []

    def idlest(self) -> int:
        """The worker that has the fewest tasks to do."""
        # Read without a lock and perhaps out of date: this balances the load, and no result depends on who does a task.
        loads = [given - status.done for given, status in zip(self._given, self._status, strict=True)]
        return loads.index(min(loads))

    def submit(self, worker: int, args: tuple[int, int, int], value: object = None) -> Task:
        """Give a worker a task.

        Args:
            worker: Which one.
            args: For the job's ``run``. The first is named as the datapoint if the worker hangs before it marks one.
            value: Sent along in the task's slot; None: nothing is.

        Raises:
            NotSendable: ``value`` cannot be pickled.
        """
        task = Task(self._number, worker, self.slots.take(), args)
        self._number += 1
        parcel, flags = EMPTY, 0
        if value is not None:
            try:
                self._writer.open(task.slot)
                parcel, flags = pack(value, self._writer), FROM_TASK
            except BaseException:
                self.slots.give(task.slot)
                raise
        self._send(task, parcel, flags)
        return task

    def _send(self, task: Task, parcel: Parcel, flags: int) -> None:
        assert self._host is not None
        if not self._tasks[task.worker]:
            self._since[task.worker] = time.monotonic()
        self._tasks[task.worker].append(task)
        self._given[task.worker] += 1
        self._pending += 1
        self._host.send(task.worker, parcel.message(task.number, task.slot, flags, *task.args))

    # ---------------------------------------------------------------- replies

    def poll(self) -> Reply | Lost | None:
        """Return a reply that has arrived, or None, without waiting."""
        return self._receive(0)

    def wait(self, worker: int | None = None) -> Reply | Lost:
        """Wait for a reply.

        Args:
            worker: The worker whose reply is due. Listening to it alone takes one system call in place of two; another
                worker's reply is returned only if this one keeps silent.

        Raises:
            WorkerDied: A worker has ended, and ``restart`` is off or does not help.
            WorkerTimeout: A worker has worked on one datapoint for longer than ``timeout``.
        """
        reply = self._receive(BRIEF, worker) or self._receive(0)
        while reply is None:  # deaths and timeouts are looked for when nothing comes, and cost nothing while replies do
            self._check()
            reply = self._receive(self._patience())
        return reply

    def _receive(self, timeout: float, worker: int | None = None) -> Reply | Lost | None:
        if self._arrived:
            return self._arrived.popleft()
        assert self._host is not None
        message = self._host.receive(timeout, worker)
        if message is None:
            return None
        return self._reply(*message)

    def _reply(self, worker: int, frames: list[Any]) -> Reply:
        (_, _, flags, wall, cpu, used), parcel = parse(frames[0])
        parcel.frames = frames[1:]
        self._since[worker], self._deaths = time.monotonic(), 0
        task = self._tasks[worker].popleft()  # a worker answers in the order in which it was asked
        late, _ = self._late.pop(worker, (None, 0.0))
        kept = self._kept[worker] if flags & HELD else None
        return Reply(task, wall * 1e-9, cpu * 1e-9, used, parcel, self, kept, late)

    def _open(self, reply: Reply) -> tuple[list[Any], Any, Failure | None]:
        out, extra, failure = self._unpacked(reply)
        # Of an interrupted worker: it may have finished, or failed by itself, before the signal came.
        if failure is not None and reply._late and failure.kind == Overdue.__qualname__:
            failure.told_as = reply._late
        return out, extra, failure

    def _unpacked(self, reply: Reply) -> tuple[list[Any], Any, Failure | None]:
        arena, slot, parcel = self.arena, reply.task.slot, reply._parcel
        self._pending -= 1
        # A view may be kept for ever, and the next submit must find a slot all the same: views are handed out only
        # while the free slots and those of pending tasks make a whole window without this one. Else the consumer gets
        # a copy, which is slower and never waits; a bound on what it may keep would end in a deadlock.
        plenty = len(self.slots) + self._pending >= self.window
        if not parcel.table or reply._kept is not None or not plenty:
            try:
                return unpack(parcel, lambda place, length: arena.bytes[place : place + length].copy(), arena.bytes)
            finally:
                self._give(reply)
        lease, start = self.slots.lease(slot), arena.start(slot)
        return unpack(parcel, lambda place, length: lease[place - start : place - start + length], arena.bytes)

    def _free(self, reply: Reply) -> None:
        self._pending -= 1
        self._give(reply)

    def _give(self, reply: Reply) -> None:
        """Free a reply's slot, unless user code in a living worker still holds arrays in it."""
        # By identity: when a worker is replaced, _died frees its slots and puts a new list in place of the old one.
        slot, kept = reply.task.slot, reply._kept
        if kept is not None and kept is self._kept[reply.task.worker]:
            kept.append(slot)
        else:
            self.slots.give(slot)

    # ---------------------------------------------------------------- what goes wrong

    def _patience(self) -> float:
        """Seconds until the first worker could be overdue, or until it is worth looking again."""
        busy = [since for since, tasks in zip(self._since, self._tasks, strict=True) if tasks]
        return max(0.01, min(busy, default=0) + self.timeout - time.monotonic()) if busy else 0.01

    def _check(self) -> None:
        """Find workers that died or are stuck; called when no reply came."""
        assert self._host is not None
        dead = self._host.dead()
        if dead:
            # What they still said counts: a task that was answered before the death must not be given out again.
            while (late := self._host.receive(0)) is not None:
                self._arrived.append(self._reply(*late))
            self._deaths += 1
        for worker, code in dead.items():
            self._died(worker, code)
        now = time.monotonic()
        for worker, tasks in enumerate(self._tasks):
            datapoint, since = self._status[worker].datapoint, self._status[worker].started_ns
            # The worker's status tells when it began its datapoint; _since covers the time in which it has told nothing
            # yet (it starts, or is stopped). The monotonic clock is the system's: two processes' times can be compared.
            started = max(since * 1e-9, self._since[worker])
            limit = self.timeout if since and datapoint != LOADING else max(self.timeout, _START)
            self._since[worker] = started
            if tasks and now - started >= limit:
                self._stuck(worker, since, now - started, limit)

    def _died(self, worker: int, code: int | None) -> None:
        assert self._host is not None
        text = (
            f"worker {worker} of {self.name} (pid {self._host.pids[worker]}) {_ending(code)} "
            f"while {self._doing(worker)}"
        )
        if not self.restart or self._deaths > _DEATHS:
            self.close()
            again = "" if self.restart else ". With restart=True a new worker makes its datapoints again"
            often = "; so did the workers that took its place" if self.restart else ""
            raise WorkerDied(text + often + again)
        lost = list(self._tasks[worker])
        self._tasks[worker].clear()
        self._pending -= len(lost)
        kept, self._kept[worker] = self._kept[worker], []
        # Only now that its end is certain (told after waitpid, or by the end of the zygote): nothing writes there.
        for slot in (*kept, *(task.slot for task in lost)):
            self.slots.give(slot)
        self._status[worker].started_ns = self._status[worker].done = self._given[worker] = 0
        self._late.pop(worker, None)
        self._since[worker] = time.monotonic()
        self._host.start(worker)
        self._arrived.append(Lost(worker, lost))

    def _stuck(self, worker: int, since: int, seconds: float, limit: float) -> None:
        """Interrupt a worker: it replies with what it had made and an error. Where it ignores that, close the pool."""
        assert self._host is not None
        error, until = self._late.get(worker, (None, 0.0))
        if error is not None and time.monotonic() < until:
            return
        if error is None:
            who = f"worker {worker} of {self.name} (pid {self.pids[worker]})"
            error = overdue(who, self._doing(worker), seconds, limit)
            self._status[worker].abort_started_ns = since
            if since:
                self._host.interrupt(worker)
                self._late[worker] = error, time.monotonic() + _GRACE
                return
        self.close()
        raise error

    def _doing(self, worker: int) -> str:
        datapoint = self._status[worker].datapoint
        if not self._status[worker].started_ns:
            return "idle" if not self._tasks[worker] else "starting"
        return "unpacking the flow" if datapoint == LOADING else f"making datapoint {datapoint}"

    def close(self) -> None:
        """Kill the workers. Arrays that were handed out stay valid."""
        host, self._host = self._host, None
        _pools.discard(self)
        self._status = []  # these hold the mapping, and the traceback of an error may hold this pool for long
        self._arrived.clear()
        if self._pid == os.getpid():
            try:
                if host is not None:
                    host.close()
            finally:
                self.arena.close()

    def __del__(self) -> None:
        if not sys.is_finalizing():
            with contextlib.suppress(Exception):
                self.close()


def _make_host(arena: Arena, payload: Payload, preload: tuple[str, ...]) -> Host:
    """Return the host of worker processes for this system: forked on Linux, else fresh interpreters."""
    linux = sys.platform == "linux" and hasattr(os, "memfd_create")
    return (LinuxHost if linux else SpawnHost)(arena, payload, preload)


_REASONS = {
    "SIGKILL": ": out of memory?",
    "SIGBUS": ": was a file cut short that it had mapped into memory, or is /dev/shm or a disk full?",
}


def _ending(code: int | None) -> str:
    if code is None:
        return "was killed together with the process that starts the workers"
    if code < 0:
        name = signal_name(-code)
        return f"was killed by {name}{_REASONS.get(name, '')}"
    return f"ended with exit code {code}"


def shutdown() -> None:
    """End all workers of this process, and the zygote. Flows start new ones when they are iterated again."""
    for pool in list(_pools):
        pool.close()
    launcher().shutdown()
    end_context()


@atexit.register
def _at_exit() -> None:
    """Close pools that are still open, so that Python warns of nothing; the launcher, registered later, ran before."""
    for pool in list(_pools):
        with contextlib.suppress(Exception):
            pool.close()
