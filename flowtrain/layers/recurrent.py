"""Recurrent layers."""

from __future__ import annotations

import keras
import tensorflow as tf

from .register import apply_keras_layer, layer_register

__all__ = ["GRU", "LSTM"]


@layer_register(options_of=keras.layers.LSTM)
def LSTM(x: tf.Tensor, units: int, return_sequences: bool = False, **options: object) -> tf.Tensor:
    """Long short-term memory (Hochreiter and Schmidhuber, 1997).

    Args:
        x: (N, T, C).
        units: Size of the state.
        return_sequences: Return the output of every time step, not only of the last.
        **options: Options of ``keras.layers.LSTM``: ``return_state``, ``go_backwards``, ``dropout``, ...

    Returns:
        (N, units), or (N, T, units) with return_sequences: the tensor ``name/output``. With
        ``return_state=True`` a list of that and the states, ``name/state_0`` and ``name/state_1``.
    """
    return apply_keras_layer(keras.layers.LSTM, x, {"units": units, "return_sequences": return_sequences, **options})


@layer_register(options_of=keras.layers.GRU)
def GRU(x: tf.Tensor, units: int, return_sequences: bool = False, **options: object) -> tf.Tensor:
    """Gated recurrent unit (Cho et al., 2014, arXiv:1406.1078).

    Args:
        x: (N, T, C).
        units: Size of the state.
        return_sequences: Return the output of every time step, not only of the last.
        **options: Options of ``keras.layers.GRU``: ``return_state``, ``go_backwards``, ``dropout``, ...

    Returns:
        (N, units), or (N, T, units) with return_sequences: the tensor ``name/output``. With
        ``return_state=True`` a list of that and the state, ``name/state_0``.
    """
    return apply_keras_layer(keras.layers.GRU, x, {"units": units, "return_sequences": return_sequences, **options})
