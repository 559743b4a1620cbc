"""Dry run: what a long training does, each once and within seconds, and a table of what worked."""

from __future__ import annotations

import itertools
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tabulate import tabulate

from flowtrain.callbacks import InferenceRunner
from flowtrain.callbacks.check import check_callback
from flowtrain.callbacks.proxy import with_wrapped
from flowtrain.dataflow import DataFlow, DataFromList
from flowtrain.model.checkpoint_io import check_checkpoint, list_checkpoints, read_checkpoint
from flowtrain.utils.errors import CheckpointError, TrainingError, error_text

from .config import TrainConfig
from .trainer import Trainer
from .trainer_kinds import SimpleTrainer

__all__ = ["dry_run"]

T = TypeVar("T")

logger = logging.getLogger("flowtrain.training")


def dry_run(config: TrainConfig, trainer_class: type[Trainer] = SimpleTrainer) -> Trainer:
    """Do one batch, one step, one save, one restore and one validation batch, and log a table of verdicts.

    Nothing is written into the run's log folder, and the positions of the dataflows stay as they were.

    Args:
        config: The run to try.
        trainer_class: The trainer to try it with.

    Returns:
        The trainer after its one step.

    Raises:
        Exception: The error of the first part that failed, after the table is logged.

    Example:
        >>> train(config, dry_run=True)                                      # doctest: +SKIP
    """
    rows: list[list[str]] = []

    def part(title: str, action: Callable[..., tuple[T, str]], *arguments: Any) -> T:
        began = time.perf_counter()
        try:
            result, seen = action(*arguments)
        except Exception as error:
            rows.append([title, "FAILED", error_text(error)[:100], ""])
            raise
        rows.append([title, "ok", seen, f"{(time.perf_counter() - began) * 1000:.0f} ms"])
        return result

    with tempfile.TemporaryDirectory() as folder:
        small = replace(
            config, callbacks=[], default_callbacks=[], monitors=[], log_dir=Path(folder) / "run",
            steps_per_epoch=1, steps_per_call=1, max_epoch=config.starting_epoch,
        )  # fmt: skip
        try:
            part("callbacks", _check, config)
            with part("model", _built, small, trainer_class) as trainer:
                part("one batch and one step", _step, trainer)
                part("one save", _save, trainer)
                part("one restore", _restore, trainer)
                for runner in with_wrapped(config.callbacks):
                    if isinstance(runner, InferenceRunner):
                        part("one validation batch", _validate, trainer, runner)
        finally:
            logger.info("dry run\n%s", tabulate(rows, headers=["part", "verdict", "", "time"]))
        return trainer


def _check(config: TrainConfig) -> tuple[None, str]:
    for callback in config.callbacks:
        check_callback(callback)
    return None, f"{len(config.callbacks)} callbacks, {config.steps()} steps an epoch"


def _built(config: TrainConfig, trainer_class: type[Trainer]) -> tuple[Trainer, str]:
    trainer = trainer_class(config)
    weights = sum(int(np.prod(variable.shape)) for variable in trainer.graph.store.trainable.values())
    return trainer, f"{len(trainer.graph.store.trainable)} trainable variables, {weights:,} weights"


def _step(trainer: Trainer) -> tuple[None, str]:
    trainer.train()
    return None, ", ".join(f"{name} {value:.4g}" for name, value in trainer.moving_averages().items())


def _save(trainer: Trainer) -> tuple[None, str]:
    trainer.save_checkpoint()
    trainer._loop.settle()
    trainer._checkpoints.wait()
    if trainer._checkpoints.failures:
        raise TrainingError("the checkpoint could not be saved: see the log above")
    newest = list_checkpoints(trainer._checkpoints.folder)[0]
    return None, f"{sum(file.stat().st_size for file in newest.iterdir()) / 1e6:.1f} MB"


def _restore(trainer: Trainer) -> tuple[None, str]:
    path = list_checkpoints(trainer._checkpoints.folder)[0]
    problem = check_checkpoint(path, deep=True)
    if problem:
        raise CheckpointError(problem)
    values = read_checkpoint(path)
    trainer._state.variables.restore(values, str(path))
    wrong = [name for name in values if not np.array_equal(trainer.get_variable(name), values[name])]
    if wrong:
        raise CheckpointError(f"after a restore these variables differ: {', '.join(wrong)}")
    return None, f"{len(values)} variables, all as saved"


def _validate(trainer: Trainer, runner: InferenceRunner) -> tuple[None, str]:
    flows, before = runner.flows, set(trainer.history)
    try:
        runner.flows = {name: _first(flow) for name, flow in flows.items()}
        runner.attach(trainer)
        runner.setup_graph()
        runner.trigger()
    finally:
        runner.flows = flows
    new = [f"{name} {values[-1][1]:.4g}" for name, values in trainer.history.items() if name not in before]
    return None, ", ".join(new)


def _first(flow: DataFlow) -> DataFlow:
    """A flow of the first batch of another one, whose position is put back."""
    position = flow.state_dict()
    iterator = iter(flow)
    try:
        return DataFromList(list(itertools.islice(iterator, 1)), shuffle=False)
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
        flow.load_state_dict(position)
