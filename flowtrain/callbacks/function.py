"""RunFunction: a function called before training, at triggers, or after steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .base import Callback

__all__ = ["RunFunction"]


class RunFunction(Callback):
    """Calls a function before training, at each trigger, or after each step.

    For updating something beside the model: a target network, a replay buffer, a file.

    Args:
        function: Takes the trainer.
        run_before: Call it before the first epoch.
        run_as_trigger: Call it when triggered: at each epoch's end, or as `PeriodicTrigger` says.
        run_step: Call it after every step; steps are then no longer fused into one TensorFlow call.

    Example:
        >>> RunFunction(lambda trainer: trainer.set_variable("target/weight", trainer.get_variable("weight")))
        RunFunction
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        run_before: bool = False,
        run_as_trigger: bool = True,
        run_step: bool = False,
    ) -> None:
        self.function = function
        self.run_before, self.run_as_trigger, self.run_step = run_before, run_as_trigger, run_step
        super().__init__()

    def before_train(self) -> None:
        if self.run_before:
            self.function(self.trainer)

    def trigger(self) -> None:
        if self.run_as_trigger:
            self.function(self.trainer)

    def trigger_step(self) -> None:
        if self.run_step:
            self.function(self.trainer)

    def next_step(self) -> float:
        return self.global_step + 1 if self.run_step else math.inf
