"""The two trainers of flowtrain: SimpleTrainer trains, NoOpTrainer only runs the callbacks."""

from __future__ import annotations

from .trainer import Trainer

__all__ = ["NoOpTrainer", "SimpleTrainer"]


class SimpleTrainer(Trainer):
    """The trainer that ``train`` uses: each step is one forward pass and an update by each cost."""


class NoOpTrainer(Trainer):
    """A trainer that runs callbacks and no steps: evaluates a checkpoint with the callbacks of a training.

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
