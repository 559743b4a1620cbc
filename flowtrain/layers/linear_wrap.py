"""LinearWrap: a chain of layers written as a chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from flowtrain.utils.errors import closest

from .register import REGISTERED

__all__ = ["LinearWrap"]


class LinearWrap:
    """Write layers that follow one another as a chain.

    Every named layer is a method, those of :func:`layer_register` too; calling the chain gives the tensor.

    Args:
        tensor: What the first layer takes.

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
        """The tensor at the end of the chain."""
        return self.tensor

    def apply(self, function: Callable[..., Any], *args: object, **kwargs: object) -> LinearWrap:
        """Go on with ``function(tensor, *args, **kwargs)``."""
        return LinearWrap(function(self.tensor, *args, **kwargs))

    def print_tensor(self) -> LinearWrap:
        """Print name, shape and dtype of the tensor, and go on with it."""
        print(self.tensor)
        return self

    def __getattr__(self, name: str) -> Callable[..., LinearWrap]:
        layer = REGISTERED.get(name)
        if layer is None:
            raise AttributeError(f"LinearWrap: there is no layer {name!r}. {closest(name, list(REGISTERED))}")

        def method(*args: object, **kwargs: object) -> LinearWrap:
            named = args[:1] if args and isinstance(args[0], str) else ()
            return LinearWrap(layer(*named, self.tensor, *args[len(named) :], **kwargs))

        return method
