"""Calls of TensorFlow that are started while those before them still run."""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Callable

import tensorflow as tf

from flowtrain.model.internals import BackgroundExecutor

__all__ = ["StepPipeline"]

# What may be under way. More calls gain little: a step of 8 ms on two cores, with data from workers, runs at 0.95 of
# the speed that it has called again and again on one resident batch; with 2 ahead at 0.96, 8: 1.01, 16 and 32: 1.02.
_CALLS = 16
_SECONDS = 0.1  # of all calls under way: signals and hooks wait for them
_BYTES = 64 << 20  # of their batches
_INSTANT = 2e-5  # seconds: reading what is there


class StepPipeline:
    """Keeps the device busy while Python takes batches and asks the callbacks.

    Called one by one, compiled steps leave the cores idle in between, and wake a thread for each step. Here they are
    started several at a time, whenever but a few are under way. They run in order, one after the other, so they compute
    the same bits. What an operation of theirs raises, any later call here raises. Nobody may look at variables before
    `finish`.

    Attributes:
        seconds_per_step: Of the last call that is known to be done.
    """

    def __init__(self) -> None:
        self.seconds_per_step = 0.0
        self._executor: BackgroundExecutor | None = None
        self._under_way: collections.deque[tuple[tf.Tensor, int, float]] = collections.deque()
        self._room = 1
        self._ended: float | None = None  # when the last call did, if that is known

    def start(self, call: Callable[[], tf.Tensor], steps: int, size: int) -> None:
        """Start a call.

        Args:
            call: Gives a tensor that the call computes.
            steps: How many steps it makes.
            size: Bytes of the batches it holds.
        """
        if self._executor is None:  # a thread of its own, made only where steps are started ahead
            self._executor = BackgroundExecutor()
        began = time.perf_counter()
        if not self._under_way:
            self._ended = began
        with self._executor.scope():
            cost = call()
        self._under_way.append((cost, steps, began))
        self._room = min(_CALLS, _BYTES // max(size, 1))

    def throttle(self) -> None:
        """Wait while too many calls are under way to start another one."""
        steps = self._under_way[-1][1] if self._under_way else 1
        seconds = self.seconds_per_step * steps
        most = min(self._room, int(_SECONDS / seconds)) if seconds else 1
        if len(self._under_way) >= most:
            self._wait_for_all_but(most // 4)

    def finish(self) -> None:
        """Wait until all calls are done."""
        self._wait_for_all_but(0)

    def abandon(self) -> int:
        """Wait until nothing runs, after an error here or elsewhere.

        Returns:
            How many of the steps that were started have failed, or were not run because an earlier one had failed.
        """
        with contextlib.suppress(tf.errors.OpError):
            self.finish()
        lost = sum(steps for _, steps, _ in self._under_way)
        self._under_way.clear()
        if self._executor is not None:
            self._executor.forget_error()
        return lost

    def _wait_for_all_but(self, count: int) -> None:
        while len(self._under_way) > count:
            cost, steps, began = self._under_way[0]
            asked = time.perf_counter()
            cost.numpy()  # type: ignore[attr-defined]
            now = time.perf_counter()
            # Where reading did not wait, the call had ended before, nobody knows when: such a time is not used, or the
            # steps would seem as slow as the data.
            ended = now if now - asked > _INSTANT else None
            if ended is not None and self._ended is not None:
                self.seconds_per_step = (ended - max(began, self._ended)) / steps
            self._ended = ended
            self._under_way.popleft()
