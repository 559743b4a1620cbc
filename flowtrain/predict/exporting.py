"""Writing a model for use elsewhere, checked against the live one before anyone can use it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from flowtrain.model import KerasModelDesc, ModelDesc, ModelGraph, Predictor, read_value
from flowtrain.utils.errors import CheckpointError, ConfigError, ExportError, ModelError, closest

from .atomic import replacing
from .live import as_predictor
from .writers import FORMATS, Job, Runner

__all__ = ["export"]

_log = logging.getLogger("flowtrain")
_TOLERANCE = 1e-4
_AVERAGE = "average/"
_SIDE = 64  # of the pictures of the random batch: enough for six poolings


def export(
    model: Any,
    path: str | Path,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    format: Literal["saved_model", "frozen", "keras", "tflite", "onnx", "npz"] | None = None,
    *,
    overwrite: bool = False,
    height: int | None = None,
    width: int | None = None,
    averaged: bool = False,
    batch: Mapping[str, Any] | Sequence[Any] | None = None,
    signature: str = "serving_default",
) -> Path:
    """Write a model for use without flowtrain, and check that what was written computes the same.

    The files are read again and run on a batch beside the live model. Where an output differs by more than 1e-4 of
    the largest value, the files are removed and an error says so.

    Args:
        model: A trainer, ModelGraph, ModelDesc, Keras model, OfflinePredictor or predictor.
        path: The file or folder to make. It appears when it is whole and checked.
        inputs: Names of the inputs; None for those that the outputs need.
        outputs: Names of the tensors to compute, also ``NAME_crop32`` for the tensor NAME without 32 pixels on
            each side; None for a Keras model's outputs, or the last layer's.
        format: "saved_model" (a folder that TensorFlow alone runs), "frozen" (a graph of constants, .pb), "keras"
            (Keras models only), "tflite", "onnx" (needs the extra ``onnx``), "npz" (weights only). None: what
            path ends in; a folder is a SavedModel.
        overwrite: Replace what is there already.
        height: Fix the height of pictures ("frozen", "tflite", "onnx").
        width: Fix the width.
        averaged: Write the averages of the weights that a model with ``average_decay`` keeps.
        batch: The batch to check with, by name or in order; None: random, pictures of 64 x 64. Give one where random
            values make no sense, e.g. for strings or indices.
        signature: Name of the SavedModel's signature.

    Returns:
        The path.

    Raises:
        ExportError: The path exists, the format cannot express the model, or the export differs from the live model.
        TensorNameError: An unknown name; lists the nearest.
        MissingPackage: ONNX without its packages; names the extra.

    Example:
        >>> export(trainer, "colorize.pb", ["luminance"], ["prediction/output"])    # doctest: +SKIP
        >>> export(trainer, "exported", outputs=["softmax", "softmax_crop32"])      # a SavedModel
    """
    path = Path(path)
    kind = _format_of(path, format)
    chosen = FORMATS[kind]
    if (height is not None or width is not None) and not chosen.fixed:
        fixable = [name for name, other in FORMATS.items() if other.fixed]
        raise ExportError(f"A fixed height or width can be written as {', '.join(fixable)}, not as {kind}.")
    if kind == "npz" and (inputs or outputs):
        raise ExportError("npz holds weights only: leave out inputs and outputs.")
    job = _job(model, inputs, outputs, kind, height, width, averaged, signature)
    with replacing(path, overwrite) as temporary:
        chosen.write(job, temporary)
        if chosen.reopen is not None:
            worst = _check(job, chosen.reopen, temporary, _batch(job, batch, height, width), kind)
            _log.info("exported %s as %s: differs from the live model by %.1e at most", path, kind, worst)
    return path


def _format_of(path: Path, given: str | None) -> str:
    if given is None:
        found = [name for name, format in FORMATS.items() if format.suffix == path.suffix]
        if not found:
            raise ConfigError(
                f"Which format is {path.name!r}? It ends in none of "
                f"{', '.join(format.suffix for format in FORMATS.values() if format.suffix)}; pass format=..."
            )
        return found[0]
    if given not in FORMATS:
        raise ConfigError(f"format={given!r} is not known. {closest(given, list(FORMATS))}")
    suffix = FORMATS[given].suffix
    if suffix and path.suffix != suffix:
        raise ConfigError(f"The name of a {given} file ends in {suffix}: write {path.with_suffix(suffix).name!r}.")
    return given


def _job(
    model: Any,
    inputs: Sequence[str] | None,
    outputs: Sequence[str] | None,
    format: str,
    height: int | None,
    width: int | None,
    averaged: bool,
    signature: str,
) -> Job:
    if isinstance(model, ModelDesc):
        model = getattr(model, "_graph", None) or ModelGraph(model)
    graph = model if isinstance(model, ModelGraph) else getattr(model, "graph", None)
    graph = graph if isinstance(graph, ModelGraph) else None
    keras_model = model if isinstance(model, keras.Model) else None
    if keras_model is None and graph is not None and isinstance(graph.model, KerasModelDesc):
        keras_model = graph.model.keras_model
    if format == "keras":
        if averaged:
            raise ExportError(".keras holds the weights themselves: export averages in another format.")
        if inputs or outputs:
            raise ExportError(".keras holds the whole Keras model: leave out inputs and outputs.")
        if keras_model is not None:
            model = keras_model
    predictor = as_predictor(model, inputs, outputs, averaged)
    variables = _variables(graph, keras_model, predictor)
    if averaged:  # they are the weights of what is written
        averages = {name: value for name, value in variables.items() if name.startswith(_AVERAGE)}
        own = {name: value for name, value in variables.items() if not name.startswith(_AVERAGE)}
        variables = own | {name.removeprefix(_AVERAGE): value for name, value in averages.items()}
        variables.pop("steps", None)
    shapes: dict[str, list[int | None]] = {}
    if height is not None or width is not None:
        shapes = {
            name: _fixed(spec.shape.as_list(), height, width)
            for name, spec in zip(predictor.inputs, predictor.specs, strict=True)
            if spec.shape.rank == 4
        }
    return Job(
        predictor,
        lambda: {name: read_value(variable) for name, variable in variables.items()},
        {id(_raw(variable).handle): name for name, variable in variables.items() if hasattr(_raw(variable), "handle")},
        keras_model,
        shapes,
        signature,
    )


def _variables(graph: ModelGraph | None, keras_model: keras.Model | None, predictor: Predictor) -> dict[str, Any]:
    """All variables by name; of a predictor without a model, those that it uses."""
    if graph is not None:
        return dict(graph.store.variables)
    if keras_model is not None:
        return {variable.path: variable for variable in keras_model.variables}
    return {variable.name.removesuffix(":0"): variable for variable in predictor.function.variables}


def _raw(variable: Any) -> Any:
    return variable.value if isinstance(variable, keras.Variable) else variable


def _fixed(shape: list[int | None], height: int | None, width: int | None) -> list[int | None]:
    return [shape[0], height or shape[1], width or shape[2], shape[3]]


# -- the check --------------------------------------------------------------------------------------------


def _batch(
    job: Job, given: Mapping[str, Any] | Sequence[Any] | None, height: int | None, width: int | None
) -> dict[str, np.ndarray]:
    names, specs = job.predictor.inputs, job.predictor.specs
    if isinstance(given, Mapping):
        missing = [name for name in names if name not in given]
        if missing:
            raise ExportError(f"batch= has no {missing}; the inputs are {names}.")
        values = [given[name] for name in names]
    elif given is not None:
        values = list(given)
        if len(values) != len(names):
            raise ExportError(f"batch= has {len(values)} components; the inputs are {names}.")
    else:
        random = np.random.default_rng(0)
        values = [_random(random, name, spec, height, width) for name, spec in zip(names, specs, strict=True)]
    return {
        name: np.asarray(value, spec.dtype.as_numpy_dtype)
        for name, spec, value in zip(names, specs, values, strict=True)
    }


def _random(
    random: np.random.Generator, name: str, spec: tf.TensorSpec, height: int | None, width: int | None
) -> np.ndarray:
    if spec.shape.rank is None or spec.dtype == tf.string:
        raise ExportError(f"There is no random value for the input {name!r} ({spec}): pass batch={{{name!r}: ...}}.")
    shape = spec.shape.as_list()
    if len(shape) == 4:
        shape = [shape[0] or 2, height or shape[1] or _SIDE, width or shape[2] or _SIDE, shape[3] or 1]
    shape = [2 if size is None and not place else size or 8 for place, size in enumerate(shape)]
    if spec.dtype.is_floating:
        return random.uniform(-1, 1, shape)
    return random.integers(0, 256 if spec.dtype == tf.uint8 else 2, shape)


def _check(job: Job, reopen: Callable[..., Runner], path: Path, batch: dict[str, np.ndarray], format: str) -> float:
    """How much the export differs from the live predictor, at most."""
    try:
        expected = job.predictor(*[tf.constant(batch[name]) for name in job.predictor.inputs])
    except (ModelError, tf.errors.OpError, ValueError) as error:
        shapes = {name: value.shape for name, value in batch.items()}
        raise ExportError(
            f"The live model does not run on the random batch {shapes} that should check the export. Pass one that it "
            f"takes: batch={{name: array}}. ({error})"
        ) from error
    try:
        found = reopen(job, path)(batch)
    except (ModelError, CheckpointError, tf.errors.OpError, ValueError, RuntimeError, KeyError) as error:
        raise ExportError(f"The {format} was written, but cannot be run, so it was removed: {error}") from error
    worst = 0.0
    for name, live, copy in zip(job.predictor.outputs, expected, found, strict=True):
        difference = _difference(np.asarray(live), np.asarray(copy))
        if not difference <= _TOLERANCE:
            raise ExportError(
                f"The {format} computes another {name!r} than the live model: it differs by {difference:.1e} of the "
                f"largest value, where {_TOLERANCE} is allowed. It was removed. Does the model draw random numbers?"
            )
        worst = max(worst, difference)
    return worst


def _difference(live: np.ndarray, copy: np.ndarray) -> float:
    if live.shape != copy.shape:
        return float("inf")
    if live.dtype.kind not in "fciub" and live.dtype.name != "bfloat16":
        return 0.0 if np.array_equal(live, copy) else float("inf")
    live, copy = live.astype(np.complex128), copy.astype(np.complex128)
    same = (live == copy) | (np.isnan(live) & np.isnan(copy))
    if same.all():
        return 0.0
    finite = np.abs(live[np.isfinite(live)])
    scale = float(finite.max()) if finite.size else 0.0
    difference = np.where(same, 0, np.abs(live - copy))
    return float(difference.max() / max(scale, np.finfo(np.float32).tiny))
