"""What the graph needs of a model, so that it need not know the class that users derive from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import tensorflow as tf

from .gradient import GradientProcessor

__all__ = ["DescribedModel"]


class DescribedModel(Protocol):
    """A description of inputs, costs and optimizer: a ModelDesc, seen from below."""

    average_decay: float | None
    _graph: Any

    def inputs(self) -> Sequence[tf.TensorSpec]:
        """The shapes, dtypes and names of what goes in."""
        ...

    def build_graph(self, *inputs: tf.Tensor) -> Any:
        """From tensors to the cost, or a dict of costs."""
        ...

    def optimizer(self) -> Any:
        """A Keras optimizer, or a dict of (optimizer, pattern)."""
        ...

    def gradient_processors(self) -> Sequence[GradientProcessor]:
        """What is done to gradients before they are applied."""
        ...
