"""A flow whose datapoints are received from senders in other processes."""

from __future__ import annotations

import os
from typing import Any

from ...utils.arguments import check_int, check_seconds
from ..core.ahead import RunQueue
from ..core.base import DataFlow
from ..core.cursor import Cursor, Datapoint, checked_index
from ..core.datapoint import Position
from ..parallel.index_cursor import IndexedCursor
from ..parallel.walk_cursor import WalkedCursor
from .endpoint import checked_address, warn_if_open
from .receiver import RemoteCrew

__all__ = ["RemoteData"]


class RemoteData(DataFlow):
    """Receive a flow that one or several processes serve with ``send_dataflow``.

    Args:
        address: The address to listen on, e.g. ``"tcp://:5555"`` (for senders on this machine) or
            ``"tcp://0.0.0.0:5555"`` (for senders on the network; give a ``key``).
        num_prefetch: How many datapoints may be requested ahead of the consumer. Tiny datapoints count by the group in
            which they travel.
        timeout: Seconds without any sender, or without an answer, after which waiting is an error.
        key: The ``receiver.key`` that ``make_keys`` made. The connection is then encrypted, and a sender without the
            ``sender.key`` is refused.
        max_bytes: Messages with more bytes are refused.

    Order: That of the senders' flow if it is indexable; each datapoint comes once, also if a sender dies or comes back.
        Otherwise one datapoint of each sender's part in turn.

    State: What was handed out. Senders make again what was on its way.

    Raises:
        WorkerTimeout: For ``timeout`` seconds no sender was connected, or none has answered.
        RemoteError: A sender's flow raised an error.

    Example:
        >>> ds = RemoteData("tcp://:5555")
        >>> ds.describe()
        'RemoteData(tcp://127.0.0.1:5555)'
    """

    def __init__(
        self,
        address: str,
        num_prefetch: int = 16,
        *,
        timeout: float = 300.0,
        key: str | os.PathLike[str] | None = None,
        max_bytes: int = 1 << 31,
    ) -> None:
        self.address = checked_address(address, "RemoteData")
        self.num_prefetch = check_int("RemoteData", "num_prefetch", num_prefetch, least=1)
        self.timeout = check_seconds("RemoteData", "timeout", timeout)
        self.key = None if key is None else os.fspath(key)
        self.max_bytes = check_int("RemoteData", "max_bytes", max_bytes, least=1)
        self._crew: RemoteCrew | None = None

    def describe(self) -> str:
        return f"RemoteData({self.address})"

    def __len__(self) -> int:
        size = self._crew.hello.size if self._crew is not None and self._crew.hello is not None else None
        if size is None:
            raise TypeError(f"the length of {self} is not known before a sender whose flow has one is connected")
        return size

    def close(self) -> None:
        """Tell the senders to end, and stop listening. It also happens when the flow is garbage-collected."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.end()

    def _cursor(self, epoch: int, state: Position = None) -> Cursor:
        return _RemoteCursor(self, epoch, state)

    def _take_crew(self, epoch: int, flow: DataFlow | None = None) -> RemoteCrew:
        if self._crew is None or self._crew.closed:
            warn_if_open(self.address, self.key is not None)
            self._crew = RemoteCrew(self.address, self.num_prefetch, self.timeout, self.key, self.max_bytes)
        return self._crew

    def _give_back(self, crew: object) -> None:
        pass  # the senders stay for the next epoch

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_crew": None}


class _RemoteCursor(Cursor):
    """Waits for the first sender; then a walk by index where it serves its flow so, else over the senders' parts."""

    def __init__(self, flow: RemoteData, epoch: int, state: Position) -> None:
        super().__init__(epoch)
        self._flow, self._state = flow, state
        self._walk: Cursor | None = None

    def __next__(self) -> Datapoint:
        if self._walk is None:
            self._walk = self._start()
        return next(self._walk)

    def _start(self) -> Cursor:
        flow = self._flow
        crew = flow._take_crew(self.epoch)
        crew.greet()
        crew.close()  # drops what an earlier walk asked for: its answers must not be taken for this walk's
        if crew.hello and crew.hello.by_index:
            index = checked_index(flow, self._state)
            return IndexedCursor(flow, RunQueue.span(index, flow.size_or_none(), self.epoch), self.epoch, flow, index)
        return WalkedCursor(flow, self.epoch, self._state, crew.workers)

    def state(self) -> Position:
        return self._state if self._walk is None else self._walk.state()

    def close(self) -> None:
        if self._walk is not None:
            self._walk.close()
