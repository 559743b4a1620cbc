"""What goes into a Keras model and comes out of it, whichever of Keras's three ways it is written in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError

from .internals import Nested, input_structure

__all__ = ["arranged_inputs", "call_keras", "call_model", "declared_inputs", "readable", "symbolic_output"]


def declared_inputs(model: keras.Model, what_to_write: str) -> list[tf.TensorSpec]:
    """The inputs that a functional or Sequential model declares.

    The batch size of a Sequential that was built by calling it is that of the call by chance: it is left open, unless
    a layer keeps states for each of the batch.

    Args:
        model: The model.
        what_to_write: What a user can do about a model without them; the end of the error.

    Raises:
        ModelError: It declares none: a subclassed one, or a Sequential without keras.Input.
    """
    try:
        inputs: list[Any] = list(model.inputs or ())
    except (AttributeError, TypeError, ValueError):
        inputs = []
    if not inputs:
        raise ModelError(
            f"the Keras model {model.name!r} does not declare its inputs (a subclassed model never does, a Sequential "
            f"only with keras.Input). {what_to_write}"
        )
    stateful = any(getattr(layer, "stateful", False) for layer in model.layers)
    open_batch = isinstance(model, keras.Sequential) and not stateful
    return [
        tf.TensorSpec((None, *tensor.shape[1:]) if open_batch else tensor.shape, tensor.dtype, tensor.name)
        for tensor in inputs
    ]


def readable(specs: Sequence[tf.TensorSpec]) -> list[tf.TensorSpec]:
    """Input specs renamed where Keras made up the name: its numbers depend on what else the process has made."""
    named = []
    for place, spec in enumerate(specs):
        unnamed = not spec.name or re.fullmatch(r"keras_tensor(_\d+)?", spec.name)
        name = ("input" if len(specs) == 1 else f"input_{place}") if unnamed else spec.name
        named.append(tf.TensorSpec(spec.shape, spec.dtype, name))
    return named


def call_model(model: keras.Model, tensors: Sequence[Any], **call: object) -> Nested:
    """Call a model on a list of tensors, in the order of its inputs.

    Args:
        model: The model; one whose inputs are a dict gets a dict.
        tensors: One for each input.
        **call: Arguments of the call, e.g. ``training=False``.

    Returns:
        What the model returns, as it is: Keras's masks are attached to these tensors.
    """
    return model(arranged_inputs(model, tensors), **call)


def arranged_inputs(model: keras.Model, tensors: Sequence[Any]) -> Nested:
    """Tensors, one for each input of a model, in the structure that the model takes."""
    structure = input_structure(model)
    if structure is not None:
        return tf.nest.pack_sequence_as(structure, list(tensors))
    return tensors[0] if len(tensors) == 1 else list(tensors)


def call_keras(model: keras.Model, tensors: Sequence[Any], **call: object) -> list[Any]:
    """As `call_model`, with the outputs as a list."""
    return tf.nest.flatten(call_model(model, tensors, **call))


def symbolic_output(model: keras.Model, specs: Sequence[tf.TensorSpec]) -> Nested:
    """The shapes and dtypes that come out of a model, as it nests them; one that is not built yet is built by this.

    Raises:
        ModelError: The model cannot be called on such inputs.
    """
    symbols = [keras.Input(batch_shape=spec.shape.as_list(), dtype=spec.dtype.name, name=spec.name) for spec in specs]
    try:
        return call_model(model, symbols)
    except Exception as error:  # whatever the user's code makes of such inputs
        shown = ", ".join(f"{spec.name}: {spec.dtype.name} {spec.shape}" for spec in specs)
        raise ModelError(f"the Keras model {model.name!r} cannot be called on its inputs ({shown}): {error}") from error
