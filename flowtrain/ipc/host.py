"""Worker processes and the transport of messages to them; on Linux the zygote's children, with a socket pair each.

A :class:`Host` knows processes and messages; what the messages mean is the pool's business.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import time
from collections import deque
from typing import Any, Protocol

from ..utils.errors import FlowtrainError
from .arena import Arena
from .channel import Channel, pair
from .launcher import ALWAYS, launcher
from .payload import Payload
from .zygote import STATUS

__all__ = ["BRIEF", "Host", "LinuxHost"]

BRIEF = 0.05
"""Seconds to wait for one worker before looking at the others, and at whether something is wrong."""


class Host(Protocol):
    """The worker processes of one pool, and the messages to and from them."""

    pids: list[int]

    def start(self, number: int) -> None:
        """Start worker ``number``, or another in its place when it has died."""
        ...

    def send(self, number: int, frames: list[Any]) -> None:
        """Send a worker a message; it is kept until the worker is there."""
        ...

    def receive(self, timeout: float, worker: int | None = None) -> tuple[int, list[Any]] | None:
        """Return the next message and the worker that sent it; None when none came within ``timeout`` seconds.

        With ``worker`` it may listen to that one alone, and for BRIEF seconds whatever the timeout is.
        """
        ...

    def interrupt(self, number: int) -> None:
        """Signal a worker to look whether its datapoint is to be aborted."""
        ...

    def dead(self) -> dict[int, int | None]:
        """Return the workers that have ended by themselves, with exit code or minus the signal (None: not known)."""
        ...

    def close(self) -> None:
        """Kill all workers, and return when they are gone."""
        ...


class LinuxHost:
    """Workers forked by the zygote, each with a socket pair, and a pipe into which the zygote writes how it ended.

    Args:
        arena: The shared memory.
        payload: The job.
        preload: Modules to import before workers are forked.
    """

    def __init__(self, arena: Arena, payload: Payload, preload: tuple[str, ...] = ()) -> None:
        self._arena, self._preload = arena, (*ALWAYS, *preload)
        count = arena.workers
        _check_descriptors(count)
        self.pids = [0] * count
        self._ids = [-1] * count  # the launcher's ids of the workers
        self._status = [-1] * count  # reading ends of the pipes
        self._channels: list[Channel | None] = [None] * count
        self._sources: dict[int, int] = {}  # socket -> worker
        self._arrived: deque[tuple[int, list[Any]]] = deque()
        self._poll: select.poll | None = None  # kept from call to call; None: to be made anew, as its sources changed
        self._job = payload.write()

    def start(self, number: int) -> None:
        arena = self._arena
        self._forget(number)
        request = {
            "number": number,
            "workers": arena.workers,
            "slots": arena.slots,
            "slot_bytes": arena.slot_bytes,
        }
        reading, writing = os.pipe()
        ours, its = pair()
        try:
            self._ids[number], self.pids[number] = launcher().spawn(
                request, [writing, arena.fd, self._job, its.fileno()], self._preload
            )
        except BaseException:
            os.close(reading)
            ours.close()
            raise
        finally:
            os.close(writing)
            its.close()
        self._status[number], self._poll = reading, None
        self._channels[number] = Channel(ours, blocking=False, patience=BRIEF)
        self._sources[ours.fileno()] = number

    def _forget(self, number: int) -> None:
        self._poll = None
        if self._status[number] >= 0:
            os.close(self._status[number])
            self._status[number] = -1
            launcher().stop([self._ids[number]])  # or its id would count as a worker in use, and keep the zygote
        self._hang_up(number)

    def _hang_up(self, number: int) -> None:
        channel, self._channels[number] = self._channels[number], None
        if channel is not None:
            if self._poll is not None:
                self._poll.unregister(channel)
            del self._sources[channel.fileno()]
            channel.close()

    def send(self, number: int, frames: list[Any]) -> None:
        channel = self._channels[number]
        if channel is None:
            return
        try:
            channel.send(frames)
        except (BrokenPipeError, ConnectionResetError):
            return  # it died; its pipe will say so
        if channel.behind:
            self._poll = None

    def receive(self, timeout: float, worker: int | None = None) -> tuple[int, list[Any]] | None:
        if not self._arrived:
            channel = self._channels[worker] if worker is not None else None
            if channel is None or channel.behind:  # what is kept for it is sent in _look
                self._look(timeout)
            else:
                with contextlib.suppress(BlockingIOError):  # it kept silent
                    self._read(worker, channel)  # type: ignore[arg-type]
        return self._arrived.popleft() if self._arrived else None

    def _look(self, seconds: float) -> None:
        """Take one message of each worker that has one, after waiting until there is one or a worker has ended."""
        poll = self._poll or self._registered()
        for fd, event in poll.poll(seconds * 1000):
            number = self._sources.get(fd)
            channel = self._channels[number] if number is not None else None
            if number is None or channel is None:  # a pipe: it ended the wait, and the pool asks dead() why
                continue
            if event & select.POLLOUT:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    channel.flush()
                self._poll = None
            if event & ~select.POLLOUT:
                self._read(number, channel)

    def _read(self, number: int, channel: Channel) -> None:
        message = channel.receive()
        if message is not None:
            self._arrived.append((number, message))
        else:  # a closed socket stays readable: poll would return at once until the worker's end is told
            self._hang_up(number)

    def _registered(self) -> select.poll:
        poll = self._poll = select.poll()
        for fd in self._status:
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        for channel in self._channels:
            if channel is not None:
                poll.register(channel, select.POLLIN | select.POLLOUT if channel.behind else select.POLLIN)
        return poll

    def interrupt(self, number: int) -> None:
        launcher().interrupt(self._ids[number])

    def dead(self) -> dict[int, int | None]:
        ended: dict[int, int | None] = {}
        fds = [fd for fd in self._status if fd >= 0]
        if not fds:
            return ended
        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(0):
            # By a pipe, since they are the zygote's children and not ours; nothing in it: the zygote itself was killed.
            status = os.read(fd, STATUS.size)
            ended[self._status.index(fd)] = STATUS.unpack(status)[0] if status else None
        return ended

    def close(self) -> None:
        status, self._status = [fd for fd in self._status if fd >= 0], []
        end = time.monotonic() + 2
        try:
            launcher().stop([number for number in self._ids if number >= 0])
            for fd in status:
                poll = select.poll()
                poll.register(fd, select.POLLIN)
                poll.poll(max(0, (end - time.monotonic()) * 1000))
        finally:  # a second Ctrl-C must not leave them open
            for number in range(len(self._channels)):
                self._hang_up(number)
            for fd in (*status, self._job):
                os.close(fd)


def _check_descriptors(workers: int) -> None:
    """Refuse to start workers when descriptors would run out: where they do, no error can say what is needed."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit > 65536:
        return
    with contextlib.suppress(OSError):
        used = len(os.listdir("/proc/self/fd"))
        needed = 24 + 4 * workers
        if used + needed > limit:
            raise FlowtrainError(
                f"{workers} worker processes need about {needed} open files; {used} of the {limit} that this process "
                "may have are in use. Raise the limit (ulimit -n 4096) or use fewer workers."
            )
