"""load_predictor: run a model from a file of any format."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from flowtrain.model.desc import ModelDesc
from flowtrain.model.inference import InferenceGraph
from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import CheckpointError, FlowtrainError, ModelError, closest
from flowtrain.utils.storage import as_local

from .graphfile import VARIABLES, op_name, read_graph, read_meta, with_own_functions
from .loader import with_weights
from .named_graph import NamedGraph, as_graph, keras_graph
from .offline import LoadedPredictor
from .path_kinds import KINDS, checkpoint_prefix, kind_of, model_path
from .weights import open_h5, read_weights

__all__ = ["WeightsOnlyError", "load_graph", "load_predictor"]


class WeightsOnlyError(CheckpointError):
    """The file holds weights but no graph, and no model was given to run them with."""


_INPUTS = {"Placeholder", "PlaceholderV2"}


@names_arguments
def load_predictor(
    path: str | Path,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    model: ModelDesc | keras.Model | None = None,
    signature: str | None = None,
    averaged: bool = False,
) -> LoadedPredictor:
    """Load a model from a file of any format, and make a predictor of it.

    Tensors have the names that the file gives them. Nothing is unpickled, and no Python code in a file is run.

    Args:
        path: A SavedModel (its folder or ``saved_model.pb``), a frozen ``.pb``, a TensorFlow 1 checkpoint with its
            ``.meta`` (either of its files), a ``.keras`` or whole ``.h5`` model; or a file of weights (own checkpoint,
            ``.npz``, ``.weights.h5``, ...) together with ``model``. A URL is downloaded once, of a folder all files.
        inputs: Names of the inputs to feed; None for those that the outputs need.
        outputs: Names of the tensors to compute; ``NAME_crop32`` is NAME without 32 pixels on each side. None for the
            outputs that the file declares, or tensors that no other operation uses.
        model: A ModelDesc or Keras model, for files that hold weights only.
        signature: Name of the signature of a SavedModel; None for ``serving_default``, or the only one.
        averaged: Use the moving averages of the weights that a checkpoint holds (of a model with ``average_decay`` or
            a run with the callback ``EMA``).

    Returns:
        The predictor. ``predictor.tensor_names()`` lists what there is.

    Raises:
        CheckpointError: The file is missing, damaged or of an unknown kind, or it holds Python code or a pickle.
        TensorNameError: There is no such input or output; lists the nearest.

    Example:
        >>> denoise = load_predictor("dncnn.pb", ["input"], ["output"])          # doctest: +SKIP
        >>> (clean,) = denoise(noisy[None])                                     # doctest: +SKIP
    """
    return LoadedPredictor(load_graph(path, model, signature, averaged), inputs, outputs)


def load_graph(
    path: str | Path, model: ModelDesc | keras.Model | None = None, signature: str | None = None, averaged: bool = False
) -> InferenceGraph:
    """Load the inference graph of a file, for any number of predictors; arguments as of `load_predictor`."""
    if model is not None:
        return as_graph(with_weights(model, path, averaged), averaged)
    if averaged:
        raise ModelError("averaged=True needs the model whose checkpoint holds averages: pass model=.")
    with as_local(path) as local:
        return _graph_of(local, signature)


def _graph_of(path: Path, signature: str | None) -> InferenceGraph:
    kind, path = kind_of(path), model_path(path)
    if kind == "bundle":
        prefix = checkpoint_prefix(path)
        if prefix is not None and prefix.with_name(prefix.name + ".meta").exists():
            kind, path = "meta", prefix.with_name(prefix.name + ".meta")
    if kind == "h5" and not _is_whole(path):
        kind = "weights_h5"
    if kind not in _GRAPHS:
        raise WeightsOnlyError(
            f"{path} holds weights only: it is a {KINDS[kind]}. Give the model that they belong to: "
            f"load_predictor(path, inputs, outputs, model=MyModel())."
        )
    if kind == "saved_model":
        return _saved_model(path, signature)
    if signature is not None:
        raise CheckpointError(f"only a SavedModel has signatures; {path} is a {KINDS[kind]}.")
    return _GRAPHS[kind](path)


# -- graphs -----------------------------------------------------------------------------------------------


def _frozen(path: Path) -> NamedGraph:
    graph = read_graph(path)
    variable = next((node.name for node in graph.node if _is_variable(node)), None)
    if variable is not None:
        raise CheckpointError(
            f"{path} is a graph that was not frozen: its variable {variable!r} has no value. Freeze it with its "
            "checkpoint, or load the checkpoint's .meta."
        )
    return _imported(graph, path)


def _is_variable(node: tf.compat.v1.NodeDef) -> bool:
    if node.op in _INPUTS:  # the graph of a tf.function takes its variables' handles through placeholders
        return node.attr["dtype"].type == tf.resource.as_datatype_enum
    return node.op in VARIABLES


def _meta(path: Path) -> NamedGraph:
    definition, live, lacking = read_meta(path, read_weights(path))
    graph = _imported(definition, path, {name: tf.Variable(value, trainable=False) for name, value in live.items()})
    graph.lacking = lacking
    return graph


def _imported(
    definition: tf.compat.v1.GraphDef, path: Path, variables: Mapping[str, tf.Variable] | None = None
) -> NamedGraph:
    """Import a graph: its placeholders are the inputs, and results that no other operation uses are the outputs.

    Args:
        definition: The graph.
        path: The file, for errors.
        variables: Name of the placeholder that stands for a handle -> the variable.
    """
    definition = with_own_functions(definition)
    variables = variables or {}
    placeholders = [node.name for node in definition.node if node.op in _INPUTS and node.name not in variables]
    used = {op_name(given) for node in definition.node for given in node.input}
    ends = [
        node.name
        for node in definition.node
        if node.name not in used and node.op not in ("NoOp", "Const", "Assert", "Print", *_INPUTS)
    ]
    specs: list[tf.TensorSpec] = []

    def build(_: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        graph = tf.compat.v1.get_default_graph()
        for variable in variables.values():
            graph.watch_variable(variable)  # so that the function knows it for its own, to be saved and frozen with it
        handles = {f"{name}:0": graph.capture(variable.handle) for name, variable in variables.items()}
        tf.import_graph_def(definition, input_map=handles, name="")
        found = {name: graph.get_tensor_by_name(f"{name}:0") for name in placeholders}
        specs.extend(tf.TensorSpec(tensor.shape, tensor.dtype, name) for name, tensor in found.items())
        # In place, as NamedGraph is given the list; only the imported graph tells the dtypes of results.
        ends[:] = [name for name in ends if _is_result(graph.get_operation_by_name(name))]
        found.update((name, graph.get_tensor_by_name(f"{name}:0")) for name in ends)
        return found

    try:
        graph = NamedGraph(build, inputs=lambda: specs, outputs=ends)
    except (ValueError, tf.errors.OpError) as error:
        raise CheckpointError(f"the graph of {path} cannot be imported: {error}") from error
    graph.variables = variables  # type: ignore[attr-defined]  # it only has their handles
    return graph


def _is_result(op: tf.Operation) -> bool:
    """Whether an operation computes a value, instead of a summary (a string) or a handle."""
    return bool(op.outputs) and op.outputs[0].dtype not in (tf.string, tf.resource)


# -- SavedModel -------------------------------------------------------------------------------------------


def _saved_model(path: Path, signature: str | None) -> NamedGraph:
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, RuntimeError, LookupError, tf.errors.OpError) as error:
        raise CheckpointError(
            f"the SavedModel {path} cannot be loaded; is it cut short or damaged? ({error})"
        ) from error
    function = _signature(dict(loaded.signatures), signature, path)
    specs = [
        tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in function.structured_input_signature[1].items()
    ]
    names = sorted(function.structured_outputs)  # TensorFlow gives them no order

    def build(tensors: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        given = {str(spec.name): tensor for spec, tensor in zip(specs, tensors, strict=True)}
        return given | {name: tensor for name, tensor in function(**given).items() if name not in given}

    graph = NamedGraph(build, specs, outputs=names)
    graph.loaded = loaded  # type: ignore[attr-defined]  # it owns the variables
    return graph


def _signature(signatures: Mapping[str, Any], wanted: str | None, path: Path) -> tf.types.experimental.ConcreteFunction:
    if not signatures:
        raise CheckpointError(
            f"the SavedModel {path} has no signature, so nothing says what its inputs and outputs are. Export it with "
            "signatures=..., or with flowtrain.export."
        )
    if wanted is None:
        # Of several without serving_default none is the obvious one: the error for that name lists them.
        wanted = "serving_default" if "serving_default" in signatures or len(signatures) > 1 else next(iter(signatures))
    if wanted not in signatures:
        raise CheckpointError(f"the SavedModel {path} has no signature {wanted!r}. {closest(wanted, list(signatures))}")
    return signatures[wanted]


# -- Keras ------------------------------------------------------------------------------------------------


def _keras(path: Path) -> NamedGraph:
    try:
        _refuse_code(_keras_config(path), path)
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except FlowtrainError:
        raise
    except Exception as error:  # a damaged file can make Keras raise anything
        raise CheckpointError(
            f"{path} cannot be loaded as a Keras model: it is damaged, or it has layers of your own (register them "
            "with keras.saving.register_keras_serializable, or build the model and load its weights with "
            f"get_model_loader). ({error})"
        ) from error
    return keras_graph(model)


def _keras_config(path: Path) -> str | bytes:
    """The JSON that describes the layers in a .keras or .h5 file."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return archive.read("config.json")
    with open_h5(path) as file:
        return file.attrs["model_config"]


def _refuse_code(config: str | bytes, path: Path) -> None:
    """Refuse a model with Python code in it, before Keras reads its configuration."""
    # Beside safe_mode=True, so that it does not depend on what Keras's readers of each format check.
    if _has_code(json.loads(config)):
        raise CheckpointError(
            f"{path} has a Lambda layer, which holds Python code. Code from files is never run. Build the model in "
            "your own code and load the weights alone: get_model_loader(path).restore(model)."
        )


def _has_code(config: object) -> bool:
    if isinstance(config, dict):
        if config.get("class_name") in ("__lambda__", "Lambda") or config.get("function_type") == "lambda":
            return True
        return any(map(_has_code, config.values()))
    return isinstance(config, list) and any(map(_has_code, config))


def _is_whole(path: Path) -> bool:
    """Whether an .h5 file holds a whole model and not only weights."""
    try:
        with open_h5(path) as file:
            return "model_config" in file.attrs
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read; is it cut short or damaged? ({error})") from error


_GRAPHS: dict[str, Callable[..., NamedGraph]] = {
    "frozen": _frozen,
    "meta": _meta,
    "saved_model": _saved_model,
    "keras": _keras,
    "h5": _keras,
}
