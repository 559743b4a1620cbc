"""Keras metrics in ``build_graph``: resolved from what a user gives, built, named, computed for a batch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import ModelError

from .internals import auto_named, metric_of, snake_case
from .tower import get_current_tower_context
from .variables import check_name, kept_apart

__all__ = ["add_metric_summary", "batch_results", "example_of", "make_metric", "metric_name"]


def make_metric(metric: object, target: object, prediction: object) -> keras.Metric:
    """Resolve a user's metric to a Keras metric.

    Args:
        metric: A name known to Keras, a metric, its class, or a function of (target, prediction). What ``"accuracy"``
            means depends on the shapes, as in Keras.
        target: The true values, an array or a tensor.
        prediction: The predicted values, an array or a tensor.

    Returns:
        The metric; a metric that was given is returned itself.

    Raises:
        ModelError: Keras knows no such metric.
    """
    try:
        return metric_of(metric, target, prediction)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"Keras knows no metric {metric!r:.80}. Give a name such as 'AUC' or 'mae', a keras.metrics object, "
            "or a function of (target, prediction)."
        ) from error


@names_arguments
def add_metric_summary(
    metric: object,
    target: tf.Tensor,
    prediction: tf.Tensor,
    sample_weight: tf.Tensor | None = None,
    *,
    name: str = "",
) -> None:
    """Show a Keras metric accumulated over the epoch so far, as ``fit`` does.

    The tensor of the metric's name holds its value for the batch alone. For a validation set see the inferencer
    ``KerasMetric``.

    Args:
        metric: A name known to Keras (``"AUC"``), a metric made in ``__init__`` of the model, its class, or a
            function of (target, prediction).
        target: The true values.
        prediction: The predicted values.
        sample_weight: Weights of the batch's samples, as Keras takes them.
        name: The name to show it under; empty for the metric's own name.

    Raises:
        ModelError: Keras knows no such metric, or the name is taken.

    Example:
        >>> add_metric_summary("AUC", label, probability)  # doctest: +SKIP
    """
    tower = get_current_tower_context()
    metrics = tower.store.metrics
    name = name or metric_name(metric)
    check_name(name, "metric")
    if not tower.store.frozen:
        with kept_apart(tower):
            examples = [example_of(tensor) for tensor in (target, prediction, sample_weight)]
            made = make_metric(metric, *examples[:2])
            # Variables of a metric that build_graph itself makes are in the store already, as if they were the model's.
            if any(tower.store.find(variable.path) is variable for variable in made.variables):
                raise ModelError(
                    f"the metric {name!r} is made in build_graph, which is traced several times: make it in __init__ "
                    "of the model, or give its name or class."
                )
            # Some metrics make their variables in their first update, which must not be in a trace.
            made.update_state(*examples[:2], **({} if sample_weight is None else {"sample_weight": examples[2]}))
            made.reset_state()
            metrics.add(name, made)
    weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
    if tower.is_training:
        metrics[name].update_state(target, prediction, **weighted)
    for key, value in batch_results(metrics[name], name, target, prediction, **weighted).items():
        tower.add_tensor(key, tf.identity(value, name=key))


def example_of(tensor: tf.Tensor | None) -> tf.Tensor | None:
    """Zeros of a tensor's (or spec's) shape and dtype, unknown sizes 1, for a first call that makes variables."""
    if tensor is None:
        return None
    shape = tf.TensorShape(tensor.shape)
    sizes = [size or 1 for size in shape.as_list()] if shape.rank is not None else []
    return tf.zeros(sizes, tensor.dtype)


def batch_results(metric: keras.Metric, name: str, *values: object, **more: object) -> dict[str, tf.Tensor]:
    """A metric's results for one batch alone, by name; the metric's own state stays unchanged."""
    state = metric.stateless_update_state(metric.stateless_reset_state(), *values, **more)
    result = metric.stateless_result(state)
    return dict(result) if isinstance(result, Mapping) else {name: result}


def metric_name(metric: Any) -> str:
    """The name under which ``fit`` shows a metric, without the number that Keras counts over the process."""
    if isinstance(metric, keras.Metric):
        return re.sub(r"_\d+$", "", metric.name) if auto_named(metric) else str(metric.name)
    if isinstance(metric, type):
        return snake_case(metric.__name__)
    return metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
