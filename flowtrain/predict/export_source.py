"""The model to export, from anything that holds one: its variables by name, and the job for a writer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from flowtrain.model import KerasModelDesc, ModelDesc, ModelGraph, Predictor
from flowtrain.model.inference import InferenceGraph
from flowtrain.utils.errors import ExportError, ModelError

from .named_graph import as_predictor
from .weights import OWN_NAMES
from .writers import Job

__all__ = ["Names", "Subject"]

Names = Sequence[str] | Mapping[str, str] | None
"""Names of tensors; or what each is called in the file, with its name in the model; or None."""

_AVERAGE = "average/"


class Subject:
    """The model to export, and its variables under the names that the file will have.

    Args:
        model: A trainer, ModelGraph, ModelDesc, Keras model, or a predictor or graph that was loaded.
        averaged: Whether to export the moving averages in the place of the weights.
    """

    def __init__(self, model: object, averaged: bool) -> None:
        if isinstance(model, ModelDesc):
            model = model.graph
        graph = model if isinstance(model, ModelGraph | InferenceGraph) else getattr(model, "graph", None)
        self.model, self.averaged = model, averaged
        self.graph = graph if isinstance(graph, ModelGraph) else None
        self.loaded = graph if isinstance(graph, InferenceGraph) else None
        self.keras_model: Any = model if isinstance(model, keras.Model) else None
        if self.graph is not None and isinstance(self.graph.model, KerasModelDesc):
            self.keras_model = self.graph.model.keras_model

    def variables(self, predictor: Predictor | None = None) -> dict[str, Any]:
        """All variables by name; if the model has no names for them, the predictor's, by TensorFlow's names."""
        if self.graph is not None:
            return self._averages_for_weights(dict(self.graph.store.variables))
        if self.keras_model is not None:
            return {variable.path: variable for variable in self.keras_model.variables}
        if self.loaded is not None and self.loaded.tower.store.variables:
            return dict(self.loaded.tower.store.variables)
        saved = getattr(self.loaded, "loaded", None)
        if hasattr(saved, OWN_NAMES):  # a SavedModel that flowtrain wrote
            return dict(getattr(saved, OWN_NAMES))
        function = (predictor or as_predictor(self.model)).function
        return {str(variable.name).removesuffix(":0"): variable for variable in function.variables}

    def _averages_for_weights(self, variables: dict[str, Any]) -> dict[str, Any]:
        """With ``averaged``: replace each weight that has an average by it, under the weight's name."""
        if not self.averaged:
            return variables
        averages = {name: value for name, value in variables.items() if name.startswith(_AVERAGE)}
        if not averages:
            raise ModelError(
                "averaged=True needs a model with average_decay, or a run with the callback EMA: this one keeps no "
                "averages."
            )
        named = {name: value for name, value in variables.items() if name not in averages}
        # average/steps counts the updates of the averages: it is the average of no weight.
        return named | {
            name.removeprefix(_AVERAGE): value for name, value in averages.items() if name != f"{_AVERAGE}steps"
        }

    def job(
        self,
        kind: str,
        inputs: Names,
        outputs: Names,
        height: int | None,
        width: int | None,
        signature: str,
    ) -> Job:
        """Make the writer's job; the arguments are those of `export`."""
        # Keras writes the model object itself: the check must run that, not the graph that flowtrain traced of it.
        whole = kind in ("keras", "h5")
        model = self.required_keras(kind) if whole else self.model
        predictor = as_predictor(model, _own(inputs), _own(outputs), self.averaged)
        if isinstance(inputs, Mapping) or isinstance(outputs, Mapping):
            called = [
                _called(names) or own for names, own in ((inputs, predictor.inputs), (outputs, predictor.outputs))
            ]
            predictor = Predictor(predictor.function, predictor.specs, *called)
        names = {}
        for name, variable in self.variables(predictor).items():
            raw = variable.value if isinstance(variable, keras.Variable) else variable
            # By the handle: the predictor's function captures handles, and knows variables by TensorFlow's names alone.
            if hasattr(raw, "handle"):
                names[id(raw.handle)] = name
        shapes = {}
        if height is not None or width is not None:
            for name, spec in zip(predictor.inputs, predictor.specs, strict=True):
                if spec.shape.rank == 4:
                    batch, own_height, own_width, channels = spec.shape.as_list()
                    shapes[name] = [batch, height or own_height, width or own_width, channels]
        return Job(predictor, names, self.keras_model, shapes, signature)

    def required_keras(self, kind: str) -> keras.Model:
        """The Keras model, for the formats of Keras.

        Raises:
            ExportError: It is no Keras model, or averages are wanted.
        """
        if self.averaged:
            raise ExportError(f"a {kind} file holds the weights themselves: export averages in another format.")
        if self.keras_model is None:
            raise ExportError(
                f"only a Keras model can be written as {kind}; this model is a graph. Export it as saved_model: "
                "Keras runs that with keras.layers.TFSMLayer(path, call_endpoint='serving_default')."
            )
        return self.keras_model


def _own(names: Names) -> Sequence[str] | None:
    """The tensors' names in the model."""
    return list(names.values()) if isinstance(names, Mapping) else names


def _called(names: Names) -> list[str] | None:
    """The tensors' names in the file; None if they are not given.

    Raises:
        ExportError: A name that a tensor cannot have.
    """
    if not isinstance(names, Mapping):
        return None
    # What TensorFlow takes as the name of an operation, but for the backslash and ">" that it allows too.
    wrong = [name for name in names if not re.fullmatch(r"[A-Za-z0-9.][\w./-]*", name)]
    if wrong:
        raise ExportError(f"a tensor cannot be called {wrong[0]!r}: give letters, digits, and . _ / - within.")
    return list(names)
