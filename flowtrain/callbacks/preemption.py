"""PreemptionSaver: saves the run and exits on a cluster's preemption signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import Any

from flowtrain.utils.errors import ConfigError

from .base import Callback

__all__ = ["PreemptionSaver"]


class PreemptionSaver(Callback):
    """Saves the run and ends the process on a signal that announces preemption.

    The trainer itself does so on SIGTERM; this callback adds other signals, such as the SIGUSR1 of
    ``sbatch --signal=USR1``. The current step is finished first. ``train(config, resume="auto")`` resumes the run.

    Args:
        signals: The signals to handle besides SIGTERM.

    Raises:
        ConfigError: One of them cannot be caught.

    Example:
        >>> PreemptionSaver()
        PreemptionSaver
    """

    def __init__(self, signals: Sequence[int] = (signal.SIGUSR1,)) -> None:
        self.signals = [signal.Signals(number) for number in signals]
        fatal = {signal.SIGKILL, signal.SIGSTOP} & set(self.signals)
        if fatal:
            raise ConfigError(f"PreemptionSaver: {', '.join(s.name for s in fatal)} cannot be caught.")
        super().__init__()

    def reset(self) -> None:
        self._before: dict[signal.Signals, Any] = {}

    def before_train(self) -> None:
        if threading.current_thread() is threading.main_thread():  # Python sets handlers in the main thread only
            for number in self.signals:
                if number != signal.SIGTERM:  # the trainer's handler, which ends the process at a second SIGTERM, stays
                    self._before[number] = signal.signal(number, self._asked)

    def after_train(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _asked(self, number: int, frame: object) -> None:
        # Runs between any two bytecodes, perhaps while a checkpoint is written: it only records the request.
        self.trainer.preempt(f"got {signal.Signals(number).name}")
