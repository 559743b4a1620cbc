"""Concatenation of tensors as a layer."""

from __future__ import annotations

import keras
import tensorflow as tf

from .register import compute_cast, layer_register
from .spellings import LayerArgumentError

__all__ = ["ConcatWith"]


@layer_register(nameless="automatic")
def ConcatWith(x: tf.Tensor, other: tf.Tensor | list[tf.Tensor], axis: int = -1) -> tf.Tensor:
    """Concatenate x and others along an axis; for skip connections in a chain.

    Args:
        x: (N, ..., C).
        other: A tensor or a list of tensors, of the same shape except along the axis.
        axis: The axis to concatenate along; -1 is the channels.

    Returns:
        The concatenated tensor, cast as ``keras.layers.Concatenate`` casts: floats to the compute dtype of Keras's
        dtype policy, and integers to the dtype of the floats.

    Example:
        >>> y = ConcatWith("skip", x, encoded)  # doctest: +SKIP
    """
    if isinstance(other, int):  # Tensorpack's order of arguments had the axis in this place
        raise LayerArgumentError(
            f'ConcatWith takes what is put together, then the axis: ConcatWith("name", x, other, axis={other}).'
        )
    others = list(other) if isinstance(other, (list, tuple)) else [other]
    parts = [compute_cast(tf.convert_to_tensor(part)) for part in (x, *others)]
    dtypes = {part.dtype for part in parts}
    if len(dtypes) > 1:  # integers beside floats
        wanted = keras.backend.result_type(*(dtype.name for dtype in dtypes))
        parts = [tf.cast(part, wanted) for part in parts]
    return tf.concat(parts, axis)
