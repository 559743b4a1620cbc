"""Names of a plain Keras model's variables as the checkpoints of a run that trained it have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError

from .desc import ModelDesc
from .graph import ModelGraph
from .internals import rename
from .keras_io import call_keras, declared_inputs, readable

__all__ = ["names_in_run"]


class _Called(ModelDesc):
    """Wraps a Keras model in a ModelDesc that only calls it."""

    def __init__(self, model: keras.Model, specs: Sequence[tf.TensorSpec]) -> None:
        # The attribute's name is the first part of the variables' names: the same as in KerasModelDesc.
        self.keras_model, self._specs = model, list(specs)

    def inputs(self) -> Sequence[tf.TensorSpec]:
        return self._specs

    def build_graph(self, *inputs: tf.Tensor) -> tf.Tensor:
        call_keras(self.keras_model, inputs)
        return tf.zeros((), name="nothing")


def names_in_run(model: keras.Model) -> dict[str, Any]:
    """A Keras model's variables by their names in the checkpoints of a run of KerasModelDesc.

    Keras's own paths will not do: they hold the model's name and numbers counted over the process
    (``sequential_3/dense_5/kernel``), the run's names do not (``keras_model/dense/kernel``).

    Args:
        model: The model; it is left unchanged.

    Returns:
        Name -> variable; empty for a model that does not declare its inputs.
    """
    try:
        specs = readable(declared_inputs(model, ""))
    except ModelError:
        return {}
    # The names are those that a trace gives, so one is made; the store renames the variables, which is undone.
    paths = [(variable, variable.path) for variable in model.variables]
    try:
        return dict(ModelGraph(_Called(model, specs)).store.variables)
    finally:
        for variable, path in paths:
            rename(variable, path)
