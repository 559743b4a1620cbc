"""CheckNumerics: finds the first operation of a step whose output is NaN or infinite."""

from __future__ import annotations

import logging
from typing import Any

from flowtrain.model.tower import TowerContext
from flowtrain.utils.arguments import check_int, if_given
from flowtrain.utils.errors import TrainingError

from .base import Callback
from .periodic import next_multiple

__all__ = ["CheckNumerics"]

logger = logging.getLogger("flowtrain.callbacks")

# Operations that compute nothing: not checked as tensors. Variables are checked after their update instead.
_SOURCES = {"Const", "Fill", "Placeholder", "ReadVariableOp"}


class CheckNumerics(Callback):
    """Stops training with the name of the first tensor that is NaN or infinite.

    It stops when a named tensor (an input, a layer's output, a cost, a summary) or an updated variable is not finite;
    infinities in between that do no harm (a mask of -inf) do not count. The error names the first operation, in the
    order of ``build_graph``, whose output is not finite. The device checks in every step; the result is read at every
    k-th step, and when training fails. All tensors are read once more: use it to find a fault, not in every training.

    Args:
        every_k_steps: k.

    Example:
        >>> CheckNumerics()
        CheckNumerics
    """

    def __init__(self, every_k_steps: int = 100) -> None:
        if_given(check_int, type(self).__name__, "every_k_steps", every_k_steps)
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
        # [index of the first tensor that is not finite or -1, number of steps up to and with that one]. A variable and
        # not a fetched tensor: fused steps have no fetches, and the first bad step must be kept until it is read.
        self._found = tf.Variable(tf.constant([-1, 0], tf.int64), trainable=False, name="first_not_finite")

        def check(tower: TowerContext) -> None:
            tensors = _forward_tensors(tower, forward)
            vital = {id(tensor) for tensor in tower.tensors.values()}
            for name, variable in graph.store.variables.items():
                tensors[f"the variable {name!r}"] = value = tf.convert_to_tensor(variable)
                vital.add(id(value))
            # With XLA on several replicas the forward pass is traced into a graph of its own, whose tensors cannot be
            # used here: only the variables are checked then.
            here = tf.compat.v1.get_default_graph()
            tensors = {
                what: tensor
                for what, tensor in tensors.items()
                if tensor.dtype.is_floating and getattr(tensor, "graph", here) is here
            }
            self._names = list(tensors)
            fine = tf.stack([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors.values()])
            matters = tf.constant([id(tensor) in vital for tensor in tensors.values()])
            trouble = tf.reduce_any(tf.logical_and(matters, tf.logical_not(fine)))
            # argmin of booleans: the index of the first False
            first = tf.where(trouble, tf.argmin(tf.cast(fine, tf.int32)), tf.constant(-1, tf.int64))
            found, steps = tf.unstack(self._found.read_value())
            self._found.assign(tf.stack([tf.where(found >= 0, found, first), steps + tf.cast(found < 0, tf.int64)]))

        self.trainer.add_to_step(check)

    def before_train(self) -> None:
        # The variable counts the steps since it was made: a resumed run begins at another global step than 0, and
        # train() called again goes on counting.
        if self._began is None:
            self._began = self.global_step

    def trigger_step(self) -> None:
        self.trigger()

    def trigger(self) -> None:
        """Read the result of the checks so far.

        Raises:
            TrainingError: A value was not finite; names the tensor and the step.
        """
        message = self._verdict()
        if message is not None:
            raise TrainingError(message)

    def after_train(self) -> None:
        """Log the result, if training ended (by the trainer's own check of the cost) before it was read."""
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
    """Name for errors -> tensor: the outputs of build_graph's operations in their order, then other named tensors."""
    there = {op.name for op in tower.graph.get_operations()} if operations else set()
    found = {f"the tensor {name!r}": tower.tensor(name) for name in operations if tower.prefix + name in there}
    seen = {id(tensor) for tensor in found.values()}
    rest = {f"the tensor {name!r}": tensor for name, tensor in tower.tensors.items() if id(tensor) not in seen}
    return {**found, **rest}
