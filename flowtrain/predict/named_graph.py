"""Inference graphs and predictors of anything that can predict: trainers, ModelDescs, Keras models, loaded files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from flowtrain.model import KerasModelDesc, ModelGraph, Predictor, TowerContext
from flowtrain.model.inference import InferenceGraph
from flowtrain.model.keras_io import call_keras, declared_inputs
from flowtrain.model.store import VariableStore
from flowtrain.utils.arguments import check_names, if_given, refuse_class
from flowtrain.utils.errors import ModelError, TensorNameError

__all__ = ["NamedGraph", "as_graph", "as_predictor", "keras_graph", "predictor_of"]

_INPUTS_NEEDED = (
    'Wrap it where they are known: image = keras.Input((28, 28, 1), name="image"); keras.Model(image, model(image)). '
    "Or train it as KerasModelDesc(model, loss, inputs=[...]), or inside a ModelDesc."
)


class NamedGraph(InferenceGraph):
    """An inference graph that does not come from a ModelDesc: of a Keras model or a file.

    Args:
        build: Called once while the graph is traced, with one tensor for each of ``specs``. Returns the named
            tensors by name, inputs included.
        specs: The inputs that the trace provides.
        inputs: Returns the specs of inputs that ``build`` makes itself; called after ``build``.
        outputs: Names of the outputs to compute if none are asked for.

    Attributes:
        output_names: Names of the outputs to compute if none are asked for.
        lacking: Operation that could not be loaded -> the variable whose value the file lacks.
    """

    def __init__(
        self,
        build: Callable[[Sequence[tf.Tensor]], dict[str, tf.Tensor]],
        specs: Sequence[tf.TensorSpec] = (),
        inputs: Callable[[], Sequence[tf.TensorSpec]] = tuple,
        outputs: Sequence[str] = (),
    ) -> None:
        def tower_of(given: Sequence[tf.Tensor]) -> TowerContext:
            tower = TowerContext(VariableStore(0), is_training=False)
            tower.graph = tf.compat.v1.get_default_graph()
            tower.tensors.update(build(given))
            return tower

        super().__init__(tower_of, specs)
        self.specs += inputs()
        self.output_names = list(outputs)
        self.lacking: dict[str, str] = {}
        """What could not be loaded, and the variable whose value the file lacks."""

    def tensor(self, name: str) -> tf.Tensor:
        """Look up a tensor; see `InferenceGraph.tensor`."""
        try:
            return super().tensor(name)
        except TensorNameError as error:
            variable = self.lacking.get(name.split(":")[0])
            if variable is None:
                raise
            raise TensorNameError(
                f"{name!r} cannot be computed: the checkpoint has no value of {variable!r}, which it needs."
            ) from error


def as_graph(model: object, averaged: bool = False) -> InferenceGraph:
    """The inference graph of a model, trainer or loaded predictor.

    Args:
        model: A trainer, ModelGraph, ModelDesc, Keras model, or a predictor that was loaded from a file.
        averaged: Whether the graph reads the moving averages of the weights.

    Returns:
        The graph, on the live weights. A ModelDesc that is not in use is built with its initial weights.

    Raises:
        ModelError: It is none of these, or keeps no averages.
    """
    inner = getattr(model, "graph", None)
    if isinstance(inner, InferenceGraph | ModelGraph) and not isinstance(model, InferenceGraph | ModelGraph):
        model = inner
    if isinstance(model, ModelGraph):
        graph = model.averaged_inference if averaged else model.inference
        if isinstance(model.model, KerasModelDesc):
            graph.output_names = model.model.output_names  # type: ignore[attr-defined]
        return graph
    if averaged:
        raise ModelError(f"averaged=True needs a ModelDesc; {type(model).__name__} keeps no averages.")
    if isinstance(model, InferenceGraph):
        return model
    if isinstance(model, keras.Model):
        return keras_graph(model)
    refuse_class("the model", model, ModelError)
    raise ModelError(f"expected a trainer, ModelDesc, ModelGraph or Keras model, got {type(model).__name__}.")


def keras_graph(model: keras.Model) -> NamedGraph:
    """Trace a Keras model for inference; inputs and outputs have the model's own names."""
    specs = declared_inputs(model, _INPUTS_NEEDED)
    names = list(getattr(model, "output_names", [])) or ["output"]

    def build(tensors: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        outputs = call_keras(model, tensors, training=False)
        found = {str(spec.name): tensor for spec, tensor in zip(specs, tensors, strict=True)}
        with tf.compat.v1.get_default_graph().name_scope(None):  # None: the name stands for itself, in no scope
            for name, tensor in zip(names, outputs, strict=True):
                found.setdefault(name, tf.identity(tensor, name=f"{name}/output"))
        return found

    return NamedGraph(build, specs, outputs=names)


def as_predictor(
    model: object,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    averaged: bool = False,
) -> Predictor:
    """Make a predictor on the live weights of a model, trainer or loaded predictor.

    Args:
        model: What `as_graph` takes, or a Predictor.
        inputs: Names of inputs; None for those that the outputs need.
        outputs: Names of tensors; ``NAME_crop32`` is NAME without 32 pixels on each side. None for the outputs that a
            file or Keras model declares, else for the last layer's.
        averaged: Whether to read the moving averages of the weights.

    Raises:
        TensorNameError: An unknown name; lists the nearest.
        ModelError: An output needs an input that is not given; or other inputs or outputs are asked of a predictor that
            has no graph.
    """
    if isinstance(model, Predictor) and not averaged:
        if (inputs or model.inputs) == model.inputs and (outputs or model.outputs) == model.outputs:
            return model
        if not isinstance(getattr(model, "graph", None), InferenceGraph):
            raise ModelError(f"{model} has inputs and outputs already; give the model or trainer to choose others.")
        outputs = outputs or model.outputs
    return predictor_of(as_graph(model, averaged), inputs, outputs)


def predictor_of(
    graph: InferenceGraph, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None
) -> Predictor:
    """Make a predictor from an inference graph; arguments and errors as of `as_predictor`."""
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if_given(check_names, "a predictor", what, names, ModelError)
    if outputs is None:
        outputs = _expected_outputs(graph)
    if inputs is None:
        inputs = graph.needed_inputs([graph.tensor(name) for name in outputs])
    return graph.predictor(list(inputs), list(outputs))


def _expected_outputs(graph: InferenceGraph) -> list[str]:
    declared = getattr(graph, "output_names", None)
    if declared:
        return list(declared)
    # Records of layers inside a Keras model hold Keras tensors, which cannot be fetched.
    layers = [record.output for record in graph.tower.records if getattr(record.output, "graph", None) is graph.graph]
    if layers:
        return [graph.tower.name_of_tensor(layers[-1], "the last layer")]
    raise ModelError(f"Say which outputs to compute. There are: {', '.join(graph.tower.tensors)}.")
