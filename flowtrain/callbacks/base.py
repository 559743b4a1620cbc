"""The base of all callbacks, on one screen, and the part of the trainer that a callback may use."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from flowtrain.utils.arguments import names_arguments

if TYPE_CHECKING:
    from flowtrain.monitors.monitor import Monitors

__all__ = ["HOOKS", "STEP_HOOKS", "Callback", "TrainerView", "uses_steps"]


class TrainerView(Protocol):
    """What callbacks see of a trainer. Nothing here synchronises the device unless it returns a number."""

    log_dir: Path
    config: Any  # the TrainConfig
    model: Any  # the ModelDesc
    graph: Any  # the ModelGraph: tensor_names(), input_specs, store, optimizer
    monitors: Monitors
    is_chief: bool  # False on the workers of a MultiWorker run that neither log nor save

    @property
    def stop_reason(self) -> str | None:
        """What `stop` was given; None while training is to go on."""
        ...

    @property
    def epoch_num(self) -> int:
        """The epoch under way, from 1; 0 before the first."""
        ...

    @property
    def global_step(self) -> int:
        """How many steps are done, over all epochs; in before_run the step about to run is one more."""
        ...

    @property
    def local_step(self) -> int:
        """How many steps of this epoch are done."""
        ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def max_epoch(self) -> int: ...

    @property
    def workers(self) -> int:
        """How many processes train together: what a callback of the chief alone sets reaches the others per epoch."""
        ...

    @property
    def callbacks(self) -> Sequence[Callback]: ...

    @property
    def history(self) -> Mapping[str, Sequence[tuple[int, float]]]: ...

    def get_weights(self) -> dict[str, np.ndarray]:
        """All variables of the model by readable name, as copies."""
        ...

    def variable_names(self) -> list[str]:
        """All names that get_variable takes: the model's, ``optimizer/...``, those of add_variables."""
        ...

    def get_variable(self, name: str) -> np.ndarray:
        """The present value; ``learning_rate`` also finds ``optimizer/learning_rate``."""
        ...

    def set_variable(self, name: str, value: np.ndarray | float) -> None:
        """Give a variable a new value, which the next step sees."""
        ...

    def get_predictor(self, inputs: Sequence[str], outputs: Sequence[str]) -> Callable[..., list[Any]]:
        """A function over named tensors that runs on the live weights."""
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
        """Trace `function(tower)` into every training step, after the update. Only from setup_graph."""
        ...

    def add_variables(self, variables: Mapping[str, Any]) -> None:
        """Put tf.Variables that a callback made into checkpoints, by name. Only from setup_graph."""
        ...

    def save_checkpoint(self, name: str | None = None, keep: int | None = None, background: bool = False) -> None:
        """Save the whole run once all callbacks have finished the present hook (see Callback).

        Without a name: ``checkpoints/step-<global_step>``, of which the newest `keep` stay. With a name:
        ``checkpoints/<name>``, replaced at each save and never deleted by `keep`.
        """
        ...

    def stop(self, reason: str, then: Exception | None = None) -> None:
        """Finish the present hook round, then end training regularly. In a step hook: after this step.

        With `then`, ``train`` raises that at its very end, instead of returning the trainer.
        """
        ...

    def preempt(self, reason: str) -> None:
        """Save the run and end the process at the next quiet moment, as on SIGTERM. Signal handlers may call it."""
        ...

    def claim_file(self, path: str | Path, owner: object) -> Path:
        """Reserve a path (relative: inside log_dir) for one writer; ConfigError when it is taken."""
        ...


class Callback:
    """Code that runs at fixed points of training. Override only the hooks you need.

    Order: setup_graph of all; before_train of all; per epoch: before_epoch; per step: before_run, the step,
    after_run, trigger_step; after_epoch; trigger_epoch (which calls trigger). after_train runs always, also
    after an error. Callbacks run in the order of the list. The attributes are there from setup_graph on.

    A callback with state overrides state_dict and load_state_dict (JSON values and arrays of numbers in
    lists). The state is part of every checkpoint; load_state_dict is called between setup_graph and before_train.
    When a run goes on in mid-epoch, after a resume or an interrupt, before_epoch is called again, so that the
    callback can open what it needs; its state is then put back, and what it logs there is dropped.

    One object may serve several runs, one after the other: before each setup_graph it begins anew by `reset`. A
    subclass of a callback of flowtrain with an ``__init__`` of its own calls ``super().__init__(...)`` in it.

    After a Ctrl-C in a hook, ``trainer.train()`` goes on with the callback after the interrupted one: no hook is
    called twice for one moment of the training.

    Example:
        >>> class Shout(Callback):
        ...     def trigger_epoch(self):
        ...         print("epoch", self.epoch_num, "cost", self.trainer.monitors.latest("cost"))
    """

    trainer: TrainerView
    chief_only = True  # False: runs on every worker of a MultiWorker run
    repeats_interrupted = False  # True: a hook that Ctrl-C came into is called again when the run goes on
    _initialized = False  # whether __init__ has run
    _first_state: dict[str, Any] | None = None  # what state_dict gave before the first run
    _attributes: frozenset[str] | None = None  # those that were there before the first run

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        names_arguments(cls)

    def __init__(self) -> None:
        self._initialized = True

    def reset(self) -> None:
        """Set what changes during a run to what it is before one; called before each setup_graph.

        A callback that does not override it, and has a state_dict, gets the state that it had before its first run.
        """

    def attach(self, trainer: TrainerView) -> None:
        """Take the trainer of the next run, and begin anew; called before any setup_graph."""
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
        """Copies and pickles hold what the callback was made with, nothing of the run that it is in."""
        made_with = vars(self) if self._attributes is None else self._attributes
        return {name: value for name, value in vars(self).items() if name in made_with}

    @property
    def name(self) -> str:
        """How the callback is called in messages and checkpoints; the trainer numbers equal names."""
        return type(self).__name__

    @property
    def epoch_num(self) -> int:
        """The epoch under way, from 1."""
        return self.trainer.epoch_num

    @property
    def global_step(self) -> int:
        """How many steps are done, over all epochs."""
        return self.trainer.global_step

    def setup_graph(self) -> None:
        """Make predictors and variables. The model is built, and restored when the run is resumed later."""

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
        """The callback's main work, when it may be due at epochs and at steps (see PeriodicTrigger)."""

    def after_train(self) -> None:
        """At the end of training, whatever ended it."""

    def next_step(self) -> float:
        """The next global step whose before_run, after_run and trigger_step this callback needs.

        Called after every TensorFlow call, only on callbacks that override a step hook. Steps before the returned
        one may be fused into one call and may still be running, so decide by step count or clock, never by the
        values of variables. ``math.inf``: none in sight.
        """
        return self.trainer.global_step + 1

    def state_dict(self) -> dict[str, Any]:
        """What the callback needs to go on exactly."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what state_dict gave."""

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


def uses_steps(callback: Callback) -> bool:
    """Whether a callback overrides a hook that is called around steps; only then is next_step asked."""
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in STEP_HOOKS)
