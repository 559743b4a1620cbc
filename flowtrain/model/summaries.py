"""Summaries: numbers, pictures and histograms that ``build_graph`` wants to have shown."""

from __future__ import annotations

import tensorflow as tf

from flowtrain.utils.errors import ModelError

from .tower import get_current_tower_context
from .variables import check_name

__all__ = ["add_image_summary", "add_moving_summary"]


def add_moving_summary(*tensors: tf.Tensor) -> None:
    """Show scalars as moving averages over the steps of training.

    Each is known by the name of its operation, so name what matters: ``tf.reduce_mean(error, name="l2_loss")``. The
    averages are kept on the device and read when due. They have a decay of 0.95 and no bias towards zero.

    Args:
        *tensors: Scalars of any real dtype.

    Raises:
        ModelError: Not a scalar of this graph.

    Example:
        >>> add_moving_summary(cost, accuracy)  # doctest: +SKIP
    """
    tower = get_current_tower_context()
    for tensor in tensors:
        name = tower.name_of_tensor(tensor, "add_moving_summary")
        if tensor.shape.rank != 0:
            raise ModelError(f"add_moving_summary takes scalars; {name!r} has shape {tensor.shape}. Reduce it first.")
        if tensor.dtype.is_complex or tensor.dtype == tf.string:
            raise ModelError(f"add_moving_summary takes numbers; {name!r} is {tensor.dtype.name}.")
        tower.scalars[name] = tensor if tensor.dtype == tf.float32 else tf.cast(tensor, tf.float32)
        tower.add_tensor(name, tensor)


def add_image_summary(name: str, images: tf.Tensor, max_outputs: int = 3) -> None:
    """Show pictures of the latest batch.

    Args:
        name: What they are called.
        images: (N, H, W, C) with 1, 3 or 4 channels; uint8, or floats in [0, 1].
        max_outputs: How many of the batch to show.

    Raises:
        ModelError: Not such a tensor.

    Example:
        >>> add_image_summary("colorized", rgb, max_outputs=10)  # doctest: +SKIP
    """
    tower = get_current_tower_context()
    check_name(name, "image summary")
    if name in tower.images:
        raise ModelError(f"There are two image summaries named {name!r}.")
    if not tf.is_tensor(images) or images.shape.rank != 4 or images.shape[-1] not in (1, 3, 4):
        shape = images.shape if tf.is_tensor(images) else f"{images!r:.60}"
        raise ModelError(f"add_image_summary({name!r}) takes pictures (N, H, W, 1, 3 or 4), got {shape}.")
    if images.dtype != tf.uint8 and not images.dtype.is_floating:
        raise ModelError(f"add_image_summary({name!r}) takes uint8 or floats in [0, 1], got {images.dtype.name}.")
    if images.dtype.is_floating and images.dtype != tf.float32:
        images = tf.cast(images, tf.float32)
    tower.images[name] = tf.identity(images[:max_outputs], name=f"image_summary/{name}")
