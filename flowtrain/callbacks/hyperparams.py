"""Callbacks that set a hyperparameter (a variable, usually the learning rate) by a schedule or a function."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowtrain.utils.arguments import old_spellings
from flowtrain.utils.errors import ConfigError, FlowtrainError, closest

from .base import Callback
from .schedules import Interpolation, Schedule, piecewise

__all__ = [
    "HyperParamSetter",
    "HyperParamSetterWithFunc",
    "ScheduledHyperParamSetter",
    "check_param",
    "is_finite",
    "set_param",
]

logger = logging.getLogger("flowtrain.callbacks")


class HyperParamSetter(Callback):
    """Base class: sets a variable before each epoch (or step) to the value that `value_at` returns.

    Args:
        param: Name of a variable of the model or its optimizer, such as "learning_rate". A hyperparameter that the
            optimizer was given as a number is a constant of the compiled step; give it as a variable instead:
            ``Adam(lr, beta_1=get_scalar_var("beta_1", 0.9))``.
        step_based: Set it before each step, not each epoch.

    Example:
        >>> class Halve(HyperParamSetter):
        ...     def value_at(self, position):
        ...         return 0.1 * 0.5**position
        >>> Halve("learning_rate")
        Halve(learning_rate)
    """

    chief_only = False  # each worker computes the same value and sets its own copy: no broadcast inside an epoch

    def __init__(self, param: str, step_based: bool = False) -> None:
        if not isinstance(param, str):
            raise ConfigError(f"{type(self).__name__}: param={param!r:.60}; expected the name of a variable.")
        self.param, self.step_based = param, step_based
        super().__init__()

    def reset(self) -> None:
        self._set_for: int | None = None  # the position that the variable was last set for

    @property
    def name(self) -> str:
        """The class with the variable's name."""
        return f"{type(self).__name__}({self.param})"

    def value_at(self, position: int) -> float | None:
        """The value to set when `position` epochs (or steps) are done; None: leave the variable as it is."""
        raise NotImplementedError(f"{type(self).__name__} must define value_at(self, position).")

    def setup_graph(self) -> None:
        check_param(self, self.param)

    def before_epoch(self) -> None:
        self._set_at(self.global_step if self.step_based else self.epoch_num - 1)

    def trigger_step(self) -> None:
        if self.step_based:
            self._set_at(self.global_step)

    def next_step(self) -> float:
        return self.global_step + 1 if self.step_based else math.inf

    def state_dict(self) -> dict[str, Any]:
        return {"set_for": self._set_for}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._set_for = state["set_for"]

    def _set_at(self, position: int) -> None:
        # A run that continues inside an epoch has its before_epoch again: a function of the present value (times 0.97)
        # must not be applied twice.
        if position == self._set_for:
            return
        self._set_for = position
        value = self.value_at(position)
        if value is not None:
            set_param(self, self.param, float(value), quiet=self.step_based)


@old_spellings(interp="interpolation")
class ScheduledHyperParamSetter(HyperParamSetter):
    """Sets a hyperparameter by a schedule.

    A pair (position, value) means: the value holds once `position` epochs (or steps) are done. Before the first
    position the variable is not changed.

    Args:
        param: Name of the variable, such as "learning_rate".
        schedule: (position, value) pairs; or a function of the position, see `flowtrain.schedules`.
        interpolation: None holds each value until the next position; "linear" and "log" join them, see `piecewise`.
        step_based: Positions are steps, not epochs.

    Raises:
        ConfigError: The positions do not increase, or `interpolation` is given with a function.

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
        return self._schedule(position) if position >= self._first else None

    def next_step(self) -> float:
        """Only the steps after which the value changes, so that the steps between them can be fused."""
        if not self.step_based or self._points is None:
            return super().next_step()
        # ceil: a value at position 1.5 holds once 1.5 steps are done, so from step 2 on.
        return next((math.ceil(point) for point in self._points if point > self.global_step), math.inf)


@old_spellings(func="function")
class HyperParamSetterWithFunc(HyperParamSetter):
    """Sets a hyperparameter by a function.

    Args:
        param: Name of the variable.
        function: Takes the number of finished epochs (or steps) and, if it has a second argument, the current value;
            returns the new value, or None to leave it.
        step_based: Call it before each step, not each epoch.

    Raises:
        ConfigError: The function takes neither one nor two arguments.

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
        if self._with_value:
            return self.function(position, float(self.trainer.get_variable(self.param)))
        return self.function(position)

    def _takes(self, count: int) -> bool:
        try:
            inspect.signature(self.function).bind(*range(count))
        except (TypeError, ValueError):
            return False
        return True


def check_param(callback: Callback, param: str) -> None:
    """Check, before any step runs, that a variable of that name exists.

    Raises:
        ConfigError: There is none; if the optimizer holds a plain number or a schedule, says how to get a variable.
    """
    trainer = callback.trainer
    try:
        trainer.get_variable(param)
    except (FlowtrainError, KeyError):
        optimizers = [objective.optimizer for objective in trainer.graph.objectives.values()]
        hints = [_hint(optimizer, param.removeprefix("optimizer/")) for optimizer in optimizers]
        hint = next(filter(None, hints), closest(param, trainer.variable_names()))
        raise ConfigError(f"{callback.name}: there is no variable {param!r}. {hint}") from None


def _hint(optimizer: object, param: str) -> str | None:
    """Advice for an optimizer that has the parameter, but as a number or a schedule and not as a variable."""
    kind, value = type(optimizer).__name__, getattr(optimizer, param, None)
    # Keras keeps a LearningRateSchedule in _learning_rate; the public property returns its present value alone.
    schedule = getattr(optimizer, f"_{param}", None)
    if callable(schedule) and not hasattr(schedule, "assign"):
        what = getattr(schedule, "__name__", type(schedule).__name__)
        return (
            f"{kind} was given a schedule for it, {what}, and computes it anew in each step: there is nothing to set. "
            f'Have either the schedule, without this callback, or {kind}(get_scalar_var("{param}", 0.1)) with it.'
        )
    if isinstance(value, int | float):
        return (
            f"The optimizer has {param}={value} as a number, which is a constant of the compiled step. Give it as a "
            f'variable: {kind}(..., {param}=get_scalar_var("{param}", {value})).'
        )
    return None


def is_finite(callback: Callback, param: str, value: float) -> bool:
    """Whether a value is finite in the variable's dtype (1e300 is infinite in float32)."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.asarray(value, np.float64).astype(callback.trainer.get_variable(param).dtype)))


def set_param(callback: Callback, param: str, value: float, quiet: bool = False) -> None:
    """Set a variable, and log the change if there is one.

    Raises:
        ConfigError: The value is NaN, or the workers' copies of the variable would differ until the epoch's end.
    """
    trainer = callback.trainer
    if math.isnan(value):
        raise ConfigError(f"{callback.name} would set {param!r} to NaN after step {callback.global_step}")
    if callback.chief_only and trainer.workers > 1 and 0 < trainer.local_step < trainer.steps_per_epoch:
        raise ConfigError(
            f"{callback.name} sets {param!r} inside an epoch, on the chief alone. With several workers that would part "
            "their models: trigger it at the end of epochs, or use a ScheduledHyperParamSetter, which all workers run."
        )
    # Compared after the assignment, in the variable's dtype: 0.1 and float32(0.1) are the same rate, and no change.
    before = float(trainer.get_variable(param))
    trainer.set_variable(param, value)
    now = float(trainer.get_variable(param))
    if now != before and not quiet:
        logger.info("%s: %s from %.6g to %.6g after step %d", callback.name, param, before, now, callback.global_step)
