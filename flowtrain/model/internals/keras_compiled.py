"""Private Keras used on compiled models; docstrings as in `.keras_private`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.src.trainers.compile_utils import get_metric

from .tensorflow_private import Nested

__all__ = [
    "compile_apart",
    "compiled_as",
    "metric_of",
    "output_losses",
]


def metric_of(metric: Any, target: tf.Tensor, prediction: tf.Tensor) -> keras.Metric:
    """Resolve a metric as ``compile(metrics=[metric])`` does; what ``"accuracy"`` means depends on the shapes.

    Relies on: ``compile_utils.get_metric``.
    Else: ``keras.metrics.get``, and for "accuracy" a choice by the shapes as Keras documents it.
    """
    if isinstance(metric, keras.Metric):
        return metric  # get_metric would rename it
    return get_metric(metric, target, prediction)


def compile_apart(model: keras.Model, **arguments: Any) -> dict[str, Any]:
    """Compile a model, take the attributes that ``compile`` set, and restore the model's own.

    Returns:
        Attribute -> value, for `compiled_as`.

    Relies on: ``compile`` keeping all it makes in attributes of the model.
    Else: compile a second model over the same layers.
    """
    # Through vars() and not setattr: Keras's __setattr__ would track what is assigned, and add metrics and variables to
    # the model's lists for good.
    before = dict(vars(model))
    try:
        model.compile(**arguments)
        return {name: value for name, value in vars(model).items() if name not in before or before[name] is not value}
    finally:
        for name in vars(model).keys() - before.keys():
            del vars(model)[name]
        vars(model).update(before)


@contextlib.contextmanager
def compiled_as(model: keras.Model, state: dict[str, Any]) -> Iterator[None]:
    """Scope in which a model has the compiled state that `compile_apart` returned.

    Relies on: ``compile`` keeping all it makes in attributes of the model. Else: see `compile_apart`.
    """
    before = {name: vars(model)[name] for name in state if name in vars(model)}
    vars(model).update(state)
    try:
        yield
    finally:
        for name in state:
            vars(model).pop(name, None)
        vars(model).update(before)


def output_losses(model: keras.Model, targets: Nested, outputs: Nested, sample_weight: Nested) -> list[tf.Tensor]:
    """The loss of each output of a compiled model with several outputs, without ``loss_weights``.

    Relies on: ``Model._compile_loss`` and its ``_flat_losses``, a list of (path, loss, weight, name).
    Else: call the losses of the user's own list, output by output.
    """
    found = []
    for path, loss, _, _ in getattr(model._compile_loss, "_flat_losses", None) or ():
        target, output, weight = targets, outputs, sample_weight
        for step in path:
            target, output = target[step], output[step]
            weight = weight[step] if tf.nest.is_nested(weight) else weight
        found.append(loss(target, output, weight))
    return found
