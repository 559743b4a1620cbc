"""The trainers that there are besides those of users: one that trains, one that runs callbacks alone."""

from __future__ import annotations

from .trainer import Trainer

__all__ = ["NoOpTrainer", "SimpleTrainer"]


class SimpleTrainer(Trainer):
    """The trainer that ``train`` uses: one update by all costs in each step."""


class NoOpTrainer(Trainer):
    """Runs the callbacks and no steps: to evaluate a checkpoint with the callbacks of a training.

    Example:
        >>> config = TrainConfig(  # doctest: +SKIP
        ...     model=model, weights="run/checkpoints/best", callbacks=[runner], max_epoch=1
        ... )
        >>> NoOpTrainer(config).train()  # doctest: +SKIP
    """

    def _steps(self) -> int:
        return self.config.steps_per_epoch or 1

    def _feeding(self) -> None:
        return None
