"""Gradient processors: what is done to gradients between the cost and the optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["GradientProcessor", "process_gradients"]

GradientPairs = Sequence[tuple[Any, Any]]


class GradientProcessor:
    """Changes, checks or shows gradients; a model names its own in ``gradient_processors()``.

    Subclasses define :meth:`process`. They run inside the compiled step, in the order of the list, on gradients
    that are summed over replicas and accumulated steps.
    """

    def process(self, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Process the gradients of one cost.

        Args:
            pairs: (gradient, variable) for each trainable variable; a gradient may be None or IndexedSlices.

        Returns:
            The pairs to go on with.
        """
        raise NotImplementedError(f"{type(self).__name__} must define process(self, pairs).")


def process_gradients(processors: Sequence[GradientProcessor], pairs: GradientPairs) -> list[tuple[Any, Any]]:
    """Run processors one after the other; used by the training step."""
    result = list(pairs)
    for processor in processors:
        result = list(processor.process(result))
    return result
