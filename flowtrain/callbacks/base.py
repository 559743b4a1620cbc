"""Callback, the base class with all hooks, and TrainerView, the part of the trainer that callbacks may use."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from flowtrain.utils.arguments import NamesArguments

if TYPE_CHECKING:
    from flowtrain.monitors.monitor import Monitors

__all__ = ["HOOKS", "STEP_HOOKS", "Callback", "TrainerView", "overrides", "uses_steps"]


class TrainerView(Protocol):
    """The interface of the trainer for callbacks (a Protocol, so that this package need not import training).

    Only members that return a variable's or a tensor's value wait for the device.
    """

    log_dir: Path
    config: Any  # the TrainConfig
    model: Any  # the ModelDesc
    graph: Any  # the ModelGraph: tensor_names(), input_specs, store, optimizer
    monitors: Monitors
    is_chief: bool  # True on the one process that logs and saves; False on the other workers of a MultiWorker run

    @property
    def stop_reason(self) -> str | None:
        """The reason that `stop` was called with; None if it was not."""
        ...

    @property
    def epoch_num(self) -> int:
        """Number of the current epoch, from 1; 0 before the first."""
        ...

    @property
    def global_step(self) -> int:
        """Number of finished steps, over all epochs; in before_run the step about to run is ``global_step + 1``."""
        ...

    @property
    def local_step(self) -> int:
        """Number of finished steps of the current epoch."""
        ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def max_epoch(self) -> int: ...

    @property
    def workers(self) -> int:
        """Number of training processes. Variables set on the chief alone reach the others at the next epoch's start."""
        ...

    @property
    def callbacks(self) -> Sequence[Callback]: ...

    @property
    def history(self) -> Mapping[str, Sequence[tuple[int, float]]]: ...

    def get_weights(self) -> dict[str, np.ndarray]:
        """All variables of the model by readable name, as copies."""
        ...

    def variable_names(self) -> list[str]:
        """Names that get_variable accepts: the model's variables, ``optimizer/...``, those given to add_variables."""
        ...

    def get_variable(self, name: str) -> np.ndarray:
        """The current value of a variable; ``learning_rate`` also finds ``optimizer/learning_rate``."""
        ...

    def set_variable(self, name: str, value: np.ndarray | float) -> None:
        """Assign a variable; the next step uses the new value."""
        ...

    def get_predictor(self, inputs: Sequence[str], outputs: Sequence[str]) -> Callable[..., list[Any]]:
        """A function from named inputs to named tensors, computed in inference mode with the current weights."""
        ...

    def moving_averages(self) -> dict[str, float]:
        """Zero-debiased moving averages of all ``add_moving_summary`` tensors, read from the device now."""
        ...

    def image_names(self) -> dict[str, str]:
        """Summary name -> tensor name (for before_run) of all ``add_image_summary`` tensors."""
        ...

    def histogram_names(self) -> dict[str, str]:
        """Summary name -> tensor name (for before_run) of all histogram summaries."""
        ...

    def add_to_step(self, function: Callable[[Any], None]) -> None:
        """Trace `function(tower)` into every training step, after the weight update. Allowed in setup_graph only."""
        ...

    def add_variables(self, variables: Mapping[str, Any]) -> None:
        """Include a callback's tf.Variables in checkpoints, under these names. Allowed in setup_graph only."""
        ...

    def save_checkpoint(self, name: str | None = None, keep: int | None = None, background: bool = False) -> None:
        """Request a checkpoint of the whole run; it is written once all callbacks have had the current hook.

        Without a name it is ``checkpoints/step-<global_step>``, of which the newest `keep` stay. With a name it is
        ``checkpoints/<name>``, replaced at each save and never deleted by `keep`.
        """
        ...

    def stop(self, reason: str, then: Exception | None = None) -> None:
        """End training regularly once all callbacks have had the current hook (in a step hook: after this step).

        With `then`, ``train`` raises that exception at its very end instead of returning the trainer.
        """
        ...

    def preempt(self, reason: str) -> None:
        """Save the run and end the process between two steps, as on SIGTERM. Safe to call from a signal handler."""
        ...

    def claim_file(self, path: str | Path, owner: object) -> Path:
        """Reserve a path (relative ones are inside log_dir) for one writer; ConfigError if another has it."""
        ...


class Callback(NamesArguments):
    """Code that runs at fixed points of training. Override only the hooks you need.

    Order: setup_graph of all; before_train of all; per epoch: before_epoch; per step: before_run, the step,
    after_run, trigger_step; after_epoch; trigger_epoch (which calls trigger). after_train always runs, even after
    an error. Callbacks are called in the order of the list. `trainer` is set from setup_graph on.

    A callback with state overrides state_dict and load_state_dict (JSON values and arrays of numbers in
    lists). The state is part of every checkpoint; load_state_dict is called between setup_graph and before_train.
    When a run continues inside an epoch, after a resume or an interrupt, before_epoch is called again, so that the
    callback can open what it needs; its state is then restored, and whatever it logs there is dropped.

    One object may serve several runs, one after the other: `reset` is called before each setup_graph. A subclass of
    one of flowtrain's callbacks that has its own ``__init__`` calls ``super().__init__(...)`` in it.

    After a Ctrl-C in a hook, ``trainer.train()`` continues with the callback after the interrupted one: no hook is
    called twice for one moment of the training.

    Example:
        >>> class Shout(Callback):
        ...     def trigger_epoch(self):
        ...         print("epoch", self.epoch_num, "cost", self.trainer.monitors.latest("cost"))
    """

    trainer: TrainerView
    chief_only = True  # False: runs on every worker of a MultiWorker run
    repeats_interrupted = False  # True: a hook that a Ctrl-C interrupted is called again when the run continues
    _initialized = False  # whether __init__ has run; check_callback refuses a subclass that skipped it
    _first_state: dict[str, Any] | None = None  # state_dict() before the first run
    _attributes: frozenset[str] | None = None  # names of the attributes before the first run

    def __init__(self) -> None:
        self._initialized = True

    def reset(self) -> None:
        """Return to the state before a run; called before each setup_graph.

        A callback that has a state_dict and does not override `reset` gets back the state from before its first run.
        """

    def attach(self, trainer: TrainerView) -> None:
        """Take the trainer of the next run and reset; called on all callbacks before any setup_graph."""
        # What exists now came from __init__; what appears later belongs to a run and stays out of copies. _first_state
        # belongs to both: a copy made during a run has that run's values, and needs it to start from the beginning.
        if self._attributes is None:
            self._attributes = frozenset(vars(self)) | {"_first_state"}
        self.trainer = trainer
        if type(self).reset is Callback.reset:
            if self._first_state is None:
                self._first_state = copy.deepcopy(self.state_dict())
            elif self._first_state:
                self.load_state_dict(copy.deepcopy(self._first_state))
        self.reset()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the run's attributes (trainer, predictors, threads, ...) out of copies and pickles."""
        made_with = vars(self) if self._attributes is None else self._attributes
        return {name: value for name, value in vars(self).items() if name in made_with}

    @property
    def name(self) -> str:
        """The callback's name in messages and checkpoints; if two are equal, the trainer appends a number."""
        return type(self).__name__

    @property
    def epoch_num(self) -> int:
        """Number of the current epoch, from 1."""
        return self.trainer.epoch_num

    @property
    def global_step(self) -> int:
        """Number of finished steps, over all epochs."""
        return self.trainer.global_step

    def setup_graph(self) -> None:
        """Make predictors and variables. The model is built; a resumed run's values are restored after this hook."""

    def before_train(self) -> None:
        """Once, before the first epoch."""

    def before_epoch(self) -> None:
        """Before the first step of an epoch."""

    def before_run(self) -> Sequence[str] | None:
        """Before a step: return names of tensors of the training graph to fetch in it, or None."""

    def after_run(self, values: dict[str, Any]) -> None:
        """After a step: `values` holds this callback's fetched tensors as ndarrays, by the asked names."""

    def trigger_step(self) -> None:
        """After a step, once after_run of all callbacks has run."""

    def after_epoch(self) -> None:
        """After the last step of an epoch, before any trigger_epoch."""

    def trigger_epoch(self) -> None:
        """At the end of an epoch; calls trigger."""
        self.trigger()

    def trigger(self) -> None:
        """The callback's main work, for callbacks that may run at epochs or at steps (see PeriodicTrigger)."""

    def after_train(self) -> None:
        """At the end of training, however it ended."""

    def next_step(self) -> float:
        """The next global step whose before_run, after_run and trigger_step this callback needs.

        Called after every TensorFlow call, only on callbacks that override a step hook. Steps before the returned
        one may be fused into one call and may still be running, so decide by step count or clock, never by the
        values of variables. ``math.inf``: no step is needed.
        """
        return self.trainer.global_step + 1

    def state_dict(self) -> dict[str, Any]:
        """The state that an exact resume needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that state_dict returned."""

    def __repr__(self) -> str:
        return self.name


STEP_HOOKS = ("before_run", "after_run", "trigger_step")
HOOKS = (
    "setup_graph",
    "before_train",
    "before_epoch",
    *STEP_HOOKS,
    "after_epoch",
    "trigger_epoch",
    "trigger",
    "after_train",
)


def overrides(callback: Callback, hook: str) -> bool:
    """Whether a callback defines a hook, in its class or on the object itself; other hooks are never called."""
    if hook == "trigger_epoch" and overrides(callback, "trigger"):  # Callback's trigger_epoch calls that
        return True
    return hook in vars(callback) or getattr(type(callback), hook) is not getattr(Callback, hook)


def uses_steps(callback: Callback) -> bool:
    """Whether a callback overrides a step hook; only then is its next_step called."""
    return any(overrides(callback, hook) for hook in STEP_HOOKS)
