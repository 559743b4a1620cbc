"""Whether weights are still numbers: tested on the device before they are saved, and in checkpoints before use."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from .run_variables import Variable, local_variable

__all__ = ["FiniteWeights"]


class FiniteWeights:
    """Finds variables that hold NaN or infinity.

    A finite cost says nothing about the gradient: that of ``sqrt`` at 0 is infinite. Weights that it made NaN in the
    last step before a save would go into the checkpoint, and a run that resumes from it can only fail.

    Variables that are not finite from the start (a constant mask of -inf, a "best so far") are left out.

    Args:
        variables: Readable name -> variable; before the first step.
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
        """Trace here: a ``tf.function`` called once by each of many trainers would be warned of as retraced."""
        if self._variables:
            self._test = tf.function(self._tested, autograph=False).get_concrete_function()

    def _tested(self) -> tf.Tensor:
        """Whether each variable is finite, bool (variables,); one call, 17 ms for 25 million weights on two cores."""
        return tf.stack([tf.reduce_all(tf.math.is_finite(variable)) for variable in self._variables.values()])
