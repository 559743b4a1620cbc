"""The argument ``activation`` of named layers."""

from __future__ import annotations

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError

__all__ = ["activate"]


def activate(activation: object, x: tf.Tensor) -> tf.Tensor:
    """Apply an activation inside the scope of its layer, so that the variables of BNReLU and the like lie below it.

    Args:
        activation: None, a name known to Keras, or a function of a tensor (a layer such as ``BNReLU`` too).
        x: The tensor.

    Returns:
        The activated tensor.

    Raises:
        ModelError: ``activation`` is none of these.
    """
    if activation is None:
        return x
    if isinstance(activation, str):
        try:
            activation = keras.activations.get(activation)
        except ValueError:
            raise ModelError(
                f"no activation is named {activation!r}; give a function, or a name that Keras knows: "
                "relu, tanh, gelu, ..."
            ) from None
    if not callable(activation):
        raise ModelError(f"an activation is a function of a tensor or a name, got {activation!r:.80}.")
    return activation(x)  # type: ignore[return-value]
