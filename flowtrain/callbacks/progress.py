"""ProgressBar: a progress bar for each epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from .base import Callback

__all__ = ["ProgressBar"]


class ProgressBar(Callback):
    """Shows a progress bar for each epoch, with the speed and some moving averages.

    It is updated about twice a second (every ten seconds if stderr is not a terminal), not at every step, so that fast
    steps are not slowed down.

    Args:
        names: Names of the moving averages to show; None: the cost and two others.

    Example:
        >>> ProgressBar(["l2_loss"])
        ProgressBar
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.names = names
        super().__init__()

    def reset(self) -> None:
        self._bar: Any = None
        self._next = 0

    def before_epoch(self) -> None:
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
            # tqdm draws at each update: how often, trigger_step decides
            mininterval=0.0,
            miniters=1,
            delay=1e-9,  # above 0, so that tqdm draws nothing before the first step is done
            leave=True,
        )
        self._seen = time.monotonic()
        self._next = self.global_step + 1

    def trigger_step(self) -> None:
        now = time.monotonic()
        # The next update is set in steps, by the rate since the last one, and not asked for by the clock: next_step is
        # what bounds how many steps the loop fuses into one call.
        done = self.trainer.local_step - self._bar.n
        rate = done / max(now - self._seen, 1e-6)
        self._seen = now
        self._next = self.global_step + max(1, int(rate * self._interval))
        self._update()

    def after_epoch(self) -> None:
        if self._bar is not None:  # after_train has closed it if a Ctrl-C interrupted the end of the epoch
            self._update()
        self._close()

    def after_train(self) -> None:
        self._close()

    def next_step(self) -> float:
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
