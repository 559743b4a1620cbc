"""Process groups: start processes, merge their output, end all when one fails, pass signals on."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

__all__ = ["Ended", "ProcessGroup", "Together", "handling", "run_together"]

GRACE = 5.0  # seconds from SIGTERM to SIGKILL, after another process has failed
# Runs in the new process before it becomes the command: asks Linux to send it SIGTERM (on which a training saves) when
# the process that started it ends. If that has ended already, nobody would send it: the parent's id tells. Not done by
# preexec_fn, which runs Python after fork: a lock that another thread of the parent held would stay locked for ever.
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
        status: 0, or the exit status of the process that failed first; 128 + signal number if a signal ended it.
        which: The number of that process; None if none failed, or if they were asked to end.
        asked: The signal that the launching process got and passed on, if any.
        how: How the process ended, if the status does not say it.
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
    """One process of the group."""

    number: int
    process: subprocess.Popen[bytes]
    pidfd: int  # readable when the process has ended
    rest: bytes = b""  # the start of a line whose end has not come yet
    prefix: bytes = b""  # of each of its lines

    @property
    def output(self) -> BinaryIO:
        assert self.process.stdout is not None
        return self.process.stdout  # type: ignore[return-value]


def run_together(
    command: Sequence[str], environments: Sequence[Mapping[str, str]], output: BinaryIO | None = None
) -> Ended:
    """Start a command once for each environment, and wait for all processes.

    When one fails the others get SIGTERM, and SIGKILL five seconds later: a process that waits in a collective
    operation for the one that is gone does not react to SIGTERM. If this process gets SIGTERM or SIGINT, it passes
    SIGTERM on and waits as long as the others need to save; a second signal kills them. They end with this process,
    however it ends.

    Args:
        command: The program and its arguments.
        environments: For each process, variables in addition to this process's environment.
        output: Receives their output; with several processes each line begins with the process's number. None: stdout.

    Returns:
        How the group ended.
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
    """Base class with the rules of a process group, for local processes and Ray actors.

    When one process fails the others get SIGTERM, and SIGKILL after `GRACE`. After a request to end they may take as
    long as they need; after a second one they are killed. A subclass maintains `_living`, defines ``send``, calls
    ``_fail`` when a process has failed, and ``_kill_overdue`` regularly.
    """

    def __init__(self) -> None:
        self._living: dict[int, Any] = {}  # number -> process that has not ended
        self._failed: Ended | None = None  # of the process that failed first
        self._asked: signal.Signals | None = None  # the first signal that this process got
        self._kill_at: float | None = None  # time (monotonic) of the SIGKILL to those that are left

    @property
    def living(self) -> bool:
        """Whether any process has not ended."""
        return bool(self._living)

    def send(self, number: int) -> None:
        """Send a signal to all processes that have not ended."""
        raise NotImplementedError

    def ask(self, number: int, frame: object = None) -> None:
        """Signal handler: ask all to end (SIGTERM, also for Ctrl-C); at the second signal kill them."""
        again, self._asked = self._asked is not None, signal.Signals(number)
        self.send(signal.SIGKILL if again else signal.SIGTERM)

    def ended(self) -> Ended:
        """How the group ended, once no process is left."""
        ended = self._failed or Ended(0)
        return ended if self._asked is None else Ended(ended.status, None, self._asked)

    def _fail(self, ended: Ended) -> None:
        # The first failure counts: those that follow are of processes that lost their peer, or got our SIGTERM. After a
        # request to end there is no deadline: a training that has saved leaves with status 143, which looks like a
        # failure, and the others may still be saving.
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
    """A group of processes on this machine.

    Args:
        stack: When this exit stack is closed, processes that have not ended are killed.
        output: Receives their output, line by line.
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
            number: Its number in the group.
            command: The program and its arguments.
            environment: Its whole environment.
            marked: Whether its lines begin with its number.
            folder: Its working directory; None: this process's.
        """
        # -I -S: without the user's PYTHONPATH and site-packages, as the short program before the command imports three
        # standard modules. No stdin: one terminal cannot be read by several. Unbuffered, since _copy reads the pipe
        # itself, as far as there is something to read.
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
        """Wait until a process prints something or ends, for at most so many seconds (None: no limit); handle it."""
        left = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
        bounds = [bound for bound in (left, seconds) if bound is not None]
        for key, _ in self._selector.select(min(bounds, default=None)):
            handle, member = key.data
            if member.number in self._living:  # else buried by an earlier event of this select: its files are closed
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
            # Whole lines only: parts of the lines of two processes must not end up in one.
            *lines, member.rest = (member.rest + found).split(b"\n")
            self._write(b"".join(member.prefix + line + b"\n" for line in lines))

    def _bury(self, member: _Member) -> None:
        """Remove a process that has ended.

        The end of its output is not waited for: a process that it started may live on and hold the pipe open.
        """
        status = member.process.wait()
        status = 128 - status if status < 0 else status  # -9 to 137: as a shell says it, and as sys.exit can hand it on
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
    """Scope in which a handler receives SIGTERM and SIGINT."""
    # SIGINT as well: Ctrl-C comes to all processes of the terminal, and this one must outlive those that it waits for.
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
