"""``train``: build a trainer from a `TrainConfig`, train or resume the run, and release its log folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from flowtrain.utils.loading import only_to_run

from .config import TrainConfig
from .dry_run import dry_run as try_run
from .trainer import Trainer
from .trainer_kinds import SimpleTrainer

__all__ = ["train"]


def train(
    config: TrainConfig,
    resume: str | Path | bool | None = None,
    dry_run: bool = False,
    resume_changes: Literal["accept"] | None = None,
) -> Trainer:
    """Train a model.

    Args:
        config: Model, data, callbacks and settings of the run.
        resume: ``"auto"``: continue the run in the log folder from its newest whole checkpoint; without one, start
            from the beginning. The result is bit for bit that of a run that was never interrupted. A path: continue
            from that checkpoint. None: use the environment variable FLOWTRAIN_RESUME (``flowtrain launch --restarts``
            sets it to "auto"); if it is not set, start a new run, and refuse a log folder that holds one.
        dry_run: Only try the run, in seconds and in a temporary folder: one batch, one step, one save, one restore, one
            validation batch. Prints a table of verdicts and raises the first error.
        resume_changes: What to do if the configuration differs from the checkpoint's so that data would be skipped
            or repeated. None: refuse, with a table of the differences. ``"accept"``: go on.

    Returns:
        The trainer, after training: ``.history``, ``.get_weights()``, ``.get_predictor(inputs, outputs)``,
        ``.log_dir``.

    Raises:
        ConfigError: The configuration makes no sense.
        TrainingError: The cost became NaN or infinite, or another run uses the log folder.
        CheckpointError: The checkpoint is of another model, all checkpoints are damaged, or one could not be saved.

    Example:
        >>> trainer = train(TrainConfig(model=Colorize(), dataflow=ds, max_epoch=10))  # doctest: +SKIP
        >>> trainer.history["cost"][-1]                                               # doctest: +SKIP
        (320, 0.0123)
    """
    only_to_run("train()")
    if resume is None:
        resume = os.environ.get("FLOWTRAIN_RESUME") or None
    if dry_run:
        return try_run(config)
    with SimpleTrainer(config, resume=resume, resume_changes=resume_changes) as trainer:
        return trainer.train()
