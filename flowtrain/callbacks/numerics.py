"""Finding where numbers stop being numbers."""

from __future__ import annotations

import logging
from typing import Any

from flowtrain.model.tower import TowerContext
from flowtrain.utils.errors import TrainingError

from .base import Callback
from .periodic import check_period, next_multiple

__all__ = ["CheckNumerics"]

logger = logging.getLogger("flowtrain.callbacks")

# what takes part in no computation; variables are looked at after their update
_SOURCES = {"Const", "Fill", "Placeholder", "ReadVariableOp"}


class CheckNumerics(Callback):
    """Names the first tensor of the graph that is not finite, when something that matters is not.

    What matters are the named tensors (inputs, outputs of layers, costs, summaries) and the updated variables.
    When one of them is not finite, the first such output of any operation is named, in the order of
    ``build_graph``. The check is made on the device in each step; its verdict is read now and then, and when
    training fails. It reads every tensor once more: use it to find a fault, not always.

    Args:
        every_k_steps: How often to look at the verdict.

    Example:
        >>> CheckNumerics()
        CheckNumerics
    """

    def __init__(self, every_k_steps: int = 100) -> None:
        check_period(self, "every_k_steps", every_k_steps)
        self.every_k_steps = every_k_steps
        super().__init__()

    def reset(self) -> None:
        self._names: list[str] = []
        self._began: int | None = None

    def setup_graph(self) -> None:
        """Put the check into the step."""
        import tensorflow as tf

        graph = self.trainer.graph
        operations = graph.build_tower.graph.get_operations()
        forward = [op.name for op in operations if op.outputs and op.type not in _SOURCES]
        self._found = tf.Variable(tf.constant([-1, 0], tf.int64), trainable=False, name="first_not_finite")

        def check(tower: TowerContext) -> None:
            tensors = _forward_tensors(tower, forward)
            vital = {id(tensor) for tensor in tower.tensors.values()}
            for name, variable in graph.store.variables.items():
                tensors[f"the variable {name!r}"] = value = tf.convert_to_tensor(variable)
                vital.add(id(value))
            here = tf.compat.v1.get_default_graph()  # XLA on several replicas hides what is inside a step
            tensors = {
                what: tensor
                for what, tensor in tensors.items()
                if tensor.dtype.is_floating and getattr(tensor, "graph", here) is here
            }
            self._names = list(tensors)
            fine = tf.stack([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors.values()])
            matters = tf.constant([id(tensor) in vital for tensor in tensors.values()])
            trouble = tf.reduce_any(tf.logical_and(matters, tf.logical_not(fine)))
            first = tf.where(trouble, tf.argmin(tf.cast(fine, tf.int32)), tf.constant(-1, tf.int64))
            found, steps = tf.unstack(self._found.read_value())
            self._found.assign(tf.stack([tf.where(found >= 0, found, first), steps + tf.cast(found < 0, tf.int64)]))

        self.trainer.add_to_step(check)

    def before_train(self) -> None:
        if self._began is None:
            self._began = self.global_step

    def trigger_step(self) -> None:
        self.trigger()

    def trigger(self) -> None:
        """Look at the verdict.

        Raises:
            TrainingError: Something was not finite; names it and the step.
        """
        message = self._verdict()
        if message is not None:
            raise TrainingError(message)

    def after_train(self) -> None:
        """Say where a cost that is not finite, which the trainer has noticed, came from."""
        message = self._verdict()
        if message is not None:
            logger.error("CheckNumerics: %s", message)

    def next_step(self) -> float:
        return next_multiple(self.global_step, self.every_k_steps)

    def _verdict(self) -> str | None:
        index, steps = (int(number) for number in self._found.numpy())
        if index < 0:
            return None
        step = (self._began or 0) + steps
        return f"{self._names[index]} is not finite at step {step}; it is the first one in the order of the graph."


def _forward_tensors(tower: TowerContext, operations: list[str]) -> dict[str, Any]:
    """The outputs of build_graph's operations in their order, then other named tensors."""
    there = {op.name for op in tower.graph.get_operations()} if operations else set()
    found = {f"the tensor {name!r}": tower.tensor(name) for name in operations if tower.prefix + name in there}
    seen = {id(tensor) for tensor in found.values()}
    rest = {f"the tensor {name!r}": tensor for name, tensor in tower.tensors.items() if id(tensor) not in seen}
    return {**found, **rest}
