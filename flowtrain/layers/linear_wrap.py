"""LinearWrap: layers in sequence, written as a chain of method calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from flowtrain.utils.errors import closest

from .register import REGISTERED

__all__ = ["LinearWrap"]


class LinearWrap:
    """A tensor with every named layer as a method, so that a sequence of layers is written as a chain.

    Layers made by :func:`layer_register` are methods too. Calling the chain returns its tensor.

    Args:
        tensor: The input of the first layer.

    Example:
        >>> logits = (
        ...     LinearWrap(image)
        ...     .Conv2D("conv1", 32)
        ...     .MaxPooling("pool1", 2)
        ...     .apply(tf.nn.relu)
        ...     .FullyConnected("fc", 10)()
        ... )  # doctest: +SKIP
    """

    def __init__(self, tensor: tf.Tensor) -> None:
        self.tensor = tensor

    def __call__(self) -> tf.Tensor:
        """Return the tensor at the end of the chain."""
        return self.tensor

    def apply(self, function: Callable[..., Any], *args: object, **kwargs: object) -> LinearWrap:
        """Continue the chain with ``function(tensor, *args, **kwargs)``."""
        return LinearWrap(function(self.tensor, *args, **kwargs))

    def print_tensor(self) -> LinearWrap:
        """Print the tensor's name, shape and dtype, and continue the chain."""
        print(self.tensor)  # when the graph is traced, once; values are what tf.print shows
        return self

    def __getattr__(self, name: str) -> Callable[..., LinearWrap]:
        layer = REGISTERED.get(name)
        if layer is None:
            raise AttributeError(f"LinearWrap: there is no layer {name!r}. {closest(name, list(REGISTERED))}")

        def method(*args: object, **kwargs: object) -> LinearWrap:
            # The layer's name, if given, comes before its input.
            named = args[:1] if args and isinstance(args[0], str) else ()
            return LinearWrap(layer(*named, self.tensor, *args[len(named) :], **kwargs))

        return method
