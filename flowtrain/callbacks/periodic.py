"""PeriodicTrigger and PeriodicCallback: run another callback every k steps or epochs."""

from __future__ import annotations

import math
from typing import Any

from flowtrain.utils.arguments import check_int, if_given
from flowtrain.utils.errors import ConfigError

from .base import Callback, overrides
from .conditional import EnableCallbackIf
from .proxy import ProxyCallback

__all__ = ["PeriodicCallback", "PeriodicTrigger"]


class PeriodicTrigger(ProxyCallback):
    """Calls a callback's `trigger` every k steps or every k epochs, and at the end of training.

    Its `trigger_epoch` is not called; all other hooks are.

    Args:
        callback: A callback that does its work in `trigger`.
        every_k_steps: Trigger after each k-th global step.
        every_k_epochs: Trigger after each k-th epoch.
        before_train: Trigger before the first step as well.

    Raises:
        ConfigError: No period is given or one is not a whole number from 1, or the callback does not define `trigger`.

    Example:
        >>> from flowtrain.callbacks import ModelSaver
        >>> PeriodicTrigger(ModelSaver(), every_k_epochs=5)
        PeriodicTrigger(ModelSaver)
    """

    def __init__(
        self,
        callback: Callback,
        every_k_steps: int | None = None,
        every_k_epochs: int | None = None,
        before_train: bool = False,
    ) -> None:
        super().__init__(callback)
        if every_k_steps is None and every_k_epochs is None:
            raise ConfigError(f"{self.name} needs a period: every_k_steps=... or every_k_epochs=...")
        if_given(check_int, type(self).__name__, "every_k_steps", every_k_steps)
        if_given(check_int, type(self).__name__, "every_k_epochs", every_k_epochs)
        if not overrides(callback, "trigger"):
            raise ConfigError(
                f"{self.name} calls trigger(), which {type(callback).__name__} does not define. Move its work "
                "from trigger_epoch to trigger (an epoch's end calls that too), or use PeriodicCallback."
            )
        self.every_k_steps, self.every_k_epochs = every_k_steps, every_k_epochs
        self._before_train = before_train

    def reset(self) -> None:
        super().reset()
        self._fired_at = -1

    @property
    def pending(self) -> bool:
        return self._fired_at < 0 or super().pending

    def before_train(self) -> None:
        super().before_train()
        if self._before_train and self.global_step == 0:  # a resumed run has had it
            self.trigger()

    def trigger_step(self) -> None:
        # Called at the steps of the wrapped callback and at those of the period (see next_step); ProxyCallback passes
        # the hook on at the former alone.
        super().trigger_step()
        if self.every_k_steps is not None and self.global_step % self.every_k_steps == 0:
            self.trigger()

    def trigger_epoch(self) -> None:
        last = self.epoch_num >= self.trainer.max_epoch
        if last or (self.every_k_epochs is not None and self.epoch_num % self.every_k_epochs == 0):
            self.trigger()

    def after_train(self) -> None:
        if self.trainer.stop_reason is not None:  # stopped before max_epoch, which trigger_epoch takes for the end
            self.trigger()
        super().after_train()

    def trigger(self) -> None:
        """Trigger the callback, unless it was already triggered at this step (a period may end with an epoch)."""
        if self._fired_at != self.global_step:
            super().trigger()
            self._fired_at = self.global_step

    def next_step(self) -> float:
        if self.every_k_steps is None:
            return super().next_step()
        return min(super().next_step(), next_multiple(self.global_step, self.every_k_steps))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "fired_at": self._fired_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._fired_at = int(state["fired_at"])


class PeriodicCallback(EnableCallbackIf):
    """Calls a callback's hooks in every k-th epoch and the last one only.

    `setup_graph`, `before_train` and `after_train` are always called.

    Args:
        callback: The callback.
        every_k_epochs: k.

    Example:
        >>> from flowtrain.callbacks import ThroughputTracker
        >>> PeriodicCallback(ThroughputTracker(), every_k_epochs=10)
        PeriodicCallback(ThroughputTracker)
    """

    def __init__(self, callback: Callback, every_k_epochs: int) -> None:
        if_given(check_int, type(self).__name__, "every_k_epochs", every_k_epochs)
        super().__init__(callback, lambda held: True)
        self.every_k_epochs = every_k_epochs

    def _enabled(self) -> bool:  # not a predicate bound to self: a copy's would still look at the original
        return self.epoch_num % self.every_k_epochs == 0 or self.epoch_num >= self.trainer.max_epoch


def next_multiple(step: int, period: int) -> int:
    """The smallest multiple of a period that is greater than a step."""
    return (step // period + 1) * period


def last_step_of_epoch(callback: Callback) -> float:
    """The next global step that is the last of its epoch."""
    trainer = callback.trainer
    if trainer.steps_per_epoch <= 0:  # a run without steps
        return math.inf
    # Asked at the end of an epoch, local_step is still steps_per_epoch: the next one is a whole epoch away.
    left = trainer.steps_per_epoch - trainer.local_step
    return trainer.global_step + (left if left > 0 else trainer.steps_per_epoch)
