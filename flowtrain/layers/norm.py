"""Normalisation layers.

Each computes in the compute dtype of Keras's dtype policy (float16 or bfloat16 in mixed precision), and so returns it;
its variables have the policy's variable dtype (float32 in mixed precision).
"""

from __future__ import annotations

import keras
import tensorflow as tf

from .register import apply_keras_layer, layer_register
from .spellings import LayerArgumentError

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm"]


@layer_register(options_of=keras.layers.BatchNormalization)
def BatchNorm(x: tf.Tensor, **options: object) -> tf.Tensor:
    """Batch normalisation (Ioffe and Szegedy, 2015, arXiv:1502.03167).

    In training it uses the batch's statistics and updates their moving averages in the same step; in inference it
    uses the moving averages.

    Args:
        x: (N, ..., C).
        **options: Options of ``keras.layers.BatchNormalization``: ``momentum=0.99``, ``epsilon=1e-3``, ``center``,
            ``scale``, ``synchronized=True`` for statistics over all replicas, ...

    Returns:
        Same shape, in the compute dtype. Variables ``gamma``, ``beta``, ``moving_mean``, ``moving_variance``.
    """
    return apply_keras_layer(keras.layers.BatchNormalization, x, options)


@layer_register(options_of=keras.layers.LayerNormalization)
def LayerNorm(x: tf.Tensor, **options: object) -> tf.Tensor:
    """Layer normalisation (Ba et al., 2016, arXiv:1607.06450), over the last axis.

    Args:
        x: (N, ..., C).
        **options: Options of ``keras.layers.LayerNormalization``.

    Returns:
        Same shape, in the compute dtype. Variables ``gamma``, ``beta``.
    """
    return apply_keras_layer(keras.layers.LayerNormalization, x, options)


@layer_register(options_of=keras.layers.GroupNormalization)
def GroupNorm(x: tf.Tensor, groups: int = 32, **options: object) -> tf.Tensor:
    """Group normalisation (Wu and He, 2018, arXiv:1803.08494).

    Args:
        x: (N, ..., C), C a multiple of groups.
        groups: Number of groups of channels.
        **options: Options of ``keras.layers.GroupNormalization``.

    Returns:
        Same shape, in the compute dtype. Variables ``gamma``, ``beta``.
    """
    return apply_keras_layer(keras.layers.GroupNormalization, x, {"groups": groups, **options})


@layer_register(options_of=keras.layers.GroupNormalization)
def InstanceNorm(x: tf.Tensor, **options: object) -> tf.Tensor:
    """Instance normalisation (Ulyanov et al., 2016, arXiv:1607.08022): each channel of each picture by itself.

    Args:
        x: (N, ..., C).
        **options: Options of ``keras.layers.GroupNormalization``, of which this is the case of one channel per group.

    Returns:
        Same shape, in the compute dtype. Variables ``gamma``, ``beta``.

    Raises:
        ModelError: ``groups`` is given.
    """
    if options.pop("groups", -1) != -1:
        raise LayerArgumentError("InstanceNorm has one channel per group; for other groups write GroupNorm.")
    # -1 is Keras's own word for "as many groups as channels": it reads their number when the layer is built.
    return apply_keras_layer(keras.layers.GroupNormalization, x, {**options, "groups": -1})
