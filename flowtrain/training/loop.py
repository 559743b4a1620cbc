"""The order of things: epochs, steps, hooks, and the quiet moments at which a run can be saved."""

from __future__ import annotations

import logging
import time
from typing import Any

from flowtrain.feed import Block, Feeder
from flowtrain.utils.errors import TrainingError

from .epoch_times import EpochTimes
from .run import Run

__all__ = ["Loop", "Preempted"]

logger = logging.getLogger("flowtrain.training")

_CALL_SECONDS = 0.1  # a call of several steps should not take longer: signals and the progress bar wait for it
_POLL = 0.5


class Preempted(SystemExit):
    """The process was asked to end (SIGTERM); the run is saved and can be resumed. Exit code 143."""

    def __init__(self, message: str) -> None:
        super().__init__(128 + 15)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Loop:
    """Runs the epochs of a trainer.

    A checkpoint is only ever made between rounds of hooks: when all callbacks have had the same hook, so that a
    run that goes on from it is in a state that the first run was in, too.

    Args:
        trainer: Whose callbacks, steps and state.
        feeder: Gives the batches; None: there are no steps to run.
    """

    def __init__(self, trainer: Run, feeder: Feeder | None) -> None:
        self._trainer = trainer
        self._callbacks = trainer.callbacks
        self._feeder = feeder
        self._block: Block | None = None
        self._row = 0
        self._seconds_per_step = 0.0
        self._times = EpochTimes()

    def run(self, last_epoch: int) -> None:
        """Run until the end of an epoch, or until something stops the training."""
        try:
            self._run_epochs(last_epoch)
        except BaseException:
            self._trainer.progress.advance(-self._trainer.program.abandon())
            raise

    def _run_epochs(self, last_epoch: int) -> None:
        trainer, progress = self._trainer, self._trainer.progress
        while not trainer.should_stop() and (progress.epoch < last_epoch or not progress.epoch_done):
            resumed_inside = not progress.epoch_done
            if not resumed_inside:
                progress.begin_epoch()
            with self._times.callbacks:
                self._callbacks.tell("before_epoch")
                if resumed_inside:
                    trainer.reload_callbacks()
            self._settle()
            trainer.share_scalars()
            self._run_steps(trainer.steps_per_epoch)
            if progress.local_step < trainer.steps_per_epoch:
                return  # stopped inside the epoch
            trainer.check_cost()
            with self._times.callbacks:
                self._callbacks.tell("after_epoch")
                self._callbacks.tell("trigger_epoch")
            progress.epoch_done = True
            about = {"epoch": progress.epoch, "seconds": self._times.take()}
            trainer.monitors.put_event("epoch", about, progress.global_step)
            self._settle()
            trainer.agree_to_stop()
            if trainer.stop_reason is not None:
                return

    def _run_steps(self, steps: int) -> None:
        trainer, progress = self._trainer, self._trainer.progress
        while progress.local_step < steps and not trainer.should_stop():
            left = steps - progress.local_step
            due = self._callbacks.next_step(progress.global_step) - progress.global_step  # 1: the very next step
            quiet = left if due > left else int(due) - 1
            if quiet > 0:
                self._run_quiet(quiet)
            else:
                self._run_told()
            self._settle()
        trainer.program.finish()

    def _settle(self) -> None:
        with self._times.saving:
            self._trainer.settle()

    def _run_quiet(self, count: int) -> None:
        """Run up to `count` steps that no callback wants to see, as many as one call can take."""
        progress = self._trainer.progress
        if self._feeder is None:
            progress.advance(count)
            return
        block = self._next_block()
        count = min(count, block.rows - self._row, self._most_per_call())
        self._trainer.program.start(block, self._row, self._row + count)
        self._consume(count)
        self._seconds_per_step = self._trainer.program.throttle()

    def _run_told(self) -> None:
        """Run one step with the step hooks of the callbacks that are due."""
        progress = self._trainer.progress
        block = None if self._feeder is None else self._next_block()  # it may wait: before any hook
        self._trainer.program.finish()
        with self._times.callbacks:
            wanted = self._callbacks.before_run(progress.global_step + 1)
        values: dict[str, Any] = {}
        if block is None:
            progress.advance(1)
        else:
            if wanted:
                names = [name for its_names in wanted.values() for name in its_names]
                _, values = self._trainer.program.run_fetching(block, self._row, names)
            else:
                self._trainer.program.run(block, self._row, self._row + 1)
            self._consume(1)
        with self._times.callbacks:
            self._callbacks.after_run(wanted, values)

    def _most_per_call(self) -> int:
        limit = self._trainer.config.steps_per_call or 1_000_000
        if self._seconds_per_step:
            limit = min(limit, max(1, int(_CALL_SECONDS / self._seconds_per_step)))
        return limit

    def _next_block(self) -> Block:
        if self._block is None:
            with self._times.data:
                self._block, self._row = self._wait_for_block(), 0
        return self._block

    def _wait_for_block(self) -> Block:
        waited, limit = time.monotonic(), self._trainer.config.data_timeout
        while True:
            block = self._feeder.get(_POLL)  # type: ignore[union-attr]
            if block is not None:
                return block
            self._trainer.check_signal()
            if time.monotonic() - waited > limit:
                raise TrainingError(
                    f"the dataflow {self._trainer.config.dataflow} gave nothing for {limit:g} s "
                    f"(step {self._trainer.global_step + 1}). If a batch may take longer: data_timeout=..."
                )

    def _consume(self, count: int) -> None:
        self._feeder.consumed(count)  # type: ignore[union-attr]
        self._trainer.progress.advance(count)
        self._row += count
        if self._block is not None and self._row == self._block.rows:
            self._block = None
