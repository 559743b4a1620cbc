"""Inferencers that compute Keras metrics over a validation set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.model import KerasModelDesc
from flowtrain.model.epoch_metrics import numbers_of
from flowtrain.model.internals import set_keras_mask
from flowtrain.model.metric_summary import make_metric, metric_name
from flowtrain.utils.errors import ConfigError

from .inferencers import Inferencer

__all__ = ["KerasMetric", "KerasMetrics"]


class KerasMetric(Inferencer):
    """A Keras metric over a validation set, as ``evaluate`` computes it.

    Args:
        metric: A name known to Keras (``"AUC"``, ``"accuracy"``), a ``keras.metrics`` object or class, or a function of
            (target, prediction).
        prediction: Name of the predictions. The mask that Keras attaches to an output of a KerasModelDesc is used.
        target: Name of the true values.
        sample_weight: Name of the sample weights, or None.
        name: Logged as ``validation_<name>``; None: the metric's name.
        prefix: Replaces the runner's prefix ``validation``.

    Raises:
        ModelError: Keras knows no such metric (raised at the first validation).

    Example:
        >>> KerasMetric("AUC", "probability", "label")  # logged as validation_AUC  # doctest: +SKIP
    """

    def __init__(
        self,
        metric: object,
        prediction: str = "prediction",
        target: str = "target",
        sample_weight: str | None = None,
        *,
        name: str | None = None,
        prefix: str | None = None,
    ) -> None:
        self.metric, self.name, self.prefix = metric, name, prefix
        self.prediction, self.target, self.sample_weight = prediction, target, sample_weight
        self._made: Any = None

    def get_fetches(self) -> Sequence[str]:
        # The name that KerasModelDesc gives to the mask of an output: a fetched array no longer carries Keras's own.
        mask = f"{self.prediction.removesuffix(':0')}_mask"
        self._mask = mask if mask in self.trainer.graph.tensor_names() else None
        return [name for name in (self.target, self.prediction, self.sample_weight, self._mask) if name is not None]

    def logged_names(self) -> Sequence[str]:
        return [self.name or metric_name(self.metric)]

    def before_inference(self) -> None:
        if self._made is not None:
            self._made.reset_state()

    def on_fetches(self, outputs: list[np.ndarray]) -> None:
        values = dict(zip(self.get_fetches(), outputs, strict=True))
        target, prediction = values[self.target], tf.constant(values[self.prediction])
        if self._mask is not None:
            set_keras_mask(prediction, tf.constant(values[self._mask]))
        # Made at the first batch: which metric "accuracy" is depends on the shapes of target and prediction.
        if self._made is None:
            self._made = make_metric(self.metric, target, prediction)
            self._made.reset_state()  # a metric object that was given may hold counts of an earlier use
        weighted = {} if self.sample_weight is None else {"sample_weight": values[self.sample_weight]}
        self._made.update_state(target, prediction, **weighted)

    def after_inference(self) -> dict[str, float]:
        return numbers_of(self.name or metric_name(self.metric), self._made.result())


class KerasMetrics(Inferencer):
    """The loss and all metrics of a KerasModelDesc over a validation set: what ``fit`` logs as ``val_...``.

    Args:
        prefix: Replaces the runner's prefix ``validation``.

    Raises:
        ConfigError: The model is not a KerasModelDesc.

    Example:
        >>> desc = KerasModelDesc(net, "mse", metrics=["mae"])  # doctest: +SKIP
        >>> InferenceRunner(validation, KerasMetrics())  # logs validation_loss, validation_mae  # doctest: +SKIP
    """

    def __init__(self, prefix: str | None = None) -> None:
        self.prefix = prefix

    def get_fetches(self) -> Sequence[str]:
        graph = self.trainer.graph
        if not isinstance(graph.model, KerasModelDesc):
            raise ConfigError(
                f"KerasMetrics() shows the metrics of a KerasModelDesc; {type(graph.model).__name__} is none. "
                'For a metric of other models: KerasMetric("AUC", prediction="...", target="...").'
            )
        self._desc: KerasModelDesc = graph.model
        self._compiled = self._desc.compiled_in(graph.store)
        known = set(graph.tensor_names())
        self._losses = [name for name in self._desc.loss_names if name in known]
        inputs = [str(spec.name) for spec in self._desc.inputs()]
        masks = [name for name in (f"{output}_mask" for output in self._desc.output_names) if name in known]
        self._names = list(dict.fromkeys([*self._losses, *inputs, *self._desc.output_names, *masks]))
        return self._names

    def logged_names(self) -> Sequence[str]:
        return self._losses

    def before_inference(self) -> None:
        # Training updates the same metric objects in each step. A validation inside an epoch borrows them: their values
        # are saved here and put back in after_inference.
        self._training = [np.asarray(variable) for variable in self._compiled.variables]
        self._compiled.reset_state()
        self._sums, self._count = np.zeros(len(self._losses)), 0

    def on_fetches(self, outputs: list[np.ndarray]) -> None:
        values = dict(zip(self._names, outputs, strict=True))
        self._sums += self.batch_size * np.array([values[name] for name in self._losses], np.float64)
        self._count += self.batch_size
        self._desc.measure(self._compiled, values)

    def after_inference(self) -> dict[str, float]:
        found = numbers_of("", self._compiled.result())
        for variable, value in zip(self._compiled.variables, self._training, strict=True):
            variable.assign(value)
        return found | {name: float(sum_ / self._count) for name, sum_ in zip(self._losses, self._sums, strict=True)}
