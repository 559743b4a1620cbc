"""WatchingCallback: the base of callbacks that follow one logged scalar."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from flowtrain.utils.arguments import check_choice, check_int, if_given
from flowtrain.utils.errors import ConfigError, TrainingError, closest

from .base import Callback
from .proxy import is_pending

__all__ = ["PatientCallback", "WatchingCallback"]

logger = logging.getLogger("flowtrain.callbacks")


class WatchingCallback(Callback):
    """Base class: gets each value of one scalar at the moment it is logged, whatever the order of the callbacks.

    Subclasses define `heard`. If nobody logs the scalar, that is an error after the first epoch (or, with periodic
    callbacks, after the first epoch by which all of them were triggered), not at the end of the run.

    Args:
        monitor: Name of the scalar.
        mode: "min" if a lower scalar is better, "max" if a higher one is.
        min_delta: A value is better than another if it differs by more than this.

    Raises:
        ConfigError: `mode` is neither, or `min_delta` is negative.

    Example:
        >>> class Applause(WatchingCallback):
        ...     def heard(self, value, step):
        ...         if self.is_best(value):
        ...             print("bravo")
    """

    best: float | None = None

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        check_choice(f"{type(self).__name__}({monitor!r})", 'mode ("min": less is better)', mode, ("min", "max"))
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
        """The class with the scalar's name."""
        return f"{type(self).__name__}({self.monitor})"

    def heard(self, value: float, step: int) -> None:
        """Take a value, at the moment it is logged."""
        raise NotImplementedError(f"{type(self).__name__} must define heard(self, value, step).")

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value is better than another (None: there is none) by more than `min_delta`; NaN never is."""
        if math.isnan(value):
            return False
        if than is None:
            return True  # also infinity: a run that begins diverged has a best value, which the next one beats
        gain = than - value if self.mode == "min" else value - than
        return gain > self.min_delta

    def is_best(self, value: float) -> bool:
        """Whether a value is the best so far; if so it becomes `best`."""
        if not self.better(value, self.best):
            return False
        self.best = value
        return True

    def setup_graph(self) -> None:
        self.trainer.monitors.listen(self._listen)

    def before_epoch(self) -> None:
        # Not at the epoch's end, where callbacks later in the list have not logged yet.
        if self._epochs_ended and not any(map(is_pending, self.trainer.callbacks)):
            self._require_name()

    def trigger_epoch(self) -> None:
        self._epochs_ended += 1
        self._finished = self.epoch_num >= self.trainer.max_epoch
        super().trigger_epoch()

    def after_train(self) -> None:
        if self._finished:  # after the last epoch there is no before_epoch; after an error or a stop nothing is missing
            self._require_name()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "mode": self.mode}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        then = state.get("mode", self.mode)
        if then == self.mode:
            self.take_state(state)
        else:  # the best of the other mode says nothing here
            logger.warning("%s begins anew: its mode is %r; in the checkpoint it was %r", self.name, self.mode, then)

    def take_state(self, state: Mapping[str, Any]) -> None:
        """Restore a state of the same mode; subclasses with more state override this, not load_state_dict."""
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


class PatientCallback(WatchingCallback):
    """Base class: counts the values in a row that are no improvement, and calls `lose_patience` at so many."""

    def __init__(self, monitor: str, mode: str, patience: int, min_delta: float) -> None:
        super().__init__(monitor, mode, min_delta)
        if_given(check_int, type(self).__name__, "patience", patience)
        self.patience = patience

    def reset(self) -> None:
        super().reset()
        self._waited = 0

    def heard(self, value: float, step: int) -> None:
        self._waited = 0 if self.is_best(value) else self._waited + 1
        if self._waited >= self.patience:
            self.lose_patience()

    def lose_patience(self) -> None:
        """Act after `patience` values without improvement; called again at the next one, unless the count is reset."""
        raise NotImplementedError(f"{type(self).__name__} must define lose_patience(self).")

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "waited": self._waited}

    def take_state(self, state: Mapping[str, Any]) -> None:
        super().take_state(state)
        self._waited = int(state["waited"])
