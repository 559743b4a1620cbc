"""The whole of a run that a checkpoint holds, and how it is saved and resumed."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.model import ModelGraph
from flowtrain.model.checkpoint_io import find_checkpoint, read_checkpoint
from flowtrain.monitors.monitor import Monitors
from flowtrain.utils.errors import CheckpointError, ConfigError, TrainingError

from .callback_list import CallbackList
from .changes import Place, find_changes, same_callbacks, table
from .checkpoints import Checkpoints, read_run_state
from .feeding import Feeding
from .finite_weights import FiniteWeights
from .log_folder import packages
from .progress import Progress
from .requests import Save
from .run_variables import RunVariables, StepVariables, optimizer_names

__all__ = ["RunState", "load_weights"]

logger = logging.getLogger("flowtrain.training")


class RunState:
    """A run's variables, counts, data position, callbacks, monitors and random generators, and its checkpoints.

    Args:
        graph: The model's graph.
        step_variables: What the training step keeps besides the model.
        progress: Epochs and steps.
        callbacks: All of the run.
        monitors: All of the run.
        feeding: The training data; None in a run without steps.
        checkpoints: Where to save.
        strategy: Under which variables are assigned.
        description: What the run is made of; see `describe_run`.

    Attributes:
        variables: All variables by readable name.
    """

    def __init__(
        self,
        graph: ModelGraph,
        step_variables: StepVariables,
        progress: Progress,
        callbacks: CallbackList,
        monitors: Monitors,
        feeding: Feeding | None,
        checkpoints: Checkpoints,
        strategy: tf.distribute.Strategy,
        description: Mapping[str, Any],
    ) -> None:
        self.graph, self.step_variables = graph, step_variables
        self.variables = RunVariables(graph, step_variables)
        self.progress, self.callbacks, self.monitors = progress, callbacks, monitors
        self.feeding, self.checkpoints, self.strategy = feeding, checkpoints, strategy
        self.description = dict(description)
        self.finite_weights = FiniteWeights({})
        self._trainable = {name: bool(variable.trainable) for name, variable in graph.store.variables.items()}

    def begin(self) -> None:
        """Note which variables are finite before the first step; once callbacks have set up theirs."""
        store = self.graph.store
        weights = {name: v for name, v in store.variables.items() if name not in store.summary_scalars}
        sums = self.step_variables.accumulated()
        self.finite_weights = FiniteWeights({**weights, **optimizer_names(self.graph.objectives), **sums})

    def check_trainable(self) -> None:
        """Refuse that ``trainable`` of a layer was set since the trainer was made: the optimizer has its variables.

        Raises:
            TrainingError: It was; says how to go on.
        """
        variables = self.graph.store.variables
        changed = [name for name, before in self._trainable.items() if bool(variables[name].trainable) != before]
        if changed:
            now = variables[changed[0]].trainable
            raise TrainingError(
                f"trainable={now} was set for {_first_of(changed)} after the trainer was made, which has no effect on "
                "it: its step and its optimizer know the variables that were trainable then. Make a new trainer to go "
                "on so, in a log folder of its own: weights = trainer.get_weights(); trainer.close(); "
                "train(TrainConfig(..., weights=weights))."
            )

    def newest_good(self) -> Path | None:
        """The newest checkpoint that is whole and holds numbers alone."""
        return self.checkpoints.newest(lambda path: self._flaw(read_checkpoint(path)))

    def _flaw(self, values: Mapping[str, np.ndarray]) -> str | None:
        bad = self.finite_weights.bad_among(values)
        return f"it holds NaN or infinity in {_first_of(bad)}" if bad else None

    def save(self, name: str | None, request: Save) -> None:
        """Save the run as it is now; only between two rounds of hooks."""
        step = self.progress.global_step
        state = {
            "progress": self.progress.state_dict(),
            "data": None if self.feeding is None else self.feeding.state_dict(),
            "callbacks": self.callbacks.state_dict(),
            "monitors": self.monitors.state_dict(),
            "description": self.description,
            "random": {"python": random.getstate(), "numpy": np.random.get_state(legacy=False)},
        }
        about = {
            "model": type(self.graph.model).__qualname__,
            "epoch": self.progress.epoch,
            "global_step": step,
            "saved": time.strftime("%F %T %z"),
            "packages": packages(),
        }
        # On the CPU the snapshot costs nothing until a variable changes, and then one copy in memory. On a GPU that
        # copy would take memory of the device: there training waits, unless it is asked not to.
        background = request.background or not tf.config.list_physical_devices("GPU")
        snapshot = self.variables.snapshot()
        self.checkpoints.save(name or f"step-{step:08d}", snapshot, state, about, request.keep, background)

    def resume(self, where: str | Path | bool, accept: bool = False) -> None:
        """Go on from a checkpoint; with ``"auto"`` from the newest whole one of the log folder, if there is any.

        Args:
            where: ``"auto"`` or a path.
            accept: Go on also where data is skipped or repeated, because the run is not what it was.

        Raises:
            CheckpointError: There is no such checkpoint, or it is of another model.
            ConfigError: Data would be skipped or repeated; says what differs.
        """
        if where in ("auto", True):
            path = self.newest_good()
            if path is None:
                logger.info("no checkpoint in %s: training starts from the beginning", self.checkpoints.folder.parent)
                return
        elif isinstance(where, str | Path):
            path = find_checkpoint(where)
        else:
            raise ConfigError(f'resume= must be "auto", the path of a checkpoint, or None; got {where!r}')
        state = read_run_state(path)
        values = read_checkpoint(path)
        flaw = self._flaw(values)
        if flaw is not None:
            raise CheckpointError(f"{path} is of no use: {flaw}. Go on from an earlier checkpoint.")
        # Variables before callbacks: a callback's load_state_dict may read them (EMA, a schedule's learning rate). The
        # random generators last, since whatever is restored before may draw from them.
        with self.strategy.scope():
            self.variables.restore(values, str(path))
        self.progress.load_state_dict(state["progress"])
        if self.feeding is not None and state["data"] is not None:
            self._find_position(state, values, accept)
        then = state.get("description")
        same = None if then is None else same_callbacks(then["callbacks"], self.description["callbacks"])
        self.callbacks.load_state_dict(state["callbacks"], same)
        self.monitors.load_state_dict(state["monitors"])
        random.setstate(state["random"]["python"])
        np.random.set_state(state["random"]["numpy"])
        logger.info("resumed from %s: epoch %d, step %d", path, self.progress.epoch, self.progress.global_step)

    def _find_position(self, state: dict[str, Any], values: Mapping[str, np.ndarray], accept: bool) -> None:
        """Take the position in the data, and say what differs between the checkpoint's run and this one."""
        feeding, data, then = self.feeding, state["data"], state.get("description")
        if feeding is None:
            return
        # A position counts datapoints, which another batch size or another list of files makes others. So what the run
        # was made of is saved with it and compared: without that, a changed flow would skip or repeat data without a
        # word.
        if then is None or "row" not in data:  # of a version that kept neither
            feeding.load_state_dict(data, accept)
            return
        changes = find_changes(then, self.description, Place(data["row"], then["rows"]), values)
        if not changes:
            feeding.load_state_dict(data, accept)
            return
        text = f"this run differs from the one that made the checkpoint:\n{table(changes)}"
        if any(change.refused for change in changes) and not accept:
            raise ConfigError(
                f"{text}\nSome data of the epoch would be left out, or come again. Make the run what it was; or go on "
                'all the same: train(config, resume=..., resume_changes="accept").'
            )
        logger.warning("%s", text)
        if not any(change.moves for change in changes):
            feeding.load_state_dict(data, accept)
            return
        left = feeding.go_to(data, accept)
        # whether the epochs of the training are those of the data, then and now
        aligned = [about["training"]["steps_per_epoch"] == about["batches"] for about in (then, self.description)]
        if all(aligned) and left is not None and not self.progress.epoch_done:
            self.progress.local_step = max(self.description["batches"] - left, 0)


def _first_of(names: Sequence[str], count: int = 3) -> str:
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


def load_weights(graph: ModelGraph, source: str | Path | Mapping[str, np.ndarray]) -> None:
    """Start from given values, where names agree.

    Raises:
        CheckpointError: A value has another shape, or no name agrees.
    """
    values = source if isinstance(source, Mapping) else read_checkpoint(source)
    variables = graph.store.variables
    wrong = [
        f"{name} {np.shape(values[name])} instead of {tuple(variable.shape)}"
        for name, variable in variables.items()
        if name in values and np.shape(values[name]) != tuple(variable.shape)
    ]
    shared = [name for name in variables if name in values]
    if wrong or not shared:
        problem = f"values of another shape: {', '.join(wrong)}" if wrong else "no variable of the model is among them"
        raise CheckpointError(
            f"the initial weights {_shown(source)} do not fit the model: {problem}. "
            f"{_mend(list(variables), values, wrong)}"
        )
    graph.store.set_weights({name: values[name] for name in shared})
    missing = [name for name in variables if name not in values]
    logger.info(
        "initial weights: %d of %d variables%s", len(shared), len(variables), f"; not: {missing}" if missing else ""
    )


def _mend(variables: Sequence[str], values: Mapping[str, np.ndarray], wrong: Sequence[str]) -> str:
    if not wrong:
        return (
            f"The model has {', '.join(variables[:3])}, ...; given are {', '.join(list(values)[:3])}, .... Rename "
            "them: weights={new_name: read_checkpoint(path)[old_name], ...}."
        )
    first = wrong[0].split(" ")[0]
    scope = first.rsplit("/", 1)[0] + "/"
    return (
        "To start with a new head leave it out: "
        f"weights={{name: value for name, value in read_checkpoint(path).items() if not name.startswith({scope!r})}}; "
        "or give the layer another name."
    )


def _shown(source: object) -> str:
    return "" if isinstance(source, Mapping) else str(source)
