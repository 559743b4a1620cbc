"""The receiver's end of a remote flow: a crew of workers whose members are senders, which come and go."""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq

from ...ipc.context import context
from ...ipc.failures import WorkerTraceback
from ...ipc.pool import Lost, Task
from ...ipc.wire import BadMessage, ForeignFrame, encode, kind_of
from ...utils.errors import FlowtrainError, WorkerTimeout
from ..parallel.crew import Made
from .endpoint import load_key, prepare
from .messages import Data, Hello, Kind, fit, read

__all__ = ["RemoteCrew", "RemoteError"]

logger = logging.getLogger("flowtrain.dataflow")
_LOOK = 0.25  # seconds between checks of whether the senders are there
_AT_ONCE = 1000  # messages taken in before control returns to the consumer
_SHOWN = 10_000  # characters of the reason why a sender is refused
_TOLD = 100  # peers whose bad messages are logged; a stranger can connect under any number of names


class RemoteError(FlowtrainError, RuntimeError):
    """A sender's flow raised an error; the message holds its type and text, the cause the sender's traceback."""


class _Failure:
    """An error in a sender, with the interface of ``ipc.failures.Failure``; never unpickled."""

    def __init__(self, kind: str, text: str, trace: str) -> None:
        self.kind, self.text, self.trace = kind, text, trace

    def restore(self) -> BaseException:
        error = RemoteError(f"{self.kind}: {self.text}")
        error.__cause__ = WorkerTraceback(f"a sender\n{self.trace}")
        return error


class _Sender:
    """A connected sender: its part of the flow, and the tasks that it has not answered, by number."""

    def __init__(self, identity: bytes, hello: Hello) -> None:
        self.identity, self.part = identity, hello.part[0]
        self.tasks: dict[int, tuple[Task, Any]] = {}


class RemoteCrew:
    """Crew whose workers are senders: accepts them, deals tasks to them, and again when a sender is lost.

    Args:
        address: The address to listen on.
        window: How many tasks may be ahead of the consumer.
        timeout: Seconds without any answer after which waiting is an error.
        key: The receiver's key file, or None.
        max_bytes: Messages with more bytes are refused.

    Attributes:
        hello: The first sender's, None before there is one; later senders have to fit it.
        refused: How many messages were malformed or not expected. The first of each peer is logged.
    """

    closed = True  # until it listens; `end`, which __del__ calls, relies on it if __init__ fails

    def __init__(
        self, address: str, window: int, timeout: float, key: str | os.PathLike[str] | None, max_bytes: int
    ) -> None:
        self.window, self.timeout, self.name = window, timeout, f"RemoteData({address})"
        self._address, self._max_bytes = address, max_bytes
        secret, self._token = load_key(key, "receiver") if key is not None else (None, "")
        self.hello: Hello | None = None
        self.refused = 0
        self._senders: dict[bytes, _Sender] = {}
        self._queue: deque[tuple[Task, Any]] = deque()
        self._arrived: deque[Made | Lost] = deque()
        self._number = 0
        self._told: set[bytes] = set()  # peers of which a bad message was logged
        self._banned: set[bytes] = set()  # senders that answered what was not asked
        self._socket = context().socket(zmq.ROUTER)
        prepare(self._socket, max_bytes, high_water=1000)
        self._socket.router_mandatory = True  # sending to a peer that is gone raises, by which `_send` notices it
        if secret is not None:
            self._socket.curve_server, self._socket.curve_secretkey = True, secret
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            raise FlowtrainError(f"RemoteData cannot listen on {address}: {error}") from error
        self.closed = False

    # ---- the interface of `parallel.crew.Crew`

    @property
    def workers(self) -> int:
        return self.hello.part[1] if self.hello and not self.hello.by_index else 1

    def idlest(self) -> int:
        return 0

    def submit(self, worker: int, args: tuple[int, int, int], value: object = None) -> Task:
        task = Task(self._number, worker, 0, args)
        self._number += 1
        self._queue.append((task, value))
        self._deal()
        return task

    def poll(self) -> Made | Lost | None:
        for _ in range(_AT_ONCE):  # bounded: strangers may send faster than this loop reads
            if self._arrived or not self._hear(0):
                break
        return self._arrived.popleft() if self._arrived else None

    def wait(self, worker: int | None = None) -> Made | Lost:
        self._await(lambda: self._arrived)
        return self._arrived.popleft()

    def greet(self) -> None:
        """Wait for the first sender.

        Raises:
            WorkerTimeout: There was none for ``timeout`` seconds.
        """
        self._await(lambda: self.hello)

    def close(self) -> None:
        """End a walk: drop its tasks and results. The senders stay for the next walk."""
        self._queue.clear()
        self._arrived.clear()
        for sender in self._senders.values():
            sender.tasks.clear()

    def end(self) -> None:
        """Tell the senders to end, and stop listening."""
        if not self.closed:
            self.closed = True
            if self.refused > len(self._told):
                logger.warning("%s refused %d messages in all", self.name, self.refused)
            for _ in range(_AT_ONCE):  # a sender whose hello is waiting to be read must be told too
                if not self._hear(0):
                    break
            for identity in list(self._senders):
                self._send(identity, Kind.BYE, None)
            self._socket.close(linger=500)

    def __del__(self) -> None:
        with contextlib.suppress(zmq.ZMQError):  # the collector may have closed the socket first
            self.end()

    # ---- senders

    def _await(self, there: Callable[[], object]) -> None:
        """Take in messages until something is there; WorkerTimeout when it is not for ``timeout`` seconds."""
        end = time.monotonic() + self.timeout
        while not there():
            if not self._hear(_LOOK):
                self._ping()
            if time.monotonic() > end and not there():
                self._give_up()

    def _hear(self, timeout: float) -> bool:
        """Take in one message, waiting up to ``timeout`` seconds; False if there was none."""
        if not self._socket.poll(timeout * 1000):
            return False
        identity, *frames = self._socket.recv_multipart(copy=False)
        name = identity.bytes
        try:
            self._take(name, [frame.buffer for frame in frames])
        except ForeignFrame as error:
            self._refuse(name, error)
        return True

    def _take(self, name: bytes, frames: list[Any]) -> None:
        """Act on a message.

        Raises:
            ForeignFrame: It is malformed, or not expected from this peer.
        """
        known = self._senders.get(name)
        if known is None and kind_of(frames) == Kind.DATA:
            return  # from a sender that was lost meanwhile, or from a stranger: not worth decoding up to max_bytes
        kind, message = read(frames, (Kind.HELLO, Kind.DATA), self._max_bytes)
        if kind == Kind.HELLO:
            self._welcome(name, message)
        elif known is not None:
            self._receive(known, message)

    def _refuse(self, name: bytes, error: ForeignFrame) -> None:
        self.refused += 1
        if name not in self._told and len(self._told) < _TOLD:
            self._told.add(name)
            logger.warning("%s refused what a stranger sent: %s", self.name, error)
        if name in self._senders:
            # Its task would never be answered: others get it, as if this sender had died. Banned, so that it gets no
            # task again if it says hello once more.
            self._banned.add(name)
            self._send(name, Kind.REFUSED, f"what it sent is no answer: {error}"[:_SHOWN])
            self._lose(name)
            self._deal()

    def _welcome(self, name: bytes, hello: Hello) -> None:
        if not hmac.compare_digest(hello.token, self._token):
            raise ForeignFrame("its key is another one")
        problem = "it answered what was not asked" if name in self._banned else self._unfit(name, hello)
        if problem:
            self._send(name, Kind.REFUSED, problem[:_SHOWN])
            return
        self.hello = self.hello or hello
        if name in self._senders:  # it connected anew, and dropped its tasks then
            self._lose(name)
        self._senders[name] = _Sender(name, hello)
        self._deal()

    def _unfit(self, name: bytes, hello: Hello) -> str | None:
        """Why a sender cannot join the others, as a clause; None if it can."""
        known = self.hello
        if known is not None:
            for field in ("by_index", "size", "what"):
                its, first = getattr(hello, field), getattr(known, field)
                if its != first and (field == "by_index" or known.by_index):
                    return f"its {field} is {its!r}, that of the first sender {first!r}"
            if hello.part[1] != known.part[1]:
                return f"it counts {hello.part[1]} parts, the first sender {known.part[1]}: give shard=(i, n)"
        if hello.by_index:
            return None
        self._ping(everyone=True)  # a part's sender may be dead and not yet missed; another takes the part over then
        if any(other.part == hello.part[0] for key, other in self._senders.items() if key != name):
            index, count = hello.part
            return (
                f"part {index} of {count} is being sent by another one. A flow that can only be iterated is sent in "
                "parts: send_dataflow(ShardData(ds, n, i), address, shard=(i, n))"
            )
        return None

    def _receive(self, sender: _Sender, data: Data) -> None:
        task, _ = sender.tasks.get(data.number, (None, None))
        if task is None:  # it was dealt out anew meanwhile
            return
        problem = fit(data, task.args, self.hello is not None and self.hello.by_index)
        if problem:
            raise BadMessage(problem)
        del sender.tasks[data.number]
        failure = _Failure(*data.problem) if data.problem else None
        self._arrived.append(Made(task, data.seconds, (data.made, data.extra, failure)))
        self._deal()

    def _deal(self) -> None:
        """Send queued tasks: by index to the senders that have the fewest, else to the sender of the task's part."""
        if not self._senders:
            return
        by_index = self.hello is not None and self.hello.by_index
        depth = max(2, self.window // len(self._senders))  # two, so that a sender has work while its answer travels
        waiting, self._queue = self._queue, deque()
        for task, value in waiting:
            able = [s for s in self._senders.values() if by_index or s.part == task.worker]
            sender = min(able, key=lambda s: len(s.tasks), default=None)  # None: the part's sender is not there yet
            if sender is None or (len(sender.tasks) >= depth and by_index):
                self._queue.append((task, value))
                continue
            sender.tasks[task.number] = task, value
            if not self._send(sender.identity, Kind.REQUEST, [task.number, list(task.args), value]):
                self._lose(sender.identity)

    def _send(self, name: bytes, kind: Kind, value: object) -> bool:
        """Send a message without waiting; False if the peer is gone or takes no more."""
        try:
            self._socket.send_multipart([name, *encode(kind, value)], zmq.NOBLOCK)
        except zmq.ZMQError:  # unreachable
            return False
        return True

    def _ping(self, everyone: bool = False) -> None:
        """Find senders that are gone, by sending a PING to those that have tasks, or to all."""
        for name, sender in list(self._senders.items()):
            if (everyone or sender.tasks) and not self._send(name, Kind.PING, None):
                self._lose(name)
        self._deal()

    def _lose(self, name: bytes) -> None:
        """Forget a sender. By index its tasks are dealt out next; else the cursor is told that its part is lost."""
        sender = self._senders.pop(name)
        lost = list(sender.tasks.values())
        if not lost:
            return
        if self.hello is not None and self.hello.by_index:
            self._queue.extendleft(reversed(lost))
            return
        # A walk cannot go on in the middle: the cursor has to begin the part again, so queued tasks of it are void too.
        waiting = [item for item in self._queue if item[0].worker == sender.part]
        self._queue = deque(item for item in self._queue if item[0].worker != sender.part)
        self._arrived.append(Lost(sender.part, [task for task, _ in (*lost, *waiting)]))

    def _give_up(self) -> None:
        count = len(self._senders)
        who = "no sender is connected" if not count else f"none of {count} senders has answered"
        raise WorkerTimeout(
            f"{self.name}: {who} for {self.timeout:g} s. Is send_dataflow(ds, {self._address!r}) running, "
            "with the same key?"
        )
