"""The variables of training itself (step number, averages, loss scale, gradient sums), and the names of all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from flowtrain.model.graph import ModelGraph
from flowtrain.model.internals import optimizer_slots
from flowtrain.model.objectives import Objective
from flowtrain.utils.errors import CheckpointError, ConfigError, TensorNameError, closest, first_few

__all__ = ["RunVariables", "StepVariables", "Variable", "assign", "local_variable", "optimizer_names"]

Variable: TypeAlias = "keras.Variable | tf.Variable"

DECAY = 0.95  # of moving averages
_NEVER = tf.int64.max
_FIRST_SCALE, _GROW_AFTER = 2.0**15, 2000  # of the loss scale: its first value, and the good steps before it doubles
_STARVED = 40  # skipped updates in a row: after 15 the loss scale has come down to 1, its least value


class StepVariables:
    """Variables that the compiled step keeps besides the model's: step number, averages, loss scale, gradient sums.

    They are variables, so that a step needs no Python and its values stay on the device until somebody reads them.

    Args:
        averaged: Names of the scalars that have a moving average.
        objectives: The model's objectives by name, whose gradients are summed and tested.
        accumulate: Steps per update.
        loss_scaling: Whether gradients are those of a scaled loss (float16).
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
            # (objectives, 2): updates skipped in a row, now and at most. Not saved: a resumed run may count anew.
            zeros = tf.zeros([len(objectives), 2], tf.int64)
            self._skipped = tf.Variable(zeros, trainable=False, name="skipped_updates")
            self._objectives = list(objectives)
            # Objective -> names of its variables, and which of their gradients were finite when it starved.
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
        """The sums of gradients of one objective, by the ``id`` of their variable (``==`` of variables is by value)."""
        sums = self._accumulators[objective.name]
        return {id(variable): sums[name] for name, variable in objective.variables.items()}

    def named(self) -> dict[str, tf.Variable]:
        """Name in a checkpoint -> variable, of those that are saved."""
        found = {"global_step": self.global_step}
        if self.averaged:
            found["training/moving_averages"] = self.averages
        if self.loss_scale is not None:
            found["training/loss_scale"] = self.loss_scale
            found["training/good_steps"] = self._good_steps
        return {**found, **self.accumulated()}

    def accumulated(self) -> dict[str, tf.Variable]:
        """Name in a checkpoint -> sum of gradients since the last update."""
        return {
            f"training/accumulated/{objective}/{name}": variable
            for objective, sums in self._accumulators.items()
            for name, variable in sums.items()
        }

    # ------------------------------------------------------------------ traced into the step

    def finish_step(
        self, costs: Mapping[str, tf.Tensor], scalars: Mapping[str, tf.Tensor], updated: Sequence[tf.Tensor]
    ) -> None:
        """Count the step, note the first cost that is not finite, and update the moving averages.

        Args:
            costs: The costs of the step by name.
            scalars: The scalars that have a moving average.
            updated: Tensors that must be computed before the step counts, so that after an error of an operation the
                count says in which step it was.
        """
        with tf.control_dependencies(updated):
            step = self.global_step.assign_add(1)
        # The step of the first bad cost stays in a variable: reading each cost would make Python wait for each step.
        total = tf.add_n(list(costs.values()))  # one operation for the usual one cost; NaN and infinity survive it
        this = tf.where(tf.math.is_finite(total), _NEVER, step)
        self.bad_step.assign(tf.minimum(self.bad_step, this))
        if self.averaged:
            known = {**scalars, **costs}
            now = tf.stack([tf.cast(known[name], tf.float32) for name in self.averaged])
            self.averages.assign_sub((self.averages - now) * (1.0 - DECAY))

    def adjust_loss_scale(self, objective: str, finite: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Dynamic loss scaling: halve the scale after an overflow, double it after 2000 steps without one.

        The scale stays between 1 and 2**24.

        Args:
            objective: The name of the cost whose gradients are tested.
            finite: Name of a variable -> bool tensor: whether its gradient is finite.

        Returns:
            Bool tensor: whether all gradients are finite.
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
        """How many steps the device has done: more than `Progress` counts if one of several in a call failed."""
        return int(self.global_step.numpy())

    def first_bad_step(self) -> int | None:
        """The first step whose cost was not finite, or None. Waits for the device."""
        step = int(self.bad_step.numpy())
        return None if step == _NEVER else step

    def starved(self) -> list[str]:
        """Names of the variables whose gradients kept an objective from 40 updates in a row; empty if none was.

        By then the loss scale is 1, so a smaller one does not help. Waits for the device.
        """
        if self.loss_scale is None:
            return []
        longest = self._skipped.numpy()[:, 1]
        objective = next((name for name, n in zip(self._objectives, longest, strict=True) if n >= _STARVED), None)
        if objective is None:
            return []
        names, flags = self._finite[objective]
        return [name for name, fine in zip(names, flags.numpy(), strict=True) if not fine]

    def read_averages(self) -> dict[str, float]:
        """The moving averages by name, without the bias towards the zero that they start from. Waits for the device.

        After t steps the weights of the values sum up to 1 - decay**t (Kingma and Ba, "Adam", ICLR 2015, section 3):
        dividing by it gives a mean.
        """
        steps = int(self.global_step.numpy())
        if not self.averaged or steps == 0:
            return {}
        values = self.averages.numpy() / (1.0 - DECAY**steps)
        return {name: float(value) for name, value in zip(self.averaged, values, strict=True)}


class RunVariables:
    """All variables of a run by readable name: of the model, the optimizers, training itself, metrics and callbacks.

    Args:
        graph: The built model.
        step: The variables of training itself.
    """

    def __init__(self, graph: ModelGraph, step: StepVariables) -> None:
        self._all: dict[str, Variable] = {**graph.store.variables, **optimizer_names(graph.objectives), **step.named()}
        self._all.update({f"training/{name}": variable for name, variable in graph.metrics.variables().items()})

    def add(self, variables: Mapping[str, Variable]) -> None:
        """Add variables of a callback.

        Raises:
            CheckpointError: A name is taken.
        """
        for name, variable in variables.items():
            if name in self._all:
                raise CheckpointError(f"there is a variable named {name!r} in this run already")
            self._all[name] = variable

    def names(self) -> list[str]:
        """The names of all variables."""
        return list(self._all)

    def find(self, name: str) -> Variable:
        """The variable of a name. A variable of the only optimizer is also found without ``optimizer/``.

        Raises:
            TensorNameError: There is none; names the nearest.
        """
        for candidate in (name, f"optimizer/{name}"):
            if candidate in self._all:
                return self._all[candidate]
        raise TensorNameError(f"there is no variable named {name!r}. {closest(name, list(self._all))}")

    def set(self, name: str, value: np.ndarray | float) -> None:
        """Assign a value to a variable. Call it in the scope of the run's strategy.

        Raises:
            TensorNameError: There is none; names the nearest.
            ConfigError: The value has another shape.
        """
        variable = self.find(name)
        if tuple(np.shape(value)) != tuple(variable.shape):
            raise ConfigError(f"variable {name!r} has shape {tuple(variable.shape)}, the value {np.shape(value)}")
        assign(variable, value)

    def snapshot(self) -> dict[str, tf.Tensor]:
        """Name -> tensor of the present value, which later steps do not change: TensorFlow copies on write."""
        return {name: local_variable(variable).read_value() for name, variable in self._all.items()}

    def restore(self, values: Mapping[str, np.ndarray], source: str) -> None:
        """Assign all variables, after checking that names and shapes agree. Call it in the scope of the strategy.

        Args:
            values: Name -> array.
            source: Where the values are from, for messages.

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
                f"{title}: {first_few(names, 10)}"
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
    """Assign a value, cast to the variable's dtype, on all replicas."""
    raw = variable.value if isinstance(variable, keras.Variable) else variable
    raw.assign(tf.cast(tf.convert_to_tensor(value), raw.dtype))


def optimizer_names(objectives: Mapping[str, Objective]) -> dict[str, Variable]:
    """Readable name -> variable of the optimizers: ``optimizer/momentum/conv1/kernel``, ``optimizer/learning_rate``.

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
    """The copy of a variable on the first replica of this process.

    A variable that is synchronised ON_READ has another value on each replica, which reading it as a whole combines:
    it is returned as it is.
    """
    raw = variable.value if isinstance(variable, keras.Variable) else variable
    if isinstance(raw, tf.distribute.DistributedValues) and raw.synchronization != tf.VariableSynchronization.ON_READ:
        return tf.distribute.get_strategy().experimental_local_results(raw)[0]
    return raw
