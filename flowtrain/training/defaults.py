"""The default callbacks of a run: summaries and the progress bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowtrain.callbacks import Callback, MovingAverageSummary, ProgressBar, TensorSummaries
from flowtrain.callbacks.proxy import with_wrapped
from flowtrain.utils.arguments import names_arguments

__all__ = ["default_callbacks"]


@names_arguments
def default_callbacks(given: Sequence[Any] = ()) -> list[Callback]:
    """The default callbacks, which run before the user's.

    Args:
        given: The user's callbacks. A default is skipped if one of the same class is given, directly or wrapped.

    Returns:
        Moving averages and pictures of the summaries at each epoch's end, and the progress bar.

    Example:
        >>> [callback.name for callback in default_callbacks()]
        ['MovingAverageSummary', 'TensorSummaries', 'ProgressBar']
    """
    kinds = {type(callback) for callback in with_wrapped(given)}
    return [kind() for kind in (MovingAverageSummary, TensorSummaries, ProgressBar) if kind not in kinds]
