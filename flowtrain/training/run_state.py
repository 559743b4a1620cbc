"""The state of a run that a checkpoint holds: how it is put together, saved, compared and restored."""

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
from flowtrain.utils.errors import CheckpointError, ConfigError, TrainingError, first_few

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
    """Saves and resumes a run: variables, counters, data position, callbacks, monitors, random generators.

    Args:
        graph: The built model.
        step_variables: The variables that the training step keeps besides the model's.
        progress: The counters of epochs and steps.
        callbacks: All callbacks of the run.
        monitors: All monitors of the run.
        feeding: The training data; None in a run without steps.
        checkpoints: The checkpoints of the run.
        strategy: The strategy in whose scope variables are assigned.
        description: What the run is made of; see `describe_run`.

    Attributes:
        variables: All variables by readable name.
        finite_weights: The test for NaN and infinity; of no variables before `begin`.
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
        """Note which variables are finite, after setup_graph and before the first step.

        The model's scalars with a summary (a learning rate, ...) are not tested.
        """
        store = self.graph.store
        weights = {name: v for name, v in store.variables.items() if name not in store.summary_scalars}
        sums = self.step_variables.accumulated()
        self.finite_weights = FiniteWeights({**weights, **optimizer_names(self.graph.objectives), **sums})

    def check_trainable(self) -> None:
        """Refuse a change of ``trainable`` since the trainer was made, which the optimizer would not see.

        Raises:
            TrainingError: A variable is trainable now and was not, or the reverse; says how to go on.
        """
        variables = self.graph.store.variables
        changed = [name for name, before in self._trainable.items() if bool(variables[name].trainable) != before]
        if changed:
            now = variables[changed[0]].trainable
            raise TrainingError(
                f"trainable={now} was set for {first_few(changed, 3)} after the trainer was made, which has no effect "
                "on it: its step and its optimizer know the variables that were trainable then. Make a new trainer to "
                "go on so, in a log folder of its own: weights = trainer.get_weights(); trainer.close(); "
                "train(TrainConfig(..., weights=weights))."
            )

    def newest_good(self) -> Path | None:
        """The newest checkpoint that is whole and holds neither NaN nor infinity in a weight; None without any."""
        return self.checkpoints.newest(lambda path: self._flaw(read_checkpoint(path)))

    def _flaw(self, values: Mapping[str, np.ndarray]) -> str | None:
        bad = self.finite_weights.bad_among(values)
        return f"it holds NaN or infinity in {first_few(bad, 3)}" if bad else None

    def save(self, name: str | None, request: Save) -> None:
        """Save the run as it is now. Only between two rounds of hooks.

        Args:
            name: Name of the checkpoint; None: ``step-<global_step>``.
            request: How many to keep, and whether to write beside training.
        """
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
        """Restore the run from a checkpoint.

        Args:
            where: The path of a checkpoint; or ``"auto"``: the newest whole one of the log folder, if there is any.
            accept: Go on also if data is skipped or repeated, because the run is not what it was.

        Raises:
            CheckpointError: There is no such checkpoint, it is damaged or not finite, or it is of another model.
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
            self._find_position(self.feeding, state, values, accept)
        then = state.get("description")
        same = None if then is None else same_callbacks(then["callbacks"], self.description["callbacks"])
        self.callbacks.load_state_dict(state["callbacks"], same)
        self.monitors.load_state_dict(state["monitors"])
        random.setstate(state["random"]["python"])
        np.random.set_state(state["random"]["numpy"])
        logger.info("resumed from %s: epoch %d, step %d", path, self.progress.epoch, self.progress.global_step)

    def _find_position(
        self, feeding: Feeding, state: dict[str, Any], values: Mapping[str, np.ndarray], accept: bool
    ) -> None:
        """Restore the position in the data, and log what differs between the checkpoint's run and this one.

        Raises:
            ConfigError: Data would be skipped or repeated, and `accept` is False.
        """
        data, then = state["data"], state.get("description")
        # A position counts datapoints, and another batch size or list of files makes other datapoints. So a checkpoint
        # holds a description of its run, which is compared: without that, a changed flow would skip or repeat data
        # without a word.
        changes = []
        if then is not None and "row" in data:  # else a checkpoint of a version that kept neither
            changes = find_changes(then, self.description, Place(data["row"], then["rows"]), values)
        if changes:
            text = f"this run differs from the one that made the checkpoint:\n{table(changes)}"
            if any(change.refused for change in changes) and not accept:
                raise ConfigError(
                    f"{text}\nSome data of the epoch would be left out, or come again. Make the run what it was; or go "
                    'on all the same: train(config, resume=..., resume_changes="accept").'
                )
            logger.warning("%s", text)
        if then is None or not any(change.moves for change in changes):
            feeding.load_state_dict(data, accept)
            return
        left = feeding.go_to(data, accept)
        # With batches of another size the epoch has another number of steps, and another number of them is done. If an
        # epoch of training is one of the data, then and now, the steps that are left are the batches that are left: so
        # both end together. If not, training counts its steps on.
        aligned = [about["training"]["steps_per_epoch"] == about["batches"] for about in (then, self.description)]
        if all(aligned) and left is not None and not self.progress.epoch_done:
            self.progress.local_step = max(self.description["batches"] - left, 0)


def load_weights(graph: ModelGraph, source: str | Path | Mapping[str, np.ndarray]) -> None:
    """Set initial weights: each variable of the model of which there is a value. Logs those of which there is none.

    Args:
        graph: The built model.
        source: Name -> array, or the path of a checkpoint.

    Raises:
        CheckpointError: A value has another shape, or none has the name of a variable.
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
            f"the initial weights {'' if isinstance(source, Mapping) else source} do not fit the model: {problem}. "
            f"{_mend(list(variables), values, wrong)}"
        )
    graph.store.set_weights({name: values[name] for name in shared})
    missing = [name for name in variables if name not in values]
    logger.info(
        "initial weights: %d of %d variables%s", len(shared), len(variables), f"; not: {missing}" if missing else ""
    )


def _mend(variables: Sequence[str], values: Mapping[str, np.ndarray], wrong: Sequence[str]) -> str:
    """What to write instead, for the error: a renaming, or a dict without the layer whose shapes differ."""
    if not wrong:
        return (
            f"The model has {first_few(variables, 3)}; given are {first_few(values, 3)}. Rename "
            "them: weights={new_name: read_checkpoint(path)[old_name], ...}."
        )
    first = wrong[0].split(" ")[0]
    scope = first.rsplit("/", 1)[0] + "/"
    return (
        "To start with a new head leave it out: "
        f"weights={{name: value for name, value in read_checkpoint(path).items() if not name.startswith({scope!r})}}; "
        "or give the layer another name."
    )
