"""The variables that training itself keeps, and the names of all that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from flowtrain.model.graph import ModelGraph
from flowtrain.model.internals import optimizer_slots
from flowtrain.model.objectives import Objective
from flowtrain.utils.errors import CheckpointError, ConfigError, TensorNameError, closest

__all__ = ["RunVariables", "StepVariables", "Variable", "assign", "local_variable", "optimizer_names"]

Variable: TypeAlias = "keras.Variable | tf.Variable"

DECAY = 0.95  # of moving averages
_NEVER = tf.int64.max
_FIRST_SCALE, _GROW_AFTER = 2.0**15, 2000
_STARVED = 40  # skipped updates in a row: after 15 the loss scale has come down to 1, its least value


class StepVariables:
    """What the step function keeps from step to step besides the model.

    Args:
        averaged: Names of the scalars that have a moving average.
        objectives: The model's, for gradient accumulation.
        accumulate: Steps per update.
        loss_scaling: Whether gradients are made of a scaled loss (float16).
    """

    def __init__(
        self, averaged: Sequence[str], objectives: Mapping[str, Objective], accumulate: int, loss_scaling: bool
    ) -> None:
        self.averaged = list(averaged)
        self.global_step = tf.Variable(tf.constant(0, tf.int64), trainable=False, name="global_step")
        self.bad_step = tf.Variable(tf.constant(_NEVER, tf.int64), trainable=False, name="bad_step")
        self.averages = tf.Variable(tf.zeros([len(self.averaged)]), trainable=False, name="moving_averages")
        self.loss_scale: tf.Variable | None = None
        if loss_scaling:
            self.loss_scale = tf.Variable(tf.constant(_FIRST_SCALE), trainable=False, name="loss_scale")
            self._good_steps = tf.Variable(tf.constant(0, tf.int64), trainable=False, name="good_steps")
            # of each objective: updates skipped in a row, now and at most; not saved, as it says nothing about the run
            zeros = tf.zeros([len(objectives), 2], tf.int64)
            self._skipped = tf.Variable(zeros, trainable=False, name="skipped_updates")
            self._objectives = list(objectives)
            # of each objective: which gradients were finite in the last step, in the order of its variables
            self._finite = {
                name: (
                    list(objective.variables),
                    tf.Variable(tf.ones([len(objective.variables)], tf.bool), trainable=False),
                )
                for name, objective in objectives.items()
            }
        self._accumulators: dict[str, dict[str, tf.Variable]] = {}
        if accumulate > 1:
            for objective in objectives.values():
                self._accumulators[objective.name] = {
                    name: tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False)
                    for name, variable in objective.variables.items()
                }

    def accumulators(self, objective: Objective) -> dict[int, tf.Variable]:
        """The sums of gradients of one objective, by the identity of the variable they belong to."""
        sums = self._accumulators[objective.name]
        return {id(variable): sums[name] for name, variable in objective.variables.items()}

    def named(self) -> dict[str, tf.Variable]:
        """All by the names they have in a checkpoint."""
        found = {"global_step": self.global_step}
        if self.averaged:
            found["training/moving_averages"] = self.averages
        if self.loss_scale is not None:
            found["training/loss_scale"] = self.loss_scale
            found["training/good_steps"] = self._good_steps
        return {**found, **self.accumulated()}

    def accumulated(self) -> dict[str, tf.Variable]:
        """The sums of gradients since the last update, by the names they have in a checkpoint."""
        return {
            f"training/accumulated/{objective}/{name}": variable
            for objective, sums in self._accumulators.items()
            for name, variable in sums.items()
        }

    # ------------------------------------------------------------------ traced into the step

    def finish_step(
        self, costs: Mapping[str, tf.Tensor], scalars: Mapping[str, tf.Tensor], updated: Sequence[tf.Tensor]
    ) -> None:
        """Count the step, note a cost that is not finite, and move the averages.

        Args:
            costs: The costs of the step.
            scalars: The scalars that have a moving average.
            updated: What has to be there before the step counts: when an operation fails, the count tells where.
        """
        with tf.control_dependencies(updated):
            step = self.global_step.assign_add(1)
        total = tf.add_n(list(costs.values()))  # one operation for the usual one cost; NaN and infinity survive it
        this = tf.where(tf.math.is_finite(total), _NEVER, step)
        self.bad_step.assign(tf.minimum(self.bad_step, this))
        if self.averaged:
            known = {**scalars, **costs}
            now = tf.stack([tf.cast(known[name], tf.float32) for name in self.averaged])
            self.averages.assign_sub((self.averages - now) * (1.0 - DECAY))

    def adjust_loss_scale(self, objective: str, finite: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Halve the loss scale after gradients that overflowed, double it after many that did not.

        Args:
            objective: The name of the cost whose gradients they are.
            finite: Name of a variable -> whether its gradient did not overflow.

        Returns:
            Whether all did not.
        """
        all_finite = tf.reduce_all(list(finite.values()))
        scale, good = self.loss_scale, self._good_steps
        if scale is None:
            return all_finite
        grown = tf.logical_and(all_finite, good + 1 >= _GROW_AFTER)
        factor = tf.where(all_finite, tf.where(grown, 2.0, 1.0), 0.5)
        scale.assign(tf.clip_by_value(scale * factor, 1.0, 2.0**24))
        good.assign(tf.where(tf.logical_and(all_finite, tf.logical_not(grown)), good + 1, tf.zeros_like(good)))
        row = self._objectives.index(objective)
        now = tf.where(all_finite, tf.constant(0, tf.int64), self._skipped[row, 0] + 1)
        self._skipped[row].assign(tf.stack([now, tf.maximum(now, self._skipped[row, 1])]))
        names, flags = self._finite[objective]
        here = tf.stack([finite.get(name, tf.constant(True)) for name in names])
        flags.assign(tf.where(now >= _STARVED, here, flags))
        return all_finite

    # ------------------------------------------------------------------ read by the trainer

    def steps_done(self) -> int:
        """How many steps the device has done: more than were counted, when one of several in a call failed."""
        return int(self.global_step.numpy())

    def first_bad_step(self) -> int | None:
        """The first step whose cost was not finite. Waits for the device."""
        step = int(self.bad_step.numpy())
        return None if step == _NEVER else step

    def starved(self) -> list[str]:
        """The variables whose gradients were not finite so often in a row that no loss scale helps."""
        if self.loss_scale is None:
            return []
        longest = self._skipped.numpy()[:, 1]
        objective = next((name for name, n in zip(self._objectives, longest, strict=True) if n >= _STARVED), None)
        if objective is None:
            return []
        names, flags = self._finite[objective]
        return [name for name, fine in zip(names, flags.numpy(), strict=True) if not fine]

    def read_averages(self) -> dict[str, float]:
        """The moving averages without their bias towards the zero they started from.

        After t steps the weights of the values seen sum up to 1 - decay**t (Kingma and Ba, "Adam", ICLR 2015,
        section 3): dividing by it gives a mean.
        """
        steps = int(self.global_step.numpy())
        if not self.averaged or steps == 0:
            return {}
        values = self.averages.numpy() / (1.0 - DECAY**steps)
        return {name: float(value) for name, value in zip(self.averaged, values, strict=True)}


class RunVariables:
    """All variables of a run by readable name: the model's, the optimizers', training's own, callbacks'.

    Args:
        graph: The ModelGraph.
        step: Training's own.
    """

    def __init__(self, graph: ModelGraph, step: StepVariables) -> None:
        self._all: dict[str, Variable] = {**graph.store.variables, **optimizer_names(graph.objectives), **step.named()}
        self._all.update({f"training/{name}": variable for name, variable in graph.metrics.variables().items()})

    def add(self, variables: Mapping[str, Variable]) -> None:
        """Take in more, under names that are not taken."""
        for name, variable in variables.items():
            if name in self._all:
                raise CheckpointError(f"there is a variable named {name!r} in this run already")
            self._all[name] = variable

    def names(self) -> list[str]:
        """All names."""
        return list(self._all)

    def find(self, name: str) -> Variable:
        """The variable of a name; that of the only optimizer without ``optimizer/``.

        Raises:
            TensorNameError: There is none; names the nearest.
        """
        for candidate in (name, f"optimizer/{name}"):
            if candidate in self._all:
                return self._all[candidate]
        raise TensorNameError(f"there is no variable named {name!r}. {closest(name, list(self._all))}")

    def set(self, name: str, value: np.ndarray | float) -> None:
        """Assign one, in the scope of the run's strategy.

        Raises:
            TensorNameError: There is none; names the nearest.
            ConfigError: The value has another shape.
        """
        variable = self.find(name)
        if tuple(np.shape(value)) != tuple(variable.shape):
            raise ConfigError(f"variable {name!r} has shape {tuple(variable.shape)}, the value {np.shape(value)}")
        assign(variable, value)

    def snapshot(self) -> dict[str, tf.Tensor]:
        """The present values. They stay as they are when training goes on: TensorFlow copies on write."""
        return {name: local_variable(variable).read_value() for name, variable in self._all.items()}

    def restore(self, values: Mapping[str, np.ndarray], source: str) -> None:
        """Assign all.

        Raises:
            CheckpointError: Names or shapes differ; lists the missing, the unexpected and the misshapen.
        """
        missing = sorted(set(self._all) - set(values))
        unexpected = sorted(set(values) - set(self._all))
        misshapen = [
            f"{name} {values[name].shape} instead of {tuple(variable.shape)}"
            for name, variable in self._all.items()
            if name in values and values[name].shape != tuple(variable.shape)
        ]
        if missing or unexpected or misshapen:
            parts = [
                f"{title}: {', '.join(names[:10])}{f' and {len(names) - 10} more' if len(names) > 10 else ''}"
                for title, names in (("missing", missing), ("unexpected", unexpected), ("other shape", misshapen))
                if names
            ]
            raise CheckpointError(
                f"{source} is the checkpoint of another model or another TrainConfig. {'; '.join(parts)}. "
                "To start from its weights alone: TrainConfig(weights=...) in a new log folder."
            )
        for name, variable in self._all.items():
            assign(variable, values[name])


def assign(variable: Variable, value: object) -> None:
    """Give a variable a value, on all replicas."""
    raw = variable.value if isinstance(variable, keras.Variable) else variable
    raw.assign(tf.cast(tf.convert_to_tensor(value), raw.dtype))


def optimizer_names(objectives: Mapping[str, Objective]) -> dict[str, Variable]:
    """Readable names for what optimizers keep: ``optimizer/momentum/conv1/kernel``.

    With several optimizers: ``optimizer/<cost>/momentum/conv1/kernel``.
    """
    found: dict[str, Variable] = {}
    for objective in objectives.values():
        prefix = "optimizer" if len(objectives) == 1 else f"optimizer/{objective.name}"
        for name, variable in optimizer_slots(objective.optimizer, objective.variables):
            full, count = f"{prefix}/{name}", 1
            while full in found:
                count += 1
                full = f"{prefix}/{name}_{count}"
            found[full] = variable
    return found


def local_variable(variable: Variable) -> tf.Variable:
    """The copy of a variable that the first replica of this process has."""
    raw = variable.value if isinstance(variable, keras.Variable) else variable
    if isinstance(raw, tf.distribute.DistributedValues) and raw.synchronization != tf.VariableSynchronization.ON_READ:
        return tf.distribute.get_strategy().experimental_local_results(raw)[0]
    return raw
