"""EarlyStopping and StopTraining: end training before its last epoch."""

from __future__ import annotations

from .watch import PatientCallback

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


class EarlyStopping(PatientCallback):
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
        super().__init__(monitor, mode, patience, min_delta)

    def before_train(self) -> None:
        """Stop at once if a run that this callback ended is resumed, unless with a greater `patience`."""
        if self._waited >= self.patience:
            self.lose_patience()

    def lose_patience(self) -> None:
        best = "never a number" if self.best is None else f"best {self.best:.6g}"
        self.trainer.stop(f"{self.monitor} was not better {self._waited} times in a row ({best})")
