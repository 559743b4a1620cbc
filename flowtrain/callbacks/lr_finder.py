"""LRFinder: a learning rate range test."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from flowtrain.utils.errors import ConfigError
from flowtrain.utils.files import writing

from .base import Callback
from .hyperparams import check_param

__all__ = ["LRFinder"]

logger = logging.getLogger("flowtrain.callbacks")

_DIVERGED = 4.0  # the search ends at this multiple of the least smoothed cost (a single cost: at its square)


class LRFinder(Callback):
    """Learning rate range test: raises the rate step by step, plots the cost over it, suggests a rate, ends the run.

    The cost falls fastest at a good rate and rises when the rate is too high: the suggestion is the rate at which the
    smoothed cost falls fastest. At the end weights and rate have their former values. (Leslie Smith, "Cyclical learning
    rates for training neural networks", arXiv 1506.01186.)

    Args:
        cost: Name of the tensor to watch; None: the model's cost.
        start: The first rate.
        end: The last rate. The run ends earlier if the smoothed cost exceeds four times its least value.
        steps: Number of steps; the rate grows exponentially.
        param: Name of the variable to change.
        smoothing: Decay of the exponential moving average of the cost, in [0, 1).

    Attributes:
        rates: The rates tried.
        costs: The cost at each rate.
        suggestion: The suggested rate; None if the cost never fell.

    Raises:
        ConfigError: The range, the number of steps or the smoothing is invalid.

    Example:
        >>> finder = LRFinder()
        >>> train(TrainConfig(model, ds, callbacks=[finder])); finder.suggestion  # doctest: +SKIP
        0.0021
    """

    suggestion: float | None = None

    def __init__(
        self,
        cost: str | None = None,
        start: float = 1e-6,
        end: float = 1.0,
        steps: int = 200,
        param: str = "learning_rate",
        smoothing: float = 0.9,
    ) -> None:
        if not 0 < start < end or steps < 10 or not 0 <= smoothing < 1:
            raise ConfigError(
                f"LRFinder: start={start!r}, end={end!r}, steps={steps!r}, smoothing={smoothing!r}; expected "
                "0 < start < end, at least 10 steps, and smoothing in [0, 1)."
            )
        self.cost, self.start, self.end, self.steps = cost, start, end, steps
        self.param, self.smoothing = param, smoothing
        super().__init__()

    def reset(self) -> None:
        self.rates: list[float] = []
        self.costs: list[float] = []
        self.suggestion = None
        self._finished = False

    def setup_graph(self) -> None:
        if self.trainer.workers > 1:
            raise ConfigError(
                "LRFinder searches in one process. Run it without the multi-worker strategy, on batches of the same "
                "global size, and take the rate that it suggests."
            )
        check_param(self, self.param)
        costs = self.trainer.graph.build_tower.costs
        self._cost = next(iter(costs.values())).op.name if self.cost is None else self.cost
        self._path = self.trainer.claim_file("lr_finder.png", self)

    def before_train(self) -> None:
        if self._finished:  # train() was called again after the search: an ordinary training
            return
        # All variables, the optimizer's too: momentum from rates that diverge would spoil the training that follows.
        # But not the trainer's counts of steps.
        kept = (n for n in self.trainer.variable_names() if n != "global_step" and not n.startswith("training/"))
        self._before = {name: self.trainer.get_variable(name) for name in kept}
        self.trainer.set_variable(self.param, self.start)

    def before_run(self) -> list[str]:
        return [self._cost]

    def after_run(self, values: dict[str, Any]) -> None:
        cost = float(np.mean(next(iter(values.values()))))
        self.rates.append(float(self.trainer.get_variable(self.param)))
        self.costs.append(cost)
        done = len(self.rates)
        smooth = self.smoothed()
        diverged = max(smooth[-1], cost / _DIVERGED) > _DIVERGED * min(smooth)
        if done >= self.steps or diverged or not math.isfinite(cost):
            self._finish()
        else:
            self.trainer.set_variable(self.param, self.start * (self.end / self.start) ** (done / (self.steps - 1)))

    def next_step(self) -> float:
        return math.inf if self._finished else self.global_step + 1

    def after_train(self) -> None:
        if not self._finished:
            self._finish()

    def smoothed(self) -> list[float]:
        """Exponential moving average of the costs, zero-debiased as in Adam."""
        average, weight, smooth = 0.0, 0.0, []
        for cost in self.costs:
            average = self.smoothing * average + (1 - self.smoothing) * cost
            weight = self.smoothing * weight + (1 - self.smoothing)
            smooth.append(average / weight)
        return smooth

    def _finish(self) -> None:
        self._finished = True
        self.suggestion = self._suggest()
        self._plot(self._path)
        for name, value in self._before.items():
            self.trainer.set_variable(name, value)
        said = "the cost never fell" if self.suggestion is None else f"take {self.suggestion:.2g}"
        logger.info("LRFinder: %s; see %s", said, self._path)
        self.trainer.stop(f"LRFinder tried {len(self.rates)} rates: {said}")

    def _suggest(self) -> float | None:
        """The rate in the middle of the steepest fall over a tenth of the steps (costs of single batches are noisy)."""
        # Only the last cost can be infinite or NaN, since the search ends there: indices still agree with self.rates.
        smooth = [cost for cost in self.smoothed() if math.isfinite(cost)]
        reach = max(2, self.steps // 20)
        middles = range(2 * reach, len(smooth) - reach)  # the first averages are of few batches
        falls = {middle: smooth[middle - reach] - smooth[middle + reach] for middle in middles}
        steepest = max(falls, key=falls.__getitem__, default=None)
        return None if steepest is None or falls[steepest] <= 0 else self.rates[steepest]

    def _plot(self, path: Path) -> None:
        # Without pyplot, whose global state is the user's, and which opens a window system.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.plot(self.rates, self.costs, alpha=0.3, label=self._cost)
        axes.plot(self.rates, self.smoothed(), label="smoothed")
        axes.set_xscale("log")
        axes.set_xlabel(self.param)
        if self.suggestion is not None:
            axes.axvline(self.suggestion, color="black", linestyle=":", label=f"suggestion {self.suggestion:.2g}")
        axes.legend()
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path, durable=False) as beside:
            figure.savefig(beside)
