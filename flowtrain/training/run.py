"""What the loop and the checkpoints need of a trainer, so that they need not know the class that users derive from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from flowtrain.model import ModelDesc, ModelGraph
from flowtrain.monitors import Monitors

from .checkpoints import Checkpoints
from .config import TrainConfig
from .hooks import CallbackList
from .program import Program
from .progress import Progress
from .variables import RunVariables

__all__ = ["Run"]


class Run(Protocol):
    """A run under way: a Trainer, seen from below."""

    config: TrainConfig
    model: ModelDesc
    graph: ModelGraph
    program: Program
    variables: RunVariables
    strategy: tf.distribute.Strategy
    monitors: Monitors
    checkpoints: Checkpoints
    progress: Progress
    log_dir: Path
    steps_per_epoch: int
    stop_reason: str | None

    @property
    def callbacks(self) -> CallbackList:
        """All callbacks, in order."""
        ...

    @property
    def epoch_num(self) -> int:
        """The epoch under way, from 1."""
        ...

    @property
    def global_step(self) -> int:
        """How many steps are done."""
        ...

    def settle(self) -> None:
        """Between two rounds of hooks: do the saves that were asked for, and obey SIGTERM."""
        ...

    def check_signal(self) -> None:
        """Save and leave when the process was asked to end."""
        ...

    def check_cost(self) -> None:
        """Raise when a cost since the start was not finite."""
        ...

    def should_stop(self) -> bool:
        """Whether to end inside the epoch."""
        ...

    def agree_to_stop(self) -> None:
        """At the end of an epoch: what stops one worker stops all."""
        ...

    def share_scalars(self) -> None:
        """At the start of an epoch: what callbacks of the chief have set reaches all workers."""
        ...

    def reload_callbacks(self) -> None:
        """Give callbacks the state of the checkpoint again."""
        ...

    def restore_state(self, state: dict[str, Any]) -> None:
        """Take what a checkpoint holds besides variables and counts."""
        ...

    def feeder_state(self) -> dict[str, Any] | None:
        """The position in the data."""
        ...
