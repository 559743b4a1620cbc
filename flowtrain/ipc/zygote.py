"""The zygote: a small process with one thread that forks the workers.

A process with TensorFlow in it, or with any threads, must not be forked: locks that other threads hold would stay
locked in the child. A fresh interpreter for each worker costs a quarter of a second. So one small process is started,
imports NumPy and OpenCV once, and forks as many workers as are wanted, in milliseconds each and with the imported pages
shared.

It reads requests from a socket that only its parent holds: ``spawn`` (with four descriptors: where to write the exit
status, the shared memory, the job, the channel) and ``signal``. When the parent dies it kills the workers and ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
from typing import Any

STATUS = struct.Struct("<i")
"""What the zygote writes into a worker's pipe when it has ended: its exit code, or minus the number of the signal."""

MESSAGE_BYTES = 1 << 16
_FDS = 4


def main(fd: int, parent: int) -> None:
    """Serve until the parent is gone; called by the interpreter that the launcher starts.

    Args:
        fd: The descriptor of the socket to the parent.
        parent: The parent's process id.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    _Zygote(socket.socket(fileno=fd), parent).serve()


class _Zygote:
    def __init__(self, control: socket.socket, parent: int) -> None:
        self.control = control
        self.parent_fd = _watch(parent)
        if os.getppid() != parent:  # it died before it could be watched
            os._exit(0)
        self.workers: dict[int, tuple[int, int]] = {}  # pid -> (worker's id, where to write its status)
        self.wake, poke = os.pipe()  # written to by Python's own signal handler when a child has ended
        os.set_blocking(self.wake, False)
        os.set_blocking(poke, False)
        self.poke = poke
        # A handler that called waitpid would run between any two bytecodes of `spawn`, perhaps before the new pid is in
        # `workers`. So the signal only wakes the poll; a handler must be set, else Python writes nothing to the pipe.
        signal.set_wakeup_fd(poke, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        poll = select.poll()
        for fd in (self.control.fileno(), self.wake, self.parent_fd):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():  # lint: the parent's death ends this wait
                if fd == self.wake:
                    self.reap()
                elif fd == self.parent_fd:
                    self.end()
                else:
                    self.request()

    def reap(self) -> None:
        """Collect the children that have ended, and write into each one's pipe how it did."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wake, 4096):
                pass
        while self.workers:  # all that have ended: several SIGCHLD may come as one
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            worker = self.workers.pop(pid, None)
            if worker is not None:
                with contextlib.suppress(OSError):
                    os.write(worker[1], STATUS.pack(os.waitstatus_to_exitcode(status)))
                os.close(worker[1])

    def request(self) -> None:
        try:
            message, fds, _, _ = socket.recv_fds(self.control, MESSAGE_BYTES, _FDS)
        except ConnectionResetError:  # the parent died with something unread
            message, fds = b"", []
        if not message:
            self.end()
        request = json.loads(message)
        if request["do"] == "signal":
            self.pass_on(request["workers"], request["signal"])
        else:
            self.reply(self.spawn(request, fds))

    def reply(self, answer: dict[str, Any]) -> None:
        try:
            self.control.send(json.dumps(answer).encode())
        except OSError:
            self.end()

    def pass_on(self, ids: list[int], number: int) -> None:
        for pid, (worker, _) in self.workers.items():
            if worker in ids:
                os.kill(pid, number)  # not reaped yet, so the pid is still its own

    def spawn(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        try:
            self.preload([module for module in request["preload"] if module not in sys.modules])
            pid = os.fork()
        except Exception as error:
            for fd in fds:
                os.close(fd)
            return {"error": f"{type(error).__name__}: {error}"}
        status, *rest = fds
        if pid == 0:
            self.become_worker(request, status, *rest)
        for fd in rest:
            os.close(fd)
        self.workers[pid] = request["worker"], status
        return {"pid": pid}

    def preload(self, modules: list[str]) -> None:
        for module in modules:
            importlib.import_module(module)
        if modules:
            gc.collect()
            gc.freeze()  # a worker never collects what is there now: its pages stay shared

    def become_worker(self, request: dict[str, Any], status: int, memory: int, job: int, channel: int) -> None:
        code = 1
        try:
            die_with_parent()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # A worker that kept a sibling's status pipe open would hide that sibling's end; one that kept the control
            # socket would keep the zygote's parent from seeing the zygote's end.
            self.control.close()
            for fd in (self.wake, self.poke, self.parent_fd, status, *(fd for _, fd in self.workers.values())):
                if fd >= 0:
                    os.close(fd)
            from .worker import main as work

            work(request, memory, job, channel)
            code = 0
        except SystemExit:
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)  # not sys.exit: the frames below and what is registered with atexit are the zygote's

    def end(self) -> None:
        for pid in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os._exit(0)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that forked it ends: the zygote has only one."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _watch(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, or a sandbox: the socket's end tells it as well
        return -1
