"""A thread that keeps the next batches ready as tensors, and knows which of them were consumed.

Small batches travel in *blocks*: several of them stacked in one aligned buffer, which TensorFlow uses without a copy,
so that several training steps can run in one call. A block is handed over early when the consumer waits.
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
    """Some batches in a row: with `stacked` tensors of shape (>= rows, batch, ...), else one batch as it is.

    With several replicas `tensors` are those of the first one, with its part of each batch, then those of the second.
    """

    tensors: list[tf.Tensor]
    rows: int
    stacked: bool
    position: dict[str, Any]  # of the dataflow before the first row
    nbytes: int


class Feeder:
    """Iterate a dataflow for ever, ahead of the training loop, from the start of its first epoch.

    The position that `state_dict` gives is that of the consumer: what was made ahead and not consumed is made again.

    Args:
        flow: What is iterated, again and again.
        inputs: The model's inputs.
        capacity: How many batches to stack in a block; or a function that says so when it sees the first
            batch. 0: hand over single batches, unstacked and without a copy where that is safe.
        depth: How many blocks to keep ready.
        placement: Who computes with the batches, and where; None: one replica, on the host.

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
        self._ready: collections.deque[Block | BaseException] = collections.deque()
        self._change = threading.Condition()
        self._waiting = self._stopping = False
        self._thread: threading.Thread | None = None
        self._skip = 0  # batches to pass over at the start, which were consumed before a resume
        self._passed = 0  # datapoints that the present epoch of the flow has given
        self._handed_over = False  # whether the feed alone holds what the flow under way gives
        self._rest: DataFlow | None = None  # what is iterated first, once: the rest of an epoch
        self._position: dict[str, Any] | None = None  # before the block that is being consumed
        self._consumed = 0  # batches of it

    def __enter__(self) -> Feeder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """The dataflow's position after the last consumed batch."""
        if self._position is None:
            return self._where()
        # The position before the block, and how many of its batches are used up: the flow itself is ahead by all that
        # lies ready here, and asking it for a position for each batch would cost more than many a batch.
        return {**self._position, "skip": self._position["skip"] + self._consumed}

    def load_state_dict(self, state: dict[str, Any], rest: DataFlow | None = None) -> None:
        """Go on at a position. Only before the first `get`.

        Args:
            state: What `state_dict` gave.
            rest: A flow that gives the rest of the epoch under way, whose position it then is; after it the feeder's
                own flow follows from the next epoch on.

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
            timeout: Seconds to wait at most.

        Returns:
            The block, or None when there was none in time.

        Raises:
            Exception: What the dataflow raised, once all batches before it are handed out.
        """
        if self._thread is None:
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
            if isinstance(item, BaseException):  # stays there: every later call raises it, and none waits for a thread
                raise item  # that is gone
            self._ready.popleft()
            if len(self._ready) <= self._depth // 2:
                self._change.notify_all()
        self._position, self._consumed = item.position, 0
        return item

    def consumed(self, rows: int) -> None:
        """Say that training has used so many more batches of the block that `get` gave last."""
        self._consumed += rows

    def close(self, timeout: float = 10.0) -> bool:
        """Stop the thread and close the dataflow's iterator. What was not consumed is dropped.

        Args:
            timeout: Seconds to wait for a datapoint that is being made.

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
            if len(self._ready) >= self._depth:  # made anew several at a time: waking for each costs as much again
                self._change.wait_for(lambda: self._stopping or len(self._ready) <= self._depth // 2)
            if self._stopping:
                return False
            self._ready.append(item)
            if self._waiting:
                self._change.notify_all()
            return True

    def _batches(self) -> Generator[list[np.ndarray], None, None]:
        """All batches, for ever."""
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
                    del datapoint  # and not in this frame until the next has come: they may lie in a worker's slot
                    yield arrays
                    del arrays
            finally:
                closing = getattr(iterator, "close", None)
                if closing is not None:
                    closing()
            if self._rest is None:
                self._check_epoch()
            else:
                self._flow.load_state_dict({**self._rest.state_dict(), "position": None})  # its next epoch
                self._rest = None
            self._passed = 0

    def _check_epoch(self) -> None:
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
        position = self._where()
        builder: _Stack | None = None
        capacity: int | None = None
        while True:
            arrays, failure = None, None
            try:
                arrays = next(batches, None)
            except Exception as error:  # after what was made before it
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
                yield builder.block(position)
                position = {**position, "skip": position["skip"] + builder.rows}
                builder = None
            if builder is None:
                builder = _Stack(arrays, capacity, self._placement)
            builder.add(arrays)
            del arrays
            # A block that is not full goes out when training waits: with a slow flow 32 batches would take seconds, and
            # how many steps share a call changes no bit.
            if builder.rows == capacity or (self._waiting and not self._ready):
                yield builder.block(position)
                position, builder = self._where(), None

    def _tensors(self, arrays: Sequence[np.ndarray]) -> list[tf.Tensor]:
        parts = self._placement.parts(arrays)
        return self._placement.put([_owned_tensors(part, self._handed_over) for part in parts])

    def _where(self) -> dict[str, Any]:
        """The position after what the flow has given so far."""
        flow = self._flow if self._rest is None else self._rest
        state = {"flow": flow.state_dict(), "passed": self._passed, "skip": self._skip}
        return state if self._rest is None else {**state, "in_rest": True}


class _Stack:
    """A block in the making. The buffers have room for all rows at once, so that shapes stay the same."""

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
    """Uninitialised memory for some arrays like this one."""
    if array.dtype.kind in "OSU":
        return np.full((capacity, *array.shape), "", object)
    return aligned_empty((capacity, *array.shape), array.dtype)


def _owned_tensors(arrays: Sequence[np.ndarray], handed_over: bool) -> list[tf.Tensor]:
    """Tensors whose memory nobody writes into any more; `handed_over`: nobody else in this process holds the arrays."""
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
    if array.dtype.hasobject or array.dtype.kind in "SU":
        return array
    copy = aligned_empty(array.shape, array.dtype.newbyteorder("="))
    copy[...] = array
    return copy
