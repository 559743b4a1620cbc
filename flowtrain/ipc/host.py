"""Where workers run and how messages reach them: on Linux a zygote's children, ZMQ, and pipes that tell their end.

A :class:`Host` knows processes and messages; what the messages mean is the pool's business.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import threading
import time
from typing import Any, Protocol

import zmq

from ..utils.errors import FlowtrainError
from .arena import Arena
from .launcher import _ALWAYS, launcher
from .payload import Payload
from .zygote import STATUS

__all__ = ["Host", "LinuxHost"]

_context: tuple[int, zmq.Context] | None = None


class Host(Protocol):
    """Processes and the messages to and from them."""

    pids: list[int]

    def start(self, number: int) -> None:
        """Start worker ``number``; also in place of one that died."""
        ...

    def send(self, number: int, frames: list[Any]) -> None:
        """Send a worker a message; it is kept until the worker is there."""
        ...

    def receive(self, timeout: float) -> tuple[int, list[Any]] | None:
        """The next message and who sent it; None when none came within ``timeout`` seconds."""
        ...

    def dead(self) -> dict[int, int | None]:
        """The workers that have ended by themselves, with exit code or minus the signal (None: not known)."""
        ...

    def close(self) -> None:
        """End all workers, and return when they are gone."""
        ...


class LinuxHost:
    """Workers forked by the zygote.

    ZMQ carries the messages, over an abstract name (no file). Anyone on the machine may connect to such a name: so
    each worker has a random identity that only it and we know, and what comes under another is dropped. ZMQ does not
    say that a peer has died; for that there is a pipe for each worker, into which the zygote writes how it ended.

    Args:
        arena: The shared memory.
        payload: The job.
        preload: Modules to import before workers are forked.
    """

    def __init__(self, arena: Arena, payload: Payload, preload: tuple[str, ...] = ()) -> None:
        self._arena, self._preload = arena, (*_ALWAYS, *preload)
        count = arena.workers
        _check_descriptors(count)
        self.pids = [0] * count
        self._ids = [-1] * count  # at the launcher
        self._status = [-1] * count  # pipes
        self._identity = [b""] * count
        self._waiting: list[list[list[Any]] | None] = [None] * count  # messages for a worker that is not there yet
        self._number: dict[bytes, int] = {}
        self._poller: zmq.Poller | None = None
        self._job = payload.write()
        self._endpoint = f"ipc://@flowtrain-{secrets.token_hex(12)}"
        self._socket = context().socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.sndhwm = self._socket.rcvhwm = 0
        self._socket.router_mandatory = True
        self._socket.bind(self._endpoint)

    def start(self, number: int) -> None:
        arena = self._arena
        self._forget(number)
        identity = b"w" + secrets.token_bytes(16)
        request = {
            "endpoint": self._endpoint,
            "identity": identity.hex(),
            "number": number,
            "workers": arena.workers,
            "slots": arena.slots,
            "slot_bytes": arena.slot_bytes,
        }
        reading, writing = os.pipe()
        try:
            self._ids[number], self.pids[number] = launcher().spawn(
                request, [writing, arena.fd, self._job], self._preload
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._status[number], self._poller = reading, None
        self._identity[number], self._number[identity] = identity, number
        self._waiting[number] = []

    def _forget(self, number: int) -> None:
        self._poller = None
        if self._status[number] >= 0:
            os.close(self._status[number])
            self._status[number] = -1
            launcher().stop([self._ids[number]])
        self._number.pop(self._identity[number], None)

    def send(self, number: int, frames: list[Any]) -> None:
        waiting = self._waiting[number]
        if waiting is not None:
            waiting.append(frames)
            return
        with contextlib.suppress(zmq.ZMQError):  # it died; its pipe will say so
            self._socket.send_multipart([self._identity[number], *frames])

    def receive(self, timeout: float) -> tuple[int, list[Any]] | None:
        while self._there() or (timeout and self._wait(timeout)):
            identity, *frames = self._socket.recv_multipart()
            number = self._number.get(identity)
            if number is None:  # a worker that was replaced, or a stranger
                continue
            waiting = self._waiting[number]
            if waiting is None:
                return number, frames
            self._waiting[number] = None  # its first message says that it is there
            for message in waiting:
                self.send(number, message)
        return None

    def _there(self) -> bool:
        """Whether a message can be received without waiting: cheaper to ask than to try in vain."""
        return bool(self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN)  # type: ignore[operator]

    def _wait(self, seconds: float) -> bool:
        """Wait for a message; False when a worker ended first, or none came."""
        poller = self._poller
        if poller is None:
            poller = self._poller = zmq.Poller()
            poller.register(self._socket, zmq.POLLIN)
            for fd in self._status:
                if fd >= 0:
                    poller.register(fd, zmq.POLLIN)
        return any(source is self._socket for source, _ in poller.poll(seconds * 1000))

    def dead(self) -> dict[int, int | None]:
        ended: dict[int, int | None] = {}
        fds = [fd for fd in self._status if fd >= 0]
        if not fds:
            return ended
        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(0):
            status = os.read(fd, STATUS.size)  # nothing in it: the zygote itself was killed
            ended[self._status.index(fd)] = STATUS.unpack(status)[0] if status else None
        return ended

    def close(self) -> None:
        self._socket.close(linger=0)
        launcher().stop([number for number in self._ids if number >= 0])
        end = time.monotonic() + 2
        for fd in self._status:
            if fd >= 0:
                poll = select.poll()
                poll.register(fd, select.POLLIN)
                poll.poll(max(0, (end - time.monotonic()) * 1000))
                os.close(fd)
        self._status = []
        os.close(self._job)


def context() -> zmq.Context:
    """This process's ZMQ context, made when first wanted."""
    global _context
    if _context is None or _context[0] != os.getpid() or _context[1].closed:
        _context = os.getpid(), zmq.Context()
    return _context[1]


def end_context() -> None:
    """End it, with its thread and descriptors."""
    global _context
    if _context is not None and _context[0] == os.getpid():
        # in a thread, because it waits for a socket that someone may still hold
        ending = threading.Thread(target=_context[1].destroy, kwargs={"linger": 0}, daemon=True)
        ending.start()
        ending.join(2)
    _context = None


def _check_descriptors(workers: int) -> None:
    """ZMQ aborts the process when descriptors run out in the wrong place: so look before."""
    import resource

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
