"""Named crops: the tensor ``NAME_crop32`` is the tensor NAME without 32 pixels on each side.

A tile's border is spoiled by padding; a model that is asked for the crop gives out its valid middle alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import tensorflow as tf

from flowtrain.utils.errors import ModelError

__all__ = ["make_crop"]

_CROP = re.compile(r"(?P<base>.+)_crop(?P<pixels>\d+)(:0)?")


def make_crop(name: str, tensor: Callable[[str], tf.Tensor]) -> tf.Tensor | None:
    """Add a named crop to the graph that its tensor is in.

    Args:
        name: What was asked for, e.g. ``"prediction/output_crop32"``.
        tensor: Finds the tensor of a name.

    Returns:
        The crop, an operation of that name; None where it is not the name of a crop.

    Raises:
        TensorNameError: There is no tensor to crop; lists the nearest names.
        ModelError: The tensor is no picture, or the crop leaves nothing of it.
    """
    match = _CROP.fullmatch(name)
    if match is None:
        return None
    whole, pixels = tensor(match["base"]), int(match["pixels"])
    if whole.shape.rank is None or whole.shape.rank < 3:
        raise ModelError(f"{name!r}: {match['base']!r} has shape {whole.shape}; only pictures can be cropped.")
    if any(size is not None and size <= 2 * pixels for size in whole.shape[1:3]):
        raise ModelError(f"{name!r} leaves nothing of {match['base']!r}, whose shape is {whole.shape}.")
    kept = slice(pixels, -pixels) if pixels else slice(None)
    with whole.graph.as_default(), whole.graph.name_scope(None), tf.control_dependencies(None):
        return tf.identity(whole[:, kept, kept], name=name.removesuffix(":0"))
