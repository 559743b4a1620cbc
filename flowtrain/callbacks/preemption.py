"""Leaving in good order when a cluster wants its machine back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import Any

from flowtrain.utils.errors import ConfigError

from .base import Callback

__all__ = ["PreemptionSaver"]


class PreemptionSaver(Callback):
    """Saves the run and ends the process on signals by which a cluster announces its end.

    The trainer does so on SIGTERM by itself; this adds others, such as the SIGUSR1 of ``sbatch --signal=USR1``.
    The step under way is finished first. ``train(config, resume="auto")`` goes on.

    Args:
        signals: The signals, besides SIGTERM.

    Raises:
        ConfigError: One cannot be caught.

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
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                if number != signal.SIGTERM:  # the trainer's own
                    self._before[number] = signal.signal(number, self._asked)

    def after_train(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _asked(self, number: int, frame: object) -> None:
        self.trainer.preempt(f"got {signal.Signals(number).name}")
