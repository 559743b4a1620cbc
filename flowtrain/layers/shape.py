"""Layers that put tensors together."""

from __future__ import annotations

import tensorflow as tf

from .register import layer_register

__all__ = ["ConcatWith"]


@layer_register(nameless="automatic")
def ConcatWith(x: tf.Tensor, other: tf.Tensor | list[tf.Tensor], axis: int = -1) -> tf.Tensor:
    """Put x and others together along an axis; made for skip connections in a chain.

    Args:
        x: (N, ..., C).
        other: A tensor or a list of them, of the same shape except along the axis.
        axis: Along which; -1 is the channels.

    Returns:
        The tensors one after the other.

    Example:
        >>> y = ConcatWith("skip", x, encoded)  # doctest: +SKIP
    """
    others = list(other) if isinstance(other, (list, tuple)) else [other]
    return tf.concat([x, *others], axis)
