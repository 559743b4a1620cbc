"""How training goes on: a bar, the time left, the speed."""

from __future__ import annotations

import logging
import math
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from .base import Callback

__all__ = ["EstimatedTimeLeft", "ProgressBar", "ThroughputTracker"]

logger = logging.getLogger("flowtrain.callbacks")


class ProgressBar(Callback):
    """Shows a bar for each epoch with the speed and the moving averages of some numbers.

    It looks at the run about twice a second (every ten seconds when the output is no terminal), not at every
    step, so fast steps are not slowed down.

    Args:
        names: Moving averages to show; None: the cost and two more.

    Example:
        >>> ProgressBar(["l2_loss"])
        ProgressBar
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.names = names
        self._bar: Any = None
        self._next = 0

    def before_epoch(self) -> None:
        """See Callback."""
        from tqdm.auto import tqdm

        terminal = sys.stderr.isatty()
        self._interval = 0.5 if terminal else 10.0
        self._close()
        self._bar = tqdm(
            total=self.trainer.steps_per_epoch,
            initial=self.trainer.local_step,
            desc=f"epoch {self.epoch_num}/{self.trainer.max_epoch}",
            unit="step",
            dynamic_ncols=terminal,
            mininterval=0.0,
            miniters=1,
            delay=1e-9,  # nothing is drawn before the first step is done
            leave=True,
        )
        self._seen = self._began = time.monotonic()
        self._next = self.global_step + 1

    def trigger_step(self) -> None:
        """See Callback."""
        now = time.monotonic()
        done = self.trainer.local_step - self._bar.n
        rate = done / max(now - self._seen, 1e-6)
        self._seen = now
        self._next = self.global_step + max(1, int(rate * self._interval))
        self._update()

    def after_epoch(self) -> None:
        """See Callback."""
        self._update()
        self._close()

    def after_train(self) -> None:
        """See Callback."""
        self._close()

    def next_step(self) -> float:
        """See Callback."""
        return max(self._next, self.global_step + 1)

    def _update(self) -> None:
        averages = self.trainer.moving_averages()
        names = [name for name in self._shown(averages) if name in averages]
        self._bar.set_postfix({name: f"{averages[name]:.4g}" for name in names}, refresh=False)
        self._bar.update(self.trainer.local_step - self._bar.n)

    def _shown(self, averages: dict[str, float]) -> Sequence[str]:
        if self.names is not None:
            return self.names
        return ["cost", *(name for name in averages if name != "cost")][:3]

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class EstimatedTimeLeft(Callback):
    """Logs after each epoch how long the rest will take, by the median of the last epochs.

    Args:
        last_k_epochs: How many epochs to look at.

    Example:
        >>> EstimatedTimeLeft()
        EstimatedTimeLeft
    """

    def __init__(self, last_k_epochs: int = 5) -> None:
        self._times: deque[float] = deque(maxlen=last_k_epochs)

    def before_train(self) -> None:
        """See Callback."""
        self._last = time.monotonic()

    def trigger_epoch(self) -> None:
        """See Callback."""
        now = time.monotonic()
        self._times.append(now - self._last)
        self._last = now
        epochs = self.trainer.max_epoch - self.epoch_num
        if epochs > 0:
            logger.info("about %s left for %d epochs", _in_words(epochs * statistics.median(self._times)), epochs)


class ThroughputTracker(Callback):
    """Logs the steps (or samples) per second of each epoch, what callbacks take at its end left out.

    Args:
        samples_per_step: Log samples instead: the batch size.

    Example:
        >>> ThroughputTracker(samples_per_step=32)
        ThroughputTracker
    """

    def __init__(self, samples_per_step: int | None = None) -> None:
        self.samples_per_step = samples_per_step

    def before_epoch(self) -> None:
        """See Callback."""
        self._began, self._step = time.monotonic(), self.global_step

    def after_epoch(self) -> None:
        """See Callback."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        self._rate = (self.global_step - self._step) / seconds

    def trigger_epoch(self) -> None:
        """See Callback."""
        name = "steps_per_second" if self.samples_per_step is None else "samples_per_second"
        self.trainer.monitors.put_scalar(name, self._rate * (self.samples_per_step or 1), self.global_step)


def _in_words(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
