"""Callbacks that log the speed of training and the time that is left."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections import deque

from flowtrain.utils.arguments import check_int

from .base import Callback

__all__ = ["EstimatedTimeLeft", "ThroughputTracker"]

logger = logging.getLogger("flowtrain.callbacks")


class EstimatedTimeLeft(Callback):
    """Logs after each epoch an estimate of the remaining time: remaining epochs x median time of the last epochs.

    Args:
        last_k_epochs: Number of epochs for the median.

    Raises:
        ConfigError: It is not a whole number from 1.

    Example:
        >>> EstimatedTimeLeft()
        EstimatedTimeLeft
    """

    def __init__(self, last_k_epochs: int = 5) -> None:
        self.last_k_epochs = check_int("EstimatedTimeLeft", "last_k_epochs", last_k_epochs)
        super().__init__()

    def reset(self) -> None:
        self._times: deque[float] = deque(maxlen=self.last_k_epochs)

    def before_train(self) -> None:
        self._last = time.monotonic()

    def trigger_epoch(self) -> None:
        now = time.monotonic()
        self._times.append(now - self._last)
        self._last = now
        epochs = self.trainer.max_epoch - self.epoch_num
        if epochs > 0:
            left = _in_words(epochs * statistics.median(self._times))
            logger.info("about %s left for %d epoch%s", left, epochs, "s" if epochs > 1 else "")


class ThroughputTracker(Callback):
    """Logs the steps (or samples) per second of each epoch, without the time of callbacks at its end.

    Args:
        samples_per_step: The global batch size: log ``samples_per_second``. None: log ``steps_per_second``.

    Example:
        >>> ThroughputTracker(samples_per_step=32)
        ThroughputTracker
    """

    def __init__(self, samples_per_step: int | None = None) -> None:
        self.samples_per_step = samples_per_step
        super().__init__()

    def before_epoch(self) -> None:
        self._began, self._step = time.monotonic(), self.global_step

    def after_epoch(self) -> None:
        # The steps since before_epoch, not steps_per_epoch: a run that is resumed inside an epoch has fewer.
        seconds = max(time.monotonic() - self._began, 1e-9)
        self._rate = (self.global_step - self._step) / seconds

    def trigger_epoch(self) -> None:
        name = "steps_per_second" if self.samples_per_step is None else "samples_per_second"
        self.trainer.monitors.put_scalar(name, self._rate * (self.samples_per_step or 1), self.global_step)


def _in_words(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
