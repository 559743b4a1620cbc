"""What callbacks share that follow one logged number: hearing it at once, and noticing that it never comes."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from flowtrain.utils.errors import ConfigError, TrainingError, closest

from .base import Callback
from .proxy import ProxyCallback

__all__ = ["WatchingCallback"]

logger = logging.getLogger("flowtrain.callbacks")


class WatchingCallback(Callback):
    """Hears each value of one scalar at the moment it is logged, whatever the order of the callbacks.

    Subclasses define `heard`. A name that nobody logs is an error at the end of the first epoch (or, with
    callbacks that work less often, of the first one by which all have worked), not at the end of the run.

    Args:
        monitor: The scalar's name.
        mode: "min" when less is better, "max" when more is.
        min_delta: How much better a value must be to count as better.

    Raises:
        ConfigError: The mode is another.

    Example:
        >>> class Applause(WatchingCallback):
        ...     def heard(self, value, step):
        ...         if self.is_best(value):
        ...             print("bravo")
    """

    best: float | None = None

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("min", "max"):
            raise ConfigError(
                f'{type(self).__name__}({monitor!r}): mode={mode!r}; expected "min" (less is better) or "max".'
            )
        if min_delta < 0:
            raise ConfigError(f"{type(self).__name__}({monitor!r}): min_delta={min_delta!r} is negative.")
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        super().__init__()

    def reset(self) -> None:
        self.best = None
        self._epochs_ended = 0
        self._finished = False

    @property
    def name(self) -> str:
        """The callback with what it watches."""
        return f"{type(self).__name__}({self.monitor})"

    def heard(self, value: float, step: int) -> None:
        """Called with each value, when it is logged."""
        raise NotImplementedError(f"{type(self).__name__} must define heard(self, value, step).")

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value is better than another by more than `min_delta`; one that is no number never is."""
        if math.isnan(value):
            return False
        if than is None:
            return True
        gain = than - value if self.mode == "min" else value - than
        return gain > self.min_delta

    def is_best(self, value: float) -> bool:
        """Whether a value is the best so far; if so it is remembered as that."""
        if not self.better(value, self.best):
            return False
        self.best = value
        return True

    def setup_graph(self) -> None:
        self.trainer.monitors.listen(self._listen)

    def before_epoch(self) -> None:
        if self._epochs_ended and not any(_pending(callback) for callback in self.trainer.callbacks):
            self._require_name()

    def trigger_epoch(self) -> None:
        self._epochs_ended += 1
        self._finished = self.epoch_num >= self.trainer.max_epoch
        super().trigger_epoch()

    def after_train(self) -> None:
        if self._finished:
            self._require_name()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "mode": self.mode}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        then = state.get("mode", self.mode)
        if then == self.mode:
            self.take_state(state)
        else:  # what was best then is the worst now
            logger.warning("%s begins anew: its mode is %r; in the checkpoint it was %r", self.name, self.mode, then)

    def take_state(self, state: Mapping[str, Any]) -> None:
        """Take what state_dict gave, for the same mode; subclasses with more state override it."""
        self.best = state["best"]

    def _listen(self, name: str, value: float, step: int) -> None:
        if name == self.monitor:
            self.heard(value, step)

    def _require_name(self) -> None:
        if self.monitor not in self.trainer.history:
            raise TrainingError(
                f"{self.name}: nothing logs a scalar {self.monitor!r}. "
                f"{closest(self.monitor, list(self.trainer.history))}"
            )


def _pending(callback: Callback) -> bool:
    return isinstance(callback, ProxyCallback) and callback.pending
