"""A checkpoint is the whole run: what goes into one, and how a run goes on from it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.model.checkpoint_io import find_checkpoint, read_checkpoint
from flowtrain.utils.errors import CheckpointError, ConfigError

from .checkpoints import read_run_state
from .log_folder import packages
from .run import Run

__all__ = ["load_weights", "resume", "save"]

logger = logging.getLogger("flowtrain.training")


def save(trainer: Run, name: str | None, keep: int | None, background: bool) -> None:
    """Save the run as it is now; only between two rounds of hooks."""
    step = trainer.global_step
    state = {
        "progress": trainer.progress.state_dict(),
        "data": trainer.feeder_state(),
        "callbacks": trainer.callbacks.state_dict(),
        "monitors": trainer.monitors.state_dict(),
        "random": {"python": random.getstate(), "numpy": np.random.get_state(legacy=False)},
    }
    about = {
        "model": type(trainer.model).__qualname__,
        "epoch": trainer.epoch_num,
        "global_step": step,
        "saved": time.strftime("%F %T %z"),
        "packages": packages(),
    }
    # On the CPU the snapshot costs nothing until a variable changes, and then one copy in memory. On a GPU that copy
    # would take memory of the device: there training waits, unless it is asked not to.
    background = background or not tf.config.list_physical_devices("GPU")
    trainer.checkpoints.save(name or f"step-{step:08d}", trainer.variables.snapshot(), state, about, keep, background)


def resume(trainer: Run, where: str | Path | bool) -> None:
    """Go on from a checkpoint; with ``"auto"`` from the newest whole one of the log folder, if there is any."""
    if where in ("auto", True):
        path = trainer.checkpoints.newest()
        if path is None:
            logger.info("no checkpoint in %s: training starts from the beginning", trainer.log_dir)
            return
    elif isinstance(where, str | Path):
        path = find_checkpoint(where)
    else:
        raise ConfigError(f'resume= must be "auto", the path of a checkpoint, or None; got {where!r}')
    state = read_run_state(path)
    with trainer.strategy.scope():
        trainer.variables.restore(read_checkpoint(path), str(path))
    trainer.progress.load_state_dict(state["progress"])
    trainer.restore_state(state)
    random.setstate(state["random"]["python"])
    np.random.set_state(state["random"]["numpy"])
    logger.info("resumed from %s: epoch %d, step %d", path, trainer.epoch_num, trainer.global_step)


def load_weights(trainer: Run, source: str | Path | Mapping[str, np.ndarray]) -> None:
    """Start from given values, where names agree.

    Raises:
        CheckpointError: A value has another shape, or no name agrees.
    """
    values = source if isinstance(source, Mapping) else read_checkpoint(source)
    variables = trainer.graph.store.variables
    wrong = [
        f"{name} {np.shape(values[name])} instead of {tuple(variable.shape)}"
        for name, variable in variables.items()
        if name in values and np.shape(values[name]) != tuple(variable.shape)
    ]
    shared = [name for name in variables if name in values]
    if wrong or not shared:
        problem = f"values of another shape: {', '.join(wrong)}" if wrong else "no variable of the model is among them"
        raise CheckpointError(f"the initial weights {_shown(source)} do not fit the model: {problem}")
    trainer.graph.store.set_weights({name: values[name] for name in shared})
    missing = [name for name in variables if name not in values]
    logger.info(
        "initial weights: %d of %d variables%s", len(shared), len(variables), f"; not: {missing}" if missing else ""
    )


def _shown(source: Any) -> str:
    return "" if isinstance(source, Mapping) else str(source)
