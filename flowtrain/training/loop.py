"""The training loop: epochs, steps, rounds of hooks, and saves and stops between rounds."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from flowtrain.feed.feeder import Block
from flowtrain.model.store import read_value
from flowtrain.utils.errors import CheckpointError, TrainingError, first_few

from . import devices
from .epoch_times import EpochTimes
from .feeding import Feeding
from .program import Program
from .requests import Requests, Save, logger
from .run_state import RunState
from .run_variables import assign, optimizer_names

__all__ = ["Loop", "Preempted"]

# The longest that a call of several steps should take: signals and the progress bar wait for it. How many steps are
# fused follows from measured time and may differ after a resume; it changes no bit, since the loop inside is the same.
_CALL_SECONDS = 0.1


class Preempted(SystemExit):
    """Exit of a process that was asked to end (SIGTERM), after saving its run. Exit code 143, as of a killed process.

    A SystemExit, so that a script that does not catch it ends without a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(128 + 15)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Loop:
    """Runs the epochs of a run: steps, rounds of hooks, and between them what was asked for (saves, stops, SIGTERM).

    A checkpoint is made only between rounds of hooks, when all callbacks have had the same hook, so that a resumed run
    begins in a state that the first run was in, too. One Loop serves all ``train()`` calls of a trainer: after a Ctrl-C
    the next call goes on where it was, in the middle of a round of hooks or of an epoch.

    Args:
        state: The run's variables, counts, data, callbacks and monitors.
        program: The compiled functions that run steps.
        requests: The saves and stops that callbacks and signals ask for.
        steps_per_epoch: Steps of an epoch.
        steps_per_call: The most steps in one call; None: as many as no callback wants to see.
        is_chief: Whether this worker saves.
        log_dir: The run's folder, for messages.
    """

    def __init__(
        self,
        state: RunState,
        program: Program,
        requests: Requests,
        steps_per_epoch: int,
        steps_per_call: int | None,
        is_chief: bool,
        log_dir: Path,
    ) -> None:
        self._state, self._program, self._requests = state, program, requests
        self._steps_per_epoch, self._steps_per_call = steps_per_epoch, steps_per_call
        self._is_chief, self._log_dir = is_chief, log_dir
        self._workers = devices.part(state.strategy)[1]
        self._seconds_per_step = 0.0
        self._times = EpochTimes()

    def run(self, last_epoch: int) -> None:
        """Run until an epoch is done, or until a callback or another worker stops the training.

        Args:
            last_epoch: The number of the last epoch.

        Raises:
            TrainingError: A cost or a weight was not finite, or updates are skipped for good.
            Preempted: The process was asked to end.
        """
        progress, requests = self._state.progress, self._requests
        try:
            self._state.callbacks.call_before_train()
            self.settle()
            self._agree_to_stop()
            while not self._should_stop() and (progress.epoch < last_epoch or not progress.epoch_done):
                if not progress.epoch_ending:
                    self._begin_epoch()
                    while progress.local_step < self._steps_per_epoch and not self._should_stop():
                        self._run_some_steps(self._steps_per_epoch - progress.local_step)
                        self.settle()
                    self._program.finish()
                    if progress.local_step < self._steps_per_epoch:
                        break  # stopped inside the epoch
                self._end_epoch()
                self.settle()
                self._agree_to_stop()
                if requests.stop_reason is not None:  # `_should_stop` is False with several workers
                    break
            self._check_weights()
            devices.share_history(self._state.strategy, self._state.monitors.history)
        except BaseException:
            # Steps are counted when they are started. Those that failed made no update, so a save after the error, or a
            # next train(), must not believe that they were done.
            progress.advance(-self._program.abandon())
            raise

    def settle(self) -> None:
        """Do the saves that were asked for, and obey SIGTERM; only called between two rounds of hooks."""
        # Ctrl-C may come inside a callback: some have had the hook and some not, and a checkpoint of that moment would
        # be of a state in which no run ever is. The round is finished when train() is called again.
        if self._state.callbacks.interrupted:
            return
        with self._times.saving:
            self._state.checkpoints.check()
            if self._requests.saves:
                self._check_weights()  # which waits for the steps under way
                saves = self._requests.take_saves()
                if self._is_chief:
                    for name, save in saves.items():
                        self._state.save(name, save)
            self._obey_signal()

    # ------------------------------------------------------------------ epochs

    def _begin_epoch(self) -> None:
        state, progress = self._state, self._state.progress
        with self._times.callbacks:
            if progress.epoch_done:
                with self._requests.uninterrupted:  # a begun epoch whose round is not noted would have no before_epoch
                    progress.begin_epoch()
                    state.graph.metrics.reset()
                    state.callbacks.begin_round("before_epoch")
            else:  # a resume or an earlier train() left the epoch in its middle, perhaps in the round of a step
                state.callbacks.call_before_epoch_again(state.monitors.silenced)
            state.callbacks.finish_round()
        state.check_trainable()  # a callback may have set it
        self.settle()
        self._share_scalars()

    def _end_epoch(self) -> None:
        state, progress = self._state, self._state.progress
        if self._workers == 1:
            self._check_cost()
        else:  # here, where all workers do it: before a save the chief alone would raise, and leave the others waiting
            self._check_weights()
        with self._times.callbacks:
            if not progress.epoch_ending:  # else an earlier train() was interrupted in this round
                with self._requests.uninterrupted:
                    progress.epoch_ending = True
                    state.callbacks.begin_round("after_epoch", "trigger_epoch")
            state.callbacks.finish_round()
        progress.end_epoch()
        about = {"epoch": progress.epoch, "seconds": self._times.take()}
        state.monitors.put_event("epoch", about, progress.global_step)

    # ------------------------------------------------------------------ steps

    def _run_some_steps(self, left: int) -> None:
        """Run the next step with the hooks that are due at it, or several steps that no callback wants to see.

        Args:
            left: How many steps the epoch has left; at least 1.
        """
        state, progress = self._state, self._state.progress
        due = state.callbacks.next_step(progress.global_step) - progress.global_step  # in 1, 2, ... steps, or never
        unseen = left if due > left else int(due) - 1  # steps before that one, within the epoch
        if unseen == 0:
            self._run_seen_step()
        elif state.feeding is None:  # a run without steps (NoOpTrainer) only counts
            progress.advance(unseen)
        else:
            block, row = self._next_block(state.feeding)
            count = min(unseen, block.rows - row, self._most_per_call())
            with self._requests.uninterrupted:  # a step that was made and not counted would be made again
                self._program.start(block, row, row + count)
                self._consumed(count)
            self._seconds_per_step = self._program.throttle()

    def _run_seen_step(self) -> None:
        state, progress = self._state, self._state.progress
        # Waiting for data is where SIGTERM is obeyed and a save made, so it comes before the first hook of the step: in
        # the middle of a round nothing can be saved.
        place = None if state.feeding is None else self._next_block(state.feeding)
        self._program.finish()  # before_run may read variables, so the steps that were started must be done
        with self._times.callbacks:
            wanted = state.callbacks.before_run(progress.global_step + 1)
        names = [name for its_names in wanted.values() for name in its_names]
        values: dict[str, Any] = {}
        with self._requests.uninterrupted:  # made, counted, and its hooks noted for a train() that goes on
            if place is None:
                progress.advance(1)
            else:
                block, row = place
                if names:
                    _, values = self._program.run_fetching(block, row, names)
                else:
                    self._program.run(block, row, row + 1)
                self._consumed(1)
            state.callbacks.step_done(values)
        with self._times.callbacks:
            state.callbacks.finish_round()

    def _next_block(self, feeding: Feeding) -> tuple[Block, int]:
        with self._times.data:
            return feeding.next_block(self._state.progress.global_step + 1, self._obey_signal)

    def _consumed(self, count: int) -> None:
        if self._state.feeding is not None:
            self._state.feeding.consumed(count)
        self._state.progress.advance(count)

    def _most_per_call(self) -> int:
        limit = self._steps_per_call or 1_000_000
        if self._seconds_per_step:
            limit = min(limit, max(1, int(_CALL_SECONDS / self._seconds_per_step)))
        return limit

    # ------------------------------------------------------------------ between rounds of hooks

    def _should_stop(self) -> bool:
        """Whether to stop inside an epoch. Not with several workers: the others would wait for this one's gradients."""
        return self._requests.stop_reason is not None and self._workers == 1

    def _agree_to_stop(self) -> None:
        """Stop all workers, between epochs, if one of them stops. A collective: all workers call it."""
        stopping = self._requests.stop_reason is not None
        if devices.any_worker(self._state.strategy, stopping) and not stopping:
            self._requests.stop("another worker stops", self._state.progress.global_step)

    def _share_scalars(self) -> None:
        """Broadcast the chief's scalar variables at the start of an epoch: its callbacks alone set learning rates."""
        if self._workers == 1:
            return
        graph, strategy = self._state.graph, self._state.strategy
        named = {**graph.store.variables, **optimizer_names(graph.objectives)}
        scalars = [variable for variable in named.values() if tuple(variable.shape) == () and not variable.trainable]
        values = np.array([read_value(variable) for variable in scalars], np.float64)
        with strategy.scope():
            for variable, value in zip(scalars, devices.from_chief(strategy, values), strict=True):
                assign(variable, value)

    def _obey_signal(self) -> None:
        """Save the run and raise `Preempted`, if the process was asked to end."""
        reason = self._requests.leave_reason
        if reason is None:
            return
        self._check_weights()
        step = self._state.progress.global_step
        result = f"saved at step {step} in {self._log_dir}"
        if self._is_chief:
            try:
                self._state.save(None, Save(keep=None, background=False))
                self._state.checkpoints.finish()
            except CheckpointError as error:
                result = f"step {step} could NOT be saved in {self._log_dir}: {error}"
        message = f'{reason}: {result}; go on with resume="auto"'
        logger.warning(message)
        raise Preempted(message)

    def _check_cost(self) -> None:
        """Raise if a cost so far was not finite, or if updates are skipped for good. Waits for the device."""
        self._program.finish()
        variables, epoch = self._state.step_variables, self._state.progress.epoch
        step = variables.first_bad_step()
        if step is not None:
            raise TrainingError(
                f"the cost became NaN or infinite at step {step} (epoch {epoch}). {self._last_good()} "
                "Common reasons: a learning rate that is too high, log or division of zero, broken data. "
                "CheckNumerics() names the first tensor that is not finite."
            )
        starved = variables.starved()
        if starved:
            raise TrainingError(
                f'precision="mixed_float16": the weights do not change any more. The gradients of '
                f"{first_few(starved)} were not finite many times in a row, even with a loss scale of 1 (seen after "
                f"step {self._state.progress.global_step}, epoch {epoch}), so each update was skipped. "
                'Use precision="mixed_bfloat16", which has the range of float32, or find the fault in what they go '
                'through (sqrt or norm of zero, a division). With precision="float32" CheckGradient() in '
                "gradient_processors() names the step."
            )

    def _check_weights(self) -> None:
        """Raise if a weight is not finite, which a finite cost does not show. Waits for the device."""
        self._check_cost()
        bad = self._state.finite_weights.bad()
        if bad:
            progress = self._state.progress
            raise TrainingError(
                f"{len(bad)} variables hold NaN or infinity after step {progress.global_step} (epoch "
                f"{progress.epoch}), under a cost that is finite: {first_few(bad, 3)}. "
                f"{self._last_good()} Common reasons: a gradient that is not finite (sqrt or norm of zero), a learning "
                "rate that is too high. CheckGradient() in gradient_processors() names the variable and the step."
            )

    def _last_good(self) -> str:
        """A sentence for errors: which checkpoint to go on from."""
        with contextlib.suppress(CheckpointError):
            self._state.checkpoints.wait()
            newest = self._state.newest_good()
            if newest is not None:
                return f"The last good checkpoint is {newest}."
        return "No good checkpoint was saved before."
