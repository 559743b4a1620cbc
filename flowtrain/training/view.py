"""What users and callbacks read of a run, and set in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.model import ModelGraph
from flowtrain.model.store import read_value
from flowtrain.monitors import Monitors
from flowtrain.utils.errors import ConfigError

from . import devices
from .hooks import CallbackList
from .progress import Progress
from .variables import RunVariables, StepVariables, assign

__all__ = ["RunView"]


class RunView:
    """The readable side of a trainer.

    Attributes:
        graph: The ModelGraph.
        monitors: Where numbers go.
        progress: The counts of epochs and steps.
        strategy: The ``tf.distribute.Strategy``.
        variables: All variables by name.
    """

    graph: ModelGraph
    monitors: Monitors
    progress: Progress
    strategy: tf.distribute.Strategy
    variables: RunVariables
    _callbacks: CallbackList
    _step_variables: StepVariables

    @property
    def epoch_num(self) -> int:
        """The epoch under way, from 1."""
        return self.progress.epoch

    @property
    def global_step(self) -> int:
        """How many steps are done, over all epochs."""
        return self.progress.global_step

    @property
    def local_step(self) -> int:
        """How many steps of this epoch are done."""
        return self.progress.local_step

    @property
    def workers(self) -> int:
        """How many processes train together."""
        return devices.part(self.strategy)[1]

    @property
    def callbacks(self) -> CallbackList:
        """All callbacks of the run, in order."""
        return self._callbacks

    @property
    def history(self) -> Mapping[str, Sequence[tuple[int, float]]]:
        """Every scalar that was logged: name -> list of (step, value)."""
        return self.monitors.history

    def get_weights(self) -> dict[str, np.ndarray]:
        """All variables of the model by readable name, as copies."""
        return self.graph.store.get_weights()

    def get_predictor(self, inputs: Sequence[str], outputs: Sequence[str]) -> Callable[..., list[Any]]:
        """A function over named tensors that runs on the live weights.

        Args:
            inputs: Names of the inputs it takes, by position or by name.
            outputs: Names of the tensors it returns, as a list of arrays; ``NAME_crop32`` is NAME without 32 pixels on
                each side.

        Raises:
            TensorNameError: An unknown name; lists the nearest.
            ModelError: An output needs an input that is not given.
        """
        return self.graph.predictor(inputs, outputs)

    def variable_names(self) -> list[str]:
        """All names that get_variable takes."""
        return self.variables.names()

    def get_variable(self, name: str) -> np.ndarray:
        """The present value of a variable: the model's, ``optimizer/...``, or one that a callback added.

        Raises:
            TensorNameError: There is none; names the nearest.
        """
        return np.array(read_value(self.variables.find(name)))

    def set_variable(self, name: str, value: Any) -> None:
        """Give a variable a new value, which the next step sees.

        Raises:
            TensorNameError: There is none; names the nearest.
            ConfigError: The value has another shape.
        """
        variable = self.variables.find(name)
        if tuple(np.shape(value)) != tuple(variable.shape):
            raise ConfigError(f"variable {name!r} has shape {tuple(variable.shape)}, the value {np.shape(value)}")
        with self.strategy.scope():
            assign(variable, value)

    def moving_averages(self) -> dict[str, float]:
        """Moving averages of all ``add_moving_summary`` scalars and the cost, read from the device now.

        Scalar variables made with ``summary=True`` are shown as they are; in float16 training the loss scale too.
        """
        values = self._step_variables.read_averages()
        for name, variable in self.graph.store.summary_scalars.items():
            values[name] = float(read_value(variable))
        if self._step_variables.loss_scale is not None:
            values["loss_scale"] = float(self._step_variables.loss_scale.numpy())
        return values

    def image_names(self) -> dict[str, str]:
        """Summary name -> tensor name of all image summaries."""
        return {name: f"image_summary/{name}" for name in self.graph.build_tower.images}

    def histogram_names(self) -> dict[str, str]:
        """Summary name -> tensor name of all histogram summaries."""
        return {name: f"histogram_summary/{name}" for name in self.graph.build_tower.histograms}
