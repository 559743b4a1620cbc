"""Fully connected layers, embeddings and dropout."""

from __future__ import annotations

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError

from .activate import activate
from .register import apply_keras_layer, layer_register

__all__ = ["Dense", "Dropout", "Embedding", "FullyConnected"]


@layer_register(options_of=keras.layers.Dense)
def FullyConnected(x: tf.Tensor, units: int, activation: object = None, **options: object) -> tf.Tensor:
    """Fully connected layer on the flattened input: all axes but the batch's become one.

    Args:
        x: (N, ...); all sizes but the batch's must be known.
        units: Number of output channels.
        activation: A function, a name known to Keras, or a layer such as ``BNReLU``.
        **options: Options of ``keras.layers.Dense``.

    Returns:
        (N, units). Variables ``kernel`` and ``bias``.

    Example:
        >>> logits = FullyConnected("fc", x, 10)  # doctest: +SKIP
    """
    if x.shape.rank is not None and x.shape.rank > 2:
        if x.shape[1:].num_elements() is None:
            raise ModelError(
                f"FullyConnected flattens its input, of which all sizes but the batch's must be known; got {x.shape}. "
                "Use GlobalAvgPooling before it, Dense to work on the last axis alone, or fixed sizes in inputs()."
            )
        x = keras.ops.reshape(x, (-1, x.shape[1:].num_elements()))
    return activate(activation, apply_keras_layer(keras.layers.Dense, x, {"units": units, **options}))


@layer_register(options_of=keras.layers.Dense)
def Dense(x: tf.Tensor, units: int, activation: object = None, **options: object) -> tf.Tensor:
    """Fully connected layer on the last axis, as Keras's.

    Args:
        x: (..., C).
        units: Number of output channels.
        activation: A function, a name known to Keras, or a layer such as ``BNReLU``.
        **options: Options of ``keras.layers.Dense``.

    Returns:
        (..., units). Variables ``kernel`` and ``bias``.
    """
    return activate(activation, apply_keras_layer(keras.layers.Dense, x, {"units": units, **options}))


@layer_register(options_of=keras.layers.Embedding)
def Embedding(x: tf.Tensor, input_dim: int, output_dim: int, **options: object) -> tf.Tensor:
    """Look up a learned vector for each integer.

    Args:
        x: Integers from 0 to input_dim - 1, any shape.
        input_dim: Number of vectors.
        output_dim: Size of a vector.
        **options: Options of ``keras.layers.Embedding``.

    Returns:
        The shape of x with output_dim appended. Variable ``embeddings``.
    """
    settings = {"input_dim": input_dim, "output_dim": output_dim, **options}
    return apply_keras_layer(keras.layers.Embedding, x, settings)


@layer_register(options_of=keras.layers.Dropout, nameless="automatic")
def Dropout(x: tf.Tensor, rate: float = 0.5, **options: object) -> tf.Tensor:
    """Dropout: in training set random values to zero and scale the others up; in inference do nothing.

    Args:
        x: Any shape.
        rate: Fraction of values that is dropped, 0 to 1.
        **options: Options of ``keras.layers.Dropout``: ``noise_shape``, ``seed``.

    Returns:
        Same shape, floats in the compute dtype of Keras's dtype policy. The random state is a variable, saved with the
        others, so that a resumed run draws what the run that was killed would have drawn.

    Example:
        >>> y = Dropout("drop1", x, rate=0.3)  # doctest: +SKIP
    """
    return apply_keras_layer(keras.layers.Dropout, x, {"rate": rate, **options})
