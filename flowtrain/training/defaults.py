"""The callbacks of a run that names no default ones."""

from __future__ import annotations

from flowtrain.callbacks import Callback, MovingAverageSummary, ProgressBar, TensorSummaries

__all__ = ["default_callbacks"]


def default_callbacks() -> list[Callback]:
    """The callbacks that run before those of the configuration.

    Returns:
        Moving averages and pictures of the summaries at each epoch's end, and the progress bar.

    Example:
        >>> [callback.name for callback in default_callbacks()]
        ['MovingAverageSummary', 'TensorSummaries', 'ProgressBar']
    """
    return [MovingAverageSummary(), TensorSummaries(), ProgressBar()]
