"""The compiled loss and metrics of a Keras model, computed as its ``fit`` would."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError

from .internals import auto_named, clear_losses, compile_apart, compiled_as, flat_layers
from .internals import output_losses as losses_by_output
from .metric_summary import batch_results, example_of
from .names import numbered

__all__ = ["CompiledModel", "refuse_own_training"]


def refuse_own_training(model: keras.Model) -> None:
    """Refuse a Keras model that overrides ``train_step``, which flowtrain's trainer would not call.

    Raises:
        ModelError: It overrides ``train_step``.
    """
    if type(model).train_step is not keras.Model.train_step or "train_step" in vars(model):
        raise ModelError(
            f"{type(model).__name__} has a train_step of its own, which flowtrain's trainer would not call. Compute "
            "its cost in compute_loss(x, y, y_pred, sample_weight), which KerasModelDesc calls as fit does; or write "
            f"a ModelDesc whose build_graph calls the model and returns the cost (or several: a dict)."
        )


class CompiledModel:
    """Loss and metrics that ``compile`` makes of a Keras model, for one run; the model's own compiled state is kept.

    Everything goes through Keras's public ``compute_loss`` and ``compute_metrics``, so masks, weights, nested
    outputs and overridden methods mean here what they mean in ``fit``.

    Args:
        model: The Keras model.
        arguments: ``loss``, ``loss_weights``, ``metrics``, ``weighted_metrics`` of ``compile``.
        examples: (inputs, targets, outputs, sample weights): tensors or specs, each nested as the model nests it, with
            which the variables of the metrics are built.

    Raises:
        ModelError: Keras refuses the arguments.
    """

    def __init__(self, model: keras.Model, arguments: Mapping[str, Any], examples: tuple[Any, Any, Any, Any]) -> None:
        self.model = model
        self._loss = keras.metrics.Mean(name="loss")
        self._has_metrics = bool(arguments.get("metrics") or arguments.get("weighted_metrics"))
        x, y, y_pred, sample_weight = tf.nest.map_structure(example_of, examples)
        try:
            self._state = compile_apart(model, optimizer=None, jit_compile=False, **arguments)
            for layer in flat_layers(model):
                clear_losses(layer)
            # Keras makes the metrics' variables in their first call. That must not be in a trace: a call on zeros makes
            # them now, and reset_state below forgets its numbers.
            with compiled_as(model, self._state):
                if arguments.get("loss") is not None:  # else it comes from the layers, which have not been called
                    self._compute_loss(x, y, y_pred, sample_weight, True)
                model.compute_metrics(x, y, y_pred, sample_weight)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            shown = ", ".join(f"{name}={value!r:.60}" for name, value in arguments.items() if value)
            raise ModelError(
                f"Keras cannot compile the model {model.name!r} with {shown or 'no loss'}: {error}"
            ) from error
        self.reset_state()

    # -- in the graph -------------------------------------------------------------------------------

    def loss(self, x: object, y: object, y_pred: object, sample_weight: object, training: bool) -> tf.Tensor:
        """The total cost, a float32 scalar: losses, weight regularizers and the losses that layers added.

        Keras divides it by the number of replicas, whose gradients are summed. The training step divides too, so the
        division is undone here.
        """
        try:
            with compiled_as(self.model, self._state):
                loss = self._compute_loss(x, y, y_pred, sample_weight, training)
        except ValueError as error:
            if "No loss to compute" not in str(error):
                raise
            raise ModelError(
                f"the Keras model {self.model.name!r} has no loss: KerasModelDesc(model, loss=...)."
            ) from error
        return tf.cast(loss, tf.float32) * float(tf.distribute.get_strategy().num_replicas_in_sync)

    def output_losses(self, y: object, y_pred: object, sample_weight: object) -> list[tf.Tensor]:
        """The loss of each output that has one, float32 scalars, without loss weights."""
        with compiled_as(self.model, self._state):
            return [tf.cast(loss, tf.float32) for loss in losses_by_output(self.model, y, y_pred, sample_weight)]

    def update(self, loss: tf.Tensor, x: object, y: object, y_pred: object, sample_weight: object) -> None:
        """Accumulate a batch and its loss in the epoch's metrics."""
        # Weighted by the number of samples, as in fit: a short last batch counts less.
        self._loss.update_state(loss, sample_weight=tf.shape(tf.nest.flatten(x)[0])[0])
        self.measure(x, y, y_pred, sample_weight)

    def measure(self, x: object, y: object, y_pred: object, sample_weight: object) -> None:
        """Accumulate a batch in the epoch's metrics, without its loss."""
        with compiled_as(self.model, self._state):
            self.model.compute_metrics(x, y, y_pred, sample_weight)

    def batch_metrics(self, y: object, y_pred: object, sample_weight: object) -> dict[str, tf.Tensor]:
        """The compiled metrics of this batch alone; the epoch's metrics stay unchanged."""
        if not self._has_metrics:
            return {}
        found = batch_results(self._compiled_metrics(), "", y, y_pred, sample_weight)
        return {self._readable(name): value for name, value in found.items()}

    def _compute_loss(self, x: object, y: object, y_pred: object, sample_weight: object, training: bool) -> tf.Tensor:
        compute = self.model.compute_loss
        more = {"training": training} if "training" in inspect.signature(compute).parameters else {}
        return compute(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, **more)

    # -- between steps: see RunningMetric -------------------------------------------------------------

    @property
    def variables(self) -> Sequence[Any]:
        """The state of all metrics, the mean loss included."""
        with compiled_as(self.model, self._state):
            return [*self._loss.variables, *self.model.metrics_variables]

    def result(self) -> dict[str, Any]:
        """The results of the epoch so far, as ``fit`` shows them, under names that are equal in all processes."""
        with compiled_as(self.model, self._state):
            found = self.model.get_metrics_result()
        return {**{self._readable(name): value for name, value in found.items()}, "loss": self._loss.result()}

    def reset_state(self) -> None:
        """Start a new epoch."""
        self._loss.reset_state()
        with compiled_as(self.model, self._state):
            self.model.reset_metrics()

    # -- names --------------------------------------------------------------------------------------

    def _compiled_metrics(self) -> Any:
        with compiled_as(self.model, self._state):
            return next(metric for metric in self.model.metrics if metric.name == "compile_metrics")

    def _readable(self, name: str) -> str:
        """Keras's name of a result, made independent of the process.

        With several outputs, the output's name in front (``dense_3_accuracy``) becomes its number at the end
        (``accuracy_0``). Numbers that Keras counts over the process are counted anew.
        """
        place = ""
        names = [str(one) for one in getattr(self.model, "output_names", None) or ()]
        if len(names) > 1:
            # The longest name first: one output's name may begin with another's.
            for number, output in sorted(enumerate(names), key=lambda pair: -len(pair[1])):
                if name.startswith(output + "_"):
                    place, name = f"_{number}", name[len(output) + 1 :]
                    break
        return self._counted_anew().get(name, name) + place

    def _counted_anew(self) -> dict[str, str]:
        """Names that Keras made up for metrics -> names numbered among this model's metrics alone."""
        found: dict[str, str] = {}
        last: dict[str, int] = {}
        for metric in self._compiled_metrics().metrics if self._has_metrics else ():
            if auto_named(metric) and metric.name not in found:
                found[metric.name] = numbered(re.sub(r"_\d+$", "", metric.name), last)
        return found
