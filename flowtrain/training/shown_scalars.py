"""Which scalars of a model are averaged over steps, and what a run shows of all of them."""

from __future__ import annotations

from flowtrain.model.graph import ModelGraph
from flowtrain.model.store import read_value

from .run_variables import StepVariables

__all__ = ["averaged_scalars", "shown_scalars"]


def averaged_scalars(graph: ModelGraph) -> list[str]:
    """The names with a moving average: ``add_moving_summary``'s, and the costs; variables are shown as they are."""
    tower = graph.build_tower
    names = [name for name in tower.scalars if name not in graph.store.summary_scalars]
    return names + [name for name in tower.costs if name not in names]


def shown_scalars(graph: ModelGraph, step_variables: StepVariables) -> dict[str, float]:
    """Moving averages, Keras's metrics for the epoch so far, scalar variables and the loss scale, read from the device.

    Before the first step there are no averages and no metrics.
    """
    values = step_variables.read_averages()
    if values:
        values.update(graph.metrics.results())
    for name, variable in graph.store.summary_scalars.items():
        values[name] = float(read_value(variable))
    if step_variables.loss_scale is not None:
        values["loss_scale"] = float(step_variables.loss_scale.numpy())
    return values
