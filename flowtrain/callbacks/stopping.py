"""EarlyStopping and StopTraining: end training before its last epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .periodic import check_period
from .watch import WatchingCallback

__all__ = ["EarlyStopping", "StopTraining"]


class StopTraining(Exception):
    """Raise it in any hook to end training regularly, once all callbacks have had the same hook.

    The rest of the raising hook is skipped; after ``trainer.stop(reason)`` it would continue.

    Example:
        >>> class StopAtNoon(Callback):
        ...     def trigger_step(self):
        ...         if datetime.now().hour == 12:
        ...             raise StopTraining("it is noon")
    """


class EarlyStopping(WatchingCallback):
    """Ends training when a scalar has stopped improving.

    Args:
        monitor: Name of the scalar, such as "validation_l2_loss".
        mode: "min" if a lower scalar is better, "max" if a higher one is.
        patience: Number of values in a row without improvement after which training ends.
        min_delta: A value is an improvement if it is better than the best one by more than this.

    Raises:
        ConfigError: The mode or a number is invalid.

    Example:
        >>> EarlyStopping("validation_l2_loss", mode="min", patience=5)
        EarlyStopping(validation_l2_loss)
    """

    def __init__(self, monitor: str, mode: str, patience: int = 10, min_delta: float = 0.0) -> None:
        super().__init__(monitor, mode, min_delta)
        check_period(self, "patience", patience)
        self.patience = patience

    def reset(self) -> None:
        super().reset()
        self._waited = 0

    def before_train(self) -> None:
        """Stop at once if a run that this callback ended is resumed, unless with a greater `patience`."""
        if self._waited >= self.patience:
            self._stop()

    def heard(self, value: float, step: int) -> None:
        self._waited = 0 if self.is_best(value) else self._waited + 1
        if self._waited >= self.patience:
            self._stop()

    def _stop(self) -> None:
        best = "never a number" if self.best is None else f"best {self.best:.6g}"
        self.trainer.stop(f"{self.monitor} was not better {self._waited} times in a row ({best})")

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "waited": self._waited}

    def take_state(self, state: Mapping[str, Any]) -> None:
        super().take_state(state)
        self._waited = int(state["waited"])
