"""Description of a run in JSON values, alike for equal runs: logged, and kept in checkpoints to be compared with."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from flowtrain.callbacks.base import Callback
from flowtrain.dataflow import DataFlow
from flowtrain.dataflow.core.chain import describe_chain
from flowtrain.model import ModelGraph
from flowtrain.model.store import read_value
from flowtrain.model.variables import ScalarVariable
from flowtrain.utils.description import describe, type_name
from flowtrain.utils.seeding import default_seed

from . import devices
from .config import TrainConfig
from .log_folder import packages
from .rows import Layout

__all__ = ["describe_run", "for_log"]


def describe_run(
    config: TrainConfig, graph: ModelGraph, callbacks: Mapping[str, Callback], steps_per_epoch: int
) -> dict[str, Any]:
    """Describe a run before its first step, and before a checkpoint is restored: as the script has it.

    Args:
        config: The run's configuration.
        graph: The built model, with initial values.
        callbacks: Unique name -> callback, of all in the run.
        steps_per_epoch: Steps of an epoch.

    Returns:
        The keys ``data`` (the chain of stages, each a dict), ``rows`` and ``batches`` (of an epoch; None if not known),
        ``model``, ``optimizer``, ``scalars`` (initial values), ``training``, ``callbacks`` and ``python``.
    """
    flow = config.dataflow
    layout = Layout.of(flow) if isinstance(flow, DataFlow) else Layout(None, 1, None)
    store = graph.store
    scalars = {
        name: describe(float(read_value(variable)))
        for name, variable in store.variables.items()
        if isinstance(variable, ScalarVariable)
    }
    return {
        "data": describe_chain(flow) if isinstance(flow, DataFlow) else [],
        "rows": layout.rows,
        "batches": layout.batches,
        "model": {
            "class": type_name(type(config.model)),
            "build_graph": describe(type(config.model).build_graph),
            "inputs": [f"{spec.name}: {spec.dtype.name} {spec.shape}" for spec in graph.input_specs],
            "gradient_processors": describe(list(config.model.gradient_processors())),
        },
        "optimizer": {name: describe(objective.optimizer) for name, objective in graph.objectives.items()},
        "scalars": scalars,
        "training": {
            "steps_per_epoch": steps_per_epoch,
            "precision": config.precision,
            "accumulate": config.accumulate,
            "jit": config.jit,
            "deterministic": config.deterministic,
            "replicas": 1 if config.strategy is None else config.strategy.num_replicas_in_sync,
            "workers": 1 if config.strategy is None else devices.part(config.strategy)[1],
            "seed": default_seed(),
        },
        "callbacks": {name: describe(callback) for name, callback in callbacks.items()},
        "python": platform.python_version(),
    }


def for_log(description: Mapping[str, Any], config: TrainConfig) -> dict[str, Any]:
    """The description for people: with the last epoch, the initial weights, the monitors and the packages."""
    weights = config.weights
    if isinstance(weights, Mapping):
        weights = f"{len(weights)} arrays, {sum(np.size(value) for value in weights.values())} numbers"
    return {
        "model": f"{type(config.model).__module__}.{type(config.model).__qualname__}",
        **{name: value for name, value in description["model"].items() if name != "class"},
        "optimizer": description["optimizer"],
        "variables": description["scalars"],
        "dataflow": description["data"],
        "callbacks": description["callbacks"],
        "monitors": "default" if config.monitors is None else describe(list(config.monitors)),
        **description["training"],
        "max_epoch": config.max_epoch,
        "weights": describe(weights),
        "packages": packages(),
    }
