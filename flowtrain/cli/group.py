"""Processes that live and die together: their lines in one stream, and all ended when one fails."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

__all__ = ["Ended", "ProcessGroup", "Together", "handling", "run_together"]

GRACE = 5.0  # seconds from SIGTERM to SIGKILL, where another process has failed
# In the new process, before it becomes the command: it is to get SIGTERM, on which a training saves, when the one that
# started it ends. (Not by preexec_fn: what starts it may have threads, and a lock that one of them holds stays locked.)
_TIED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGTERM
if os.getppid() != int(sys.argv[1]):
    os._exit(143)
os.execvp(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Ended:
    """How a group of processes ended.

    Attributes:
        status: 0, or that of the process that failed first; 128 + the number of the signal that ended it.
        which: The number of that process; None where all went well, or where they were asked to end.
        asked: The signal that this process got and passed on; None: it got none.
        how: How it ended, where that is more than a status says.
    """

    status: int
    which: int | None = None
    asked: signal.Signals | None = None
    how: str = ""

    def __str__(self) -> str:
        if self.asked is not None:
            return f"ended by {self.asked.name}, which was passed on"
        if self.which is None:
            return "all processes are done"
        how = self.how or f"ended with status {self.status}"
        if not self.how and self.status > 128:
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
        group = ProcessGroup(stack, output or sys.stdout.buffer)
        stack.enter_context(handling(group.ask))
        for number, environment in enumerate(environments):
            group.start(number, command, {**os.environ, **environment}, len(environments) > 1)
        while group.living:
            group.turn()
        return group.ended()


class Together:
    """The rule by which processes live and die together, wherever they run.

    When one fails the others get SIGTERM, and SIGKILL after `GRACE`. Where they are asked to end, they have all the
    time they take; asked again, none. A subclass keeps `_living`, has ``send``, calls ``_fail`` when one has failed,
    and ``_kill_overdue`` now and then.
    """

    def __init__(self) -> None:
        self._living: dict[int, Any] = {}  # by number
        self._failed: Ended | None = None
        self._asked: signal.Signals | None = None
        self._kill_at: float | None = None

    @property
    def living(self) -> bool:
        """Whether any runs."""
        return bool(self._living)

    def send(self, number: int) -> None:
        """Send a signal to those that run."""
        raise NotImplementedError

    def ask(self, number: int, frame: object = None) -> None:
        """Pass a signal on; the second time kill."""
        again, self._asked = self._asked is not None, signal.Signals(number)
        self.send(signal.SIGKILL if again else signal.SIGTERM)

    def ended(self) -> Ended:
        """How they have ended."""
        ended = self._failed or Ended(0)
        return ended if self._asked is None else Ended(ended.status, None, self._asked)

    def _fail(self, ended: Ended) -> None:
        if self._failed is None:
            self._failed = ended
            if self._asked is None and self._living:
                self.send(signal.SIGTERM)
                self._kill_at = time.monotonic() + GRACE

    def _kill_overdue(self) -> None:
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill_at = None
            self.send(signal.SIGKILL)


class ProcessGroup(Together):
    """Processes of this machine.

    Args:
        stack: When it is left, what still runs is killed.
        output: Where their lines go.
    """

    _living: dict[int, _Member]

    def __init__(self, stack: contextlib.ExitStack, output: BinaryIO) -> None:
        super().__init__()
        self._output = output
        self._selector = stack.enter_context(selectors.DefaultSelector())
        stack.callback(self._kill)

    def start(
        self,
        number: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        marked: bool,
        folder: str | None = None,
    ) -> None:
        """Start a process.

        Args:
            number: Which one it is.
            command: The program and its arguments.
            environment: All of it.
            marked: Whether its lines come with the number before them.
            folder: Where it runs; None: in this process's own.
        """
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            cwd=folder,
        )
        member = _Member(number, process, os.pidfd_open(process.pid), prefix=b"[%d] " % number if marked else b"")
        os.set_blocking(member.output.fileno(), False)
        self._living[number] = member
        self._selector.register(member.output, selectors.EVENT_READ, (self._copy, member))
        self._selector.register(member.pidfd, selectors.EVENT_READ, (self._bury, member))

    def turn(self, seconds: float | None = None) -> None:
        """Wait until something is printed or one ends, for so many seconds at most; pass that on."""
        left = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
        bounds = [bound for bound in (left, seconds) if bound is not None]
        for key, _ in self._selector.select(min(bounds, default=None)):
            handle, member = key.data
            if member.number in self._living:
                handle(member)
        self._kill_overdue()

    def send(self, number: int) -> None:
        for member in list(self._living.values()):
            with contextlib.suppress(ProcessLookupError):
                member.process.send_signal(number)

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
        if status:
            self._fail(Ended(status, member.number))

    def _write(self, text: bytes) -> None:
        self._output.write(text)
        self._output.flush()

    def _kill(self) -> None:
        self.send(signal.SIGKILL)
        for member in self._living.values():
            member.process.wait()
            os.close(member.pidfd)
            member.output.close()


@contextlib.contextmanager
def handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Have SIGTERM and SIGINT handled while inside."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
