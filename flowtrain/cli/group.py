"""Processes that live and die together: their lines in one stream, and all ended when one fails."""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

__all__ = ["Ended", "run_together"]

_GRACE = 5.0  # seconds from SIGTERM to SIGKILL, where another process has failed
_SET_PDEATHSIG = 1  # of prctl


@dataclass(frozen=True)
class Ended:
    """How a group of processes ended.

    Attributes:
        status: 0, or that of the process that failed first; 128 + the number of the signal that ended it.
        which: The number of that process; None where all went well, or where they were asked to end.
        asked: The signal that this process got and passed on; None: it got none.
    """

    status: int
    which: int | None = None
    asked: signal.Signals | None = None

    def __str__(self) -> str:
        if self.asked is not None:
            return f"ended by {self.asked.name}, which was passed on"
        if self.which is None:
            return "all processes are done"
        how = f"ended with status {self.status}"
        if self.status > 128:
            with contextlib.suppress(ValueError):
                how = f"was ended by {signal.Signals(self.status - 128).name}"
        return f"process {self.which} {how}"


@dataclass
class _Member:
    """One of the processes."""

    number: int
    process: subprocess.Popen[bytes]
    pidfd: int
    rest: bytes = b""  # of a line that is not complete yet
    prefix: bytes = field(default=b"")

    @property
    def output(self) -> BinaryIO:
        assert self.process.stdout is not None
        return self.process.stdout  # type: ignore[return-value]


def run_together(
    command: Sequence[str], environments: Sequence[Mapping[str, str]], output: BinaryIO | None = None
) -> Ended:
    """Start a command once for each environment, and wait for all.

    When one fails the others get SIGTERM, and SIGKILL five seconds later: what waits in a collective operation for the
    one that is gone does not hear SIGTERM. SIGTERM and SIGINT that this process gets are passed on as SIGTERM, and then
    it waits for as long as they take to save; a second one kills them. They die with this process, whatever ends it.

    Args:
        command: The program and its arguments.
        environments: What each process has in its environment besides this one's.
        output: Where their lines go, each with the process's number before it where there are several; None: stdout.

    Returns:
        How it ended.
    """
    with contextlib.ExitStack() as stack:
        group = _Group(stack, output or sys.stdout.buffer)
        stack.enter_context(_handling(group.ask))
        for number, environment in enumerate(environments):
            group.start(number, command, {**os.environ, **environment}, len(environments) > 1)
        return group.wait()


class _Group:
    def __init__(self, stack: contextlib.ExitStack, output: BinaryIO) -> None:
        self._output, self._living = output, dict[int, _Member]()
        self._selector = stack.enter_context(selectors.DefaultSelector())
        stack.callback(self._kill)
        self._failed: tuple[int, int] | None = None
        self._asked: signal.Signals | None = None
        self._kill_at: float | None = None

    def start(self, number: int, command: Sequence[str], environment: Mapping[str, str], marked: bool) -> None:
        parent = os.getpid()
        process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            preexec_fn=lambda: _die_with(parent),  # this process has one thread and no TensorFlow
        )
        member = _Member(number, process, os.pidfd_open(process.pid), prefix=b"[%d] " % number if marked else b"")
        os.set_blocking(member.output.fileno(), False)
        self._living[number] = member
        self._selector.register(member.output, selectors.EVENT_READ, (self._copy, member))
        self._selector.register(member.pidfd, selectors.EVENT_READ, (self._bury, member))

    def wait(self) -> Ended:
        while self._living:
            timeout = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
            for key, _ in self._selector.select(timeout):
                handle, member = key.data
                if member.number in self._living:
                    handle(member)
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._kill_at = None
                self._signal(signal.SIGKILL)
        which, status = self._failed or (None, 0)
        return Ended(status, None if self._asked else which, self._asked)

    def ask(self, number: int, frame: Any) -> None:
        """Pass a signal on; the second time kill."""
        again, self._asked = self._asked is not None, signal.Signals(number)
        self._signal(signal.SIGKILL if again else signal.SIGTERM)

    def _copy(self, member: _Member) -> None:
        while True:
            try:
                found = os.read(member.output.fileno(), 1 << 16)
            except BlockingIOError:
                return
            if not found:
                self._selector.unregister(member.output)
                return
            *lines, member.rest = (member.rest + found).split(b"\n")
            self._write(b"".join(member.prefix + line + b"\n" for line in lines))

    def _bury(self, member: _Member) -> None:
        """Note how a process ended; what it started may live on and hold its output open, so that has no end."""
        status = member.process.wait()
        status = 128 - status if status < 0 else status
        if member.output in self._selector.get_map():
            self._copy(member)
        if member.output in self._selector.get_map():
            self._selector.unregister(member.output)
        if member.rest:
            self._write(member.prefix + member.rest + b"\n")
        self._selector.unregister(member.pidfd)
        os.close(member.pidfd)
        member.output.close()
        del self._living[member.number]
        if status and self._failed is None:
            self._failed = member.number, status
            if self._asked is None and self._living:
                self._signal(signal.SIGTERM)
                self._kill_at = time.monotonic() + _GRACE

    def _write(self, text: bytes) -> None:
        self._output.write(text)
        self._output.flush()

    def _signal(self, number: int) -> None:
        for member in list(self._living.values()):
            with contextlib.suppress(ProcessLookupError):
                member.process.send_signal(number)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)
        for member in self._living.values():
            member.process.wait()
            os.close(member.pidfd)
            member.output.close()


def _die_with(parent: int) -> None:
    """In the child: get SIGTERM, on which a training saves, when the parent ends."""
    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGTERM)


@contextlib.contextmanager
def _handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
