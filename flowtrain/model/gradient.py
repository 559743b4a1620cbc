"""Gradient processors: change, check or show gradients between the cost and the optimizer.

A model names them in ``gradient_processors()``. They run in the compiled step, in that order, on complete gradients:
summed over replicas and over accumulated batches.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import ModelError

from .store import VariableStore

__all__ = [
    "CheckGradient",
    "FilterNoneGrad",
    "GlobalNormClip",
    "GradientProcessor",
    "MapGradient",
    "PrintGradient",
    "ScaleGradient",
    "SummaryGradient",
    "process_gradients",
]

logger = logging.getLogger("flowtrain.model")
Pair = tuple[Any, Any]


def _name(variable: keras.Variable) -> str:
    return getattr(variable, "path", None) or variable.name.split(":")[0]


class GradientProcessor:
    """Base class of gradient processors. Subclasses define :meth:`process`.

    Example:
        >>> class Sign(GradientProcessor):
        ...     def process(self, pairs):
        ...         return [(tf.sign(gradient), variable) for gradient, variable in pairs]
    """

    def setup(self, store: VariableStore, variables: Mapping[str, keras.Variable]) -> None:
        """Prepare for the variables of one cost, when the model is built; does nothing by default.

        Args:
            store: The model's variables. State that a processor keeps from step to step is added to it.
            variables: The variables whose gradients will be processed, by name.
        """

    def process(self, pairs: list[Pair]) -> list[Pair]:
        """Process the gradients of one cost.

        Args:
            pairs: (gradient, variable) for each trainable variable. A gradient is a tensor, IndexedSlices, or None
                where ``FilterNoneGrad`` comes later.

        Returns:
            The pairs for the next processor. A variable that is left out is not changed by the step.
        """
        raise NotImplementedError(f"{type(self).__name__} must define process(self, pairs).")


@names_arguments
class GlobalNormClip(GradientProcessor):
    """Scale all gradients by one factor so that their global norm is at most a bound.

    Args:
        norm: The bound of the L2 norm of all gradients together.

    Example:
        >>> GlobalNormClip(1.0).norm
        1.0
    """

    def __init__(self, norm: float) -> None:
        if not norm > 0:
            raise ModelError(f"GlobalNormClip needs a bound above 0, got {norm}.")
        self.norm = float(norm)

    def process(self, pairs: list[Pair]) -> list[Pair]:
        """Clip; see ``tf.clip_by_global_norm``."""
        clipped, _ = tf.clip_by_global_norm([gradient for gradient, _ in pairs], self.norm)
        return [(gradient, variable) for gradient, (_, variable) in zip(clipped, pairs, strict=True)]


@names_arguments
class MapGradient(GradientProcessor):
    """Apply a function to each gradient.

    Args:
        function: Takes (gradient) or (gradient, variable) and returns the new gradient, or None to leave
            the variable unchanged.
        pattern: A regular expression; only gradients of variables whose whole name matches are processed.

    Example:
        >>> MapGradient(lambda gradient: tf.clip_by_value(gradient, -1, 1)).pattern
        '.*'
    """

    def __init__(self, function: Callable[..., Any], pattern: str = ".*") -> None:
        self.function = function
        self.pattern = pattern
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # some builtins have no signature
            parameters = ()
        # Optional parameters do not count: tf.sign(x, name=None) takes a gradient alone.
        self._takes_variable = sum(parameter.default is parameter.empty for parameter in parameters) > 1

    def process(self, pairs: list[Pair]) -> list[Pair]:
        """Apply the function to the gradients whose variable matches."""
        result = []
        for gradient, variable in pairs:
            if gradient is not None and re.fullmatch(self.pattern, _name(variable)):
                gradient = self.function(gradient, variable) if self._takes_variable else self.function(gradient)
                if gradient is None:
                    continue
            result.append((gradient, variable))
        return result


@names_arguments
class ScaleGradient(GradientProcessor):
    """Multiply gradients by factors chosen by the variables' names: learning rates per variable.

    Args:
        factors: Regular expression for whole names of variables -> factor; the first expression that matches counts.
            A factor of 0 leaves the variables unchanged.

    Raises:
        ModelError: While the step is traced, if an expression matches no variable.

    Example:
        >>> ScaleGradient({".*/bias": 2.0, "backbone/.*": 0.1}).factors[".*/bias"]
        2.0
    """

    def __init__(self, factors: Mapping[str, float]) -> None:
        self.factors = dict(factors)

    def process(self, pairs: list[Pair]) -> list[Pair]:
        """Scale the gradients whose variable matches; drop those with a factor of 0."""
        result, matched = [], set()
        for gradient, variable in pairs:
            hits = [pattern for pattern in self.factors if re.fullmatch(pattern, _name(variable))]
            matched.update(hits)
            factor = self.factors[hits[0]] if hits else 1.0
            if factor == 0:  # left out, not multiplied: momentum and weight decay would move the variable all the same
                continue
            result.append((_scaled(gradient, factor), variable))
        for pattern in self.factors:
            if pattern not in matched:
                raise ModelError(f"ScaleGradient: no trainable variable matches {pattern!r}.")
        return result


def _scaled(gradient: tf.Tensor | tf.IndexedSlices, factor: float) -> tf.Tensor | tf.IndexedSlices:
    if gradient is None or factor == 1.0:
        return gradient
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor


@names_arguments
class SummaryGradient(GradientProcessor):
    """Show the root mean square of each gradient as the summary ``VARIABLE/gradient_rms``.

    Args:
        pattern: A regular expression for the whole names of variables.
    """

    def __init__(self, pattern: str = ".*") -> None:
        self.pattern = pattern
        self._shown: dict[str, Any] = {}

    def setup(self, store: VariableStore, variables: Mapping[str, keras.Variable]) -> None:
        """Make a scalar variable for each gradient."""
        # Processors run inside the optimizer's part of the step, perhaps in a branch (accumulation), whose tensors
        # cannot be fetched: the value leaves through a variable, which is read when summaries are due.
        for name in variables:
            if re.fullmatch(self.pattern, name):
                shown = f"{name}/gradient_rms"
                made = tf.Variable(tf.zeros(()), trainable=False, name="gradient_rms")
                self._shown[name] = store.summary_scalars[shown] = store.add(shown, made)

    def process(self, pairs: list[Pair]) -> list[Pair]:
        """Write the root mean squares to the variables; the gradients pass unchanged."""
        for gradient, variable in pairs:
            shown = self._shown.get(_name(variable))
            if shown is not None and gradient is not None:
                values = tf.cast(tf.convert_to_tensor(gradient), tf.float32)
                shown.value.assign(tf.sqrt(tf.reduce_mean(tf.square(values))))
        return pairs


@names_arguments
class PrintGradient(MapGradient):
    """Print each gradient's variable, root mean square and largest absolute value in every step; for debugging.

    Args:
        pattern: A regular expression for the whole names of variables.
    """

    def __init__(self, pattern: str = ".*") -> None:
        super().__init__(_printed, pattern)


def _printed(gradient: tf.Tensor | tf.IndexedSlices, variable: keras.Variable) -> tf.Tensor | tf.IndexedSlices:
    dense = tf.convert_to_tensor(gradient)
    rms, largest = tf.sqrt(tf.reduce_mean(tf.square(dense))), tf.reduce_max(tf.abs(dense))
    show = tf.print("gradient of", _name(variable), "rms", rms, "largest", largest)
    # tf.print returns an operation in a graph, and None when executed eagerly.
    with tf.control_dependencies([show] if show is not None else []):
        return tf.identity(gradient)


class CheckGradient(MapGradient):
    """Fail the step with an error that names the variable if a gradient holds NaN or infinity."""

    def __init__(self) -> None:
        super().__init__(_checked)


def _checked(gradient: tf.Tensor | tf.IndexedSlices, variable: keras.Variable) -> tf.Tensor:
    return tf.debugging.check_numerics(tf.convert_to_tensor(gradient), f"the gradient of {_name(variable)}")


class FilterNoneGrad(GradientProcessor):
    """Allow trainable variables on which the cost does not depend; they are left unchanged.

    Without this processor such a variable is an error, since it is most often a mistake.
    """

    def process(self, pairs: list[Pair]) -> list[Pair]:
        """Drop the variables without gradient and log their names as a warning."""
        missing = [_name(variable) for gradient, variable in pairs if gradient is None]
        if missing:
            logger.warning("The cost does not depend on %s; they are not trained.", ", ".join(missing))
        return [(gradient, variable) for gradient, variable in pairs if gradient is not None]


def process_gradients(processors: Sequence[GradientProcessor], pairs: Sequence[Pair]) -> list[Pair]:
    """Run gradient processors one after the other, in the training step.

    Args:
        processors: The model's processors, in order.
        pairs: (gradient, variable) for each variable of one cost.

    Returns:
        The pairs for the optimizer.

    Raises:
        ModelError: A gradient is None and no ``FilterNoneGrad`` is among the processors, or they leave no pair.
    """
    result = list(pairs)
    refuse_missing("cost", [_name(variable) for gradient, variable in result if gradient is None], processors)
    for processor in processors:
        result = list(processor.process(result))
    if not result:
        raise ModelError("the gradient processors left no variable to change.")
    return result


def refuse_missing(cost: str, names: Sequence[str], processors: Sequence[GradientProcessor]) -> None:
    """Refuse variables whose gradient is None.

    Args:
        cost: The cost's name, for the message.
        names: The names of such variables; may be empty.
        processors: The model's gradient processors.

    Raises:
        ModelError: There are some, and no ``FilterNoneGrad`` allows them.
    """
    if names and not any(isinstance(processor, FilterNoneGrad) for processor in processors):
        raise ModelError(
            f"the {cost!r} does not depend on the trainable variable(s) {', '.join(names)}: their gradient is None. "
            f"Use them in it, make them with trainable=False or in freeze_variables(), or name FilterNoneGrad() in "
            f"gradient_processors() to leave them as they are."
        )
