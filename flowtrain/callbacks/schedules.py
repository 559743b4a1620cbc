"""Schedules: functions for a value, usually the learning rate, that changes during training.

A schedule is any function from a position to a value. The position is the number of finished epochs (or steps): 0 at
the start, `total` at the end. Give one to `ScheduledHyperParamSetter`, or call it yourself:

    >>> rate = cosine(1e-3, total=100)
    >>> rate(0), rate(100)
    (0.001, 0.0)
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Literal

from flowtrain.utils.arguments import check_choice
from flowtrain.utils.errors import ConfigError

__all__ = [
    "Interpolation",
    "Schedule",
    "constant",
    "cosine",
    "cosine_squared_ramp_down",
    "exponential",
    "gaussian_ramp_down",
    "gaussian_ramp_up",
    "piecewise",
    "polynomial",
    "product",
    "step",
    "warm_up",
]

Schedule = Callable[[float], float]
Interpolation = Literal["linear", "log"] | None


def constant(value: float) -> Schedule:
    """A constant value.

    Args:
        value: The value at every position.

    Example:
        >>> constant(0.1)(17)
        0.1
    """
    return lambda position: value


def piecewise(points: Sequence[tuple[float, float]], interpolation: Interpolation = None) -> Schedule:
    """A piecewise constant, linear or log-linear function through given points.

    Before the first point it has the first value, after the last point the last value.

    Args:
        points: (position, value) pairs with increasing positions.
        interpolation: None holds each value until the next point; "linear" interpolates the values, "log" their
            logarithms (values must be positive).

    Raises:
        ConfigError: There are no points, they are not in order, or a "log" value is not positive.

    Example:
        >>> rate = piecewise([(0, 0.1), (30, 0.01), (60, 0.001)])
        >>> rate(29), rate(30)
        (0.1, 0.01)
        >>> piecewise([(0, 0.0), (10, 1.0)], interpolation="linear")(5)
        0.5
    """
    positions, values = _checked_points(points)
    check_choice("piecewise", "interpolation", interpolation, (None, "linear", "log"))
    if interpolation == "log" and min(values) <= 0:
        raise ConfigError(f'piecewise: interpolation="log" needs positive values, got {min(values)!r}.')

    def value(position: float) -> float:
        right = bisect_right(positions, position)  # bisect_right: at a point itself its value holds already
        if right in (0, len(positions)) or interpolation is None:
            return values[max(right - 1, 0)]
        start, end = positions[right - 1], positions[right]
        share = (position - start) / (end - start)
        first, last = values[right - 1], values[right]
        if interpolation == "linear":
            return first + (last - first) * share
        return first * (last / first) ** share

    return value


def _checked_points(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    try:
        positions = [float(position) for position, _ in points]
        values = [float(value) for _, value in points]
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"a schedule is a list of (position, value) pairs like [(0, 0.1), (30, 0.01)]; got {points!r}."
        ) from error
    if not positions:
        raise ConfigError("a schedule needs at least one (position, value) pair.")
    for earlier, later in itertools.pairwise(positions):
        if not earlier < later:
            raise ConfigError(f"a schedule's positions must grow; {later:g} comes after {earlier:g}.")
    return positions, values


def step(start: float, every: float, factor: float = 0.1) -> Schedule:
    """Step decay: multiplied by `factor` after each `every` epochs (or steps).

    Args:
        start: The value at position 0.
        every: Epochs (or steps) between two changes.
        factor: The factor of each change.

    Raises:
        ConfigError: `every` is not positive.

    Example:
        >>> rate = step(0.1, every=30)
        >>> rate(29), round(rate(60), 9)
        (0.1, 0.001)
    """
    _check_length("step", "every", every)
    return lambda position: start * factor ** math.floor(position / every)


def exponential(start: float, factor: float, every: float = 1.0) -> Schedule:
    """Exponential decay: ``start * factor ** (position / every)``.

    Args:
        start: The value at position 0.
        factor: The factor over each `every` epochs (or steps).
        every: That number of epochs (or steps).

    Raises:
        ConfigError: `every` or `factor` is not positive.

    Example:
        >>> exponential(0.1, factor=0.5, every=10)(20)
        0.025
    """
    _check_length("exponential", "every", every)
    _check_length("exponential", "factor", factor)
    return lambda position: start * factor ** (position / every)


def polynomial(start: float, total: float, end: float = 0.0, power: float = 1.0) -> Schedule:
    """Polynomial decay: from `start` to `end` as ``(1 - position / total) ** power``; linear by default.

    Args:
        start: The value at position 0.
        total: The position at which `end` is reached; later positions have `end` too.
        end: The final value.
        power: 1 is linear, 2 a parabola; segmentation papers use 0.9.

    Raises:
        ConfigError: `total` is not positive.

    Example:
        >>> polynomial(1.0, total=10, power=2)(5)
        0.25
    """
    _check_length("polynomial", "total", total)
    return lambda position: end + (start - end) * (1.0 - _share(position, total)) ** power


def cosine(start: float, total: float, end: float = 0.0) -> Schedule:
    """Cosine decay: from `start` to `end` along half a cosine (Loshchilov and Hutter, arXiv 1608.03983, one cycle).

    Args:
        start: The value at position 0.
        total: The position at which `end` is reached; later positions have `end` too.
        end: The final value.

    Raises:
        ConfigError: `total` is not positive.

    Example:
        >>> round(cosine(1.0, total=10)(5), 9)
        0.5
    """
    _check_length("cosine", "total", total)

    def value(position: float) -> float:
        return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * _share(position, total)))

    return value


def cosine_squared_ramp_down(value: float, total: float, fraction: float = 0.3) -> Schedule:
    """Constant, then down to zero by ``(0.5 + 0.5 cos(pi t)) ** 2``, t going from 0 to 1 over the last part.

    The schedule of Noise2Noise's picture experiments (arXiv 1803.04189).

    Args:
        value: The constant value.
        total: The position at which zero is reached.
        fraction: The length of the ramp as a share of `total`, in (0, 1].

    Raises:
        ConfigError: `total` is not positive or `fraction` not in (0, 1].

    Example:
        >>> rate = cosine_squared_ramp_down(1.0, total=100)
        >>> rate(70), round(rate(85), 9), rate(100)
        (1.0, 0.25, 0.0)
    """
    _check_length("cosine_squared_ramp_down", "total", total)
    if not 0 < fraction <= 1:
        raise ConfigError(f"cosine_squared_ramp_down: fraction={fraction!r}; expected a share in (0, 1].")
    length = total * fraction
    ramp = cosine(1.0, length)
    return lambda position: value * ramp(max(0.0, position - (total - length))) ** 2


def gaussian_ramp_up(value: float, length: float, sharpness: float = 5.0) -> Schedule:
    """Ramp-up by ``exp(-sharpness (1 - t) ** 2)``, t = position / length; then constant (arXiv 1610.02242).

    Args:
        value: The value from position `length` on.
        length: The length of the ramp.
        sharpness: The value at position 0 is ``value * exp(-sharpness)``.

    Raises:
        ConfigError: `length` is not positive.

    Example:
        >>> rate = gaussian_ramp_up(1.0, length=10)
        >>> round(rate(0), 4), rate(10)
        (0.0067, 1.0)
    """
    _check_length("gaussian_ramp_up", "length", length)
    return lambda position: value * math.exp(-sharpness * (1.0 - _share(position, length)) ** 2)


def gaussian_ramp_down(value: float, total: float, length: float = 30.0) -> Schedule:
    """Constant, then down by ``exp(-(e / 2) ** 2 / length)``, e being the position within the last `length`.

    The ramp-down of the code for "Temporal Ensembling" (arXiv 1610.02242). With its length of 30 it ends at
    ``exp(-7.5)`` of the value; a longer ramp falls further, ``exp(-length / 4)``.

    Args:
        value: The constant value.
        total: The position at which training ends.
        length: The length of the ramp before `total`.

    Raises:
        ConfigError: A length is not positive.

    Example:
        >>> rate = gaussian_ramp_down(1.0, total=300)
        >>> rate(270), round(rate(290), 4)
        (1.0, 0.0357)
    """
    _check_length("gaussian_ramp_down", "total", total)
    _check_length("gaussian_ramp_down", "length", length)

    def falling(position: float) -> float:
        into = max(0.0, position - (total - length))
        return value * math.exp(-((0.5 * into) ** 2) / length)

    return falling


def warm_up(schedule: Schedule, length: float, start: float = 0.0) -> Schedule:
    """Linear warm-up from `start` to the schedule's value at `length`; from there on the schedule itself.

    Args:
        schedule: The schedule to follow after the warm-up.
        length: The length of the warm-up.
        start: The value at position 0.

    Raises:
        ConfigError: `length` is not positive.

    Example:
        >>> rate = warm_up(constant(1.0), length=4)
        >>> rate(0), rate(1), rate(9)
        (0.0, 0.25, 1.0)
    """
    _check_length("warm_up", "length", length)
    target = schedule(length)  # so that the ramp meets the schedule without a jump, even one that falls meanwhile

    def value(position: float) -> float:
        if position >= length:
            return schedule(position)
        return start + (target - start) * position / length

    return value


def product(*schedules: Schedule) -> Schedule:
    """The product of several schedules, e.g. of a ramp-up and a ramp-down.

    Args:
        *schedules: The factors.

    Example:
        >>> product(constant(2.0), constant(3.0))(0)
        6.0
    """
    return lambda position: math.prod(schedule(position) for schedule in schedules)


def _share(position: float, total: float) -> float:
    return min(max(position / total, 0.0), 1.0)


def _check_length(schedule: str, name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"{schedule}: {name}={value!r}; expected a positive number.")
