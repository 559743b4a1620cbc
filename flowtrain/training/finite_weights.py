"""The test of weights for NaN and infinity: on the device before a save, and in a checkpoint before a resume."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from .run_variables import Variable, local_variable

__all__ = ["FiniteWeights"]


class FiniteWeights:
    """Finds variables that hold NaN or infinity.

    A finite cost says nothing about the gradient: that of ``sqrt`` at 0 is infinite. Weights that such a gradient made
    NaN in the last step before a save would go into the checkpoint, and a run that resumes from it can only fail.

    Variables that are not finite at the start (a constant mask of -inf, a "best so far") are not tested.

    Args:
        variables: Readable name -> variable, before the first step.
    """

    def __init__(self, variables: Mapping[str, Variable]) -> None:
        floats = {name: variable for name, variable in variables.items() if tf.as_dtype(variable.dtype).is_floating}
        self._variables = {name: local_variable(variable) for name, variable in floats.items()}
        self._compile()
        bad = set(self.bad())
        if bad:
            self._variables = {name: variable for name, variable in self._variables.items() if name not in bad}
            self._compile()

    def bad(self) -> list[str]:
        """Names of the variables that hold NaN or infinity. Waits for the device."""
        if not self._variables:
            return []
        finite = self._test().numpy()
        return [name for name, fine in zip(self._variables, finite, strict=True) if not fine]

    def bad_among(self, values: Mapping[str, np.ndarray]) -> list[str]:
        """Names of the variables whose values, read from a checkpoint, hold NaN or infinity."""
        return [name for name in self._variables if name in values and not np.isfinite(values[name]).all()]

    def _compile(self) -> None:
        """Trace the test of all variables in one function.

        As a concrete function: TensorFlow would warn of a ``tf.function`` that each of many trainers makes and calls.
        """
        if self._variables:
            self._test = tf.function(self._tested, autograph=False).get_concrete_function()

    def _tested(self) -> tf.Tensor:
        """Whether each variable is finite, bool (variables,); one call, 17 ms for 25 million weights on two cores."""
        return tf.stack([tf.reduce_all(tf.math.is_finite(variable)) for variable in self._variables.values()])
