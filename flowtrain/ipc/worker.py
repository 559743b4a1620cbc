"""The main loop of a worker: receive a task, run the job, write the result into the task's slot, reply."""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..utils.malloc import keep_freed_memory
from . import buffers
from .arena import Arena, SlotWriter
from .array_codec import Buffer
from .channel import Channel
from .failures import Failure
from .parcel import NotSendable, Parcel, dump, pack, parse, relocate, unpack
from .payload import load

__all__ = ["FROM_TASK", "HELD", "INTERRUPT", "Job", "Overdue", "become_worker", "in_worker", "main", "serve"]

FROM_TASK = 1
"""Flag of a task: a value came along, in the slot."""

HELD = 1
"""Flag of a reply: user code holds arrays in the slot, so it must not be used again while this worker lives."""

LOADING = -1
"""The datapoint's index in a worker's status while the job is being unpacked."""

INTERRUPT = signal.SIGUSR1
"""Signal sent to a hung worker to make it raise Overdue."""

_serving = False


def in_worker() -> bool:
    """Whether this process is a worker."""
    return _serving


def become_worker() -> None:
    """Make this process a worker for good: parallel stages in it run serially, OpenCV uses one thread."""
    global _serving
    _serving = True
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
    keep_freed_memory()  # else a fifth of all CPU goes into page faults when decoding


class Overdue(BaseException):
    """Raised in a worker in the middle of a datapoint that takes too long.

    Derived from BaseException: the user's ``except Exception`` must not swallow it.
    """


class Job(Protocol):
    """What a worker does with a task. It is made in the parent and travels by cloudpickle."""

    def run(self, args: tuple[int, int, int], value: object, out: list[Any], mark: Callable[[int], None]) -> Any:
        """Do one task.

        Args:
            args: Three numbers that the parent chose.
            value: What the parent sent along, or None.
            out: Append results here. What is in it goes to the parent even when ``run`` raises.
            mark: Call it with a datapoint's number before making it: the timeout and its error are of one datapoint.

        Returns:
            Anything to tell the parent beside the results.
        """
        ...


class Line(Protocol):
    """A worker's connection to its parent."""

    def send(self, frames: list[Any]) -> None:
        """Send a message, waiting for room."""
        ...

    def receive(self) -> list[Any] | None:
        """Wait for the next message; None when the parent is gone."""
        ...


def main(request: dict[str, Any], memory: int, job: int, channel: int) -> None:
    """Serve as a worker; called in the process that the zygote forked.

    Args:
        request: ``number`` of the worker, and the shape of the shared memory: ``workers``, ``slots``, ``slot_bytes``.
        memory: The shared memory's descriptor.
        job: The job's descriptor.
        channel: The descriptor of the socket to the parent.
    """
    quiet()
    arena = Arena(memory, request["workers"], request["slots"], request["slot_bytes"])
    os.close(memory)
    serve(Channel(socket.socket(fileno=channel), blocking=True), arena, request["number"], lambda: load(job))


def quiet() -> None:
    """Set up a worker process: signals, output, threads, malloc, Python's and NumPy's global random generators."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A worker is killed, so no line may wait for its end; and lines go out whole, also under PYTHONUNBUFFERED:
            # else the words of one worker's print() stand between those of another's.
            stream.reconfigure(line_buffering=True, write_through=False)
    become_worker()
    random.seed()
    np.random.seed(int.from_bytes(os.urandom(4), "little"))  # else all workers draw the same from the global state


def serve(channel: Line, arena: Arena, number: int, load_job: Callable[[], Any]) -> None:
    """Work until the process is ended, or the parent is gone.

    Args:
        channel: To the parent.
        arena: The shared memory.
        number: Which worker this is.
        load_job: Makes the job; an error in it is the answer to every task.
    """
    worker = _Worker(arena, number)
    signal.signal(INTERRUPT, worker.interrupted)
    worker.mark(LOADING)
    worker.load(load_job)
    worker.status.started_ns = 0
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while (frames := channel.receive()) is not None:
            channel.send(worker.work(frames))


def _unsendable(datapoint: Any, number: int) -> NotSendable | None:
    """Return the error of pickling a datapoint, which names the part that cannot travel; None if all can."""
    try:
        dump(datapoint, f"datapoint {number}")
    except NotSendable as error:
        return error
    return None


class _Worker:
    def __init__(self, arena: Arena, number: int) -> None:
        self.arena, self.number = arena, number
        self.status = arena.status(number)
        self.writer = SlotWriter(arena)
        self.job: Any = None
        self.broken: BaseException | None = None
        self.inside = False  # whether user code runs: only there may a signal raise Overdue
        self.in_place = True  # whether arrays are made in the slot: until user code turns out to keep one of them

    def load(self, load_job: Callable[[], Any]) -> None:
        try:
            self.inside = True
            self.job = load_job()
            self.inside = False
        except BaseException as error:
            self.inside = False
            error.add_note("raised while a worker process unpacked the flow")
            self.broken = error  # the answer to every task: a process that ended here would look like a crash

    def mark(self, datapoint: int) -> None:
        self.status.datapoint = datapoint
        self.status.started_ns = time.monotonic_ns()

    def interrupted(self, *_: object) -> None:
        """Signal handler: raise Overdue if the datapoint that the parent wants aborted is still being made."""
        if self.inside and self.status.started_ns == self.status.abort_started_ns:
            raise Overdue

    def work(self, frames: list[Any]) -> list[Any]:
        """Do the task of a message and return the reply's frames."""
        (task, slot, flags, *args), parcel = parse(frames[0])
        parcel.frames = frames[1:]
        self.mark(args[0])
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        self.writer.open(slot, parcel.end - self.arena.start(slot) if parcel.end else 0)
        out: list[Any] = []
        extra, failure = None, None
        buffers.use(self.writer.allocate if self.in_place else None)
        try:
            self.inside = True
            if self.broken is not None:
                raise self.broken
            value = self.received(parcel) if flags & FROM_TASK else None
            extra = self.job.run(tuple(args), value, out, self.mark)
            self.inside = False
        except BaseException as error:
            self.inside = False
            if isinstance(error, KeyboardInterrupt):  # workers ignore SIGINT
                error.add_note(f"raised by the flow's own code at datapoint {self.status.datapoint}, not by Ctrl-C")
            failure = Failure(error, f"worker {self.number} (pid {os.getpid()})")
            # What this frame and the traceback still hold would look like arrays that user code keeps, and `held` would
            # give up writing in place for good.
            del error
        value = None
        buffers.use(None)
        result = self.packed(out, extra, failure, args[0])
        # All references of this frame have to be gone: what is alive after that is held by user code, which may change
        # it, or read it when a later task has overwritten the slot.
        out.clear()
        extra = None
        reply_flags = 0
        if self.held():
            relocate(result, self.writer)
            self.in_place, reply_flags = False, HELD
        self.status.started_ns = 0
        self.status.done += 1
        wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
        return result.message(task, slot, reply_flags, wall, cpu, self.writer.used)

    def received(self, parcel: Parcel) -> object:
        """Unpack what the parent sent along; its large arrays are views of the slot, or copies once views are kept."""

        def view(place: int, length: int) -> Buffer:
            if not self.in_place:
                return bytearray(self.arena.bytes[place : place + length])
            array = np.ndarray((length,), np.uint8, buffer=self.arena.memory, offset=place)
            self.writer.watch(array)
            return array.data

        return unpack(parcel, view, self.arena.bytes)

    def packed(self, out: list[Any], extra: object, failure: Failure | None, first: int) -> Parcel:
        """Write the results into the slot, or in their place the error that says which datapoint cannot be sent."""
        try:
            return pack((out, extra, failure), self.writer)
        except NotSendable as error:
            told = next(filter(None, map(_unsendable, out, itertools.count(first))), error)
            return pack(([], None, Failure(told, f"worker {self.number} (pid {os.getpid()})")), self.writer)

    def held(self) -> bool:
        """Whether user code keeps arrays of this slot."""
        if not self.writer.held():
            return False
        gc.collect()  # a cycle is no keeper; only when something is alive, since a collection costs milliseconds
        return self.writer.held()
