"""EMA: an exponential moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from flowtrain.utils.errors import ConfigError

from .base import Callback
from .proxy import ProxyCallback

__all__ = ["EMA"]


class EMA(ProxyCallback):
    """Keeps an exponential moving average of the trainable weights, which often validates better than the weights.

    It is the same average that a model with ``average_decay`` keeps (:class:`flowtrain.model.WeightAverage`): updated
    on the device within each step, saved in every checkpoint as ``average/<variable>``, read by predictors and exports
    with ``averaged=True``. The averages can replace the weights temporarily: while the wrapped callback is triggered,
    or inside ``with ema.applied():``.

    Args:
        decay: The share of the old average that each update of the weights keeps (with ``accumulate=4`` there is one
            update every fourth step). The first updates keep less, so that the initial weights do not count. If the
            model has ``average_decay``, the two must be equal.
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
        super().__init__(
            Callback() if callback is None else callback
        )  # a bare Callback does nothing: it stands for none
        self.decay = decay

    @property
    def name(self) -> str:
        return "EMA" if type(self.callback) is Callback else super().name

    def setup_graph(self) -> None:
        """Add the averages to the graph and to checkpoints, unless the model keeps them already."""
        graph = self.trainer.graph
        kept_already = graph.average is not None  # then the model has put them into checkpoints, and twice is an error
        self._average = graph.keep_average(self.decay)
        if not kept_already:
            self.trainer.add_variables(self._average.variables)
        super().setup_graph()

    def trigger_epoch(self) -> None:
        with self._applied_if_held():
            super().trigger_epoch()

    def trigger(self) -> None:
        with self._applied_if_held():
            super().trigger()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Scope in which the variables hold the averages: predictors and ``trainer.get_weights`` use them.

        Yields:
            Nothing.

        Example:
            >>> with ema.applied():  # doctest: +SKIP
            ...     prediction = trainer.get_predictor(["x"], ["y/output"])(x)
        """
        averages = self.get_weights()
        weights = {name: self.trainer.get_variable(name) for name in averages}
        try:  # an error inside (in a validation) must not leave the averages in the variables: training would go on so
            self._set(averages)
            yield
        finally:
            self._set(weights)

    def get_weights(self) -> dict[str, np.ndarray]:
        """The averages, by the names of the variables that they are of."""
        return self._average.weights()

    def _set(self, weights: dict[str, np.ndarray]) -> None:
        for name, value in weights.items():
            self.trainer.set_variable(name, value)

    def _applied_if_held(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if type(self.callback) is Callback else self.applied()
