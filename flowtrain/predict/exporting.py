"""Writing a model for use elsewhere, checked against the live one before anyone can use it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras

from flowtrain.model import InferenceGraph, KerasModelDesc, ModelDesc, ModelGraph, read_value
from flowtrain.utils.errors import ConfigError, ExportError, ModelError, closest

from .atomic import replacing
from .live import as_predictor
from .verify import check, check_batch
from .weights import OWN_NAMES
from .writers import FORMATS, Job, write_npz

__all__ = ["export"]

_log = logging.getLogger("flowtrain")
_AVERAGE = "average/"
_SUFFIXES = {name: format.suffix for name, format in FORMATS.items()} | {"npz": ".npz"}
_OTHER_NAMES = {"frozen": "pb", "frozen_pb": "pb", "savedmodel": "saved_model"}
_FIXABLE = [name for name, format in FORMATS.items() if format.fixed]


def export(
    model: Any,
    path: str | Path,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    format: Literal["saved_model", "pb", "keras", "tflite", "onnx", "npz"] | None = None,
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
        format: "saved_model" (a folder that TensorFlow alone runs), "pb" (a frozen graph of constants), "keras"
            (Keras models only), "tflite", "onnx" (needs the extra ``onnx``), "npz" (weights only). None: what
            path ends in; a folder is a SavedModel.
        overwrite: Replace what is there already.
        height: Fix the height of pictures ("pb", "tflite", "onnx").
        width: Fix the width.
        averaged: Write the averages that a model with ``average_decay``, or a run with the callback ``EMA``, keeps.
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
        >>> export(trainer, "exported", outputs=["softmax", "softmax_crop32"])      # doctest: +SKIP
    """
    path = Path(path)
    kind = _format_of(path, format)
    if (height is not None or width is not None) and kind not in _FIXABLE:
        raise ExportError(f"A fixed height or width can be written as {', '.join(_FIXABLE)}, not as {kind}.")
    if kind in ("npz", "keras") and (inputs or outputs):
        raise ExportError(f"A {kind} file holds the whole model: leave out inputs and outputs.")
    subject = _Subject(model, averaged)
    if kind == "npz":
        if not subject.variables:
            raise ExportError("The model has no variables to write: a frozen graph holds constants.")
        with replacing(path, overwrite) as temporary:
            write_npz({name: read_value(variable) for name, variable in subject.variables.items()}, temporary)
        return path
    job = subject.job(kind, inputs, outputs, height, width, signature)
    with replacing(path, overwrite) as temporary:
        FORMATS[kind].write(job, temporary)
        worst = check(job, FORMATS[kind].reopen, temporary, check_batch(job, batch, height, width), kind)
    _log.info("exported %s as %s: differs from the live model by %.1e at most", path, kind, worst)
    return path


def _format_of(path: Path, given: str | None) -> str:
    if given is None:
        found = [name for name, suffix in _SUFFIXES.items() if suffix == path.suffix]
        if not found:
            raise ConfigError(
                f"Which format is {path.name!r}? It ends in none of {', '.join(filter(None, _SUFFIXES.values()))}; "
                "pass format=..."
            )
        return found[0]
    given = _OTHER_NAMES.get(given.lower(), given)
    if given not in _SUFFIXES:
        raise ConfigError(f"format={given!r} is not known. {closest(given, list(_SUFFIXES))}")
    suffix = _SUFFIXES[given]
    if suffix and path.suffix != suffix:
        raise ConfigError(f"The name of a {given} file ends in {suffix}: write {path.with_suffix(suffix).name!r}.")
    return given


class _Subject:
    """What is exported, whatever it came as."""

    def __init__(self, model: Any, averaged: bool) -> None:
        if isinstance(model, ModelDesc):
            model = getattr(model, "_graph", None) or ModelGraph(model)
        graph = model if isinstance(model, ModelGraph) else getattr(model, "graph", None)
        self.model, self.averaged = model, averaged
        self.graph = graph if isinstance(graph, ModelGraph) else None
        self.keras_model = model if isinstance(model, keras.Model) else None
        if self.graph is not None and isinstance(self.graph.model, KerasModelDesc):
            self.keras_model = self.graph.model.keras_model

    @property
    def variables(self) -> dict[str, Any]:
        """All variables by name; of a model that was loaded from a file, those that its outputs use."""
        if self.graph is not None:
            return self._own_or_averaged(dict(self.graph.store.variables))
        if self.keras_model is not None:
            return {variable.path: variable for variable in self.keras_model.variables}
        graph = self.model if isinstance(self.model, InferenceGraph) else getattr(self.model, "graph", None)
        if isinstance(graph, InferenceGraph) and graph.tower.store.variables:
            return dict(graph.tower.store.variables)
        loaded = getattr(graph, "loaded", None)
        if hasattr(loaded, OWN_NAMES):  # a SavedModel that flowtrain wrote
            return dict(getattr(loaded, OWN_NAMES))
        function = as_predictor(self.model).function
        return {str(variable.name).removesuffix(":0"): variable for variable in function.variables}

    def _own_or_averaged(self, variables: dict[str, Any]) -> dict[str, Any]:
        """In a file of averages, they have the names of the weights."""
        if not self.averaged:
            return variables
        averages = {name: value for name, value in variables.items() if name.startswith(_AVERAGE)}
        if not averages:
            raise ModelError(
                "averaged=True needs a model with average_decay, or a run with the callback EMA: this one keeps no "
                "averages."
            )
        own = {name: value for name, value in variables.items() if not name.startswith(_AVERAGE)}
        own |= {name.removeprefix(_AVERAGE): value for name, value in averages.items()}
        own.pop("steps", None)
        return own

    def job(
        self,
        kind: str,
        inputs: Sequence[str] | None,
        outputs: Sequence[str] | None,
        height: int | None,
        width: int | None,
        signature: str,
    ) -> Job:
        """What a writer needs to know."""
        model = self.model
        if kind == "keras":
            if self.averaged:
                raise ExportError(".keras holds the weights themselves: export averages in another format.")
            if self.keras_model is None:
                raise ExportError(
                    "Only a Keras model can be written as .keras; this model is a graph. Export it as saved_model: "
                    "Keras runs that with keras.layers.TFSMLayer(path, call_endpoint='serving_default')."
                )
            model = self.keras_model
        predictor = as_predictor(model, inputs, outputs, self.averaged)
        raw = {name: _raw(variable) for name, variable in self.variables.items()}
        names = {id(variable.handle): name for name, variable in raw.items() if hasattr(variable, "handle")}
        shapes: dict[str, list[int | None]] = {}
        if height is not None or width is not None:
            shapes = {
                name: _fixed(spec.shape.as_list(), height, width)
                for name, spec in zip(predictor.inputs, predictor.specs, strict=True)
                if spec.shape.rank == 4
            }
        return Job(predictor, names, self.keras_model, shapes, signature)


def _raw(variable: Any) -> Any:
    return variable.value if isinstance(variable, keras.Variable) else variable


def _fixed(shape: list[int | None], height: int | None, width: int | None) -> list[int | None]:
    return [shape[0], height or shape[1], width or shape[2], shape[3]]
