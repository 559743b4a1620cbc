"""Prefetch thread of a training run: keeps the next batches ready as tensors, and knows which of them were consumed.

Small batches travel in *blocks*: several of them stacked in one aligned buffer, which TensorFlow uses without a copy,
so that several training steps can run in one call. A block that is not full is handed over if the consumer waits.
"""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from flowtrain.dataflow.core.base import DataFlow
from flowtrain.dataflow.core.position import go_to_epoch
from flowtrain.utils.errors import DataFlowError, StateError, annotate_error

from .inputs import Inputs
from .ownership import hands_over, is_leased
from .placement import Placement
from .tensors import aligned_empty, can_alias, share, to_tensor

__all__ = ["Block", "Feeder"]

logger = logging.getLogger("flowtrain.feed")


class Block(NamedTuple):
    """Consecutive batches as tensors: stacked along a new first axis, or a single batch as it is.

    Attributes:
        tensors: One for each input, of shape (>= rows, batch, ...) if `stacked`, else (batch, ...). With several
            replicas: those of the first replica, with its rows of each batch, then those of the second, and so on.
        rows: How many batches the block holds.
        stacked: Whether the batches are stacked.
        position: The feeder's position before the first batch.
        nbytes: Bytes of the tensors.
    """

    tensors: list[tf.Tensor]
    rows: int
    stacked: bool
    position: dict[str, Any]
    nbytes: int


class Feeder:
    """Iterates a dataflow epoch after epoch in a thread, ahead of the training loop, from the start of epoch 0.

    The position that `state_dict` gives is that of the consumer: batches that were made ahead and not consumed are made
    again after a resume.

    Args:
        flow: The dataflow.
        inputs: The model's inputs, which check and cast each batch.
        capacity: How many batches to stack in a block; or a function from the first batch to that number. 0: hand over
            single batches, unstacked, and without a copy where that is safe.
        depth: How many blocks to keep ready.
        placement: The devices that compute with the batches; None: one replica, on the host.

    Example:
        >>> with Feeder(flow, inputs, capacity=0) as feeder:                 # doctest: +SKIP
        ...     block = feeder.get(timeout=10)
        ...     feeder.consumed(block.rows)
    """

    def __init__(
        self,
        flow: DataFlow,
        inputs: Inputs,
        capacity: int | Callable[[Sequence[np.ndarray]], int] = 0,
        depth: int = 3,
        placement: Placement | None = None,
    ) -> None:
        self._placement = placement or Placement()
        self._flow, self._inputs, self._capacity, self._depth = flow, inputs, capacity, depth
        # From epoch 0, whatever the user iterated before (a look at a batch): else the data of a run would depend on
        # that.
        go_to_epoch(flow, 0)
        # Shared by the two threads, under the condition; all else belongs to one of them once the thread runs.
        self._ready: collections.deque[Block | BaseException] = collections.deque()
        self._change = threading.Condition()
        self._waiting = self._stopping = False
        self._thread: threading.Thread | None = None
        # The thread's:
        self._skip = 0  # batches to pass over at the start, which were consumed before a resume
        self._passed = 0  # datapoints that the present epoch of the flow has given
        self._handed_over = False  # whether only the feed holds the arrays of the flow under way
        self._rest: DataFlow | None = None  # the rest of an epoch, iterated once, before the flow
        # The consumer's:
        self._position: dict[str, Any] | None = None  # before the block that is being consumed
        self._consumed = 0  # batches of that block

    def __enter__(self) -> Feeder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """The position after the last consumed batch.

        Keys: ``flow``, the dataflow's state; ``passed``, how many datapoints of the epoch it had given by then;
        ``skip``, how many batches after it are consumed too; ``in_rest``, True while that is the rest of an epoch.
        """
        if self._position is None:
            return self._where()
        # The position before the block, and how many of its batches are used up: the flow itself is ahead by all that
        # lies ready here, and asking it for a position for each batch would cost more than many a batch.
        return {**self._position, "skip": self._position["skip"] + self._consumed}

    def load_state_dict(self, state: dict[str, Any], rest: DataFlow | None = None) -> None:
        """Go on at a position. Only before the first `get`.

        Args:
            state: What `state_dict` gave.
            rest: A flow that gives the rest of the epoch under way; the position is then its own. After it the feeder
                goes on with its flow, from the next epoch on.

        Raises:
            StateError: The feeder runs already, or the state belongs to another dataflow.
        """
        if self._thread is not None:
            raise StateError("a feeder's position can be set only before it runs")
        (self._flow if rest is None else rest).load_state_dict(state["flow"])
        self._rest, self._passed, self._skip = rest, state["passed"], state["skip"]

    def get(self, timeout: float) -> Block | None:
        """The next block.

        Args:
            timeout: The most seconds to wait.

        Returns:
            The block; None if there was none in time.

        Raises:
            Exception: The error of the dataflow, after all batches before it are handed out; again at each later call.
        """
        if self._thread is None:
            # Taken before the thread runs: from then on the flow is ahead of the consumer, who may be interrupted or
            # asked for a checkpoint while it waits for the first block.
            self._position = self._where()
            self._thread = threading.Thread(target=self._run, name="flowtrain-feeder", daemon=True)
            self._thread.start()
        with self._change:
            if not self._ready:
                self._waiting = True
                self._change.wait_for(lambda: self._ready, timeout)
                self._waiting = False
            if not self._ready:
                return None
            item = self._ready[0]
            if isinstance(item, BaseException):
                raise item  # it stays in the queue: a later call raises it again, and does not wait for a dead thread
            self._ready.popleft()
            if len(self._ready) <= self._depth // 2:  # see `_put`
                self._change.notify_all()
        self._position, self._consumed = item.position, 0
        return item

    def consumed(self, rows: int) -> None:
        """Note that training has used `rows` more batches of the block that `get` gave last."""
        self._consumed += rows

    def close(self, timeout: float = 10.0) -> bool:
        """Stop the thread and close the dataflow's iterator. Batches that are not consumed are dropped.

        Args:
            timeout: The most seconds to wait for a datapoint that is being made.

        Returns:
            Whether the thread has ended. If not, it ends after its datapoint; call again to wait for it.
        """
        with self._change:
            self._stopping = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                logger.warning("the dataflow is still busy with a datapoint after %g s; it is left behind", timeout)
                return False
        self._ready.clear()
        return True

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        batches = self._batches()
        try:
            for block in self._blocks(batches):
                if not self._put(block):
                    return
        except BaseException as error:
            self._put(error)
        finally:
            batches.close()

    def _put(self, item: Block | BaseException) -> bool:
        with self._change:
            # Once the queue is full it is refilled from half on, several blocks at a time: waking this thread for each
            # block would cost as much as making a small one.
            if len(self._ready) >= self._depth:
                self._change.wait_for(lambda: self._stopping or len(self._ready) <= self._depth // 2)
            if self._stopping:
                return False
            self._ready.append(item)
            if self._waiting:  # a notification without a waiter is spared, too
                self._change.notify_all()
            return True

    def _batches(self) -> Generator[list[np.ndarray], None, None]:
        """The batches of all epochs as checked arrays; ends only when the feeder is closed."""
        while not self._stopping:
            flow = self._flow if self._rest is None else self._rest
            self._handed_over = hands_over(flow)
            iterator = iter(flow)
            try:
                for datapoint in iterator:
                    if self._stopping:
                        return
                    self._passed += 1
                    if self._skip:
                        self._skip -= 1
                        continue
                    try:
                        arrays = self._inputs.arrays(datapoint)
                    except DataFlowError as error:
                        raise annotate_error(error, f"datapoint {self._passed - 1} of the training dataflow") from None
                    # No name in this frame keeps the arrays until the next datapoint has come: they may lie in a
                    # worker's slot, which the worker can fill again only when nobody holds them.
                    del datapoint
                    yield arrays
                    del arrays
            finally:
                closing = getattr(iterator, "close", None)
                if closing is not None:
                    closing()
            if self._rest is None:
                self._check_epoch()
            else:
                # The rest is a copy of the flow, so the epoch after it is the flow's next one, with the same seeds.
                self._flow.load_state_dict({**self._rest.state_dict(), "position": None})
                self._rest = None
            self._passed = 0

    def _check_epoch(self) -> None:
        """Raise if the epoch that ended has another number of datapoints than the flow's length, or none."""
        if self._stopping:
            return
        expected = self._flow.size_or_none()
        if self._passed == 0:
            raise DataFlowError(
                f"the training dataflow {self._flow} is empty: an iteration of it gave no datapoint. "
                "If it wraps a generator object, which can be walked only once, wrap the function that makes it."
            )
        if expected is not None and self._passed != expected:
            raise DataFlowError(
                f"the training dataflow {self._flow} ended early: its length is {expected}, "
                f"it gave {self._passed} datapoints"
                if self._passed < expected
                else f"the training dataflow {self._flow} gave {self._passed} datapoints, its length is {expected}"
            )

    def _blocks(self, batches: Iterator[list[np.ndarray]]) -> Iterator[Block]:
        """The batches as blocks, each with the position before its first batch.

        `batches` runs in this thread and only when it is asked, so `_where` after a batch is the position before the
        next one.
        """
        position = self._where()
        builder: _Stack | None = None
        capacity: int | None = None
        while True:
            arrays, failure = None, None
            try:
                arrays = next(batches, None)
            except Exception as error:  # raised below, after the batches that were made before it
                failure = error
            if arrays is None:
                if builder is not None:
                    yield builder.block(position)
                if failure is not None:
                    raise failure
                return
            if capacity is None:
                capacity = self._capacity(arrays) if callable(self._capacity) else self._capacity
            if capacity == 0:
                yield Block(self._tensors(arrays), 1, False, position, _bytes_of(arrays))
                del arrays
                position = self._where()
                continue
            if builder is not None and not builder.fits(arrays):
                # The flow has given this batch already, so its state is that after it: the position before the batch is
                # told by the last one and a count.
                yield builder.block(position)
                position = {**position, "skip": position["skip"] + builder.rows}
                builder = None
            if builder is None:
                builder = _Stack(arrays, capacity, self._placement)
            builder.add(arrays)
            del arrays
            # A block that is not full goes out when training waits: with a slow flow 32 batches would take seconds, and
            # how many steps share a call changes no bit. Read without the lock: a look that comes too early or too late
            # moves the border of a block, nothing else.
            if builder.rows == capacity or (self._waiting and not self._ready):
                yield builder.block(position)
                position, builder = self._where(), None

    def _tensors(self, arrays: Sequence[np.ndarray]) -> list[tf.Tensor]:
        parts = self._placement.parts(arrays)
        return self._placement.put([_owned_tensors(part, self._handed_over) for part in parts])

    def _where(self) -> dict[str, Any]:
        """The position after the last datapoint that the flow has given."""
        flow = self._flow if self._rest is None else self._rest
        state = {"flow": flow.state_dict(), "passed": self._passed, "skip": self._skip}
        return state if self._rest is None else {**state, "in_rest": True}


class _Stack:
    """A block in the making. Its buffers have room for all rows from the start, so every block has the same shape."""

    def __init__(self, arrays: Sequence[np.ndarray], capacity: int, placement: Placement) -> None:
        self.rows = 0
        self._placement = placement
        self._kinds = [(array.shape, array.dtype) for array in arrays]
        self._buffers = [[_room(capacity, array) for array in part] for part in placement.parts(arrays)]

    def fits(self, arrays: Sequence[np.ndarray]) -> bool:
        return self._kinds == [(array.shape, array.dtype) for array in arrays]

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        for buffers, part in zip(self._buffers, self._placement.parts(arrays), strict=True):
            for buffer, array in zip(buffers, part, strict=True):
                buffer[self.rows] = array
        self.rows += 1

    def block(self, position: dict[str, Any]) -> Block:
        tensors = self._placement.put([[to_tensor(buffer) for buffer in buffers] for buffers in self._buffers])
        return Block(tensors, self.rows, True, position, sum(map(_bytes_of, self._buffers)))


def _room(capacity: int, array: np.ndarray) -> np.ndarray:
    """Uninitialised memory for `capacity` arrays like this one."""
    if array.dtype.kind in "OSU":
        return np.full((capacity, *array.shape), "", object)
    return aligned_empty((capacity, *array.shape), array.dtype)


def _owned_tensors(arrays: Sequence[np.ndarray], handed_over: bool) -> list[tf.Tensor]:
    """Tensors whose memory nobody writes into any more: that of the arrays where it is safe, else a copy.

    Args:
        arrays: The arrays of one replica.
        handed_over: Whether nobody else in this process holds the arrays; see `hands_over`.
    """
    tensors = []
    for array in arrays:
        if handed_over and is_leased(array) and can_alias(array):
            tensors.append(share(array))
        else:
            tensors.append(to_tensor(_aligned_copy(array)))
    return tensors


def _bytes_of(arrays: Sequence[np.ndarray]) -> int:
    return sum(array.nbytes for array in arrays)


def _aligned_copy(array: np.ndarray) -> np.ndarray:
    """A copy in native byte order that DLPack can share; texts as they are, since TensorFlow copies those anyway."""
    if array.dtype.hasobject or array.dtype.kind in "SU":
        return array
    copy = aligned_empty(array.shape, array.dtype.newbyteorder("="))
    copy[...] = array
    return copy
