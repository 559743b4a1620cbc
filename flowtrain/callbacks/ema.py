"""A moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from flowtrain.utils.errors import ConfigError

from .base import Callback
from .proxy import ProxyCallback

__all__ = ["EMA"]


class EMA(ProxyCallback):
    """Keeps an exponential moving average of the trainable weights, which often validates better than they do.

    The averages are updated on the device within each step, are part of every checkpoint as
    ``ema/<variable>``, and can stand in for the weights: for what this callback holds, or inside ``with
    ema.applied():``. (Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.)

    Args:
        decay: The share that is kept at each step. In the first steps less is kept,
            ``(1 + step) / (10 + step)``, so that the initial weights are forgotten.
        callback: Triggered with the averages in place of the weights, for instance a validation.

    Raises:
        ConfigError: The decay is not in (0, 1).

    Example:
        >>> from flowtrain.callbacks import InferenceRunner, ScalarStats
        >>> EMA(0.999, InferenceRunner(valid, ScalarStats("l2_loss"), prefix="ema"))  # doctest: +SKIP
    """

    def __init__(self, decay: float = 0.999, callback: Callback | None = None) -> None:
        if not 0 < decay < 1:
            raise ConfigError(f"EMA: decay={decay!r}; expected a number between 0 and 1, such as 0.999.")
        super().__init__(Callback() if callback is None else callback)
        self.decay = decay

    @property
    def name(self) -> str:
        """See Callback."""
        return "EMA" if type(self.callback) is Callback else super().name

    def setup_graph(self) -> None:
        """Make the averages and put their update into the step."""
        import tensorflow as tf

        weights = self.trainer.graph.store.trainable
        self._names = list(weights)
        once = tf.VariableAggregation.ONLY_FIRST_REPLICA
        strategy = getattr(self.trainer.graph, "strategy", None)
        with strategy.scope() if strategy is not None else contextlib.nullcontext():
            self._averages = {
                name: tf.Variable(
                    tf.constant(self.trainer.get_variable(name)),
                    trainable=False,
                    name=f"ema/{name}",
                    aggregation=once,
                )
                for name in weights
            }
            self._steps = tf.Variable(tf.constant(0, tf.int64), trainable=False, name="ema/steps", aggregation=once)

        def update(tower: Any) -> None:
            done = tf.cast(self._steps.assign_add(1), tf.float32)
            kept = tf.minimum(self.decay, (1.0 + done) / (10.0 + done))
            for name, average in self._averages.items():
                value = tf.convert_to_tensor(weights[name])
                average.assign_sub(tf.cast(1.0 - kept, average.dtype) * (average - tf.cast(value, average.dtype)))

        self.trainer.add_variables({**{f"ema/{n}": v for n, v in self._averages.items()}, "ema/steps": self._steps})
        self.trainer.add_to_step(update)
        super().setup_graph()

    def before_train(self) -> None:
        """See Callback."""
        if self.global_step == 0:  # weights may have been loaded since the averages were made
            for name in self._names:
                self.trainer.set_variable(f"ema/{name}", self.trainer.get_variable(name))
        super().before_train()

    def trigger_epoch(self) -> None:
        """See Callback."""
        with self._applied_if_held():
            super().trigger_epoch()

    def trigger(self) -> None:
        """See Callback."""
        with self._applied_if_held():
            super().trigger()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the averages stand in for the weights: in predictors, in `get_weights`, everywhere.

        Yields:
            Nothing.

        Example:
            >>> with ema.applied():  # doctest: +SKIP
            ...     prediction = trainer.get_predictor(["x"], ["y/output"])(x)
        """
        kept = {name: self.trainer.get_variable(name) for name in self._names}
        try:
            for name, average in self.get_weights().items():
                self.trainer.set_variable(name, average)
            yield
        finally:
            for name, value in kept.items():
                self.trainer.set_variable(name, value)

    def get_weights(self) -> dict[str, np.ndarray]:
        """The averages by the names of their variables."""
        return {name: self.trainer.get_variable(f"ema/{name}") for name in self._names}

    def _applied_if_held(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if type(self.callback) is Callback else self.applied()
