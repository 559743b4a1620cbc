"""KerasModelDesc: a plain Keras model, trained by flowtrain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError

from .desc import ModelDesc
from .inputs import checked_specs
from .keras_io import call_keras, declared_inputs, readable, symbolic_outputs
from .summaries import add_moving_summary
from .tower import get_current_tower_context
from .variables import get_scalar_var

__all__ = ["KerasModelDesc"]

_INPUTS_NEEDED = (
    'Say what they are: KerasModelDesc(model, loss, inputs=[tf.TensorSpec((None, 28, 28, 1), tf.float32, "image")]).'
)


class KerasModelDesc(ModelDesc):
    """Make a Keras model trainable by flowtrain in one line.

    Its inputs come first in a datapoint, then one target for each of its outputs.

    Args:
        keras_model: A Sequential, functional or subclassed model.
        loss: A Keras loss, its name, or a function of (target, prediction); one for each output in a list.
        metrics: Names known to Keras or functions of (target, prediction): the batch's mean of each is a
            moving summary.
        optimizer: A Keras optimizer or its name. Given by name, its learning rate is the scalar
            variable ``learning_rate``, which schedules can set.
        targets: ``tf.TensorSpec`` of each target; None to infer them: integers for a sparse loss, else
            float32 of the output's shape.
        inputs: ``tf.TensorSpec`` of each input, for a model that does not declare them: a subclassed one, or a
            Sequential without ``keras.Input``.

    Example:
        >>> net = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(1)])
        >>> desc = KerasModelDesc(net, loss="mse", metrics=["mae"], optimizer="adam")
        >>> [spec.name for spec in desc.inputs()]
        ['x', 'target']
        >>> undeclared = keras.Sequential([keras.layers.Dense(1)])
        >>> desc = KerasModelDesc(undeclared, "mse", inputs=[tf.TensorSpec((None, 4), tf.float32, "x")])
        >>> desc.inputs()[1]
        TensorSpec(shape=(None, 1), dtype=tf.float32, name='target')
    """

    def __init__(
        self,
        keras_model: keras.Model,
        loss: Any,
        metrics: Sequence[Any] = (),
        optimizer: Any = "adam",
        targets: Sequence[tf.TensorSpec] | None = None,
        inputs: Sequence[tf.TensorSpec] | None = None,
    ) -> None:
        if not isinstance(keras_model, keras.Model):
            raise ModelError(f"KerasModelDesc takes a keras.Model, got {type(keras_model).__name__}.")
        self.keras_model = keras_model
        if inputs is None:
            self._inputs = readable(declared_inputs(keras_model, _INPUTS_NEEDED))
        else:
            self._inputs = checked_specs(inputs, "KerasModelDesc(inputs=...)")
        outputs = symbolic_outputs(keras_model, self._inputs)
        self.output_names = ["prediction"] if len(outputs) == 1 else [f"prediction_{n}" for n in range(len(outputs))]
        """The names of the tensors that are the model's outputs."""
        losses = list(loss) if isinstance(loss, (list, tuple)) else [loss] * len(outputs)
        if len(losses) != len(outputs):
            raise ModelError(f"The model has {len(outputs)} output(s), but there are {len(losses)} losses.")
        self._losses = [_loss_function(one) for one in losses]
        self._metrics = list(metrics)
        self._optimizer = optimizer
        self._targets = list(targets) if targets is not None else self._infer_targets(losses, outputs)

    @staticmethod
    def _infer_targets(losses: Sequence[Any], outputs: Sequence[Any]) -> list[tf.TensorSpec]:
        specs = []
        for place, (loss, output) in enumerate(zip(losses, outputs, strict=True)):
            name = "target" if len(outputs) == 1 else f"target_{place}"
            kind = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
            if "sparse" in kind.lower():
                specs.append(tf.TensorSpec(output.shape[:-1], tf.int32, name))
            else:
                specs.append(tf.TensorSpec(output.shape, tf.float32, name))
        return specs

    def inputs(self) -> list[tf.TensorSpec]:
        """The model's inputs, then the targets."""
        return [*self._inputs, *self._targets]

    def build_graph(self, *tensors: tf.Tensor) -> tf.Tensor:
        """Call the model; its outputs are the tensors ``prediction`` (or ``prediction_0``, ...)."""
        count, tower = len(self._inputs), get_current_tower_context()
        outputs, targets = call_keras(self.keras_model, tensors[:count]), tensors[count:]
        several = len(outputs) > 1
        costs = []
        for place, (output, target, loss) in enumerate(zip(outputs, targets, self._losses, strict=True)):
            suffix = f"_{place}" if several else ""
            output = tf.identity(output, name=self.output_names[place])
            tower.add_tensor(self.output_names[place], output)
            costs.append(tf.reduce_mean(tf.cast(loss(target, output), tf.float32), name=f"loss{suffix}"))
            for metric in self._metrics:
                name, function = _metric_function(metric, target, output)
                value = tf.reduce_mean(tf.cast(function(target, output), tf.float32), name=f"{name}{suffix}")
                add_moving_summary(value)
        add_moving_summary(*costs)
        return costs[0] if not several else tf.add_n(costs, name="loss")

    def optimizer(self) -> Any:
        """The optimizer, with a settable learning rate where it was given by name."""
        if not isinstance(self._optimizer, str):
            return self._optimizer
        made = keras.optimizers.get(self._optimizer)
        rate = get_scalar_var("learning_rate", float(made.learning_rate.numpy()), summary=True)
        return type(made)(learning_rate=rate)


def _loss_function(loss: Any) -> Callable[[Any, Any], Any]:
    try:
        found = keras.losses.get(loss)
    except ValueError as error:
        raise ModelError(f"Keras knows no loss {loss!r}.") from error
    if not callable(found):
        raise ModelError(f"A loss is a name known to Keras or a function of (target, prediction), got {loss!r:.80}.")
    return found


def _metric_function(metric: Any, target: tf.Tensor, output: tf.Tensor) -> tuple[str, Callable[[Any, Any], Any]]:
    """A metric's name and its function over a batch; "accuracy" is chosen by shapes, as Keras does."""
    if metric in ("accuracy", "acc"):
        if output.shape[-1] == 1:
            return "accuracy", keras.metrics.binary_accuracy
        if target.shape.rank == output.shape.rank and target.shape[-1] == output.shape[-1]:
            return "accuracy", keras.metrics.categorical_accuracy
        return "accuracy", keras.metrics.sparse_categorical_accuracy
    try:
        found = keras.metrics.get(metric)
    except ValueError as error:
        raise ModelError(f"Keras knows no metric {metric!r}.") from error
    if isinstance(found, type):
        found = found()
    name = metric if isinstance(metric, str) else getattr(found, "name", None) or getattr(found, "__name__", "metric")
    function = getattr(found, "_fn", found)
    if isinstance(function, keras.Metric):
        raise ModelError(
            f"The metric {name!r} adds up over a whole dataset; a step can only show a mean over its batch. "
            f"Use it with InferenceRunner, or give a function of (target, prediction)."
        )
    return name, function
