"""The weights of a run, or of a checkpoint, in a plain Keras model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flowtrain.utils.errors import ModelError

from .checkpoint_io import read_checkpoint
from .desc import ModelDesc
from .graph import ModelGraph
from .inputs import checked_specs
from .keras_io import call_keras, declared_inputs, readable

__all__ = ["load_keras_weights"]

_INPUTS_NEEDED = "Say what they are: load_keras_weights(model, source, inputs=[tf.TensorSpec(shape, dtype, name)])."


class _Named(ModelDesc):
    """Finds the names that the variables of a Keras model have in flowtrain."""

    def __init__(self, model: keras.Model, specs: Sequence[tf.TensorSpec]) -> None:
        self.keras_model, self._specs = model, list(specs)

    def inputs(self) -> Sequence[tf.TensorSpec]:
        return self._specs

    def build_graph(self, *inputs: tf.Tensor) -> tf.Tensor:
        call_keras(self.keras_model, inputs)
        return tf.zeros((), name="nothing")


def load_keras_weights(
    model: keras.Model,
    source: str | Path | Mapping[str, Any],
    *,
    averaged: bool = False,
    partial: bool = False,
    inputs: Sequence[tf.TensorSpec] | None = None,
) -> list[str]:
    """Put the weights of a run into a plain Keras model, by name.

    The names are those of a KerasModelDesc of the model (``keras_model/dense/kernel``). Those of a ModelDesc serve too,
    where its named layers are called as the Keras layers: ``conv1/kernel`` goes into the layer ``conv1``.

    Args:
        model: The model.
        source: A run's log folder, a checkpoint, or name -> array (``trainer.get_weights()``).
        averaged: Take the averages of the weights.
        partial: Leave variables that the source does not have as they are.
        inputs: The model's inputs, for one that does not declare them.

    Returns:
        The names of what was set.

    Raises:
        ModelError: A weight is missing or has another shape; nothing has been set then.
        CheckpointError: There is no whole checkpoint.

    Example:
        >>> load_keras_weights(model, "train_log/run")  # doctest: +SKIP
        >>> model.predict(pictures)
    """
    if not isinstance(model, keras.Model):
        raise ModelError(f"load_keras_weights takes a keras.Model, got {type(model).__name__}.")
    values = dict(source) if isinstance(source, Mapping) else read_checkpoint(source)
    if averaged:
        prefix = "average/"
        averages = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
        if not averages:
            raise ModelError(f"{source!s:.80} has no averages of the weights: leave averaged=True out.")
        values.update(averages)
    specs = readable(declared_inputs(model, _INPUTS_NEEDED)) if inputs is None else checked_specs(inputs, "inputs")
    store = ModelGraph(_Named(model, specs)).store
    chosen: dict[str, np.ndarray] = {}
    missing = []
    for name, variable in store.variables.items():
        found = next((key for key in (name, name.removeprefix("keras_model/")) if key in values), None)
        if found is not None:
            chosen[name] = np.asarray(values[found])
        elif tf.as_dtype(variable.dtype).is_floating:  # states of random numbers are no weights
            missing.append(name)
    if missing and (not partial or not chosen):
        raise ModelError(
            f"load_keras_weights: {len(missing)} of {len(store.variables)} variables are not in the source, e.g. "
            f"{', '.join(missing[:3])}; it has {', '.join(list(values)[:3])}, .... Name the layers as in the run, or "
            "leave them as they are with partial=True."
        )
    store.set_weights(chosen)
    return list(chosen)
