"""Averaged weights: a second, smoother set of weights for inference and saving."""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flowtrain.utils.errors import ModelError

from .internals import raw_variable, swapped_values
from .store import VariableStore, read_value

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving averages of a model's trainable variables, kept in the store as ``average/NAME``.

    A model asks for it with ``average_decay``, a run with the callback ``EMA``; both use the same averages. The
    training step calls :meth:`update` after each change of the weights. The averages are saved and restored with the
    other variables, and a predictor reads them with ``averaged=True``. (Polyak and Juditsky, "Acceleration of
    stochastic approximation by averaging", 1992.)

    Args:
        store: The model's variables.
        decay: The share of the old average that each update keeps, between 0 and 1. After n updates at most
            n / (9 + n) is kept, so the first update copies the weights and the initial weights never count.

    Raises:
        ModelError: The decay is not between 0 and 1.
    """

    def __init__(self, store: VariableStore, decay: float) -> None:
        if not 0 < decay < 1:
            raise ModelError(f"average_decay must lie between 0 and 1, got {decay}.")
        self.decay = float(decay)
        self._pairs: list[tuple[keras.Variable, keras.Variable]] = []
        for name, variable in store.trainable.items():
            self._pairs.append((variable, self._make(store, f"average/{name}", read_value(variable))))
        self._steps = self._make(store, "average/steps", np.int64(0))

    @staticmethod
    def _make(store: VariableStore, name: str, value: tf.Tensor | np.ndarray) -> keras.Variable:
        made = tf.Variable(
            value, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA, name=name.replace("/", "_")
        )
        return store.add(name, made)

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """The averages and the count of updates, by their names in the store."""
        return {variable.path: variable for variable in [*(average for _, average in self._pairs), self._steps]}

    def update(self, updated: tf.Tensor | None = None) -> None:
        """Move the averages towards the weights. Call it in the step, after the optimizer.

        Args:
            updated: Scalar bool tensor: False in a step that leaves the weights alone (gradient accumulation, loss
                scaling); the averages then stay as they are, too. None: every step changes the weights.
        """
        steps = tf.cast(self._steps.value, tf.float32)
        share = 1.0 - tf.minimum(self.decay, steps / (9.0 + steps))
        count: Any = 1
        if updated is not None:
            share, count = tf.where(updated, share, 0.0), tf.cast(updated, tf.int64)
        # Not the optimizer's iterations: averages may be asked for in the middle of a run, and begin their own count.
        self._steps.value.assign_add(count)
        for variable, average in self._pairs:
            now = average.value
            # Not decay * now + (1 - decay) * value: that rounds at each step. This form leaves the average of a weight
            # that does not move bit for bit equal to the weight.
            now.assign(now + tf.cast(share, now.dtype) * (variable.value - now))

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of the averages, by the names of the averaged variables."""
        return {variable.path: np.array(read_value(average)) for variable, average in self._pairs}

    def used(self) -> contextlib.AbstractContextManager[None]:
        """Scope in which traces read the averages instead of the weights."""
        return swapped_values([(variable, raw_variable(average)) for variable, average in self._pairs])
