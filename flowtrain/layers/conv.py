"""2D convolutions. Unlike Keras's, their default padding is ``"same"``."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from .activate import activate
from .register import apply_keras_layer, layer_register

__all__ = ["Conv2D", "Conv2DTranspose", "Deconv2D", "DepthwiseConv2D"]

Size = int | Sequence[int]


@layer_register(options_of=keras.layers.Conv2D)
def Conv2D(
    x: tf.Tensor,
    filters: int,
    kernel_size: Size = 3,
    strides: Size = 1,
    padding: str = "same",
    activation: object = None,
    **options: object,
) -> tf.Tensor:
    """2D convolution.

    Args:
        x: (N, H, W, C).
        filters: Number of output channels.
        kernel_size: Size of the kernel in pixels: one number, or (height, width).
        strides: Step of the kernel in pixels: one number, or (vertical, horizontal).
        padding: ``"same"`` (H' = ceil(H / strides)) or ``"valid"`` (H' = ceil((H - kernel_size + 1) / strides)).
        activation: A function, a name known to Keras, or a layer such as ``BNReLU``.
        **options: Options of ``keras.layers.Conv2D``: ``use_bias``, ``dilation_rate``, ``groups``,
            ``kernel_initializer``, ...

    Returns:
        (N, H', W', filters), the tensor ``name/output``. Variables ``kernel`` and ``bias``.

    Example:
        >>> y = Conv2D("conv1", x, 64, 3, activation="relu")  # doctest: +SKIP
    """
    settings = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "padding": padding, **options}
    return activate(activation, apply_keras_layer(keras.layers.Conv2D, x, settings))


@layer_register(options_of=keras.layers.Conv2DTranspose)
def Deconv2D(
    x: tf.Tensor,
    filters: int,
    kernel_size: Size = 4,
    strides: Size = 2,
    padding: str = "same",
    activation: object = None,
    **options: object,
) -> tf.Tensor:
    """Transposed 2D convolution; by default it doubles height and width.

    Args:
        x: (N, H, W, C).
        filters: Number of output channels.
        kernel_size: Size of the kernel in pixels: one number, or (height, width).
        strides: Factor by which the picture grows: one number, or (vertical, horizontal).
        padding: ``"same"`` (H' = H * strides) or ``"valid"`` (H' = H * strides + max(kernel_size - strides, 0)).
        activation: A function, a name known to Keras, or a layer such as ``BNReLU``.
        **options: Options of ``keras.layers.Conv2DTranspose``.

    Returns:
        (N, H', W', filters), the tensor ``name/output``. Variables ``kernel`` and ``bias``.

    Example:
        >>> y = Deconv2D("up1", x, 32, activation=BNReLU)  # doctest: +SKIP
    """
    settings = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "padding": padding, **options}
    return activate(activation, apply_keras_layer(keras.layers.Conv2DTranspose, x, settings))


Conv2DTranspose = Deconv2D  # Keras's name; Deconv2D is Tensorpack's


@layer_register(options_of=keras.layers.DepthwiseConv2D)
def DepthwiseConv2D(
    x: tf.Tensor,
    kernel_size: Size = 3,
    strides: Size = 1,
    padding: str = "same",
    activation: object = None,
    **options: object,
) -> tf.Tensor:
    """Depthwise 2D convolution: each channel is convolved by itself.

    Args:
        x: (N, H, W, C).
        kernel_size: Size of the kernel in pixels: one number, or (height, width).
        strides: Step of the kernel in pixels: one number, or (vertical, horizontal).
        padding: ``"same"`` or ``"valid"``.
        activation: A function, a name known to Keras, or a layer such as ``BNReLU``.
        **options: Options of ``keras.layers.DepthwiseConv2D``: ``depth_multiplier``, ...

    Returns:
        (N, H', W', C * depth_multiplier). Variables ``kernel`` and ``bias``.
    """
    settings = {"kernel_size": kernel_size, "strides": strides, "padding": padding, **options}
    return activate(activation, apply_keras_layer(keras.layers.DepthwiseConv2D, x, settings))
