"""ModelGraph: builds a ModelDesc into variables and graphs, without a trainer."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError, first_few
from flowtrain.utils.seeding import resolve_seed

from .average import WeightAverage
from .epoch_metrics import EpochMetrics
from .inference import InferenceGraph
from .inputs import checked_inputs
from .internals import captured_variables, make_concrete, raw_variable, reseed, scratch_graph, sublayers
from .objectives import Objective, handles, make_objectives
from .predictor import Predictor
from .store import VariableStore
from .table import count_parameters, summary_table
from .tower import TowerContext
from .tracing import layer_losses, penalties, run_tower
from .variables import ScalarVariable

if TYPE_CHECKING:
    from .desc import ModelDesc

__all__ = ["ModelGraph"]


class ModelGraph:
    """A model's variables, and its graphs for training and inference.

    Building traces ``build_graph`` twice, for training and for inference. This makes every variable, and reports every
    mistake that can be seen without data.

    Args:
        model: The ModelDesc.
        strategy: A ``tf.distribute.Strategy`` under whose scope variables are made.
        precision: A Keras dtype policy for the layers, e.g. ``"mixed_bfloat16"``; None for Keras's current one.
        seed: Seed of the initial weights, which follow from it and from the variables' names; None for the seed of
            ``set_seed``.

    Attributes:
        model: The ModelDesc.
        input_specs: The model's inputs, one named ``tf.TensorSpec`` each.
        store: The model's variables.
        inference: The inference graph.
        average: Moving averages of the weights; None if none are kept.
        objectives: Name of a cost -> its optimizer and variables; empty when the model declares no optimizer.

    Raises:
        ModelError: The model is wrong; says where and what to write instead.

    Example:
        >>> import flowtrain as ft
        >>> class Scaled(ft.ModelDesc):
        ...     def inputs(self):
        ...         return [tf.TensorSpec((None, 2), tf.float32, "x")]
        ...
        ...     def build_graph(self, x):
        ...         return tf.reduce_mean(tf.multiply(x, ft.get_variable("scale", (), "ones"), name="scaled"))
        >>> graph = ModelGraph(Scaled())
        >>> graph.store.set_weights({"scale": 3.0})
        >>> graph.predictor(["x"], ["scaled"])([[1.0, 2.0]])
        [array([[3., 6.]], dtype=float32)]
    """

    def __init__(
        self,
        model: ModelDesc,
        strategy: tf.distribute.Strategy | None = None,
        precision: str | keras.DTypePolicy | None = None,
        seed: int | None = None,
    ) -> None:
        self.model = model
        self.input_specs = checked_inputs(model)
        self.precision = precision
        self.strategy = strategy
        self.objectives: dict[str, Objective] = {}
        self.store = VariableStore(resolve_seed(seed))
        with self._scope():
            # In this order: the build pass makes the variables and freezes their set; the inference trace shows whether
            # it finds the same; optimizers are built for variables that are final.
            self.build_tower = self._build()
            self.inference = self._inference_graph()
            self._check_inference()
            self.objectives = make_objectives(model, self.store, self.build_tower)
        self.average: WeightAverage | None = None
        if model.average_decay is not None:
            self.keep_average(model.average_decay)
        self._averaged: InferenceGraph | None = None
        self._lock = threading.Lock()
        model._model_graph = self

    @property
    def metrics(self) -> EpochMetrics:
        """The model's epoch metrics: the training step updates them, the start of an epoch resets them."""
        return self.store.metrics

    # -- for trainers and callbacks -----------------------------------------------------------------

    @property
    def optimizer(self) -> keras.optimizers.Optimizer | None:
        """The optimizer of a model with one cost; None if the model declares no optimizer."""
        if len(self.objectives) > 1:
            raise ModelError(f"this model has {len(self.objectives)} optimizers; use objectives[name].optimizer.")
        return next((objective.optimizer for objective in self.objectives.values()), None)

    def training_tower(self, inputs: Sequence[tf.Tensor]) -> TowerContext:
        """Trace ``build_graph`` for a training step. Call it in a ``tf.function``, in each replica.

        Args:
            inputs: One tensor for each input, in order, with the dtype of its spec and a compatible shape.

        Returns:
            The tower: its cost or costs, named tensors and summaries.

        Raises:
            ModelError: The tensors do not fit the inputs, or nothing is being traced.
        """
        if tf.executing_eagerly():
            raise ModelError(
                "a training step must be traced in a tf.function, which tf.config.run_functions_eagerly(True) prevents."
            )
        if len(inputs) != len(self.input_specs):
            raise ModelError(
                f"the model has {len(self.input_specs)} inputs {[spec.name for spec in self.input_specs]}, "
                f"got {len(inputs)}."
            )
        for spec, tensor in zip(self.input_specs, inputs, strict=True):
            if tensor.dtype != spec.dtype or not spec.shape.is_compatible_with(tensor.shape):
                raise ModelError(
                    f"the input {spec.name!r} expects {spec.dtype.name} of shape {spec.shape}, "
                    f"got {tensor.dtype.name} of shape {tensor.shape}."
                )
        return self._run(inputs, True)

    def predictor(self, inputs: Sequence[str], outputs: Sequence[str], averaged: bool = False) -> Predictor:
        """Make a predictor on the live weights; see :class:`Predictor`.

        Args:
            inputs: Names of the inputs to feed, or of tensors to feed in their place.
            outputs: Names of the tensors to compute; ``NAME_crop32`` is NAME without 32 pixels on each side.
            averaged: Use the moving averages of the weights.

        Raises:
            TensorNameError: An unknown name; lists the nearest.
            ModelError: An output needs an input that is not given, or no averages are kept.
        """
        return (self.averaged_inference if averaged else self.inference).predictor(inputs, outputs)

    def keep_average(self, decay: float) -> WeightAverage:
        """Keep moving averages of the weights, as ``average_decay`` does. Call it before the step is traced.

        Args:
            decay: The share of the old average that each update keeps; see :class:`WeightAverage`.

        Returns:
            The averages; the existing ones if they have the same decay.

        Raises:
            ModelError: The decay is not between 0 and 1, or averages with another decay are kept already.
        """
        if self.average is None:
            with self._scope():
                self.average = WeightAverage(self.store, decay)
        elif self.average.decay != decay:
            raise ModelError(
                f"the weights' averages are kept with a decay of {self.average.decay}, and now asked for with {decay}: "
                "there is one average in a model, give the same decay everywhere."
            )
        return self.average

    @property
    def averaged_inference(self) -> InferenceGraph:
        """The inference graph on the moving averages of the weights; traced when first used."""
        if self.average is None:
            raise ModelError(
                f"{type(self.model).__name__} keeps no averages of its weights: set average_decay = 0.999 in it, "
                "or train it with the callback EMA."
            )
        with self._lock:  # two threads that ask first must not trace twice
            if self._averaged is None:
                with self._scope(), self.average.used():
                    self._averaged = self._inference_graph()
        return self._averaged

    def _inference_graph(self) -> InferenceGraph:
        return InferenceGraph(lambda inputs: self._run(inputs, False), self.input_specs)

    def _scope(self) -> contextlib.AbstractContextManager[Any]:
        return self.strategy.scope() if self.strategy is not None else contextlib.nullcontext()

    def tensor_names(self, operations: bool = False) -> list[str]:
        """The names of tensors that a predictor can take or compute: inputs, outputs of layers, costs, summaries.

        Args:
            operations: List the outputs of all other operations too, by the names that ``print(tensor)`` shows.
        """
        names = list(self.inference.tower.tensors)
        if operations:
            made = [op.name for op in self.inference.graph.get_operations() if op.outputs]
            names += [name for name in made if name not in self.inference.tower.tensors]
        return names

    def summary(self) -> str:
        """A table of layers, output shapes, parameters and dtypes: ``print(graph.summary())``."""
        parameters = self._parameters()
        trained = {name: variable for name, variable in parameters.items() if variable.trainable}
        return summary_table(self.inference.tower.records, self.input_specs, parameters, trained)

    def count_parameters(self, trainable_only: bool = False) -> int:
        """The number of parameters: elements of weights and statistics, without scalar variables and random states."""
        return count_parameters(self.store.trainable if trainable_only else self._parameters())

    def _parameters(self) -> dict[str, keras.Variable]:
        return {
            name: variable
            for name, variable in self.store.variables.items()
            if tf.as_dtype(variable.dtype).is_floating
            and not isinstance(variable, ScalarVariable)
            and not name.startswith("average/")
        }

    # -- building -----------------------------------------------------------------------------------

    def _run(
        self,
        inputs: Sequence[tf.Tensor],
        is_training: bool,
        adopt: Callable[[TowerContext], None] | None = None,
    ) -> TowerContext:
        tower = run_tower(self.model, self.store, self.input_specs, inputs, is_training, self.precision, adopt)
        self._total_costs(tower)
        return tower

    def _build(self) -> TowerContext:
        graph = scratch_graph("build")
        # The graph is thrown away; the variables and their names stay. Making them when the training step is traced
        # would be too late: a strategy, the optimizer's slots and a checkpoint all need them before.
        with graph.as_default():
            inputs = [tf.compat.v1.placeholder(spec.dtype, spec.shape, spec.name) for spec in self.input_specs]
            tower = self._run(inputs, True, self._adopt_outside_layers)
            self._check_precision(tower)
            # Tensors that a regularizer made here belong to this graph and could not be used in the next trace.
            for variable in self.store.variables.values():
                make_concrete(variable.regularizer)
                make_concrete(variable.constraint)
        self.store.frozen = True
        return tower

    def _adopt_outside_layers(self, tower: TowerContext) -> None:
        """Take variables that were made outside ``build_graph`` into the store, under names that follow from it.

        Variables of Keras layers are named by the layer's path in this trace; others that the graph reads (the state
        of a ``tf.random.Generator``, a user's own ``tf.Variable``) keep their name.
        """
        # By the identity of the tf.Variable, not of Keras's object around it: two Keras layers may share one.
        known = {id(raw_variable(variable)) for variable in self.store.variables.values()}

        def adopt(layer: keras.Layer, path: str) -> None:
            inner = {id(v) for sub in sublayers(layer) for v in sub.variables}  # these get the sublayer's path
            for variable in layer.variables:
                if id(variable) not in inner and id(raw_variable(variable)) not in known:
                    self._check_strategy(path, variable)
                    known.add(id(raw_variable(variable)))
                    name = self._free_name(f"{path}/{variable.name}")
                    self.store.add(name, variable)
                    with tf.init_scope():  # assigns now, not in the scratch graph
                        reseed(layer, variable, self.store.seed_for(name))
            for sub in sublayers(layer):
                adopt(sub, f"{path}/{tower.name_below(path, sub)}")

        for layer, outermost in tower.layers_seen:
            if outermost:
                adopt(layer, tower.known_name(layer))
        # Last, what the graph captures and no layer lists. Metrics have variables of their own, beside the model's.
        owned = handles({**self.store.variables, **self.metrics.variables()})
        for variable in captured_variables(tower.graph, owned):
            self.store.add(self._free_name(_counted_anew(tower, re.sub(r":\d+$", "", variable.name))), variable)

    def _check_strategy(self, path: str, variable: keras.Variable) -> None:
        strategy = self.strategy
        if strategy is not None and not strategy.extended.variable_created_in_scope(raw_variable(variable)):
            raise ModelError(
                f"the Keras layer {path!r} was made outside of the strategy of this run, so its variables live on one "
                "device alone. Make it inside: with strategy.scope(): model = ..."
            )

    def _check_precision(self, tower: TowerContext) -> None:
        """Refuse a precision that no layer uses, since all layers were made before ``build_graph`` ran."""
        layers = [layer for layer, _ in tower.layers_seen if layer.variables and not sublayers(layer)]
        if self.precision is None or not layers:
            return
        policy = keras.dtype_policies.get(self.precision)
        if all(layer.compute_dtype != policy.compute_dtype for layer in layers):
            raise ModelError(
                f"precision={policy.name!r} would have no effect: the layers "
                f"{first_few(map(tower.known_name, layers), 3)} were made outside of "
                f"build_graph and compute in {layers[0].compute_dtype}. Make them under "
                f"keras.config.set_dtype_policy({policy.name!r}), or with dtype={policy.name!r}."
            )

    @property
    def scales_loss(self) -> bool:
        """Whether the loss needs scaling: a layer computes in float16, where small gradients underflow to zero."""
        layers = [layer for layer, _ in self.build_tower.layers_seen if layer.variables]
        return any(layer.compute_dtype == "float16" and layer.variable_dtype == "float32" for layer in layers)

    def _free_name(self, name: str) -> str:
        free, count = name, 0
        while self.store.find(free) is not None:
            count += 1
            free = f"{name}_{count}"
        return free

    def _check_inference(self) -> None:
        only = sorted(self.build_tower.touched - self.inference.tower.touched)
        if only:
            raise ModelError(
                f"the variable or layer {only[0]!r} is made only when is_training is True. Make it in both "
                f"cases (a predictor runs only what it needs), so that checkpoints of training and inference agree."
            )

    # -- costs and optimizers -----------------------------------------------------------------------

    def _total_costs(self, tower: TowerContext) -> None:
        """Add the regularisers' penalties and the layers' own losses to the tower's costs."""
        if not tower.costs:
            return
        tower.plain_costs = dict(tower.costs)
        losses = layer_losses(tower)
        if losses and len(tower.costs) > 1:
            raise ModelError(
                "a layer adds a loss of its own (add_loss or an activity regularizer), and the model has several costs "
                f"{list(tower.costs)}: add it to the right one yourself, with sum(layer.losses)."
            )
        with tower.entered(), tower.graph.name_scope(tower.prefix or None):
            # Each cost gets the penalties of the variables that it may change.
            for name, cost in tower.costs.items():
                extra = penalties(tower, list(self._variables_of(name))) + losses
                if extra:
                    tower.costs[name] = tf.add_n([cost, *extra], name="total_cost")
        if len(tower.costs) == 1:
            tower.cost = next(iter(tower.costs.values()))
        else:
            tower.cost = tf.add_n(list(tower.costs.values()))

    def _variables_of(self, cost: str) -> Mapping[str, keras.Variable]:
        return self.objectives[cost].variables if cost in self.objectives else self.store.trainable


def _counted_anew(tower: TowerContext, name: str) -> str:
    """A variable's name with the names of layers in it (``lstm_3``) replaced by their names in this trace.

    For variables that no layer lists, such as the state of a stateful RNN. Keras's own numbers count all layers of the
    process, so they would differ between runs.
    """
    known = {layer.name: tower.known_name(layer).rsplit("/", 1)[-1] for layer, _ in tower.layers_seen}
    return "/".join(known.get(part, part) for part in name.split("/"))
