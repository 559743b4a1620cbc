"""When several steps are worth running in one call."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flowtrain.model.graph import ModelGraph

from .config import TrainConfig
from .devices import part

__all__ = ["block_capacity"]

_STEPS = 32
_BATCH_BYTES, _BLOCK_BYTES = 1 << 20, 8 << 20
_WORK = {"CPU": 1e8, "GPU": 1e11}  # floating point operations of a step whose calling still matters


def block_capacity(arrays: Sequence[np.ndarray], graph: ModelGraph, config: TrainConfig) -> int:
    """How many batches to stack for one call; 0: none, each batch goes on its own, without a copy.

    It depends on the model and the first batch alone, never on timing: a resumed run must decide alike.

    Args:
        arrays: The first batch.
        graph: The ModelGraph.
        config: Its ``steps_per_call`` is obeyed.
    """
    if config.strategy is not None and part(config.strategy)[1] > 1:
        return 0  # workers must call TensorFlow alike: it numbers exchanges within each call
    if config.steps_per_call is not None:
        return 0 if config.steps_per_call == 1 else config.steps_per_call
    size = sum(array.nbytes for array in arrays)
    if size > _BATCH_BYTES or _has_convolutions(graph.build_tower.graph):
        return 0  # such a step takes milliseconds, and XLA runs convolutions in loops on one thread
    rows = arrays[0].shape[0] if arrays[0].ndim else 1
    parameters = sum(math.prod(variable.shape) for variable in graph.store.trainable.values())
    # A forward pass is 2 operations for each weight and row, the backward pass twice that.
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if 6.0 * rows * parameters > _WORK[kind]:
        return 0
    return max(1, min(_STEPS, _BLOCK_BYTES // max(size, 1)))


def _has_convolutions(graph: tf.Graph) -> bool:
    return any(
        op.type.startswith(("Conv2D", "Conv3D", "DepthwiseConv", "While", "StatelessWhile"))
        for op in graph.get_operations()
    )
