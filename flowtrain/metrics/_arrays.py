"""Helpers of the picture metrics: validation, mean and logarithm for NumPy arrays and tensors alike."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np

from flowtrain.utils.errors import ConfigError

__all__ = ["Array", "check_range", "is_tensor", "log10", "mean", "picture_pair"]

Array: TypeAlias = Any
"""A NumPy array or a float; where a tensor was given, a tensor."""


def is_tensor(value: object) -> bool:
    """True for a TensorFlow tensor or variable; imports nothing: without TensorFlow no value can be one."""
    tf = sys.modules.get("tensorflow")
    # While another thread imports TensorFlow its module is there, but without its functions.
    return tf is not None and hasattr(tf, "is_tensor") and bool(tf.is_tensor(value))


def picture_pair(reference: object, image: object, metric: str) -> tuple[Any, Any]:
    """Convert both pictures to float64 arrays, or to tensors if either is one: float64 if one of them is, else float32.

    Args:
        reference: The true picture or batch.
        image: The picture or batch to compare with it.
        metric: The metric's name, for errors.

    Returns:
        Both, of one dtype and one shape.

    Raises:
        ConfigError: The shapes differ, a picture is empty, or an array does not hold real numbers.
    """
    if is_tensor(reference) or is_tensor(image):
        return _tensor_pair(reference, image, metric)
    pair = [np.asarray(reference), np.asarray(image)]
    for name, array in zip(("reference", "image"), pair, strict=True):
        if array.dtype.kind not in "buif":
            raise ConfigError(f"{metric}: {name} has dtype {array.dtype}; expected real numbers.")
    _check_shapes(pair[0].shape, pair[1].shape, metric)
    return pair[0].astype(np.float64), pair[1].astype(np.float64)


def _tensor_pair(reference: object, image: object, metric: str) -> tuple[Any, Any]:
    import tensorflow as tf

    pair = [tf.convert_to_tensor(value) for value in (reference, image)]
    kind = tf.float64 if tf.float64 in (pair[0].dtype, pair[1].dtype) else tf.float32
    # Sizes that are not known yet (None) fit anything; TensorFlow compares them when the graph runs.
    shapes = [tuple(tensor.shape) if tensor.shape.rank is not None else None for tensor in pair]
    if shapes[0] is not None and shapes[1] is not None:
        _check_shapes(shapes[0], shapes[1], metric)
    return tf.cast(pair[0], kind), tf.cast(pair[1], kind)


def _check_shapes(first: tuple[int | None, ...], second: tuple[int | None, ...], metric: str) -> None:
    fits = len(first) == len(second) and all(
        a == b or a is None or b is None for a, b in zip(first, second, strict=True)
    )
    if not fits:
        raise ConfigError(
            f"{metric}: reference has shape {first} and image {second}; expected equal shapes. "
            "Crop or resize one of them first."
        )
    if 0 in first:
        raise ConfigError(f"{metric}: the pictures are empty (shape {first}).")


def check_range(data_range: float, metric: str) -> float:
    """Validate the data range and return it as a float.

    Raises:
        ConfigError: It is not a positive number.
    """
    value = float(data_range)
    if not 0 < value < float("inf"):
        raise ConfigError(
            f"{metric}: data_range={data_range!r}; expected the distance from black to white: "
            "255 for uint8 pictures, 1.0 for pictures in [0, 1], 2.0 for pictures in [-1, 1]."
        )
    return value


def mean(values: Array, per_image: bool, metric: str) -> Array:
    """The mean over all axes; with ``per_image`` over all but the first."""
    rank = len(values.shape)
    if per_image and rank < 2:
        raise ConfigError(f"{metric}: per_image=True needs a batch, but the pictures have shape {tuple(values.shape)}.")
    axes = tuple(range(1, rank)) if per_image else tuple(range(rank))
    if is_tensor(values):
        import tensorflow as tf

        return tf.reduce_mean(values, axis=axes)
    result = values.mean(axis=axes)
    return result if per_image else float(result)


def log10(values: Array) -> Array:
    """The decimal logarithm; minus infinity for zero, without NumPy's warning (equal pictures have an MSE of 0)."""
    if is_tensor(values):
        import tensorflow as tf

        return tf.math.log(values) / np.log(10.0)  # tf.math has no log10
    with np.errstate(divide="ignore"):
        result = np.log10(values)
    return result if isinstance(result, np.ndarray) else float(result)
