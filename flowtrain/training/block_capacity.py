"""Block capacity: how many small batches are stacked so that their steps run in one call of TensorFlow."""

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
_BATCH_BYTES, _BLOCK_BYTES = 1 << 20, 8 << 20  # larger batches are spared the copy that stacking is
_WORK = {"CPU": 1e8, "GPU": 1e11}  # a step of more floating point operations takes so long that calling it is for free


def block_capacity(arrays: Sequence[np.ndarray], graph: ModelGraph, config: TrainConfig) -> int:
    """The number of batches to stack in a block; 0: do not stack, hand over each batch alone and without a copy.

    It depends on the model and the first batch only, never on timing, so that a resumed run decides alike.

    Args:
        arrays: The first batch.
        graph: The built model.
        config: If its ``steps_per_call`` is set, that decides.
    """
    if config.strategy is not None and part(config.strategy)[1] > 1:
        # TensorFlow matches the workers' exchanges (all-reduces) by their number within a call. How many steps share a
        # call depends on each worker's clock, so calls of several steps would match the wrong exchanges.
        return 0
    if config.steps_per_call is not None:
        return 0 if config.steps_per_call == 1 else config.steps_per_call
    size = sum(array.nbytes for array in arrays)
    if size > _BATCH_BYTES or _has_convolutions(graph.build_tower.graph):
        return 0  # such a step takes milliseconds, and inside a loop XLA runs convolutions on one thread
    rows = arrays[0].shape[0] if arrays[0].ndim else 1
    parameters = sum(math.prod(variable.shape) for variable in graph.store.trainable.values())
    # Dense layers: a forward pass is 2 operations for each weight and row, the backward pass twice that.
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if 6.0 * rows * parameters > _WORK[kind]:
        return 0
    return max(1, min(_STEPS, _BLOCK_BYTES // max(size, 1)))


def _has_convolutions(graph: tf.Graph) -> bool:
    return any(
        op.type.startswith(("Conv2D", "Conv3D", "DepthwiseConv", "While", "StatelessWhile"))
        for op in graph.get_operations()
    )
