"""The names that the variables of a plain Keras model have in a run that trained it."""

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
    """A model that is called and not trained, under the attribute that KerasModelDesc has it in."""

    def __init__(self, model: keras.Model, specs: Sequence[tf.TensorSpec]) -> None:
        self.keras_model, self._specs = model, list(specs)

    def inputs(self) -> Sequence[tf.TensorSpec]:
        return self._specs

    def build_graph(self, *inputs: tf.Tensor) -> tf.Tensor:
        call_keras(self.keras_model, inputs)
        return tf.zeros((), name="nothing")


def names_in_run(model: keras.Model) -> dict[str, Any]:
    """The variables of a Keras model by the names that they have in the checkpoints of a KerasModelDesc of it.

    Keras's own paths will not do: they hold the model's name and counters of what else the process made
    (``sequential_3/dense_5/kernel``), the run's do not (``keras_model/dense/kernel``).

    Args:
        model: The model; it is left as it is.

    Returns:
        Name -> variable; nothing for a model that does not declare its inputs.
    """
    try:
        specs = readable(declared_inputs(model, ""))
    except ModelError:
        return {}
    paths = [(variable, variable.path) for variable in model.variables]
    try:
        return dict(ModelGraph(_Called(model, specs)).store.variables)
    finally:
        for variable, path in paths:
            rename(variable, path)
