"""Callbacks that log the model's summaries: moving averages, pictures, histograms, the graph."""

from __future__ import annotations

from typing import Any

from .base import Callback
from .fetching import FetchingCallback

__all__ = ["MovingAverageSummary", "TensorSummaries"]


class MovingAverageSummary(Callback):
    """Logs the moving averages of all ``add_moving_summary`` tensors at each epoch's end.

    The averages are kept on the device and read only here. For more points wrap it:
    ``PeriodicTrigger(MovingAverageSummary(), every_k_steps=100)``.

    Example:
        >>> MovingAverageSummary()
        MovingAverageSummary
    """

    def trigger(self) -> None:
        for name, value in self.trainer.moving_averages().items():
            self.trainer.monitors.put_scalar(name, value, self.global_step)


class TensorSummaries(FetchingCallback):
    """Logs the image and histogram summaries of the last step of each epoch; and, before the first step, the graph.

    Args:
        every_k_steps: k: log at every k-th step instead.

    Example:
        >>> TensorSummaries(every_k_steps=500)
        TensorSummaries
    """

    def __init__(self, every_k_steps: int | None = None) -> None:
        super().__init__([], every_k_steps)  # the names are known once the graph is built: before_train sets them

    def before_train(self) -> None:
        self._images = dict(self.trainer.image_names())
        self._histograms = dict(self.trainer.histogram_names())
        self.names = list(dict.fromkeys([*self._images.values(), *self._histograms.values()]))
        if self.global_step == 0:  # a resumed run has logged it
            graph_def = self.trainer.graph.build_tower.graph.as_graph_def()
            self.trainer.monitors.put_event("graph", {"graph_def": graph_def}, 0)

    def after_run(self, values: dict[str, Any]) -> None:
        monitors = self.trainer.monitors
        for name, tensor in self._images.items():
            monitors.put_image(name, values[tensor], self.global_step)
        for name, tensor in self._histograms.items():
            monitors.put_histogram(name, values[tensor], self.global_step)

    def next_step(self) -> float:
        return super().next_step() if self.names else float("inf")
