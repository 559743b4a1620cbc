"""Pipeline of training steps: calls of TensorFlow that are started while earlier ones still run."""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Callable

import tensorflow as tf

from flowtrain.model.internals import BackgroundExecutor

__all__ = ["StepPipeline"]

# The most calls under way. Measured with a step of 8 ms on two cores and data from workers, as a part of the speed of
# calling it again and again on one resident batch: one after the other 0.95, 2 ahead 0.96, 8: 1.01, 16 and 32: 1.02.
_CALLS = 16
_SECONDS = 0.1  # the most of all calls under way together: signals and hooks wait for them
_BYTES = 64 << 20  # the most of their batches together
_INSTANT = 2e-5  # seconds: reading a result took less, so it was there


class StepPipeline:
    """Queue of started calls, which keeps the device busy while Python takes batches and asks the callbacks.

    Steps that are called one by one leave the cores idle in between, and wake a thread for each step. Here several are
    started at a time, whenever few are under way. They run one after the other in the order of their start, so they
    compute the same bits. An error of an operation is raised by any later call here. Variables must not be read before
    `finish`.

    Attributes:
        seconds_per_step: Seconds per step of the last call whose time is known; 0.0 before that.
    """

    def __init__(self) -> None:
        self.seconds_per_step = 0.0
        self._executor: BackgroundExecutor | None = None
        # (result, steps, when it was started) of each call that is not known to be done, oldest first
        self._under_way: collections.deque[tuple[tf.Tensor, int, float]] = collections.deque()
        self._room = 1  # how many calls of this size may be under way
        self._ended: float | None = None  # when the last finished call ended, if that is known

    def start(self, call: Callable[[], tf.Tensor], steps: int, size: int) -> None:
        """Start a call.

        Args:
            call: Runs the steps; returns a tensor that is there when they are done.
            steps: How many steps the call runs.
            size: Bytes of the batches that it holds.
        """
        if self._executor is None:  # it has a thread, so it is made only in runs that start steps ahead
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
        # Down to a quarter and not by one: several calls are then started in a row, and a thread is woken once for all
        # of them. A quarter is left, so the device has work meanwhile.
        if len(self._under_way) >= most:
            self._wait_for_all_but(most // 4)

    def finish(self) -> None:
        """Wait until all calls are done.

        Raises:
            OpError: An operation failed.
        """
        self._wait_for_all_but(0)

    def abandon(self) -> int:
        """Wait until nothing runs, after an error here or elsewhere; afterwards calls can be started again.

        Returns:
            How many of the started steps failed, or were not run because an earlier one had failed.
        """
        with contextlib.suppress(tf.errors.OpError):
            self.finish()
        # A call leaves the queue only when its result could be read: what is left are the failed one and all after it.
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
            # If reading did not wait, the call had ended earlier, nobody knows when. Such a time is not used: the steps
            # would seem as slow as the data.
            ended = now if now - asked > _INSTANT else None
            if ended is not None and self._ended is not None:
                self.seconds_per_step = (ended - max(began, self._ended)) / steps
            self._ended = ended
            self._under_way.popleft()
