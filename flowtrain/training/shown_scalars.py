"""Scalars of a run for logs: which have a moving average over steps, and the present values of all."""

from __future__ import annotations

from flowtrain.model.graph import ModelGraph
from flowtrain.model.store import read_value

from .run_variables import StepVariables

__all__ = ["averaged_scalars", "shown_scalars"]


def averaged_scalars(graph: ModelGraph) -> list[str]:
    """Names of the scalars with a moving average: those of ``add_moving_summary`` and the costs, not variables."""
    tower = graph.build_tower
    names = [name for name in tower.scalars if name not in graph.store.summary_scalars]
    return names + [name for name in tower.costs if name not in names]


def shown_scalars(graph: ModelGraph, step_variables: StepVariables) -> dict[str, float]:
    """Name -> value of moving averages, Keras metrics over the epoch so far, scalar variables and the loss scale.

    Read from the device. Before the first step there are no averages and no metrics.
    """
    values = step_variables.read_averages()
    if values:
        values.update(graph.metrics.results())
    for name, variable in graph.store.summary_scalars.items():
        values[name] = float(read_value(variable))
    if step_variables.loss_scale is not None:
        values["loss_scale"] = float(step_variables.loss_scale.numpy())
    return values
