"""Predictors without a trainer: a model with loaded weights, run on single batches or whole dataflows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from flowtrain.dataflow import BatchData, DataFlow
from flowtrain.dataflow.core.datapoint import Datapoint
from flowtrain.dataflow.core.proxy import check_flow
from flowtrain.model import ModelDesc, ModelGraph, Predictor
from flowtrain.model.inference import InferenceGraph
from flowtrain.utils.arguments import check_names, if_given, names_arguments, old_spellings, refuse_class
from flowtrain.utils.errors import ConfigError

from .loader import with_weights
from .named_graph import as_graph, predictor_of

__all__ = ["LoadedPredictor", "OfflinePredictor", "PredictConfig", "predict_dataflow"]

logger = logging.getLogger("flowtrain.predict")


class LoadedPredictor(Predictor):
    """A predictor that keeps its inference graph: it lists the graph's tensors, and runs over dataflows.

    Args:
        graph: The inference graph.
        inputs: Names of inputs; None for those that the outputs need.
        outputs: Names of tensors; None for the outputs that the graph declares, else for the last layer's.

    Attributes:
        graph: The inference graph.
    """

    def __init__(
        self, graph: InferenceGraph, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None
    ) -> None:
        made = predictor_of(graph, inputs, outputs)
        super().__init__(made.function, made.specs, made.inputs, made.outputs)
        self.graph = graph

    def tensor_names(self) -> list[str]:
        """The names of the graph's inputs, outputs and layers' outputs; names of other operations' outputs work too."""
        return list(self.graph.tower.tensors)

    def predict(self, dataflow: DataFlow, batch_size: int | None = None, progress: bool = True) -> Iterator[list[Any]]:
        """Run over a dataflow; see :func:`predict_dataflow`."""
        names = [str(spec.name) for spec in self.graph.specs]
        return predict_dataflow(self, dataflow, batch_size, progress, names)


@old_spellings(
    session_init="Write weights=get_model_loader(path), or weights=path",
    input_names="inputs",
    output_names="outputs",
    return_input="Write outputs=[...], with the inputs' names in it",
)
class PredictConfig:
    """Configuration of an OfflinePredictor: model, weights, inputs and outputs.

    Args:
        model: A ModelDesc, ModelGraph or Keras model.
        weights: What `get_model_loader` takes, or the loader it returned; None to keep the model's weights.
        inputs: Names of the inputs to feed; None for those that the outputs need.
        outputs: Names of the tensors to compute; ``NAME_crop32`` is NAME without 32 pixels on each side. None for a
            Keras model's outputs, or the last layer's.
        averaged: Use the moving averages of the weights, which a model with ``average_decay`` or a run with the
            callback ``EMA`` has kept.

    Raises:
        ConfigError: The model is missing or a class, names are no list, or an argument is unknown.

    Example:
        >>> config = PredictConfig(Colorize(), "train_log/colorize", ["luminance"],   # doctest: +SKIP
        ...                        ["prediction/output"])
    """

    def __init__(
        self,
        model: object = None,
        weights: str | Path | Mapping[str, Any] | None = None,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        averaged: bool = False,
    ) -> None:
        if model is None:
            raise ConfigError(
                "PredictConfig needs model=, an object of a class that extends ModelDesc, or a Keras model"
            )
        refuse_class("PredictConfig: model", model)
        for name, value in (("inputs", inputs), ("outputs", outputs)):
            if_given(check_names, "PredictConfig", name, value)
        self.model, self.weights, self.inputs, self.outputs = model, weights, inputs, outputs
        self.averaged = averaged


@names_arguments
class OfflinePredictor(LoadedPredictor):
    """Predictor of a trained model without a trainer: builds the model and loads its weights. Thread-safe.

    Args:
        config: The model, its weights, names of inputs and outputs.

    Raises:
        CheckpointError: The weights cannot be read, or do not fit the model.
        TensorNameError: An unknown name; lists the nearest.
        ModelError: An output needs an input that is not given.

    Example:
        >>> predictor = OfflinePredictor(config)                                # doctest: +SKIP
        >>> (ab,) = predictor(batch)  # or predictor(luminance=batch)           # doctest: +SKIP
    """

    def __init__(self, config: PredictConfig) -> None:
        model = config.model
        if config.weights is not None:
            model = with_weights(model, config.weights, config.averaged)
        elif isinstance(model, ModelDesc):
            model = ModelGraph(model)
            logger.warning(
                "OfflinePredictor: no weights= given, so %s has its initial ones", type(config.model).__name__
            )
        super().__init__(as_graph(model, config.averaged), config.inputs, config.outputs)


@names_arguments
def predict_dataflow(
    predictor: Predictor,
    dataflow: DataFlow,
    batch_size: int | None = None,
    progress: bool = True,
    names: Sequence[str] | None = None,
) -> Iterator[list[Any]]:
    """Run a predictor over a dataflow, batch by batch, with a progress bar.

    Args:
        predictor: Any predictor.
        dataflow: Yields batches, or single datapoints if batch_size is given. Datapoints are dicts with the inputs'
            names, or lists: either of the predictor's inputs, in order, or of the components that ``names`` lists.
        batch_size: The number of datapoints to stack; the last batch may be smaller.
        progress: Whether to show the bar.
        names: Names of a list's components. None: the predictor's inputs; further components are ignored.

    Yields:
        The outputs of each batch, in the dataflow's order.

    Raises:
        ConfigError: It is no dataflow, or a datapoint has too few components, or lacks an input.

    Example:
        >>> for (prediction,) in predict_dataflow(predictor, ds, batch_size=32):    # doctest: +SKIP
        ...     ...
    """
    check_flow(dataflow, "predict_dataflow", ConfigError)
    if batch_size is not None:
        dataflow = BatchData(dataflow, batch_size, remainder=True)
    with tqdm(total=dataflow.size_or_none(), desc="predict", unit="batch", disable=not progress) as bar:
        for datapoint in dataflow:
            yield predictor(*_chosen(datapoint, predictor.inputs, list(names or predictor.inputs)))
            bar.update()


def _chosen(datapoint: Datapoint, inputs: list[str], names: list[str]) -> list[Any]:
    if isinstance(datapoint, Mapping):
        missing = [name for name in inputs if name not in datapoint]
        if missing:
            raise ConfigError(
                f"the datapoints have no {missing}, which the predictor takes; they have {list(datapoint)}."
            )
        return [datapoint[name] for name in inputs]
    # As many components as the predictor has inputs: they are the inputs, whatever the model would have beside them (a
    # target). Names that do not cover the inputs cannot tell which component is which either.
    if len(datapoint) == len(inputs) or not set(inputs) <= set(names):
        names = inputs
    if len(datapoint) < len(names):
        raise ConfigError(
            f"the predictor takes {inputs}; the datapoints have {len(datapoint)} components, not {names}."
        )
    return [datapoint[names.index(name)] for name in inputs]
