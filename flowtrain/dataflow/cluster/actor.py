"""Code that runs in a Ray actor: unpack the job, do tasks, interrupt a datapoint that takes too long."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

from ...ipc.failures import Failure
from ...ipc.parcel import NotSendable
from ...ipc.worker import Overdue, become_worker
from ...utils.errors import WorkerTimeout, overdue
from .objects import packed, unpacked

__all__ = ["Maker"]


class Maker:
    """A worker in a Ray actor.

    Ray runs the methods of an actor one at a time, in the order of their calls.

    Args:
        number: The worker's number.
        timeout: Seconds that one datapoint may take.
    """

    def __init__(self, number: int, timeout: float) -> None:
        self._number, self._timeout = number, timeout
        self._where = f"actor {number}"
        self._name = ""
        self._job: Any = None
        self._inside = False  # whether the user's code is running, in which alone Overdue may be raised
        self._since, self._datapoint = 0.0, 0
        # Python runs signal handlers in the main thread alone. Where Ray runs the actor in another one, no alarm can
        # interrupt a datapoint; `RayCrew` then notices that the actor does not answer.
        self._timed = threading.current_thread() is threading.main_thread()

    def load(self, preload: tuple[str, ...], parts: list[Any], writable: list[bool]) -> tuple[int, Failure | None]:
        """Unpack the job.

        Args:
            preload: Modules to import first.
            parts: The job, as ``objects.packed`` gives it.
            writable: Of each of its arrays: whether it was writable where it was made.

        Returns:
            (process id, the failure or None).
        """
        self._where = f"actor {self._number} (pid {os.getpid()} on {socket.gethostname()})"
        try:
            for module in preload:
                importlib.import_module(module)
            become_worker()
            self._job = unpacked(parts, writable)
        except BaseException as error:
            error.add_note(
                "raised while a Ray actor unpacked the flow. What it imports has to be on every machine: runtime_env="
            )
            return os.getpid(), Failure(error, self._where)
        if self._timed:
            signal.signal(signal.SIGALRM, self._interrupted)
        return os.getpid(), None

    def work(self, name: str, args: tuple[int, int, int], value: list[Any] | None) -> list[Any]:
        """Do a task.

        Args:
            name: The stage, for messages.
            args: Arguments of the job's ``run``.
            value: The packed value that was sent along with the task, or None.

        Returns:
            ``[(seconds, bytes), *parts]``: what the task took and how large its result is, then the packed result,
            (datapoints, what ``run`` returned, failure or None).
        """
        self._name = name
        began = time.perf_counter()
        out: list[Any] = []
        extra = failure = None
        self._mark(args[0])
        try:
            self._inside = True
            extra = self._job.run(args, None if value is None else unpacked(value), out, self._mark)
            self._inside = False  # here and first in the handlers, not in a finally: an alarm must raise nothing there
        except Overdue as error:
            failure = Failure(self._late().with_traceback(error.__traceback__), self._where)
        except BaseException as error:
            self._inside = False
            failure = Failure(error, self._where)
        if self._timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            parts = packed((out, extra, failure))
        except NotSendable as error:
            parts = packed(([], None, Failure(error, self._where)))
        used = len(parts[0]) + sum(array.nbytes for array in parts[1:])
        return [(time.perf_counter() - began, used), *parts]

    def files(self, folder: str, here: str) -> dict[str, bytes]:
        """The files in a folder of this machine, name -> content; none if the caller sees the same folder.

        Args:
            folder: The folder's path.
            here: The name of a file that the caller has just made in it: who finds that file shares the folder.
        """
        path = Path(folder)
        if not path.is_dir() or (path / here).exists():
            return {}
        return {file.name: file.read_bytes() for file in path.iterdir()}

    def _mark(self, datapoint: int) -> None:
        self._datapoint, self._since = datapoint, time.monotonic()
        if self._timed:
            signal.setitimer(signal.ITIMER_REAL, self._timeout)

    def _interrupted(self, *_: object) -> None:
        # The alarm may have been set for the datapoint before, and come late: hence the look at the clock. 0.999, as
        # the timer and this clock may differ by a little.
        if self._inside and time.monotonic() - self._since >= self._timeout * 0.999:
            self._inside = False
            raise Overdue

    def _late(self) -> WorkerTimeout:
        seconds = time.monotonic() - self._since
        return overdue(f"{self._where} of {self._name}", f"making datapoint {self._datapoint}", seconds, self._timeout)
