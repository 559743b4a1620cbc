"""Activations: plain functions, and named layers that can be passed as ``activation`` to other layers."""

from __future__ import annotations

import keras
import tensorflow as tf

from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import ModelError

from .norm import BatchNorm
from .register import apply_keras_layer, compute_cast, layer_register

__all__ = ["BNLeakyReLU", "BNReLU", "LeakyReLU", "PReLU", "leaky_relu"]


@names_arguments
def leaky_relu(x: tf.Tensor, negative_slope: float = 0.2) -> tf.Tensor:
    """Leaky ReLU: x for positive x, ``negative_slope * x`` for negative x.

    Args:
        x: Any shape.
        negative_slope: The slope below zero.

    Returns:
        Same shape and dtype.
    """
    return tf.nn.leaky_relu(x, alpha=negative_slope)


@layer_register(nameless="automatic")
def LeakyReLU(x: tf.Tensor, negative_slope: float = 0.2) -> tf.Tensor:
    """:func:`leaky_relu` as a named layer.

    Args:
        x: Any shape.
        negative_slope: The slope below zero.

    Returns:
        Same shape, in the compute dtype of Keras's dtype policy.

    Example:
        >>> y = LeakyReLU("act1", x)  # doctest: +SKIP
    """
    return leaky_relu(compute_cast(x), negative_slope)


@layer_register(options_of=keras.layers.PReLU, nameless="automatic")
def PReLU(x: tf.Tensor, shared_axes: object = "space", **options: object) -> tf.Tensor:
    """ReLU with a learned slope below zero (He et al., 2015, arXiv:1502.01852).

    Args:
        x: (N, ..., C).
        shared_axes: Axes that share one slope: ``"space"`` for all but the last (one slope per channel), None for one
            slope per position (the sizes must then be known), or a list of axes.
        **options: Options of ``keras.layers.PReLU``.

    Returns:
        Same shape, in the compute dtype of Keras's dtype policy. The slope is ``name/alpha``.
    """
    if shared_axes == "space":
        if x.shape.rank is None:
            raise ModelError("PReLU needs an input whose number of dimensions is known.")
        shared_axes = list(range(1, x.shape.rank - 1)) or None  # (N, C) has no axes in space
    return apply_keras_layer(keras.layers.PReLU, x, {"shared_axes": shared_axes, **options})


@layer_register(options_of=keras.layers.BatchNormalization, nameless="inline")
def BNReLU(x: tf.Tensor, **options: object) -> tf.Tensor:
    """BatchNorm, then ReLU: a layer if called with a name, else an activation.

    Args:
        x: (N, ..., C).
        **options: Options of :func:`BatchNorm`.

    Returns:
        Same shape, in the compute dtype of Keras's dtype policy. The variables are ``name/bn/gamma`` and so on.

    Example:
        >>> y = Conv2D("conv1", x, 64, activation=BNReLU)  # variables conv1/bn/...  # doctest: +SKIP
    """
    return tf.nn.relu(BatchNorm("bn", x, **options))


@layer_register(options_of=keras.layers.BatchNormalization, nameless="inline")
def BNLeakyReLU(x: tf.Tensor, negative_slope: float = 0.2, **options: object) -> tf.Tensor:
    """BatchNorm, then :func:`leaky_relu`: a layer if called with a name, else an activation.

    Args:
        x: (N, ..., C).
        negative_slope: The slope below zero.
        **options: Options of :func:`BatchNorm`.

    Returns:
        Same shape, in the compute dtype of Keras's dtype policy. The variables are ``name/bn/gamma`` and so on.

    Example:
        >>> with argscope(Conv2D, activation=BNLeakyReLU):  # doctest: +SKIP
        ...     y = Conv2D("conv1", x, 64)
    """
    return leaky_relu(BatchNorm("bn", x, **options), negative_slope)
