"""GraphProfiler: TensorFlow's profile of some training steps."""

from __future__ import annotations

import logging
import math

from flowtrain.utils.errors import ConfigError

from .base import Callback

__all__ = ["GraphProfiler"]

logger = logging.getLogger("flowtrain.callbacks")


class GraphProfiler(Callback):
    """Writes TensorFlow's profile of some steps, for the Profile tab of TensorBoard.

    To see it: ``pip install tensorboard tensorboard-plugin-profile; tensorboard --logdir train_log``.

    Args:
        first_step: The first global step in the profile, from 2; the first steps of a run trace and compile.
        last_step: The last global step in it.

    Raises:
        ConfigError: Not ``1 < first_step <= last_step``.

    Example:
        >>> GraphProfiler(first_step=100, last_step=110)
        GraphProfiler
    """

    def __init__(self, first_step: int = 20, last_step: int = 30) -> None:
        if not 1 < first_step <= last_step:
            raise ConfigError(
                f"GraphProfiler: first_step={first_step!r}, last_step={last_step!r}; expected 1 < first <= last."
            )
        self.first_step, self.last_step = first_step, last_step
        super().__init__()

    def reset(self) -> None:
        self._running = False

    def trigger_step(self) -> None:
        import tensorflow as tf

        if self._running:
            if self.global_step >= self.last_step:
                self._stop()
        # A range, as a run that is resumed within it starts in its middle.
        elif self.first_step - 1 <= self.global_step < self.last_step:
            tf.profiler.experimental.start(str(self.trainer.log_dir / "tensorboard"))
            self._running = True

    def after_train(self) -> None:
        if self._running:
            self._stop()

    def next_step(self) -> float:
        steps = (self.first_step - 1, self.last_step)
        return next((step for step in steps if step > self.global_step), math.inf)

    def _stop(self) -> None:
        import tensorflow as tf

        tf.profiler.experimental.stop()
        self._running = False
        logger.info("the profile up to step %d is in %s", self.global_step, self.trainer.log_dir / "tensorboard")
