"""The callbacks of a run that names no default ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flowtrain.callbacks import Callback, MovingAverageSummary, ProgressBar, ProxyCallback, TensorSummaries

__all__ = ["default_callbacks"]


def default_callbacks(given: Sequence[Any] = ()) -> list[Callback]:
    """The callbacks that run before those of the configuration.

    Args:
        given: Those of the configuration: of a kind that is among them, alone or inside another callback,
            there is no second one.

    Returns:
        Moving averages and pictures of the summaries at each epoch's end, and the progress bar.

    Example:
        >>> [callback.name for callback in default_callbacks()]
        ['MovingAverageSummary', 'TensorSummaries', 'ProgressBar']
    """
    kinds = {kind for callback in given for kind in _kinds(callback)}
    return [kind() for kind in (MovingAverageSummary, TensorSummaries, ProgressBar) if kind not in kinds]


def _kinds(callback: Any) -> Iterator[type]:
    yield type(callback)
    if isinstance(callback, ProxyCallback):
        yield from _kinds(callback.callback)
