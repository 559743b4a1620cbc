"""Workers elsewhere than on Linux: a fresh interpreter for each, started as any program is, never a fork.

What workers do and what they share is the same as on Linux; how they are started and how messages reach them is not.
It is slower: each worker imports what it needs by itself, and gets its next task when it has answered the one before.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import socket
import subprocess
import threading
import time
import weakref
from collections import deque
from multiprocessing.connection import Connection, wait
from typing import Any

from .arena import Arena
from .launcher import ALWAYS, interpreter
from .payload import Payload, load
from .worker import INTERRUPT, Job, become_worker, quiet, serve

__all__ = ["SpawnHost", "main"]

_LOOK = 1.0  # seconds between looks at who has died
_WATCH = 0.5  # seconds between a worker's looks at whether its parent lives
_BOOT = "import sys; from flowtrain.ipc.spawn import main; main(*map(int, sys.argv[2:]), sys.argv[1])"
_hosts: weakref.WeakSet[SpawnHost] = weakref.WeakSet()


class SpawnHost:
    """Workers that are interpreters of their own, each at the other end of a socket.

    A worker is sent one message at a time, and reads it before it writes anything. So the two sides never both wait in
    a ``send`` for the other to read.

    Args:
        arena: The shared memory.
        payload: The job.
        preload: Modules to import first.
    """

    def __init__(self, arena: Arena, payload: Payload, preload: tuple[str, ...] = ()) -> None:
        self._arena, self._preload = arena, (*ALWAYS, *preload)
        count = arena.workers
        self.pids = [0] * count
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * count
        self._ends: list[Connection | None] = [None] * count
        self._waiting: list[deque[list[Any]]] = [deque() for _ in range(count)]
        self._busy = [False] * count
        self._arrived: deque[tuple[int, list[Any]]] = deque()
        self._job = payload.write()
        _hosts.add(self)

    def start(self, number: int) -> None:
        self._forget(number)
        arena = self._arena
        request = {"shape": [arena.workers, arena.slots, arena.slot_bytes], "preload": self._preload}
        ours, its = socket.socketpair()
        with ours, its:  # the worker inherits its end; a copy of it here would hide the worker's death
            fds = [arena.fd, self._job, its.fileno()]
            command, environment = interpreter(_BOOT)
            self._processes[number] = process = subprocess.Popen(
                [*command, json.dumps(request), str(number), str(os.getpid()), *map(str, fds)],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                env=environment,
                process_group=0,  # Ctrl-C is the parent's business
            )
            self.pids[number] = process.pid
            self._ends[number] = Connection(ours.detach())

    def _forget(self, number: int) -> None:
        process, self._processes[number] = self._processes[number], None
        if process is not None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
        self._hang_up(number)
        self._waiting[number].clear()
        self._busy[number] = False

    def _hang_up(self, number: int) -> None:
        end, self._ends[number] = self._ends[number], None
        if end is not None:
            end.close()

    def send(self, number: int, frames: list[Any]) -> None:
        self._waiting[number].append(frames)
        self._send_on(number)

    def _send_on(self, number: int) -> None:
        end, waiting = self._ends[number], self._waiting[number]
        if end is not None and waiting and not self._busy[number]:
            self._busy[number] = True
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: that is noticed elsewhere
                end.send(waiting.popleft())

    def receive(self, timeout: float, worker: int | None = None) -> tuple[int, list[Any]] | None:
        if not self._arrived:
            ends = {end: number for number, end in enumerate(self._ends) if end is not None}
            for end in wait(list(ends), min(timeout, _LOOK)):
                self._read(ends[end], end)  # type: ignore[index]
        return self._arrived.popleft() if self._arrived else None

    def _read(self, number: int, end: Connection) -> None:
        try:
            message = end.recv()
        except (EOFError, ConnectionResetError):
            self._hang_up(number)
            process = self._processes[number]
            with contextlib.suppress(subprocess.TimeoutExpired):
                if process is not None:
                    process.wait(_LOOK)  # so that its exit code is known
            return
        self._arrived.append((number, message))
        self._busy[number] = False
        self._send_on(number)

    def interrupt(self, number: int) -> None:
        process = self._processes[number]
        if process is not None:
            process.send_signal(INTERRUPT)

    def dead(self) -> dict[int, int | None]:
        codes = {number: process.poll() for number, process in enumerate(self._processes) if process is not None}
        return {number: code for number, code in codes.items() if code is not None}

    def close(self) -> None:
        _hosts.discard(self)
        try:
            for process in self._processes:  # all at once, then wait
                if process is not None:
                    process.kill()
        finally:
            for number in range(len(self._processes)):
                self._forget(number)
            os.close(self._job)


@atexit.register
def _end_all() -> None:
    for host in list(_hosts):
        host.close()


os.register_at_fork(after_in_child=_hosts.clear)  # in the child of a fork: they are the parent's


class _End:
    """The worker's end of the socket, as `serve` wants it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, frames: list[Any]) -> None:
        self._connection.send(frames)

    def receive(self) -> list[Any] | None:
        with contextlib.suppress(EOFError, ConnectionResetError):
            return self._connection.recv()
        return None


def main(number: int, parent: int, memory: int, job: int, channel: int, request: str) -> None:
    """Serve as a worker; called by the interpreter that ``SpawnHost`` starts.

    Args:
        number: Which worker this is.
        parent: The process id of the parent.
        memory: The shared memory's descriptor.
        job: The job's descriptor.
        channel: The descriptor of the socket to the parent.
        request: JSON with the shape of the shared memory and the modules to import first.
    """
    quiet()
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    asked = json.loads(request)
    arena = Arena(memory, *asked["shape"])
    os.close(memory)

    def load_job() -> Job:
        for module in asked["preload"]:
            importlib.import_module(module)
        become_worker()  # again, as OpenCV is imported only now
        return load(job)

    serve(_End(Connection(channel)), arena, number, load_job)


def _die_with(parent: int) -> None:
    while os.getppid() == parent:  # macOS has nothing like Linux's PR_SET_PDEATHSIG
        time.sleep(_WATCH)
    os._exit(1)
