"""The variable store: variables and named layers of one model, under readable names that are equal in all runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flowtrain.utils.errors import ModelError, closest

from .epoch_metrics import EpochMetrics
from .internals import adopt_variable, rename

__all__ = ["VariableStore", "read_value"]


def read_value(variable: keras.Variable | tf.Variable) -> np.ndarray:
    """The value of a Keras or TensorFlow variable; of a mirrored one the value on the first local replica."""
    raw = variable.value if isinstance(variable, keras.Variable) else variable
    if isinstance(raw, tf.distribute.DistributedValues):
        raw = tf.distribute.get_strategy().experimental_local_results(raw)[0]
    return raw.numpy()


class VariableStore:
    """All variables of a model by readable name: weights, statistics, scalars, states of random generators.

    The build pass fills the store, then it is frozen: later traces look variables up by name, and asking for a new one
    is an error.

    Args:
        seed: Random initial values without a seed of their own follow from this seed and the variable's name alone.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.frozen = False
        self.layers: dict[str, keras.Layer] = {}
        """The Keras layers made by named layers, e.g. ``layers["conv1"]``."""
        self.settings: dict[str, dict[str, Any]] = {}
        """The arguments with which each of those layers was made."""
        self.summary_scalars: dict[str, keras.Variable] = {}
        """Scalar variables that are shown among the moving summaries."""
        self.metrics = EpochMetrics()
        """Metrics accumulated over an epoch."""
        self._variables: dict[str, keras.Variable] = {}

    @property
    def variables(self) -> Mapping[str, keras.Variable]:
        """All variables by name, in the order in which they were added."""
        return dict(self._variables)

    @property
    def trainable(self) -> Mapping[str, keras.Variable]:
        """The variables that the optimizer may change."""
        return {name: variable for name, variable in self._variables.items() if variable.trainable}

    def seed_for(self, name: str) -> int:
        """A seed that follows from the store's seed and a name, the same in every process."""
        # From the name and not from a counter: then a layer added in front, the number of replicas, or the order in
        # which they make variables does not change the other variables' initial values. Not by hash(), which is salted
        # in each process.
        digest = hashlib.blake2b(f"{self.seed}/{name}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "little") & 0x7FFFFFFF

    def find(self, name: str) -> keras.Variable | None:
        """The variable of that name, or None."""
        return self._variables.get(name)

    def add(self, name: str, variable: tf.Variable | keras.Variable) -> keras.Variable:
        """Add a variable, and rename it to its name in the store.

        Returns:
            The Keras variable: the given one, or a wrapper of the given ``tf.Variable``.

        Raises:
            ModelError: The name is taken.
        """
        if name in self._variables:
            raise ModelError(f"there is a variable named {name!r} already.")
        if not isinstance(variable, keras.Variable):
            variable = adopt_variable(variable, name)
        rename(variable, name)
        self._variables[name] = variable
        return variable

    def get_weights(self) -> dict[str, np.ndarray]:
        """Copies of all variables' values by name."""
        return {name: np.array(read_value(variable)) for name, variable in self._variables.items()}

    def set_weights(self, values: Mapping[str, Any]) -> None:
        """Assign values by name; variables that are not named keep their values.

        Args:
            values: Name -> array of the variable's shape.

        Raises:
            ModelError: An unknown name or a shape that does not fit; then nothing has been assigned.
        """
        wrong = []
        for name, value in values.items():
            variable = self._variables.get(name)
            if variable is None:
                wrong.append(f"no variable is named {name!r}. {closest(name, list(self._variables))}")
            elif tuple(variable.shape) != np.shape(value):
                wrong.append(f"{name!r} has shape {tuple(variable.shape)}, the given value {np.shape(value)}")
        if wrong:
            raise ModelError("cannot set weights: " + "; ".join(wrong))
        for name, value in values.items():
            self._variables[name].assign(value)
