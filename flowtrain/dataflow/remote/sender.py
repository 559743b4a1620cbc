"""Serving a flow to a receiver in another process or on another machine: `send_dataflow`."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections import deque
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from ...ipc.codec import CodecError
from ...ipc.wire import BadMessage, ForeignFrame, encode
from ...utils.arguments import names_arguments
from ...utils.errors import ConfigError, DataFlowError
from ...utils.loading import only_to_run
from ..core.ahead import has_workers
from ..core.base import DataFlow
from ..parallel.jobs import IndexJob, WalkJob
from .endpoint import checked_address, load_key, prepare
from .messages import Kind, Request, described, read

__all__ = ["send_dataflow"]

logger = logging.getLogger("flowtrain.dataflow")
_REQUEST_BYTES = 1 << 24  # the most of a message to a sender: a request may hold the position of a walk
_HEARD = (Kind.REQUEST, Kind.PING, Kind.BYE, Kind.REFUSED)
_LOOK = 0.5  # seconds between checks of the connection


@names_arguments
def send_dataflow(
    ds: DataFlow,
    address: str,
    *,
    shard: tuple[int, int] | None = None,
    key: str | os.PathLike[str] | None = None,
    wait: float = 60.0,
    reconnect: float = 10.0,
) -> int:
    """Serve a flow to a ``RemoteData``, in order to read or decode data on another machine than the one that trains.

    It returns when the receiver is done or gone. Start it before or after the receiver, and as many as you like: of an
    indexable flow the receiver deals out the indices, so each datapoint comes once, however many senders there are and
    whichever of them fail. A flow that can only be iterated, or that has workers of its own (``PrefetchData``), is
    sent as one part. To have several senders of such a flow, divide it, ``ds = PrefetchData(ShardData(ds, 2, index))``,
    and pass ``shard=(index, 2)``.

    Only arrays, numbers, strings, bytes and lists, tuples and dicts of these can be sent: nothing is pickled.

    Args:
        ds: The flow. If it is indexable, all senders must have the same flow, with the same seeds.
        address: The receiver's address, e.g. ``"tcp://10.0.0.5:5555"``.
        shard: (number of this sender's part, number of parts), for flows that can only be iterated.
        key: The ``sender.key`` that ``make_keys`` made, if the receiver has a key.
        wait: Seconds to wait for the receiver at the start.
        reconnect: Seconds to wait for it after the connection was lost.

    Returns:
        How many datapoints were sent.

    Raises:
        ConfigError: ``address``, ``shard`` or ``key`` is wrong.
        DataFlowError: The receiver was not there in time, or refused the flow; the message says why.
    """
    only_to_run("send_dataflow()")
    address = checked_address(address, "send_dataflow")
    part = shard or (0, 1)
    if len(part) != 2 or not 0 <= part[0] < part[1]:
        raise ConfigError(f"send_dataflow: shard is (index, count) with 0 <= index < count, got {shard!r}")
    sender = _Sender(ds, address, part, key)
    try:
        return sender.serve(wait, reconnect)
    finally:
        sender.close()


class _Sender:
    """The sender's end of a remote flow: its socket, and the loop that answers requests in their order."""

    def __init__(self, ds: DataFlow, address: str, part: tuple[int, int], key: str | os.PathLike[str] | None) -> None:
        server_key, self.token = (None, "") if key is None else load_key(key, "sender")
        self.ds, self.address, self.part = ds, address, part
        # by index the receiver asks for datapoints that this process makes alone; workers of the flow need a walk
        self.by_index = ds.indexable and not has_workers(ds)
        self.job: Any = IndexJob(ds) if self.by_index else WalkJob([ds])
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        # The same after a reconnection, by which the receiver knows the sender. Not to be guessed, so that nobody can
        # answer in its name. ZeroMQ reserves names that begin with a zero byte: hence the "s".
        self.socket.routing_id = b"s" + secrets.token_bytes(16)
        prepare(self.socket, _REQUEST_BYTES, high_water=64)
        if server_key is not None:
            self.socket.curve_serverkey = server_key
            self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_keypair()
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        self.monitor = self.socket.get_monitor_socket(events)
        self.connected = self.met = False  # now; ever
        self.since = time.monotonic()  # when `connected` last changed
        self.tasks: deque[Request] = deque()
        self.sent = self.refused = 0
        self.done = False

    def serve(self, wait: float, reconnect: float) -> int:
        ds = self.ds
        ds._ensure_reset()
        self.socket.connect(self.address)
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self.monitor, zmq.POLLIN)
        while not self.done:
            # Between tasks it looks at the sockets without waiting: a BYE, or a lost connection, ends the work early.
            ready = dict(poller.poll(0 if self.tasks else _LOOK * 1000))
            if self.monitor in ready:
                self.heard_of_connection()
            if self.socket in ready:
                self.hear()
            patience = reconnect if self.met else wait
            if not self.connected and time.monotonic() - self.since > patience:
                if not self.met:
                    raise DataFlowError(
                        f"no RemoteData at {self.address} within {wait:g} s"
                        + (", or it has another key" if self.token else ", or it wants a key")
                    )
                logger.info("the receiver at %s is gone; %d datapoints were sent", self.address, self.sent)
                break
            if self.tasks and not self.done:
                self.work(self.tasks.popleft())
        return self.sent

    def close(self) -> None:
        self.socket.disable_monitor()
        self.context.destroy(linger=0)  # with its sockets

    def heard_of_connection(self) -> None:
        event = recv_monitor_message(self.monitor)["event"]
        before, self.connected = self.connected, event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        if self.connected != before:
            self.since = time.monotonic()
        self.met = self.met or self.connected
        self.tasks.clear()  # the receiver takes a new hello as one of a new sender, and deals these tasks out again
        if self.connected:
            size = self.ds.size_or_none()
            hello = {
                "by_index": self.by_index,
                "size": size,
                "part": list(self.part),
                "what": str(self.ds)[:1000],
                "token": self.token,
            }
            self.socket.send_multipart(encode(Kind.HELLO, hello))

    def hear(self) -> None:
        frames = self.socket.recv_multipart()
        try:
            kind, message = read(frames, _HEARD, _REQUEST_BYTES)
        except BadMessage as error:
            self.refused += 1
            if self.refused == 1:
                logger.warning("the receiver at %s sent what is no message of its kind: %s", self.address, error)
            return
        except ForeignFrame as error:
            raise DataFlowError(
                f"what answers at {self.address} is not a RemoteData of this version: {error}"
            ) from error
        if kind == Kind.REQUEST:
            self.tasks.append(message)
        elif kind == Kind.BYE:
            self.done = True
        elif kind == Kind.REFUSED:
            raise DataFlowError(f"the receiver at {self.address} refused the flow: {message}")

    def work(self, task: Request) -> None:
        out: list[Any] = []
        extra, problem = None, None
        start = time.perf_counter()
        try:
            # The third argument is the epoch by index; else the part's number, and our job has one flow alone.
            first, second, third = task.args
            args = (first, second, third if self.by_index else 0)
            extra = self.job.run(args, task.begin, out, lambda datapoint: None)
        except Exception as error:
            problem = described(error)
        seconds = time.perf_counter() - start
        try:
            frames = encode(Kind.DATA, [task.number, out, extra, seconds, problem])
        except CodecError as error:  # a datapoint that cannot travel: the error goes in its place
            out = []
            frames = encode(Kind.DATA, [task.number, out, None, seconds, described(error)])
        if self.deliver(frames):
            self.sent += len(out)

    def deliver(self, frames: list[Any]) -> bool:
        """Send frames as soon as there is room; False if the connection breaks before."""
        while self.connected:
            if self.socket.poll(_LOOK * 1000, zmq.POLLOUT):
                with contextlib.suppress(zmq.Again):
                    self.socket.send_multipart(frames, zmq.NOBLOCK)
                    return True
            if self.monitor.poll(0):
                self.heard_of_connection()
        return False
