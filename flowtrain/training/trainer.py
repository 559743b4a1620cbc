"""The trainer: builds a run from a TrainConfig, drives it, and is the face of it for callbacks and users."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from flowtrain.callbacks.mirror import mirrors_among
from flowtrain.model import ModelGraph, Predictor, TowerContext
from flowtrain.model.checkpoint_io import check_checkpoint_name
from flowtrain.model.internals import failure_of
from flowtrain.model.store import read_value
from flowtrain.monitors import default_monitors
from flowtrain.monitors.monitor import Monitors
from flowtrain.utils.arguments import check_choice
from flowtrain.utils.errors import ConfigError, TrainingError
from flowtrain.utils.loading import only_to_run
from flowtrain.utils.run_status import clear_end, record_end, status_after
from flowtrain.utils.seeding import default_seed
from flowtrain.utils.storage import in_run

from . import devices
from .block_capacity import block_capacity
from .callback_list import CallbackList
from .checkpoints import Checkpoints
from .config import TrainConfig
from .console import show_log
from .defaults import default_callbacks
from .feeding import Feeding
from .log_folder import FileClaims, LogFolder, default_dir
from .loop import Loop, Preempted
from .program import Program
from .progress import Progress
from .requests import Requests, Save
from .run_description import describe_run, for_log
from .run_state import RunState, load_weights
from .run_variables import StepVariables
from .shown_scalars import averaged_scalars, shown_scalars
from .step import Step

__all__ = ["Trainer"]

_LEAVE = 0.5  # seconds to wait for the feeder after Ctrl-C or SIGTERM


class Trainer:
    """Trains a model: ``train(config)`` makes a trainer, a notebook may use it directly.

    Override `run_step` for an update other than the minimisation of all costs.

    Args:
        config: Model, data, callbacks and settings of the run.
        resume: ``"auto"``: continue from the newest whole checkpoint in the log folder, or start if there is none; a
            path: continue from that checkpoint; None: start a new run, and refuse a folder that holds one.
        resume_changes: ``"accept"``: go on although the configuration differs from the checkpoint's in a way that
            skips or repeats data; None: refuse that.

    Attributes:
        config: The TrainConfig.
        model: The ModelDesc.
        graph: The built model (a ModelGraph).
        strategy: The ``tf.distribute.Strategy`` of the run.
        log_dir: The run's folder.
        monitors: The monitors, to which callbacks write scalars, pictures and histograms.
        callbacks: All callbacks, in order.
        is_chief: Whether this process logs and saves.
        steps_per_epoch: Steps of an epoch.
        max_epoch: Number of the last epoch of the present call of `train`.

    Example:
        >>> with SimpleTrainer(config) as trainer:                           # doctest: +SKIP
        ...     trainer.train(max_epoch=2)
        ...     print(trainer.history["cost"][-1])
        ...     trainer.train(max_epoch=4)                                   # goes on
    """

    def __init__(
        self,
        config: TrainConfig,
        resume: str | Path | bool | None = None,
        resume_changes: Literal["accept"] | None = None,
    ) -> None:
        only_to_run("train()")
        if not isinstance(config, TrainConfig):
            kind = type(config).__name__
            raise ConfigError(f"expected a TrainConfig, got {kind}: train(TrainConfig(model=..., dataflow=...))")
        check_choice("train", "resume_changes", resume_changes, ("accept", None))
        if isinstance(resume, str | Path):
            resume = in_run(resume, "the checkpoint of resume=")
        self.config, self.model = config, config.model
        self.steps_per_epoch = self._steps()
        self.max_epoch = config.max_epoch
        self.strategy = config.strategy or tf.distribute.get_strategy()
        self.is_chief = devices.is_chief(self.strategy)
        show_log()
        devices.prepare(config)
        given = config.log_dir
        self.log_dir = default_dir(bool(resume)) if given is None else Path(in_run(given, "log_dir"))
        # Before the folder is opened: whether it holds a run to resume may depend on what is fetched.
        if resume in ("auto", True) and self.is_chief:
            for mirror in mirrors_among(config.callbacks):
                mirror.fetch(self.log_dir)
        self._folder = LogFolder(self.log_dir, resume=bool(resume)) if self.is_chief else None
        self._claims = FileClaims(self.log_dir)
        self._progress = Progress(config.starting_epoch - 1)
        self._requests = Requests()
        self._failed = False
        try:
            self._build(resume, resume_changes)
        except BaseException as error:
            if self._folder is not None:
                record_end(self.log_dir, error)
            self.close()
            raise

    def _steps(self) -> int:
        return self.config.steps()

    def _feeding(self) -> Feeding | None:
        config, graph = self.config, self.graph
        return Feeding(config, graph.input_specs, self.strategy, lambda batch: block_capacity(batch, graph, config))

    def _build(self, resume: str | Path | bool | None, resume_changes: str | None) -> None:
        """Make all parts of the run, in the order in which they need each other; last, resume."""
        config = self.config
        tf.random.set_seed(default_seed() % 2**31)
        self.graph = ModelGraph(
            self.model,
            strategy=config.strategy,
            precision=None if config.precision == "float32" else config.precision,
        )
        self._step_variables = StepVariables(
            averaged_scalars(self.graph),
            self.graph.objectives,
            config.accumulate,
            config.precision == "mixed_float16" or self.graph.scales_loss,
        )
        self._checkpoints = Checkpoints(self.log_dir / "checkpoints")
        if self._folder is not None:
            self._checkpoints.clear()
        monitors = default_monitors() if config.monitors is None else config.monitors
        self.monitors = Monitors(monitors if self.is_chief else [], self.log_dir)
        chosen = default_callbacks(config.callbacks) if config.default_callbacks is None else config.default_callbacks
        self.callbacks = CallbackList([*chosen, *config.callbacks], self.is_chief)
        about = describe_run(config, self.graph, self.callbacks.named(), self.steps_per_epoch)
        logged = for_log(about, config)
        if self._folder is not None:
            self._folder.describe(logged)
        graph, variables, callbacks, feeding = self.graph, self._step_variables, self.callbacks, self._feeding()
        self._state = RunState(
            graph, variables, self._progress, callbacks, self.monitors, feeding, self._checkpoints, self.strategy, about
        )
        # Before the step is traced and a checkpoint is restored: both hold what callbacks add in setup_graph.
        self._after_step: list[Callable[[TowerContext], None]] = []
        self._setting_up = True
        self.callbacks.attach(self)
        self.callbacks.call("setup_graph")
        self._setting_up = False
        self._state.begin()
        program = Program(self.run_step, self.graph, self._step_variables, self.strategy, self._after_step, config)
        steps, requests = self.steps_per_epoch, self._requests
        self._loop = Loop(self._state, program, requests, steps, config.steps_per_call, self.is_chief, self.log_dir)
        if config.weights is not None:
            load_weights(self.graph, config.weights)
        if resume:
            self._state.resume(resume, accept=resume_changes is not None)
        if self.global_step == 0:
            self.monitors.put_event("config", logged, 0)

    # ------------------------------------------------------------------ training

    def run_step(self, step: Step) -> None:
        """One training step, traced into a graph. Override it for another update, such as one cost after the other.

        Args:
            step: Its `minimize` does a forward pass and an update; see `Step`.
        """
        step.minimize()

    def train(self, max_epoch: int | None = None) -> Trainer:
        """Train until an epoch is done, or until a callback stops the training.

        After a KeyboardInterrupt it may be called again and goes on where it was: with the next step, or in the middle
        of a round of hooks with the callback after the interrupted one.

        Args:
            max_epoch: Number of the last epoch; None: the configuration's.

        Returns:
            The trainer itself.

        Raises:
            TrainingError: The cost or the weights became NaN or infinite (names the step); or the trainer has failed
                before.
            CheckpointError: A checkpoint could not be saved.
            Preempted: The process got SIGTERM; the run is saved.
            KeyboardInterrupt: The user pressed Ctrl-C; no checkpoint is left half written.
        """
        if self._failed:
            raise TrainingError(
                "this trainer has failed; make a new one, with resume='auto' to go on from the last save"
            )
        if max_epoch is not None and (not hasattr(max_epoch, "__index__") or isinstance(max_epoch, bool)):
            raise ConfigError(f"max_epoch= must be a whole number, the number of the last epoch; got {max_epoch!r}")
        self._state.check_trainable()
        self.max_epoch = self.config.max_epoch if max_epoch is None else int(max_epoch)
        self._requests.stop_reason = self._requests.then = None
        if self._folder is not None:
            clear_end(self.log_dir)
        if self._state.feeding is not None:
            self._state.feeding.start()
        failure: BaseException | None = None
        try:
            with self._requests:
                self._loop.run(self.max_epoch)
        except BaseException as error:
            failure = error
            if isinstance(error, tf.errors.OpError):
                step = self._step_variables.steps_done() + 1
                error.add_note(f"In {type(self.model).__name__}, at step {step}: {failure_of(error)}")
            self._failed = not isinstance(error, Preempted | KeyboardInterrupt)
            raise
        finally:
            self._finish(failure)
        self._requests.raise_then()
        return self

    def _finish(self, failure: BaseException | None) -> None:
        """End `train`: call after_train, make the last saves; whatever they raise, stop the feeder, record the end."""
        try:
            self.callbacks.call_after_train(failing=failure is not None)
            if failure is None:
                self._loop.settle()
                self._checkpoints.finish()
        except BaseException as error:
            failure = failure or error
            raise
        finally:
            # After an error the run is in no state to be saved. After a Ctrl-C it is, when the interrupted round is
            # finished: the next train() makes the saves.
            if not isinstance(failure, KeyboardInterrupt | None):
                self._requests.saves.clear()
            # After Ctrl-C or SIGTERM nobody wants to wait for a datapoint, or for workers that are still starting.
            if self._state.feeding is not None:
                self._state.feeding.stop(_LEAVE if isinstance(failure, Preempted | KeyboardInterrupt) else 10.0)
            self._checkpoints.abandon()
            self.monitors.put_event("end", {"status": status_after(failure)}, self.global_step)
            self.monitors.flush()
            if self._folder is not None:
                record_end(self.log_dir, failure, self.stop_reason)
                for mirror in mirrors_among(self.callbacks):
                    mirror.finish()  # what was saved and logged since after_train

    def close(self) -> None:
        """Stop the feeder, close the monitors, release the log folder; weights and predictors stay usable."""
        if hasattr(self, "_state"):  # __init__ calls this too, when _build failed at any place
            if self._state.feeding is not None:
                self._state.feeding.stop()
            self._checkpoints.abandon()
        if hasattr(self, "monitors"):
            self.monitors.close()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------------ reading the run

    @property
    def epoch_num(self) -> int:
        """The epoch under way, from 1."""
        return self._progress.epoch

    @property
    def global_step(self) -> int:
        """How many steps are done in all epochs."""
        return self._progress.global_step

    @property
    def local_step(self) -> int:
        """How many steps of this epoch are done."""
        return self._progress.local_step

    @property
    def stop_reason(self) -> str | None:
        """The reason that `stop` was given; None while training is to go on."""
        return self._requests.stop_reason

    @property
    def workers(self) -> int:
        """The number of processes that train together."""
        return devices.part(self.strategy)[1]

    @property
    def history(self) -> Mapping[str, Sequence[tuple[int, float]]]:
        """Every scalar that was logged: name -> list of (step, value)."""
        return self.monitors.history

    def get_weights(self) -> dict[str, np.ndarray]:
        """All variables of the model by readable name, as copies."""
        return self.graph.store.get_weights()

    def get_predictor(self, inputs: Sequence[str], outputs: Sequence[str]) -> Predictor:
        """A predictor: a function from some inputs to named tensors, computed with the present weights at each call.

        Args:
            inputs: Names of the inputs that it takes, by position or by name.
            outputs: Names of the tensors that it returns, as a list of arrays; ``NAME_crop32`` is NAME without 32
                pixels on each side.

        Raises:
            TensorNameError: An unknown name; lists the nearest.
            ModelError: An output needs an input that is not given.
        """
        return self.graph.predictor(inputs, outputs)

    def variable_names(self) -> list[str]:
        """All names that `get_variable` takes."""
        return self._state.variables.names()

    def get_variable(self, name: str) -> np.ndarray:
        """The present value of a variable of the model, of an optimizer (``optimizer/...``), or of a callback.

        Raises:
            TensorNameError: There is none; names the nearest.
        """
        return np.array(read_value(self._state.variables.find(name)))

    def set_variable(self, name: str, value: np.ndarray | float) -> None:
        """Set the value of a variable; the next step sees it.

        Raises:
            TensorNameError: There is none; names the nearest.
            ConfigError: The value has another shape.
        """
        with self.strategy.scope():
            self._state.variables.set(name, value)

    def moving_averages(self) -> dict[str, float]:
        """Name -> moving average of each ``add_moving_summary`` scalar and each cost, read from the device now.

        Also Keras metrics over the epoch so far, scalar variables made with ``summary=True``, and in float16 training
        the loss scale.
        """
        return shown_scalars(self.graph, self._step_variables)

    def image_names(self) -> dict[str, str]:
        """Summary name -> tensor name of all image summaries."""
        return {name: f"image_summary/{name}" for name in self.graph.build_tower.images}

    def histogram_names(self) -> dict[str, str]:
        """Summary name -> tensor name of all histogram summaries."""
        return {name: f"histogram_summary/{name}" for name in self.graph.build_tower.histograms}

    # ------------------------------------------------------------------ requests

    def add_to_step(self, function: Callable[[TowerContext], None]) -> None:
        """Trace `function(tower)` into every training step, after the update. Only from setup_graph."""
        self._in_setup("add_to_step")
        self._after_step.append(function)

    def add_variables(self, variables: Mapping[str, tf.Variable | keras.Variable]) -> None:
        """Put variables of a callback into checkpoints, by name. Only from setup_graph."""
        self._in_setup("add_variables")
        self._state.variables.add(variables)

    def save_checkpoint(self, name: str | None = None, keep: int | None = None, background: bool = False) -> None:
        """Request a checkpoint of the whole run, made once all callbacks have finished the present hook.

        Args:
            name: Name of a checkpoint that is replaced at each save and never deleted; None: ``step-<global_step>``.
            keep: How many ``step-...`` checkpoints stay; None: all.
            background: Whether training goes on while the file is written, at the cost of a copy of the variables on
                their device. On the CPU it always does.

        Raises:
            ConfigError: The name is a path, or ``step-NUMBER``.
        """
        if name is not None:
            check_checkpoint_name(name, "save_checkpoint")
        self._requests.saves[name] = Save(keep, background)

    def stop(self, reason: str, then: Exception | None = None) -> None:
        """Request the regular end of training after the present hook; in a step hook: after this step.

        Args:
            reason: Why, for the log.
            then: An exception that ``train`` raises at its very end, instead of returning the trainer.
        """
        self._requests.stop(reason, self.global_step, then)

    def preempt(self, reason: str) -> None:
        """Request a save and the end of the process between two steps, as SIGTERM does."""
        self._requests.leave(reason)

    def claim_file(self, path: str | Path, owner: object) -> Path:
        """Reserve a path (relative: inside log_dir) for one writer; returns it as an absolute path.

        Raises:
            ConfigError: Another writer has it.
        """
        return self._claims.claim(path, owner)

    def _in_setup(self, what: str) -> None:
        if not self._setting_up:
            raise ConfigError(f"{what} must be called in setup_graph: the training step is traced after it")
