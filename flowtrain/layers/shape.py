"""Layers that put tensors together."""

from __future__ import annotations

import keras
import tensorflow as tf

from .register import compute_cast, layer_register
from .spellings import LayerArgumentError

__all__ = ["ConcatWith"]


@layer_register(nameless="automatic")
def ConcatWith(x: tf.Tensor, other: tf.Tensor | list[tf.Tensor], axis: int = -1) -> tf.Tensor:
    """Put x and others together along an axis; made for skip connections in a chain.

    Args:
        x: (N, ..., C).
        other: A tensor or a list of them, of the same shape except along the axis.
        axis: Along which; -1 is the channels.

    Returns:
        The tensors one after the other, cast as ``keras.layers.Concatenate`` casts them: to the dtype that the policy
        computes in, and whole numbers to that of the real ones.

    Example:
        >>> y = ConcatWith("skip", x, encoded)  # doctest: +SKIP
    """
    if isinstance(other, int):
        raise LayerArgumentError(
            f'ConcatWith takes what is put together, then the axis: ConcatWith("name", x, other, axis={other}).'
        )
    others = list(other) if isinstance(other, (list, tuple)) else [other]
    parts = [compute_cast(tf.convert_to_tensor(part)) for part in (x, *others)]
    dtypes = {part.dtype for part in parts}
    if len(dtypes) > 1:  # whole numbers beside real ones
        wanted = keras.backend.result_type(*(dtype.name for dtype in dtypes))
        parts = [tf.cast(part, wanted) for part in parts]
    return tf.concat(parts, axis)
