"""What is used of compiled Keras models beyond the public interface; docstrings as in `.keras_private`."""

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
    """The metric that ``compile(metrics=[metric])`` would use; ``"accuracy"`` depends on the shapes.

    Relies on: ``compile_utils.get_metric``. Else: ``keras.metrics.get``, and "accuracy" by the shapes as Keras says.
    """
    if isinstance(metric, keras.Metric):
        return metric  # Keras would rename it
    return get_metric(metric, target, prediction)


def compile_apart(model: keras.Model, **arguments: Any) -> dict[str, Any]:
    """What ``model.compile(**arguments)`` sets in a model, which afterwards is compiled as it was before.

    Relies on: ``compile`` keeping all it makes in attributes of the model.
    Else: compile a second model over the same layers.
    """
    before = dict(vars(model))
    try:
        model.compile(**arguments)
        return {name: value for name, value in vars(model).items() if name not in before or before[name] is not value}
    finally:
        _put_back(model, before)


@contextlib.contextmanager
def compiled_as(model: keras.Model, state: dict[str, Any]) -> Iterator[None]:
    """While inside, a model is compiled as `compile_apart` says.

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


def _put_back(model: keras.Model, before: dict[str, Any]) -> None:
    for name in [name for name in vars(model) if name not in before]:
        del vars(model)[name]
    vars(model).update(before)


def output_losses(model: keras.Model, targets: Nested, outputs: Nested, sample_weight: Nested) -> list[tf.Tensor]:
    """The losses of a compiled model with several outputs, one by one, without their ``loss_weights``.

    Relies on: ``Model._compile_loss`` and its ``_flat_losses``, (path, loss, weight, name).
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
