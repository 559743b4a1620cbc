"""KerasModelDesc: a plain Keras model, trained by flowtrain as ``compile`` and ``fit`` would train it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from flowtrain.utils.arguments import as_int, names_arguments
from flowtrain.utils.errors import ModelError, closest

from .desc import ModelDesc
from .gradient import FilterNoneGrad, GradientProcessor
from .inputs import checked_specs
from .internals import Nested, clear_losses, flat_layers, keras_mask, set_keras_mask
from .keras_compile import CompiledModel, refuse_own_training
from .keras_io import arranged_inputs, declared_inputs, readable, symbolic_output
from .store import VariableStore
from .tower import TowerContext, get_current_tower_context
from .variables import get_scalar_var, kept_apart

__all__ = ["KerasModelDesc"]

_INPUTS_NEEDED = (
    'Say what they are: KerasModelDesc(model, loss, inputs=[tf.TensorSpec((None, 28, 28, 1), tf.float32, "image")]).'
)
_METRICS = "compiled"


@names_arguments
class KerasModelDesc(ModelDesc):
    """Make a Keras model trainable by flowtrain in one line, with the cost and metrics of Keras's ``fit``.

    A datapoint consists of the model's inputs, then a target for each output that has a loss, then the sample weights
    if there are any. Loss, metrics and their weights mean what they mean in ``keras.Model.compile``. Keras computes
    them, with its masks (``Embedding(mask_zero=True)``), regularizers and ``add_loss``, and with ``compute_loss`` or
    ``compute_metrics`` where the model's class overrides them. Metrics and losses are shown over the epoch so far.
    ``KerasMetrics()`` in an InferenceRunner computes the same over a validation set.

    Args:
        keras_model: A Sequential, functional or subclassed model.
        loss: A Keras loss, its name, or a function of (target, prediction). For several outputs: one for all of them,
            or a list or dict as the outputs are. None: the losses that the model adds with ``add_loss``, or its
            ``compute_loss``.
        metrics: Names known to Keras (``"accuracy"``, ``"AUC"``), metrics, or functions of (target, prediction). For
            several outputs: a list or dict of lists, or names and functions for all of them.
        optimizer: A Keras optimizer or its name. For a name, the learning rate is the scalar variable
            ``learning_rate``, which schedules can set.
        targets: ``tf.TensorSpec`` of each target, as a list or a dict by output. None: inferred, int32 of the output's
            shape without its last dimension for a sparse loss, else float32 of the output's shape.
        inputs: ``tf.TensorSpec`` of each input, for a model that does not declare them: a subclassed one, or a
            Sequential without ``keras.Input``.
        loss_weights: Factors of the outputs' losses, a list or dict as in ``compile``.
        weighted_metrics: Metrics to which the sample or class weights apply.
        sample_weight: True: the last component of a datapoint is the input ``sample_weight``, float32 (N,), for all
            outputs. A ``tf.TensorSpec`` for weights of another shape, e.g. (None, T) for time steps.
        class_weight: Class -> weight of its samples, for a model with one output.

    Raises:
        ModelError: Something that cannot be trained as ``fit`` does; says what to write.

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
        loss: object = None,
        metrics: Sequence[Any] | Mapping[str, Any] = (),
        optimizer: Any = "adam",
        targets: Sequence[tf.TensorSpec] | Mapping[str, tf.TensorSpec] | None = None,
        inputs: Sequence[tf.TensorSpec] | None = None,
        *,
        loss_weights: object = None,
        weighted_metrics: Sequence[Any] | Mapping[str, Any] = (),
        sample_weight: bool | tf.TensorSpec = False,
        class_weight: Mapping[int, float] | None = None,
    ) -> None:
        if not isinstance(keras_model, keras.Model):
            raise ModelError(f"KerasModelDesc takes a keras.Model, got {type(keras_model).__name__}.")
        refuse_own_training(keras_model)
        self.keras_model = keras_model
        if inputs is None:
            self._inputs = readable(declared_inputs(keras_model, _INPUTS_NEEDED))
        else:
            self._inputs = checked_specs(inputs, "KerasModelDesc(inputs=...)")
        self._output = symbolic_output(keras_model, self._inputs)
        outputs = tf.nest.flatten(self._output)
        several = len(outputs) > 1
        self.output_names = [f"prediction_{n}" for n in range(len(outputs))] if several else ["prediction"]
        """The names of the tensors that are the model's outputs."""
        losses = self._for_each_output(loss, "losses")
        for one in losses:
            _check_loss(one)
        self._with_loss = [place for place, one in enumerate(losses) if one is not None]
        self._optimizer = optimizer
        self._targets = self._target_specs(targets, losses, outputs)
        self._sample_weight = _weight_spec(sample_weight)
        self._class_weight = _class_weights(class_weight, several, self._sample_weight is not None)
        self._compile_arguments = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": self._for_all_outputs(metrics, len(outputs)),
            "weighted_metrics": self._for_all_outputs(weighted_metrics, len(outputs)),
        }

    # -- inputs -------------------------------------------------------------------------------------

    @property
    def _keys(self) -> list[str]:
        """Keras's names of the outputs, in the order of ``output_names``."""
        if isinstance(self._output, Mapping):
            return sorted(self._output)  # tf.nest flattens dicts in the order of their sorted keys
        names = getattr(self.keras_model, "output_names", None)
        return [str(name) for name in names or range(len(self.output_names))]

    def _for_each_output(self, given: object, what: str) -> list[Any]:
        """Expand a setting to a list with one entry for each output.

        Args:
            given: One value for all outputs, a list, or a dict by output, which may leave outputs out (None).
            what: What it sets, for the error.
        """
        count = len(self.output_names)
        if isinstance(given, Mapping):
            unknown = [name for name in given if name not in self._keys]
            if unknown:
                raise ModelError(f"the model has no output {unknown[0]!r}. {closest(str(unknown[0]), self._keys)}")
            return [given.get(key) for key in self._keys]
        if isinstance(given, (list, tuple)):
            if len(given) != count:
                raise ModelError(f"the model has {count} output(s), but there are {len(given)} {what}.")
            return list(given)
        return [given] * count

    @staticmethod
    def _for_all_outputs(metrics: Any, count: int) -> Any:
        """Repeat a flat list of metrics, which is meant for all outputs, for each of them; other forms are kept."""
        plain = isinstance(metrics, (list, tuple)) and not any(
            isinstance(one, (list, tuple, dict, keras.Metric)) or one is None for one in metrics
        )
        if not metrics or count == 1 or not plain or len(metrics) == count:
            return metrics or None
        return [list(metrics)] * count

    def _target_specs(self, targets: object, losses: Sequence[Any], outputs: Sequence[Any]) -> list[tf.TensorSpec]:
        if targets is not None:
            if isinstance(targets, Mapping):
                targets = [spec for spec in self._for_each_output(targets, "targets") if spec is not None]
            return checked_specs(targets, "KerasModelDesc(targets=...)") if targets else []
        specs = []
        for place, (loss, output) in enumerate(zip(losses, outputs, strict=True)):
            name = "target" if len(outputs) == 1 else f"target_{place}"
            kind = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
            if loss is None:  # an output without a loss has no target; the others keep their numbers
                continue
            if "sparse" in kind.lower():
                specs.append(tf.TensorSpec(output.shape[:-1], tf.int32, name))
            else:
                specs.append(tf.TensorSpec(output.shape, tf.float32, name))
        return specs

    def inputs(self) -> list[tf.TensorSpec]:
        """The model's inputs, then the targets, then the sample weights."""
        weights = [] if self._sample_weight is None else [self._sample_weight]
        return [*self._inputs, *self._targets, *weights]

    # -- the graph ----------------------------------------------------------------------------------

    def build_graph(self, *tensors: tf.Tensor) -> tf.Tensor:
        """Call the model; its outputs are the tensors ``prediction`` (or ``prediction_0``, ...), the cost ``loss``."""
        tower = get_current_tower_context()
        compiled = self._compiled(tower)
        x, targets, weight = self._parts(tensors)
        if tower.is_training and self._class_weight is not None:  # fit does not apply class weights in validation
            weight = self._weight_of(targets)
        for layer in flat_layers(self.keras_model):
            clear_losses(layer)  # of all layers: one that is not called in this trace still has an earlier one's losses
        outputs = self.keras_model(x)
        y = self._arranged(targets)
        for name, output in zip(self.output_names, tf.nest.flatten(outputs), strict=True):
            tower.add_tensor(name, tf.identity(output, name=name))
            mask = keras_mask(output)
            if mask is not None:
                tower.add_tensor(f"{name}_mask", tf.identity(mask, name=f"{name}_mask"))
        cost = tf.identity(compiled.loss(x, y, outputs, weight, tower.is_training), name="loss")
        # Keras's compute_loss has added regularizers and layers' losses already; the graph must not add them again.
        tower.settle(self.keras_model)
        if len(self.output_names) > 1:
            parts = compiled.output_losses(self._by_output(targets), outputs, weight)
            for place, loss in zip(self._with_loss, parts, strict=True):
                tower.add_tensor(f"loss_{place}", tf.identity(loss, name=f"loss_{place}"))
        for name, value in compiled.batch_metrics(y, outputs, weight).items():
            tower.add_tensor(name, tf.identity(value, name=name))
        if tower.is_training:
            compiled.update(cost, x, y, outputs, weight)
        return cost

    @property
    def loss_names(self) -> list[str]:
        """The names of the cost's tensor and, with several outputs, of the tensors of their losses."""
        return ["loss", *(f"loss_{place}" for place in self._with_loss if len(self.output_names) > 1)]

    def compiled_in(self, store: VariableStore) -> CompiledModel:
        """The model's compiled loss and metrics in the run of this store."""
        return store.metrics[_METRICS]

    def measure(self, compiled: CompiledModel, values: Mapping[str, Any]) -> None:
        """Accumulate a batch whose outputs have been computed in the metrics.

        Args:
            compiled: The compiled metrics.
            values: Arrays by name: each of `inputs`, each output (``prediction``, ...), and ``NAME_mask`` of an output
                that has a mask.
        """
        x, targets, weight = self._parts([tf.constant(values[str(spec.name)]) for spec in self.inputs()])
        outputs = [tf.constant(values[name]) for name in self.output_names]
        for name, output in zip(self.output_names, outputs, strict=True):
            if f"{name}_mask" in values:
                set_keras_mask(output, tf.constant(values[f"{name}_mask"]))
        compiled.measure(x, self._arranged(targets), tf.nest.pack_sequence_as(self._output, outputs), weight)

    def _parts(self, tensors: Sequence[Any]) -> tuple[Nested, Sequence[Any], Any]:
        """Split a datapoint's tensors into inputs as the model nests them, targets, and sample weights or None."""
        first, last = len(self._inputs), len(self._inputs) + len(self._targets)
        weight = tensors[-1] if self._sample_weight is not None else None
        return arranged_inputs(self.keras_model, tensors[:first]), tensors[first:last], weight

    def _compiled(self, tower: TowerContext) -> CompiledModel:
        """The compiled loss and metrics of the tower's run; made in the build pass, before the store is frozen."""
        metrics = tower.store.metrics
        if _METRICS not in metrics:
            weight = self._sample_weight
            if self._class_weight is not None:
                weight = tf.TensorSpec(self._targets[0].shape[:1], tf.float32)
            x = arranged_inputs(self.keras_model, self._inputs)
            examples = (x, self._arranged(self._targets), self._output, weight)
            with kept_apart(tower):
                metrics.add(_METRICS, CompiledModel(self.keras_model, self._compile_arguments, examples))
        return metrics[_METRICS]

    def _arranged(self, targets: Sequence[Any]) -> Nested:
        """Nest targets as ``compute_loss`` takes them: as the outputs, or only those of the outputs with a loss."""
        if len(targets) == len(self.output_names):
            return tf.nest.pack_sequence_as(self._output, list(targets))
        if len(targets) == len(self._with_loss) and isinstance(self._output, Mapping):
            return {self._keys[place]: target for place, target in zip(self._with_loss, targets, strict=True)}
        return list(targets) if len(targets) > 1 else (targets[0] if targets else None)

    def _by_output(self, targets: Sequence[Any]) -> Nested:
        """Nest targets as the outputs, with None for an output without a target."""
        every: list[Any] = list(targets)
        if len(targets) == len(self._with_loss):
            every = [None] * len(self.output_names)
            for place, target in zip(self._with_loss, targets, strict=True):
                every[place] = target
        return tf.nest.pack_sequence_as(self._output, every)

    def _weight_of(self, targets: Sequence[tf.Tensor]) -> tf.Tensor:
        """The class weight of each sample of a batch; 1 for a class without one."""
        target, table = targets[0], self._class_weight or {}
        if target.shape.rank is not None and target.shape.rank > 1:
            one_hot = target.shape[-1] != 1  # else (N, 1), the class itself
            target = tf.argmax(target, -1) if one_hot else tf.squeeze(target, -1)
        if target.dtype.is_floating:
            target = tf.round(target)
        return _looked_up(table, target)

    def gradient_processors(self) -> Sequence[GradientProcessor]:
        """``FilterNoneGrad`` if an output has no loss: layers that only lead to it get a warning, as in ``fit``."""
        return [FilterNoneGrad()] if len(self._with_loss) < len(self.output_names) else []

    def optimizer(self) -> Any:
        """A new or unused optimizer; one given by name gets the scalar variable ``learning_rate``."""
        given = self._optimizer
        if isinstance(given, keras.optimizers.Optimizer) and given.built:  # its state belongs to an earlier run
            return type(given).from_config(given.get_config())
        if not isinstance(given, str):
            return given
        made = keras.optimizers.get(self._optimizer)
        rate = get_scalar_var("learning_rate", float(made.learning_rate.numpy()), summary=True)
        return type(made)(learning_rate=rate)


def _check_loss(loss: object) -> None:
    if loss is None or loss in ("crossentropy", "ce"):
        return
    try:
        found = keras.losses.get(loss)
    except ValueError as error:
        raise ModelError(f"Keras knows no loss {loss!r}.") from error
    if not callable(found):
        raise ModelError(f"a loss is a name known to Keras or a function of (target, prediction), got {loss!r:.80}.")


def _weight_spec(given: bool | tf.TensorSpec) -> tf.TensorSpec | None:
    if not isinstance(given, bool) and isinstance(given, tf.TensorSpec):
        return tf.TensorSpec(given.shape, given.dtype, given.name or "sample_weight")
    if not isinstance(given, bool):
        raise ModelError(
            "KerasModelDesc(sample_weight=...) is True or a tf.TensorSpec: the weights themselves are the last "
            f"component of a datapoint; got {given!r:.80}."
        )
    return tf.TensorSpec((None,), tf.float32, "sample_weight") if given else None


def _class_weights(given: Mapping[int, float] | None, several: bool, weighted: bool) -> dict[int, float] | None:
    if given is None:
        return None
    if several or weighted:
        other = "a model with several outputs" if several else "sample_weight"
        raise ModelError(
            f"class_weight cannot be used with {other}: make the weights in the dataflow, sample_weight=True."
        )
    classes = [as_int(key) for key in given] if isinstance(given, Mapping) else []
    if not classes or any(key is None or key < 0 for key in classes):
        raise ModelError(f"class_weight is a dict from whole numbers (classes) to weights, got {given!r:.80}.")
    return {int(key): float(weight) for key, weight in given.items()}


def _looked_up(table: Mapping[int, float], classes: tf.Tensor) -> tf.Tensor:
    row = tf.constant([table.get(one, 1.0) for one in range(max(table) + 2)], tf.float32)  # the last: all others, 1
    classes = tf.cast(classes, tf.int32)
    known = (classes >= 0) & (classes <= max(table))
    return tf.gather(row, tf.where(known, classes, max(table) + 1))
