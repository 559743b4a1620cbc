"""StatMonitorParamSetter: changes a hyperparameter when a scalar stops improving."""

from __future__ import annotations

from collections.abc import Callable

from flowtrain.utils.arguments import old_spellings

from .hyperparams import check_param, set_param
from .watch import PatientCallback

__all__ = ["StatMonitorParamSetter"]


@old_spellings(stat_name="monitor", threshold="min_delta", last_k="patience", reverse="mode")
class StatMonitorParamSetter(PatientCallback):
    """Changes a hyperparameter when a scalar has stopped improving (reduces the learning rate on a plateau).

    Args:
        param: Name of the variable, such as "learning_rate".
        monitor: Name of the scalar, such as "validation_l2_loss".
        value_func: From the current value of the variable to its next one.
        mode: "min" if a lower scalar is better, "max" if a higher one is.
        patience: Number of values in a row without improvement after which the variable changes and the count restarts.
        min_delta: A value is an improvement if it is better than the best one by more than this.

    Raises:
        ConfigError: The mode or a number is invalid.

    Example:
        >>> StatMonitorParamSetter("learning_rate", "validation_l2_loss", lambda x: x * 0.2, mode="min", patience=5)
        StatMonitorParamSetter(learning_rate by validation_l2_loss)
    """

    def __init__(
        self,
        param: str,
        monitor: str,
        value_func: Callable[[float], float],
        mode: str,
        patience: int = 10,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, patience, min_delta)
        self.param, self.value_func = param, value_func

    @property
    def name(self) -> str:
        """The class with the variable's and the scalar's name."""
        return f"{type(self).__name__}({self.param} by {self.monitor})"

    def setup_graph(self) -> None:
        super().setup_graph()
        check_param(self, self.param)

    def lose_patience(self) -> None:
        self._waited = 0
        set_param(self, self.param, self.value_func(float(self.trainer.get_variable(self.param))))
