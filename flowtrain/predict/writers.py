"""Export formats: a writer for each, and a reader that runs the file again for verification."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flowtrain.model import Predictor
from flowtrain.model.store import read_value
from flowtrain.utils.errors import ExportError, error_text
from flowtrain.utils.optional import require

from .freeze import frozen, refuse_python, resized
from .graphfile import with_own_functions, write_graph
from .load import load_predictor
from .loader import get_model_loader
from .weights import OWN_NAMES, read_weights

__all__ = ["FORMATS", "Format", "Job", "Runner", "write_keras_weights", "write_npz"]

Runner = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


@dataclass
class Job:
    """One export: the model and its settings, as the writers take them.

    Attributes:
        predictor: Computes the outputs on the live weights; its inputs and outputs have their names in the file.
        names: Identity of a variable's handle -> the variable's name.
        keras_model: The Keras model; None if the model is none.
        shapes: Name of an input -> its fixed shape; empty to keep all shapes.
        signature: Name of the SavedModel's signature.
    """

    predictor: Predictor
    names: dict[int, str]
    keras_model: keras.Model | None
    shapes: dict[str, list[int | None]]
    signature: str


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        suffix: The ending of its files' names; "" for a folder.
        write: Writes a job to a path.
        reopen: Loads the written file, as a function from inputs by name to a list of outputs.
        fixed: Whether a fixed height and width can be written.
    """

    suffix: str
    write: Callable[[Job, Path], None]
    reopen: Callable[[Job, Path], Runner]
    fixed: bool = False


# -- graphs of constants -------------------------------------------------------------------------------------


def _constant_graph(job: Job) -> tf.compat.v1.GraphDef:
    """Freeze a job's function; inputs, outputs and weights get the job's names, and inputs its fixed shapes."""
    function = job.predictor.function
    graph = frozen(function)
    renamed = {
        tensor.op.name: name.removesuffix(":0")
        for tensor, name in zip(function.inputs, job.predictor.inputs, strict=False)
        if tensor.op.name != name.removesuffix(":0")
    }
    taken = {node.name for node in graph.node}
    # Another operation may have the name that an input or output is to have: it gets a new one.
    for place, (name, tensor) in enumerate(
        [*zip(job.predictor.inputs, function.inputs, strict=False),
         *zip(job.predictor.outputs, function.outputs, strict=True)]
    ):  # fmt: skip
        called = name.removesuffix(":0")
        # A name with ":1" is that of a further result of an operation, which no operation can have.
        if called in taken and called != tensor.op.name and ":" not in called and called not in renamed:
            renamed[called] = f"{called}/other{place}"
            taken.remove(called)
    # Freezing leaves a constant in the place of each captured handle, under the name of the handle's placeholder. The
    # weights get their variables' names, for who reads the file, where no operation has that name.
    captured = zip(function.captured_inputs, function.inputs[len(job.predictor.inputs) :], strict=False)
    variables = {inside.op.name: job.names[id(handle)] for handle, inside in captured if id(handle) in job.names}
    renamed |= {op: name for op, name in variables.items() if name not in taken}
    for node in graph.node:
        node.name = renamed.get(node.name, node.name)
        node.attr.pop("_user_specified_name", None)
        node.attr.pop("_class", None)  # where to place it: beside operations by the names they had
        for place, given in enumerate(node.input):
            after, op, port = re.fullmatch(r"(\^?)([^:]*)(.*)", given).groups()  # type: ignore[union-attr]
            if op in renamed:
                node.input[place] = after + renamed[op] + port
    for tensor, name in zip(function.outputs, job.predictor.outputs, strict=True):
        if name.removesuffix(":0") != tensor.op.name and name not in taken and ":" not in name:
            source = renamed.get(tensor.op.name, tensor.op.name)
            # An identity and not a renaming: the tensor may be an input or another output as well, or a further result
            # of its operation.
            made = graph.node.add(name=name, op="Identity", input=[f"{source}:{tensor.value_index}"])
            made.attr["T"].type = tensor.dtype.as_datatype_enum
    if job.shapes:
        graph = resized(graph, job.shapes).as_graph_def()
    return graph


def _write_frozen(job: Job, path: Path) -> None:
    write_graph(_constant_graph(job), path)


def _constant_function(job: Job) -> tuple[Any, tf.Module]:
    """The frozen graph as a concrete function with named inputs and outputs, and a module that holds it."""
    graph = with_own_functions(_constant_graph(job))
    names = [_tensor_name(name) for name in job.predictor.outputs]
    specs = [
        tf.TensorSpec(job.shapes.get(name, spec.shape), spec.dtype, name)
        for name, spec in zip(job.predictor.inputs, job.predictor.specs, strict=True)
    ]

    def run(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        given = {_tensor_name(name): tensor for name, tensor in zip(job.predictor.inputs, inputs, strict=True)}
        outputs = tf.graph_util.import_graph_def(graph, input_map=given, return_elements=names, name="")
        return dict(zip(job.predictor.outputs, outputs, strict=True))

    module = tf.Module()
    module.run = tf.function(run, autograph=False)
    return module.run.get_concrete_function(*specs), module


def _tensor_name(name: str) -> str:
    return name if ":" in name else f"{name}:0"


# -- SavedModel ------------------------------------------------------------------------------------------------


def _write_saved_model(job: Job, path: Path) -> None:
    predictor = job.predictor
    refuse_python(predictor.function.graph.as_graph_def())
    if any(isinstance(variable, tf.distribute.DistributedValues) for variable in predictor.function.variables):
        # Variables with a copy on each replica cannot be saved here: their values are written as constants.
        function, module = _constant_function(job)
    else:
        module = tf.Module()
        setattr(module, OWN_NAMES, {_name_of(variable, job): variable for variable in predictor.function.variables})
        specs = [
            tf.TensorSpec(spec.shape, spec.dtype, name)
            for name, spec in zip(predictor.inputs, predictor.specs, strict=True)
        ]
        function = tf.function(
            lambda *inputs: dict(zip(predictor.outputs, predictor.function(*inputs), strict=True)), autograph=False
        ).get_concrete_function(*specs)
    tf.saved_model.save(module, str(path), signatures={job.signature: function})


def _name_of(variable: tf.Variable, job: Job) -> str:
    return job.names.get(id(variable.handle)) or str(variable.name).removesuffix(":0")


def _rerun_saved_model(job: Job, path: Path) -> Runner:
    # The predictor takes only inputs that the outputs need, which may be fewer than the batch has.
    loaded = load_predictor(path, outputs=job.predictor.outputs, signature=job.signature)
    return lambda batch: loaded(
        {_keyword(name): value for name, value in batch.items() if _keyword(name) in loaded.inputs}
    )


def _keyword(name: str) -> str:
    """The name of a signature's argument that TensorFlow makes from a tensor's name."""
    return re.sub(r"\W", "_", name)


def _rerun(job: Job, path: Path) -> Runner:
    loaded = load_predictor(path, job.predictor.inputs, job.predictor.outputs)
    return lambda batch: loaded({name: batch[name] for name in loaded.inputs})


def _rerun_keras(job: Job, path: Path) -> Runner:
    """Reopen a Keras file, with inputs by order: each time a model is loaded, Keras makes up names for unnamed ones."""
    loaded = load_predictor(path, outputs=job.predictor.outputs)
    return lambda batch: loaded(
        {now: batch[name] for now, name in zip(loaded.inputs, job.predictor.inputs, strict=True)}
    )


# -- Keras, arrays ---------------------------------------------------------------------------------------------


def _write_keras(job: Job, path: Path) -> None:
    try:
        job.keras_model.save(path)  # type: ignore[union-attr]
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ExportError(f"Keras cannot save the model: {error}") from error


def _write_h5(job: Job, path: Path) -> None:
    require("h5py", extra="formats", needed_for="writing .h5 files")
    _write_keras(job, path)


def write_keras_weights(model: keras.Model, path: Path) -> None:
    """Write a Keras model's weights for its ``load_weights``, and verify them by reading them again.

    Raises:
        ExportError: The file has other weights than the model.
    """
    require("h5py", extra="formats", needed_for="writing .h5 files")
    model.save_weights(path)
    read = get_model_loader(path)
    report = read.compare(model)
    places = {variable.path: variable for variable in model.variables}
    wrong = [name for name, at in report.matched.items() if not np.array_equal(read[at], read_value(places[name]))]
    if wrong or not report.fits:
        raise ExportError(f"These weights were not written as they are: {wrong or report}.")


def write_npz(weights: Mapping[str, np.ndarray], path: Path) -> None:
    """Write arrays by name to an .npz file, and verify them by reading them again.

    Raises:
        ExportError: The file has other arrays.
    """
    with path.open("wb") as file:
        np.savez(file, **weights)  # type: ignore[arg-type]
    read = read_weights(path)
    wrong = [name for name, value in weights.items() if not np.array_equal(read[name], value)]
    if wrong:
        raise ExportError(f"These weights were not written as they are: {wrong}.")


# -- TFLite, ONNX ----------------------------------------------------------------------------------------------


def _write_tflite(job: Job, path: Path) -> None:
    function, module = _constant_function(job)
    folder = path.with_name(path.name + ".saved_model")
    tf.saved_model.save(module, str(folder), signatures={job.signature: function})
    # Through a SavedModel, since from_concrete_functions takes no name for the signature.
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[job.signature])
    try:
        path.write_bytes(converter.convert())
    except Exception as error:  # the converter's class of errors is not public
        raise ExportError(
            "TFLite cannot express this model: it has operations without a TFLite kernel (those of mixed precision and "
            f"dynamic lists are such). Build a float32 model and load its weights, or use another format. ({error})"
        ) from error
    finally:
        tf.io.gfile.rmtree(str(folder))


def _rerun_tflite(job: Job, path: Path) -> Runner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it will move to a package of its own
        interpreter = tf.lite.Interpreter(str(path))
    runner = interpreter.get_signature_runner(job.signature)

    def run(batch: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        known = runner.get_input_details()
        outputs = runner(**{name: value for name, value in batch.items() if name in known})
        return [outputs[name] for name in job.predictor.outputs]

    return run


def _write_onnx(job: Job, path: Path) -> None:
    tf2onnx = require("tf2onnx.convert", extra="onnx", needed_for="exporting to ONNX")
    names = [*job.predictor.inputs, *job.predictor.outputs]
    try:
        model, _ = tf2onnx.from_graph_def(
            _without_erfc(_constant_graph(job)),
            input_names=[_tensor_name(name) for name in job.predictor.inputs],
            output_names=[_tensor_name(name) for name in job.predictor.outputs],
            opset=17,
        )
    except Exception as error:  # an operation that tf2onnx cannot convert can make it raise anything
        raise ExportError(f"ONNX cannot express this model: {error_text(error)}") from error
    _rename_onnx(model.graph, {_tensor_name(name): name for name in names})
    path.write_bytes(model.SerializeToString())


def _without_erfc(graph: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Replace erfc(x), which GELU uses and ONNX does not have, by 1 - erf(x), in place."""
    for node in [node for node in graph.node if node.op == "Erfc"]:
        erf = graph.node.add(name=f"{node.name}/erf", op="Erf", input=node.input)
        one = graph.node.add(name=f"{node.name}/one", op="Const")
        erf.attr["T"].CopyFrom(node.attr["T"])
        one.attr["dtype"].CopyFrom(node.attr["T"])
        one.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(1, tf.as_dtype(node.attr["T"].type), []))
        node.op = "Sub"
        node.input[:] = [one.name, erf.name]
    return graph


def _rename_onnx(graph: Any, names: Mapping[str, str]) -> None:
    """Rename values to the model's names of tensors, in place: tf2onnx keeps the ":0" of TensorFlow's names."""
    for value in [*graph.input, *graph.output, *graph.value_info]:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:  # branches and loop bodies read values of the graph around them
            for inner in [attribute.g, *attribute.graphs]:
                _rename_onnx(inner, names)


def _rerun_onnx(job: Job, path: Path) -> Runner:
    runtime = require("onnxruntime", extra="onnx", needed_for="checking an ONNX file")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    known = {entry.name for entry in session.get_inputs()}

    def run(batch: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return session.run(job.predictor.outputs, {name: value for name, value in batch.items() if name in known})

    return run


FORMATS: dict[str, Format] = {
    "saved_model": Format("", _write_saved_model, _rerun_saved_model),
    "pb": Format(".pb", _write_frozen, _rerun, fixed=True),
    "keras": Format(".keras", _write_keras, _rerun_keras),
    "h5": Format(".h5", _write_h5, _rerun_keras),
    "tflite": Format(".tflite", _write_tflite, _rerun_tflite, fixed=True),
    "onnx": Format(".onnx", _write_onnx, _rerun_onnx, fixed=True),
}
