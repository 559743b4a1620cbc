"""The parent's side of the zygote: one for the whole process, started when first wanted, ended when nobody needs it.

The zygote is kept for a moment after its last worker is gone, so that a flow that is made anew or iterated again
starts in milliseconds.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

from ..utils.errors import FlowtrainError, WorkerDied
from ..utils.files import working_folder
from .payload import THREADS, import_path
from .worker import INTERRUPT
from .zygote import MESSAGE_BYTES

__all__ = ["ALWAYS", "Launcher", "interpreter", "launcher", "signal_name"]

_LINGER = 1.0  # seconds that an unused zygote is kept
_START = 60.0  # seconds in which it must have answered, preloading included
_DEATHS = 5  # zygotes in a row that are killed before they answer, until starting one is given up
_BOOT = "import sys; from flowtrain.ipc.zygote import main; main(int(sys.argv[1]), int(sys.argv[2]))"

ALWAYS = ("numpy", "cv2", "cloudpickle", "flowtrain.ipc.worker")
"""Modules that every worker needs: the zygote imports them before it forks the first one."""


def interpreter(boot: str) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment that run a line of Python in an interpreter like this one."""
    path = os.pathsep.join(import_path(working_folder()))
    # -P: the working folder must not come first, or a user's random.py there would stand in for the library's own
    return [sys.executable, "-P", "-c", boot], {**os.environ, **THREADS, "PYTHONPATH": path}


def signal_name(number: int) -> str:
    """Return a signal's name, or its number where Python has no name for it (real-time signals)."""
    return signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"


class Launcher:
    """Starts and stops worker processes through a zygote."""

    def __init__(self) -> None:
        # Reentrant: the collector may close a forgotten pool, which stops its workers here, in a thread that is inside.
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._users: set[int] = set()  # ids of the workers that were not stopped
        self._next = 0  # the next worker's id
        self._renewed = threading.Event()  # set when the zygote is used again, or ended: the thread below gives up
        self._lingering: threading.Thread | None = None  # waits, and ends a zygote that nobody uses
        self._leaving = False
        self._code = 0  # of the zygote that ended last: its exit code, or minus the signal that killed it

    def spawn(self, request: dict[str, Any], fds: list[int], preload: tuple[str, ...]) -> tuple[int, int]:
        """Fork a worker.

        Args:
            request: The request of :func:`flowtrain.ipc.worker.main`.
            fds: Descriptors of the status pipe, the shared memory, the job, the channel.
            preload: Modules that the zygote imports before it forks.

        Returns:
            (the worker's id, for ``stop`` and ``interrupt``; its process id)

        Raises:
            WorkerDied: No zygote could be started: each was killed, or it ended by itself.
            FlowtrainError: A module of ``preload`` cannot be imported.
        """
        with self._lock:
            self._renewed.set()
            number, self._next = self._next, self._next + 1
            message = json.dumps(request | {"do": "spawn", "worker": number, "preload": preload}).encode()
            answer, deaths = self._ask(message, fds), 0
            while answer is None:  # the zygote is gone, perhaps long since: a new one is asked
                deaths += 1
                if self._code >= 0 or deaths > _DEATHS:
                    raise WorkerDied(f"the process that starts the workers {self._ending(deaths)}")
                answer = self._ask(message, fds)
            if "error" in answer:
                raise FlowtrainError(f"a worker process could not be started: {answer['error']}")
            self._users.add(number)
            return number, answer["pid"]

    def _ending(self, deaths: int) -> str:
        if self._code >= 0:
            return (
                f"ended by itself with exit code {self._code} before it had started one: does a module of preload= end "
                "its process?"
            )
        name = signal_name(-self._code)
        return f"was killed by {name} {deaths} times in a row before it had started one: is the memory full?"

    def stop(self, workers: list[int]) -> None:
        """Kill workers, and end the zygote soon if it has no other ones."""
        with self._lock:
            workers = [worker for worker in workers if worker in self._users]
            if workers:
                self._signal(workers, signal.SIGKILL)
            self._users.difference_update(workers)
            if not self._users and self._process is not None:
                self._end_soon()

    def interrupt(self, worker: int) -> None:
        """Signal a worker to look whether its datapoint is to be aborted."""
        with self._lock:
            self._signal([worker], INTERRUPT)

    def _signal(self, workers: list[int], number: int) -> None:
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(json.dumps({"do": "signal", "workers": workers, "signal": number}).encode())

    def shutdown(self) -> None:
        """End the zygote, and with it every worker that is left; returns when it is gone."""
        self._renewed.set()
        with self._lock:
            process, self._process = self._process, None
            if self._control is not None:
                self._control.close()
                self._control = None
            self._users.clear()
        if threading.current_thread() is not self._lingering and self._lingering is not None:
            self._lingering.join(2)
        if process is not None:
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def leave(self) -> None:
        """At the end of the interpreter: shut down for good, without waiting for a zygote that still imports."""
        self._leaving = True
        process = self._process
        if process is not None and not self._users:
            process.kill()
        self.shutdown()

    def forget(self) -> None:
        """In the child of a fork: let go of what belongs to the parent."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.returncode = 0  # the zygote is the parent's child: Popen here must not wait for it or warn

    def _end_soon(self) -> None:
        renewed = self._renewed = threading.Event()

        def end() -> None:
            if not renewed.wait(_LINGER):
                with self._lock:
                    if not self._users and not renewed.is_set():
                        self.shutdown()

        with contextlib.suppress(RuntimeError):  # at interpreter exit no thread starts; atexit ends the zygote
            self._lingering = threading.Thread(target=end, name="flowtrain-zygote-linger", daemon=True)
            self._lingering.start()

    def _ask(self, message: bytes, fds: list[int]) -> dict[str, Any] | None:
        """Make a request and return the answer; None when the zygote turned out to be gone."""
        control = self._control or self._start()
        try:
            socket.send_fds(control, [message], fds)
            if not select.select([control], [], [], _START)[0]:
                self.shutdown()
                raise WorkerDied(
                    f"the process that starts the workers did not answer within {_START:.0f} s; "
                    "does a module of preload= hang when imported?"
                )
            answer = control.recv(MESSAGE_BYTES)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        if not answer:
            process = self._process
            self.shutdown()
            self._code = process.returncode if process is not None and process.returncode is not None else 0
            return None
        return json.loads(answer)

    def _start(self) -> socket.socket:
        if self._leaving:
            raise WorkerDied("no worker can be started: this process is ending")
        # SEQPACKET keeps each request whole and beside its descriptors; a stream could be cut between the two.
        # Popen (vfork and exec) is safe beside TensorFlow's threads, which a fork that goes on in Python is not.
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command, environment = interpreter(_BOOT)
        try:
            self._process = subprocess.Popen(
                [*command, str(its.fileno()), str(os.getpid())],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            its.close()
        self._control = ours
        return ours


_launcher: Launcher | None = None


def launcher() -> Launcher:
    """The one launcher of this process."""
    global _launcher
    if _launcher is None:
        _launcher = Launcher()
        atexit.register(_launcher.leave)
    return _launcher


def _after_fork() -> None:
    global _launcher
    if _launcher is not None:
        _launcher.forget()
        atexit.unregister(_launcher.leave)
        _launcher = None


os.register_at_fork(after_in_child=_after_fork)
