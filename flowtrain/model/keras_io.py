"""Inputs and outputs of Keras models: Sequential, functional and subclassed ones alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError

from .internals import Nested, input_structure

__all__ = ["arranged_inputs", "call_keras", "declared_inputs", "readable", "symbolic_output"]


def declared_inputs(model: keras.Model, what_to_write: str) -> list[tf.TensorSpec]:
    """The input specs that a functional or Sequential model declares.

    The batch size of a Sequential is left open: if the model was built by a call, it is that call's by chance. Models
    with stateful layers keep it, since their states have one row for each sample of the batch.

    Args:
        model: The Keras model.
        what_to_write: The end of the error: what the user can write instead.

    Raises:
        ModelError: The model declares no inputs: a subclassed one, or a Sequential without keras.Input.
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
    """Rename inputs whose names Keras made up (``keras_tensor_7``, which depends on the process) to ``input_0``, ..."""
    named = []
    for place, spec in enumerate(specs):
        unnamed = not spec.name or re.fullmatch(r"keras_tensor(_\d+)?", spec.name)
        name = ("input" if len(specs) == 1 else f"input_{place}") if unnamed else spec.name
        named.append(tf.TensorSpec(spec.shape, spec.dtype, name))
    return named


def arranged_inputs(model: keras.Model, tensors: Sequence[Any]) -> Nested:
    """Nest a flat list of tensors, one for each input, as the model takes them."""
    structure = input_structure(model)
    if structure is not None:
        return tf.nest.pack_sequence_as(structure, list(tensors))
    return tensors[0] if len(tensors) == 1 else list(tensors)


def call_keras(model: keras.Model, tensors: Sequence[Any], **call: object) -> list[Any]:
    """Call a model on a flat list of tensors, one for each input, and flatten its outputs to a list.

    Args:
        model: The Keras model.
        tensors: One for each input, in order.
        **call: Further arguments of the call, e.g. ``training=False``.
    """
    return tf.nest.flatten(model(arranged_inputs(model, tensors), **call))


def symbolic_output(model: keras.Model, specs: Sequence[tf.TensorSpec]) -> Nested:
    """Call a model on symbolic inputs, which also builds it.

    Returns:
        Keras tensors with the shapes and dtypes of the outputs, nested as the model nests them.

    Raises:
        ModelError: The model cannot be called on such inputs.
    """
    symbols = [keras.Input(batch_shape=spec.shape.as_list(), dtype=spec.dtype.name, name=spec.name) for spec in specs]
    try:
        return model(arranged_inputs(model, symbols))
    except Exception as error:  # the model's code is the user's and may raise anything
        shown = ", ".join(f"{spec.name}: {spec.dtype.name} {spec.shape}" for spec in specs)
        raise ModelError(f"the Keras model {model.name!r} cannot be called on its inputs ({shown}): {error}") from error
