"""evaluate: run a model and inferencers over a test set, without training."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from flowtrain.callbacks import Inferencer
from flowtrain.callbacks.inference import infer_over, inferencers_of, output_array
from flowtrain.dataflow import DataFlow
from flowtrain.dataflow.core.datapoint import Datapoint
from flowtrain.dataflow.core.position import go_to_epoch
from flowtrain.feed.data_argument import never_ends
from flowtrain.feed.inputs import Inputs
from flowtrain.model import ModelDesc, ModelGraph, Predictor
from flowtrain.model.inference import InferenceGraph
from flowtrain.utils.arguments import check_int, names_arguments
from flowtrain.utils.errors import ConfigError, TensorNameError, TrainingError, closest

from .load import load_graph
from .loader import with_weights
from .named_graph import as_graph

__all__ = ["evaluate"]

logger = logging.getLogger("flowtrain.predict")


@names_arguments
def evaluate(
    source: object,
    dataflow: Iterable[Any],
    inferencers: Inferencer | Sequence[Inferencer],
    *,
    model: object = None,
    names: Sequence[str] | None = None,
    averaged: bool = False,
    steps: int | Literal["all"] | None = None,
) -> dict[str, float]:
    """Run a model over a test set and compute metrics, as `InferenceRunner` does during training.

    A name that an inferencer asks for is a tensor of the model or, if the model has none of that name, a component of
    the data: a SavedModel from ``noisy`` to ``denoised`` is compared with the component ``clean``. ``prediction`` also
    means the output of a model with one output, whatever its name.

    The batches are those of the dataflow's first epoch, and its position is restored afterwards: a second model sees
    the same data, with the same noise.

    Args:
        source: A trainer, a predictor, a Keras model, or a ModelDesc that was trained; or the path of a model file of
            any format; or, together with ``model``, the path of a run or of another file of weights.
        dataflow: Yields batches. The last one may be short.
        inferencers: One or several: `ScalarStats`, `ImageStats`, `MetricStats` for any function, `KerasMetric` for any
            metric of Keras, `KerasMetrics` for all metrics of a KerasModelDesc, ...
        model: The ModelDesc or Keras model for files of weights.
        names: Names of the components of list datapoints. None: the model's inputs, and ``target`` for one more
            component. Datapoints that are dicts have names already.
        averaged: Use the moving averages of the weights.
        steps: The number of batches. None: all batches of a dataflow whose length is known. ``"all"``: all batches of
            a dataflow of unknown length that has an end.

    Returns:
        Name -> metric; an inferencer's prefix is put before its names.

    Raises:
        ConfigError: Something is no inferencer, two metrics have one name, components have no names, or the number of
            batches is not known.
        TensorNameError: An inferencer asks for a name that is neither in the model nor in the data; lists the nearest.
        TrainingError: The dataflow gives no batch, or fewer than ``steps``.

    Example:
        >>> evaluate("saved_model", test_set, ImageStats("clean", "denoised", data_range=1.0),   # doctest: +SKIP
        ...          names=["noisy", "clean"])
        {'psnr': 29.4, 'ssim': 0.73}
    """
    checked = inferencers_of(inferencers, "evaluate")
    if not isinstance(dataflow, Iterable):
        raise ConfigError(f"evaluate: {dataflow!r:.80} is no dataflow.")
    count = _steps(dataflow, steps)
    judged = _Judged(source, model, averaged, names)
    for inferencer in checked:
        inferencer.trainer = judged.view
    judged.wanted = list(dict.fromkeys(name for each in checked for name in each.get_fetches()))
    with _of_first_epoch(dataflow):
        batches = dataflow if count is None else _first(dataflow, count)
        _, found = infer_over(batches, checked, judged, "evaluate")
    result: dict[str, float] = {}
    for prefix, name, value in found:
        name = name if prefix is None else f"{prefix}_{name}"
        if name in result:
            raise ConfigError(f"evaluate: two inferencers give {name!r}: pass prefix= (or name=) to one of them.")
        result[name] = float(value)
    return result


def _steps(flow: Iterable[Any], steps: object) -> int | None:
    """The number of batches to take; None: until the flow ends."""
    if isinstance(steps, str) and steps == "all":
        return None
    if steps is not None:
        return check_int("evaluate", "steps", steps)
    try:
        len(flow)  # type: ignore[arg-type]
    except TypeError:
        if not never_ends(flow):  # a flow that certainly has no end gets its own error from infer_over
            raise ConfigError(
                f"evaluate: the length of the dataflow {flow!r:.80} is not known, and it may have no end: pass "
                'steps=100 for its first 100 batches, or steps="all" if it ends by itself'
            ) from None
    return None


def _first(flow: Iterable[Any], steps: int) -> Iterator[Any]:
    """The first ``steps`` batches of a flow; an error if it has fewer."""
    walk, given = iter(flow), 0
    try:
        for batch in itertools.islice(walk, steps):
            given += 1
            yield batch
    finally:
        if callable(close := getattr(walk, "close", None)):
            close()  # stops its worker processes now, not when it is collected
    if given < steps:
        raise TrainingError(f"evaluate: steps={steps}, but the dataflow {flow!r:.80} gave {given} batches")


@contextlib.contextmanager
def _of_first_epoch(flow: Iterable[Any]) -> Iterator[None]:
    """Scope in which a DataFlow begins with its first epoch; its position is restored afterwards."""
    if not isinstance(flow, DataFlow):
        yield
        return
    before = flow.state_dict()
    go_to_epoch(flow, 0)
    try:
        yield
    finally:
        flow.load_state_dict(before)


class _Judged:
    """Computes the values that inferencers ask for from a batch: by the model, or from the batch itself.

    Args:
        source: As for `evaluate`.
        model: As for `evaluate`.
        averaged: As for `evaluate`.
        names: As for `evaluate`.

    Attributes:
        wanted: The names that the inferencers ask for.
        view: Stands for the trainer that inferencers of a training run see: it has a ``graph``, with ``tensor_names()``
            and the ``model``.
    """

    def __init__(self, source: Any, model: Any, averaged: bool, names: Sequence[str] | None) -> None:
        self.wanted: list[str] = []
        self._names = None if names is None else list(names)
        self._graph: InferenceGraph | None = None
        self._predictor: Predictor | None = None
        self._made_of: dict[str, str] = {}  # what is asked for -> a tensor of the model
        self._inputs: Inputs | None = None
        owner: Any = source
        if model is not None or isinstance(source, str | Path):
            owner = load_graph(source, averaged=averaged) if model is None else with_weights(model, source, averaged)
        elif isinstance(source, ModelDesc):
            if source._model_graph is None:
                logger.warning("evaluate: %s was not trained: it has its initial weights", type(source).__name__)
            owner = source.graph
        # A bare predictor has its outputs and no graph, so no other tensor can be fetched from its model.
        if isinstance(owner, Predictor) and not isinstance(getattr(owner, "graph", None), InferenceGraph):
            self._predictor = owner
            self.view: Any = SimpleNamespace(graph=SimpleNamespace(tensor_names=lambda: owner.outputs, model=owner))
            return
        # An InferenceGraph is of load_graph, which has taken the averages: as_graph would refuse to take them again.
        self._graph = graph = as_graph(owner, averaged and not isinstance(owner, InferenceGraph))
        inner = owner if isinstance(owner, ModelGraph) else getattr(owner, "graph", None)
        if not isinstance(inner, ModelGraph):
            inner = SimpleNamespace(tensor_names=lambda: list(graph.tower.tensors), model=owner)
        self.view = SimpleNamespace(graph=inner)

    def __call__(self, datapoint: Datapoint) -> tuple[int, Mapping[str, np.ndarray]]:
        components = self._named(datapoint)
        if self._inputs is None:
            self._plan(list(components))
        predictor, inputs = self._predictor, self._inputs
        found = {name: np.asarray(components[name]) for name in self.wanted if name not in self._made_of}
        if predictor is not None and inputs is not None:
            outputs = predictor(*inputs.tensors({name: components[name] for name in inputs.names}))
            by_name = dict(zip(predictor.outputs, map(output_array, outputs), strict=True))
            found.update((name, by_name[made]) for name, made in self._made_of.items())
        # The number of samples, by which metrics are weighted: the length of the first component that has one.
        return next((len(value) for value in components.values() if np.ndim(value)), 1), found

    def _input_names(self) -> list[str]:
        if self._graph is not None:
            return [str(spec.name) for spec in self._graph.specs]
        assert self._predictor is not None
        return self._predictor.inputs

    def _named(self, datapoint: object) -> dict[str, Any]:
        """The components of a datapoint by name."""
        if isinstance(datapoint, Mapping):
            return {str(name): value for name, value in datapoint.items()}
        if not isinstance(datapoint, list | tuple):
            raise ConfigError(f"evaluate: a datapoint is a list, tuple or dict, got {type(datapoint).__name__}.")
        names = self._names or self._input_names()
        if self._names is None and len(datapoint) == len(names) + 1:
            names = [*names, "target"]
        if len(datapoint) != len(names):
            raise ConfigError(
                f"evaluate: the datapoints have {len(datapoint)} components, {len(names)} names are known "
                f"({', '.join(names)}): pass names=[...], one for each component."
            )
        return dict(zip(names, datapoint, strict=True))

    def _plan(self, components: list[str]) -> None:
        """Decide at the first batch which names the model computes, and make the predictor for them."""
        for name in self.wanted:
            made = self._tensor(name)
            # "prediction" may stand for an output of another name; a component that is really called so comes first.
            if made is not None and (made == name or name not in components):
                self._made_of[name] = made
            elif name not in components:
                known = [*components, *self.view.graph.tensor_names()]
                raise TensorNameError(
                    f"evaluate: {name!r} is neither a tensor of the model nor a component of the data "
                    f"({', '.join(components)}). {closest(name, known)}"
                )
        if self._graph is not None and self._made_of:
            outputs = list(dict.fromkeys(self._made_of.values()))
            needed = self._graph.needed_inputs([self._graph.tensor(name) for name in outputs])
            self._predictor = self._graph.predictor(needed, outputs)
        specs = self._predictor.specs if self._predictor is not None else []
        missing = [spec.name for spec in specs if spec.name not in components]
        if missing:
            raise ConfigError(
                f"evaluate: the model's input {missing[0]!r} is not among the components of the data "
                f"({', '.join(components)}): pass names=[...], one for each component."
            )
        self._inputs = Inputs(specs)

    def _tensor(self, name: str) -> str | None:
        """The name in the model of a tensor that is asked for; None if the model has no such tensor."""
        if self._graph is None:
            assert self._predictor is not None
            outputs = self._predictor.outputs
            if name in outputs:
                return name
        else:
            try:
                self._graph.tensor(name)
                return name
            except TensorNameError:
                outputs = list(getattr(self._graph, "output_names", []))
        return outputs[0] if name == "prediction" and len(outputs) == 1 else None
