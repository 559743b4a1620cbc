"""Metrics accumulated over an epoch, as Keras's are: their state is in variables, their results are read when due."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from flowtrain.utils.errors import ModelError

from .names import numbered

__all__ = ["EpochMetrics", "RunningMetric", "numbers_of"]


class RunningMetric(Protocol):
    """Structural type of an accumulating metric: a ``keras.Metric``, or the compiled metrics of a Keras model."""

    @property
    def variables(self) -> Sequence[Any]:
        """The variables that hold the state."""
        ...

    def result(self) -> Any:
        """A scalar, or a dict of scalars."""
        ...

    def reset_state(self) -> None:
        """Forget everything accumulated so far."""
        ...


class EpochMetrics:
    """The epoch metrics of one model by name. The training step updates them, the start of an epoch resets them.

    Example:
        >>> metrics = EpochMetrics()
        >>> metrics.add("mean", keras.metrics.Mean())
        >>> metrics["mean"].update_state([1.0, 3.0])
        >>> metrics.results()
        {'mean': 2.0}
    """

    def __init__(self) -> None:
        self._metrics: dict[str, RunningMetric] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._metrics

    def __getitem__(self, name: str) -> Any:
        if name not in self._metrics:
            raise ModelError(
                f"the metric {name!r} was not made when the model was built: metrics must be the same in every trace "
                "of build_graph, for training and for inference."
            )
        return self._metrics[name]

    def add(self, name: str, metric: RunningMetric) -> None:
        """Register a metric.

        Raises:
            ModelError: The name is taken.
        """
        if name in self._metrics:
            raise ModelError(f"there are two metrics named {name!r}: give one of them another name.")
        self._metrics[name] = metric

    def results(self) -> dict[str, float]:
        """The results since the latest reset, over all replicas, as numbers by name; see `numbers_of`."""
        found: dict[str, float] = {}
        for name, metric in self._metrics.items():
            found.update(numbers_of(name, metric.result()))
        return found

    def reset(self) -> None:
        """Reset every metric."""
        for metric in self._metrics.values():
            metric.reset_state()

    def variables(self) -> dict[str, Any]:
        """The state of all metrics by the names in a checkpoint: ``metrics/auc/true_positives``."""
        return dict(self._named())

    def _named(self) -> Iterator[tuple[str, Any]]:
        for name, metric in self._metrics.items():
            # Compiled metrics have variables of the same name (each Mean has a "total"): later ones are numbered, in
            # the metric's own order, which does not change between processes.
            last: dict[str, int] = {}
            for variable in metric.variables:
                yield f"metrics/{name}/{numbered(variable.name, last)}", variable


def numbers_of(name: str, result: object) -> dict[str, float]:
    """Flatten a metric's result to numbers by name; each element of a vector (one per class) gets a numbered name.

    Example:
        >>> numbers_of("f1", np.array([0.5, 1.0]))
        {'f1_0': 0.5, 'f1_1': 1.0}
    """
    found: dict[str, float] = {}
    for key, value in (result if isinstance(result, Mapping) else {name: result}).items():
        array = np.asarray(value, np.float64)
        if array.ndim == 0:
            found[key] = float(array)
        else:
            found.update({f"{key}_{place}": float(one) for place, one in enumerate(array.ravel())})
    return found
