"""Pooling, unpooling and maxout."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from flowtrain.utils.errors import ModelError

from .register import apply_keras_layer, compute_cast, layer_register

__all__ = ["AvgPooling", "FixedUnPooling", "GlobalAvgPooling", "MaxPooling", "Maxout"]

Size = int | Sequence[int]


@layer_register(options_of=keras.layers.MaxPooling2D, nameless="automatic")
def MaxPooling(
    x: tf.Tensor, pool_size: Size = 2, strides: Size | None = None, padding: str = "valid", **options: object
) -> tf.Tensor:
    """Max pooling: the largest value of each window.

    Args:
        x: (N, H, W, C).
        pool_size: Size of a window in pixels: one number, or (height, width).
        strides: Step between windows in pixels: one number, or (vertical, horizontal); None for pool_size.
        padding: ``"valid"`` or ``"same"``.
        **options: Options of ``keras.layers.MaxPooling2D``.

    Returns:
        (N, H', W', C).
    """
    settings = {"pool_size": pool_size, "strides": strides, "padding": padding, **options}
    return apply_keras_layer(keras.layers.MaxPooling2D, x, settings)


@layer_register(options_of=keras.layers.AveragePooling2D, nameless="automatic")
def AvgPooling(
    x: tf.Tensor, pool_size: Size = 2, strides: Size | None = None, padding: str = "valid", **options: object
) -> tf.Tensor:
    """Average pooling: the mean of each window; with ``padding="same"`` over its part within the picture.

    Args:
        x: (N, H, W, C).
        pool_size: Size of a window in pixels: one number, or (height, width).
        strides: Step between windows in pixels: one number, or (vertical, horizontal); None for pool_size.
        padding: ``"valid"`` or ``"same"``.
        **options: Options of ``keras.layers.AveragePooling2D``.

    Returns:
        (N, H', W', C).
    """
    settings = {"pool_size": pool_size, "strides": strides, "padding": padding, **options}
    return apply_keras_layer(keras.layers.AveragePooling2D, x, settings)


@layer_register(options_of=keras.layers.GlobalAveragePooling2D, nameless="automatic")
def GlobalAvgPooling(x: tf.Tensor, **options: object) -> tf.Tensor:
    """Global average pooling: the mean over height and width.

    Args:
        x: (N, H, W, C).
        **options: Options of ``keras.layers.GlobalAveragePooling2D``.

    Returns:
        (N, C).
    """
    return apply_keras_layer(keras.layers.GlobalAveragePooling2D, x, options)


@layer_register(nameless="automatic")
def FixedUnPooling(x: tf.Tensor, size: Size = 2, matrix: object = None) -> tf.Tensor:
    """Unpooling: each pixel becomes a block, by the Kronecker product of the picture with a fixed matrix.

    Args:
        x: (N, H, W, C).
        size: Size of a block in pixels: one number, or (height, width).
        matrix: (height, width) factors of the pixel's value; None puts it in the upper left corner and zeros elsewhere,
            ``np.ones((2, 2))`` repeats it.

    Returns:
        (N, H * height, W * width, C).

    Raises:
        ModelError: The matrix does not have that size.
    """
    x = compute_cast(x)
    height, width = (size, size) if isinstance(size, int) else size
    if matrix is None:
        matrix = np.zeros((height, width))
        matrix[0, 0] = 1.0
    factors = np.asarray(matrix, np.float64)
    if factors.shape != (height, width):
        raise ModelError(f"FixedUnPooling: the matrix has shape {factors.shape}, the size is {(height, width)}.")
    # (N, H, 1, W, 1, C) * (height, 1, width, 1): a block for each pixel, which the reshape merges into one picture.
    spread = x[:, :, None, :, None, :] * tf.constant(factors[:, None, :, None], x.dtype)
    shape = tf.shape(x)
    result = tf.reshape(spread, [shape[0], shape[1] * height, shape[2] * width, shape[3]])
    # A reshape to a tensor loses the static shape, which the variables of the next layers need.
    known = [None if n is None else n * k for n, k in zip(x.shape[1:3], (height, width), strict=True)]
    result.set_shape([x.shape[0], *known, x.shape[3]])
    return result


@layer_register(nameless="automatic")
def Maxout(x: tf.Tensor, num_units: int) -> tf.Tensor:
    """Maxout: the largest of each ``num_units`` neighbouring channels (Goodfellow et al., 2013, arXiv:1302.4389).

    Args:
        x: (N, ..., C), C known and a multiple of num_units.
        num_units: Number of channels of which the largest is kept.

    Returns:
        (N, ..., C / num_units).

    Raises:
        ModelError: C is unknown or not a multiple of num_units.
    """
    x = compute_cast(x)
    channels = x.shape[-1]
    if channels is None or channels % num_units:
        raise ModelError(f"Maxout needs a multiple of {num_units} channels, got {channels}.")
    # By tf.shape, since any size but the channels' may be unknown; the static shape is set again, as in FixedUnPooling.
    shape = tf.concat([tf.shape(x)[:-1], [channels // num_units, num_units]], 0)
    result = tf.reduce_max(tf.reshape(x, shape), axis=-1)
    result.set_shape([*x.shape[:-1], channels // num_units])
    return result
