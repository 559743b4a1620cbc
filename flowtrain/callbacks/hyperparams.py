"""Hyperparameters that move during training: by schedule, by function, by hand, by what is logged."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flowtrain.utils.errors import ConfigError, FlowtrainError, closest

from .base import Callback
from .periodic import check_period
from .renamed import renamed
from .schedules import Interpolation, Schedule, piecewise
from .watch import WatchingCallback

__all__ = [
    "HumanHyperParamSetter",
    "HyperParamSetter",
    "HyperParamSetterWithFunc",
    "ScheduledHyperParamSetter",
    "StatMonitorParamSetter",
]

logger = logging.getLogger("flowtrain.callbacks")


class HyperParamSetter(Callback):
    """Sets a variable before each epoch (or step) to what `value_at` says; the base of those that do.

    Args:
        param: The name of a variable: "learning_rate", or any other that the model or its optimizer has. A
            hyperparameter that the optimizer was given as a number is a constant of the compiled step; give
            it as a variable: ``Adam(lr, beta_1=get_scalar_var("beta_1", 0.9))``.
        step_based: Set it before each step instead.

    Example:
        >>> class Halve(HyperParamSetter):
        ...     def value_at(self, position):
        ...         return 0.1 * 0.5**position
        >>> Halve("learning_rate")
        Halve(learning_rate)
    """

    def __init__(self, param: str, step_based: bool = False) -> None:
        if not isinstance(param, str):
            raise ConfigError(f"{type(self).__name__}: param={param!r:.60}; expected the name of a variable.")
        self.param, self.step_based = param, step_based

    @property
    def name(self) -> str:
        """The callback with what it sets."""
        return f"{type(self).__name__}({self.param})"

    def value_at(self, position: int) -> float | None:
        """The value for the epoch (or step) before which `position` others are done; None: leave it."""
        raise NotImplementedError(f"{type(self).__name__} must define value_at(self, position).")

    def setup_graph(self) -> None:
        """See Callback."""
        check_param(self, self.param)

    def before_epoch(self) -> None:
        """See Callback."""
        if self.step_based:
            self._set(self.value_at(self.global_step), quiet=True)
        else:
            self._set(self.value_at(self.epoch_num - 1))

    def trigger_step(self) -> None:
        """See Callback."""
        if self.step_based:
            self._set(self.value_at(self.global_step), quiet=True)

    def next_step(self) -> float:
        """See Callback."""
        return self.global_step + 1 if self.step_based else math.inf

    def _set(self, value: float | None, quiet: bool = False) -> None:
        if value is not None:
            set_param(self, self.param, float(value), quiet)


@renamed(interp="interpolation")
class ScheduledHyperParamSetter(HyperParamSetter):
    """Sets a hyperparameter by a schedule.

    Each (position, value) pair means: from when `position` epochs (or steps) are done, the value holds.
    Before the first position the variable is left alone.

    Args:
        param: The variable's name, such as "learning_rate".
        schedule: (position, value) pairs; or a function of the position, see `flowtrain.schedules`.
        interpolation: Join the pairs: None, "linear" or "log".
        step_based: Positions are steps, not epochs.

    Raises:
        ConfigError: The pairs are not in order.

    Example:
        >>> ScheduledHyperParamSetter("learning_rate", [(30, 1e-4), (60, 1e-5)])
        ScheduledHyperParamSetter(learning_rate)
    """

    def __init__(
        self,
        param: str,
        schedule: Sequence[tuple[float, float]] | Schedule,
        interpolation: Interpolation = None,
        step_based: bool = False,
    ) -> None:
        super().__init__(param, step_based)
        if callable(schedule):
            if interpolation is not None:
                raise ConfigError(f"{self.name}: interpolation={interpolation!r} belongs to a list of pairs.")
            self._schedule, self._first, self._points = schedule, -math.inf, None
        else:
            self._schedule = piecewise(schedule, interpolation)
            self._first = float(schedule[0][0])
            self._points = [float(position) for position, _ in schedule] if interpolation is None else None

    def value_at(self, position: int) -> float | None:
        """See HyperParamSetter."""
        return self._schedule(position) if position >= self._first else None

    def next_step(self) -> float:
        """See Callback: only steps after which the value changes."""
        if not self.step_based or self._points is None:
            return super().next_step()
        return next((math.ceil(point) for point in self._points if point > self.global_step), math.inf)


@renamed(func="function")
class HyperParamSetterWithFunc(HyperParamSetter):
    """Sets a hyperparameter by a function.

    Args:
        param: The variable's name.
        function: Takes how many epochs (or steps) are done, and the present value if it has a second
            argument; gives the new value, or None to leave it.
        step_based: Call it before each step, not each epoch.

    Raises:
        ConfigError: The function takes another number of arguments.

    Example:
        >>> HyperParamSetterWithFunc("learning_rate", lambda epoch, rate: rate * 0.97)
        HyperParamSetterWithFunc(learning_rate)
    """

    def __init__(self, param: str, function: Callable[..., float | None], step_based: bool = False) -> None:
        super().__init__(param, step_based)
        self.function = function
        self._with_value = self._takes(2)
        if not self._with_value and not self._takes(1):
            raise ConfigError(f"{self.name}: the function must take (position) or (position, value).")

    def value_at(self, position: int) -> float | None:
        """See HyperParamSetter."""
        if self._with_value:
            return self.function(position, float(self.trainer.get_variable(self.param)))
        return self.function(position)

    def _takes(self, count: int) -> bool:
        try:
            inspect.signature(self.function).bind(*range(count))
        except (TypeError, ValueError):
            return False
        return True


@renamed(file_name="filename")
class HumanHyperParamSetter(HyperParamSetter):
    """Sets a hyperparameter to what stands in a text file, read before each epoch: turn knobs while it runs.

    The file has lines ``name: value``; where it has none for the parameter, or is not there, nothing is set.

    Args:
        param: The variable's name.
        filename: The file, inside the run's folder.

    Example:
        >>> HumanHyperParamSetter("learning_rate")  # echo "learning_rate: 1e-5" > train_log/run/hyper.txt
        HumanHyperParamSetter(learning_rate)
    """

    def __init__(self, param: str, filename: str = "hyper.txt") -> None:
        super().__init__(param)
        self.filename = filename

    def value_at(self, position: int) -> float | None:
        """See HyperParamSetter."""
        path = Path(self.trainer.log_dir) / self.filename
        if not path.is_file():
            return None
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == self.param:
                try:
                    return float(value)
                except ValueError:
                    logger.warning("%s: %r is not a number in the line %r", path, value.strip(), line)
        return None


@renamed(stat_name="monitor", threshold="min_delta", last_k="patience", reverse="mode")
class StatMonitorParamSetter(WatchingCallback):
    """Changes a hyperparameter when a logged number has stopped getting better: the rate on a plateau.

    Args:
        param: The variable's name, such as "learning_rate".
        monitor: The scalar's name, such as "validation_l2_loss".
        value_func: From the present value to the next one.
        mode: "min" when less of the scalar is better, "max" when more is.
        patience: How many values in a row may be no better than the best; then the count starts again.
        min_delta: How much better a value must be to count.

    Raises:
        ConfigError: A wrong mode or a wrong number.

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
        super().__init__(monitor, mode, min_delta)
        check_period("patience", patience)
        self.param, self.value_func, self.patience = param, value_func, patience
        self._waited = 0

    @property
    def name(self) -> str:
        """The callback with what it sets and what it watches."""
        return f"{type(self).__name__}({self.param} by {self.monitor})"

    def setup_graph(self) -> None:
        """See Callback."""
        super().setup_graph()
        check_param(self, self.param)

    def heard(self, value: float, step: int) -> None:
        """See WatchingCallback."""
        self._waited = 0 if self.is_best(value) else self._waited + 1
        if self._waited >= self.patience:
            self._waited = 0
            set_param(self, self.param, self.value_func(float(self.trainer.get_variable(self.param))))

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        return {**super().state_dict(), "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Callback."""
        super().load_state_dict(state)
        self._waited = int(state["waited"])


def check_param(callback: Callback, param: str) -> None:
    """Make sure that there is a variable of that name, before any step is run.

    Raises:
        ConfigError: There is none; says how to get one where the optimizer holds a plain number.
    """
    trainer = callback.trainer
    try:
        trainer.get_variable(param)
    except (FlowtrainError, KeyError):
        optimizer = trainer.graph.optimizer
        if isinstance(getattr(optimizer, param, None), int | float):
            hint = (
                f"The optimizer has {param}={getattr(optimizer, param)} as a number, which is a constant of the "
                f"compiled step. Give it as a variable: {type(optimizer).__name__}(..., "
                f'{param}=get_scalar_var("{param}", {getattr(optimizer, param)})).'
            )
        else:
            hint = closest(param, trainer.variable_names())
        raise ConfigError(f"{callback.name}: there is no variable {param!r}. {hint}") from None


def set_param(callback: Callback, param: str, value: float, quiet: bool = False) -> None:
    """Set a variable and log it, unless it has that value."""
    trainer = callback.trainer
    before = float(trainer.get_variable(param))
    trainer.set_variable(param, value)
    now = float(trainer.get_variable(param))
    if now != before and not quiet:
        logger.info("%s: %s from %.6g to %.6g after step %d", callback.name, param, before, now, callback.global_step)
