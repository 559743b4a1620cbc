"""The trainer: builds a run from its configuration, and is what callbacks and users see of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.feed import Feeder, Inputs
from flowtrain.model import ModelGraph
from flowtrain.model.internals import failure_of
from flowtrain.model.store import read_value
from flowtrain.monitors import Monitors, default_monitors
from flowtrain.utils.errors import ConfigError, TrainingError
from flowtrain.utils.loading import only_to_run
from flowtrain.utils.run_status import clear_end, record_end
from flowtrain.utils.seeding import default_seed

from . import devices, run_state
from .checkpoints import Checkpoints
from .config import TrainConfig
from .console import show_log
from .defaults import default_callbacks
from .fusing import block_capacity
from .hooks import CallbackList
from .log_folder import LogFolder, default_dir
from .loop import Loop, Preempted
from .program import Program
from .progress import Progress
from .signals import Terminator
from .step import Step
from .variables import RunVariables, StepVariables, assign, optimizer_names
from .view import RunView

__all__ = ["NoOpTrainer", "SimpleTrainer", "Trainer"]

logger = logging.getLogger("flowtrain.training")

_LEAVE = 0.5  # seconds


class Trainer(RunView):
    """Trains a model: ``train(config)`` makes one, a notebook may use it directly.

    Override `run_step` for another update than the minimisation of the cost.

    Args:
        config: The run.
        resume: ``"auto"``: go on from the newest whole checkpoint in the log folder, start where there is none; a path:
            go on from that checkpoint; None: start, and refuse a folder that holds a run.

    Attributes:
        config: As given.
        model: Its ModelDesc.
        graph: Its ModelGraph.
        log_dir: The run's folder.
        monitors: Where numbers go.
        is_chief: Whether this process logs and saves.

    Example:
        >>> with SimpleTrainer(config) as trainer:                           # doctest: +SKIP
        ...     trainer.train(max_epoch=2)
        ...     print(trainer.history["cost"][-1])
        ...     trainer.train(max_epoch=4)                                   # goes on
    """

    def __init__(self, config: TrainConfig, resume: str | Path | bool | None = None) -> None:
        only_to_run("train()")
        if not isinstance(config, TrainConfig):
            raise ConfigError(f"a trainer takes a TrainConfig, got {type(config).__name__}")
        self.config, self.model = config, config.model
        self.steps_per_epoch = self._steps()
        self.max_epoch = config.max_epoch
        self.progress = Progress(config.starting_epoch - 1)
        self.stop_reason: str | None = None
        self.strategy = config.strategy or tf.distribute.get_strategy()
        self.is_chief = devices.is_chief(self.strategy)
        show_log()
        devices.prepare(config)
        self.log_dir = Path(config.log_dir) if config.log_dir is not None else default_dir(bool(resume))
        self._folder = LogFolder(self.log_dir, resume=bool(resume)) if self.is_chief else None
        self._saves: dict[str | None, tuple[int | None, bool]] = {}
        self._claims: dict[Path, object] = {}
        self._terminator = Terminator()
        self._feeder_state: dict[str, Any] | None = None
        self._callback_state: dict[str, Any] = {}
        self._feeder: Feeder | None = None
        self._left_behind: Feeder | None = None  # it is still busy with a datapoint
        self._failed = False
        try:
            self._build(resume)
        except BaseException as error:
            if self._folder is not None:
                record_end(self.log_dir, error)
            self.close()
            raise

    def _steps(self) -> int:
        return self.config.steps()

    # ------------------------------------------------------------------ for users

    def run_step(self, step: Step) -> None:
        """One training step, to be traced. Override it for models with several costs.

        Args:
            step: Its `minimize` makes a forward pass and updates; see `Step`.
        """
        step.minimize()

    def train(self, max_epoch: int | None = None) -> Trainer:
        """Train until the end of an epoch, or until a callback stops it.

        Args:
            max_epoch: Number of the last epoch; None: the configuration's.

        Returns:
            The trainer itself.

        Raises:
            TrainingError: The cost became NaN or infinite; names the step.
            Preempted: The process got SIGTERM; the run is saved.
            KeyboardInterrupt: As it came; nothing is saved half.
        """
        if self._failed:
            raise TrainingError(
                "this trainer has failed; make a new one, with resume='auto' to go on from the last save"
            )
        last = self.max_epoch = max_epoch or self.config.max_epoch
        self.stop_reason = None
        if self._folder is not None:
            clear_end(self.log_dir)
        loop = Loop(self, self._start_feeding())
        failure: BaseException | None = None
        try:
            with self._terminator:
                self.callbacks.tell("before_train")
                self.settle()
                loop.run(last)
                self.check_cost()
        except BaseException as error:
            failure = error
            if isinstance(error, tf.errors.OpError):
                error.add_note(f"In {type(self.model).__name__}, after step {self.global_step}: {failure_of(error)}")
            self._failed = not isinstance(error, Preempted | KeyboardInterrupt)
            raise
        finally:
            self._finish(failure)
        return self

    def close(self) -> None:
        """Release the log folder and what else the run holds; weights and predictors stay usable."""
        self._stop_feeding()
        if hasattr(self, "checkpoints"):
            self.checkpoints.wait()
        if hasattr(self, "monitors"):
            self.monitors.close()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------------ for callbacks

    def add_to_step(self, function: Callable[[Any], None]) -> None:
        """Trace `function(tower)` into every training step, after the update."""
        self._in_setup("add_to_step")
        self._after_step.append(function)

    def add_variables(self, variables: Mapping[str, Any]) -> None:
        """Put variables of a callback into checkpoints, by name."""
        self._in_setup("add_variables")
        self.variables.add(variables)

    def save_checkpoint(self, name: str | None = None, keep: int | None = None, background: bool = False) -> None:
        """Save the whole run once all callbacks have finished the present hook.

        Args:
            name: None: ``step-<global_step>``; else it is replaced at each save and never deleted.
            keep: How many ``step-...`` checkpoints stay; None: all.
            background: Whether training goes on while the file is written, at the cost of a copy of the variables on
                their device. On the CPU it always does.
        """
        self._saves[name] = keep, background

    def stop(self, reason: str) -> None:
        """End training regularly after the present hook; in a step hook: after this step."""
        if self.stop_reason is None:
            logger.info("training stops at step %d: %s", self.global_step, reason)
            self.stop_reason = reason

    def preempt(self, reason: str) -> None:
        """Save the run and end the process, as SIGTERM does, at the next quiet moment (after this step)."""
        self._terminator.ask(reason)

    def claim_file(self, path: str | Path, owner: object) -> Path:
        """Reserve a path (relative: inside log_dir) for one writer.

        Raises:
            ConfigError: Another one has it.
        """
        path = (self.log_dir / path).resolve()
        holder = self._claims.setdefault(path, owner)
        if holder is not owner:
            raise ConfigError(f"{owner} and {holder} both write {path}: give one of them another name")
        return path

    # ------------------------------------------------------------------ for the loop

    def settle(self) -> None:
        """Between two rounds of hooks: do the saves that were asked for, and obey SIGTERM."""
        if self._saves:
            self.check_cost()  # which waits for the steps under way
            saves, self._saves = self._saves, {}
            if self.is_chief:
                for name, (keep, background) in saves.items():
                    run_state.save(self, name, keep, background)
        self.check_signal()

    def agree_to_stop(self) -> None:
        """At the end of an epoch: what stops one worker stops all."""
        if devices.any_worker(self.strategy, self.stop_reason is not None) and self.stop_reason is None:
            self.stop("another worker stops")

    def share_scalars(self) -> None:
        """At the start of an epoch: scalars that callbacks of the chief have set (learning rates) reach all workers."""
        if self.workers > 1:
            named = {**self.graph.store.variables, **optimizer_names(self.graph.objectives)}
            scalars = [
                variable for variable in named.values() if tuple(variable.shape) == () and not variable.trainable
            ]
            values = np.array([read_value(variable) for variable in scalars], np.float64)
            with self.strategy.scope():
                for variable, value in zip(scalars, devices.from_chief(self.strategy, values), strict=True):
                    assign(variable, value)

    def should_stop(self) -> bool:
        """Inside an epoch: one worker of several cannot stop alone, the others would wait for its gradients."""
        return self.stop_reason is not None and self.workers == 1

    def check_signal(self) -> None:
        """Save and leave when the process was asked to end."""
        reason = self._terminator.reason
        if reason is None:
            return
        self.check_cost()
        if self.is_chief:
            run_state.save(self, None, None, background=False)
            self.checkpoints.wait()
        message = f'{reason}: saved at step {self.global_step} in {self.log_dir}; go on with resume="auto"'
        logger.warning(message)
        raise Preempted(message)

    def check_cost(self) -> None:
        """Raise when a cost since the start was not finite. Waits for the device."""
        self.program.finish()
        step = self._step_variables.first_bad_step()
        if step is not None:
            self.checkpoints.wait()
            newest = self.checkpoints.newest()
            kept = f"The last good checkpoint is {newest}." if newest else "No checkpoint was saved before."
            raise TrainingError(
                f"the cost became NaN or infinite at step {step} (epoch {self.epoch_num}). {kept} "
                "Common reasons: a learning rate that is too high, log or division of zero, broken data. "
                "CheckNumerics() names the first tensor that is not finite."
            )

    def reload_callbacks(self) -> None:
        """Give callbacks the state of the checkpoint again, after before_epoch in a resumed epoch."""
        self.callbacks.load_state_dict(self._callback_state)

    def restore_state(self, state: dict[str, Any]) -> None:
        """Take what a checkpoint holds besides variables and counts."""
        self._feeder_state = state["data"]
        self._callback_state = state["callbacks"]
        self.callbacks.load_state_dict(state["callbacks"])
        self.monitors.load_state_dict(state["monitors"])

    def feeder_state(self) -> dict[str, Any] | None:
        """The position in the data."""
        return self._feeder_state if self._feeder is None else self._feeder.state_dict()

    # ------------------------------------------------------------------ building

    def _build(self, resume: str | Path | bool | None) -> None:
        config = self.config
        seed = default_seed() % 2**31
        tf.random.set_seed(seed)
        self.graph = ModelGraph(
            self.model,
            strategy=config.strategy,
            precision=None if config.precision == "float32" else config.precision,
        )
        tower = self.graph.build_tower
        averaged = [name for name in tower.scalars if name not in self.graph.store.summary_scalars]
        averaged += [name for name in tower.costs if name not in averaged]
        self._step_variables = StepVariables(
            averaged, self.graph.objectives, config.accumulate, config.precision == "mixed_float16"
        )
        self.variables = RunVariables(self.graph, self._step_variables)
        self.checkpoints = Checkpoints(self.log_dir / "checkpoints")
        if self._folder is not None:
            self.checkpoints.clear()
            self._folder.describe(config.describe())
        monitors = default_monitors() if config.monitors is None else config.monitors
        self.monitors = Monitors(monitors if self.is_chief else [], self.log_dir)
        chosen = default_callbacks(config.callbacks) if config.default_callbacks is None else config.default_callbacks
        self._callbacks = CallbackList([*chosen, *config.callbacks], self.is_chief)
        self._callbacks.set_trainer(self)
        self._after_step: list[Callable[[Any], None]] = []
        self._setting_up = True
        self._callbacks.tell("setup_graph")
        self._setting_up = False
        self.program = Program(
            self.run_step,
            self.graph,
            self._step_variables,
            self.strategy,
            self._after_step,
            config.accumulate,
            config.jit,
        )
        if config.weights is not None:
            run_state.load_weights(self, config.weights)
        if resume:
            run_state.resume(self, resume)
        if self.global_step == 0:
            self.monitors.put_event("config", config.describe(), 0)

    def _in_setup(self, what: str) -> None:
        if not self._setting_up:
            raise ConfigError(f"{what} must be called in setup_graph: the training step is traced after it")

    def _start_feeding(self) -> Feeder | None:
        config, flow = self.config, self.config.dataflow
        if flow is None:
            raise ConfigError("TrainConfig needs dataflow= to train")
        if self._left_behind is not None:  # two threads cannot walk one flow
            self._left_behind.close()
            self._left_behind = None
        inputs = Inputs(
            self.graph.input_specs,
            part=devices.part(self.strategy),
            divide=devices.local_replicas(self.strategy),
            rows=config.global_batch,
        )

        def capacity(arrays: Sequence[np.ndarray]) -> int:
            return block_capacity(arrays, self.graph, config)

        self._feeder = Feeder(flow, inputs, capacity, config.prefetch)  # type: ignore[arg-type]
        if self._feeder_state is not None:
            self._feeder.load_state_dict(self._feeder_state)
        return self._feeder

    def _stop_feeding(self, seconds: float = 10.0) -> None:
        if self._feeder is not None:
            self._feeder_state = self._feeder.state_dict()
            if not self._feeder.close(seconds):
                self._left_behind = self._feeder
            self._feeder = None

    def _finish(self, failure: BaseException | None) -> None:
        try:
            self.callbacks.tell_after_train(failing=failure is not None)
            if failure is None:
                self.settle()
            self._saves.clear()  # after an error the run is in no state to be saved
        finally:
            # who wants to leave need not wait for a datapoint, or for workers that are still starting
            self._stop_feeding(_LEAVE if isinstance(failure, Preempted | KeyboardInterrupt) else 10.0)
            self.checkpoints.wait()
            self.monitors.flush()
            if self._folder is not None:
                record_end(self.log_dir, failure, self.stop_reason)


class SimpleTrainer(Trainer):
    """The trainer that ``train`` uses: one update by all costs in each step."""


class NoOpTrainer(Trainer):
    """Runs the callbacks and no steps: to evaluate a checkpoint with the callbacks of a training.

    Example:
        >>> config = TrainConfig(model=model, weights="run/checkpoints/best", callbacks=[runner], max_epoch=1)
        >>> NoOpTrainer(config).train()                                      # doctest: +SKIP
    """

    def _steps(self) -> int:
        return self.config.steps_per_epoch or 1

    def _start_feeding(self) -> None:
        return None
