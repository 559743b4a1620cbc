"""Named crops: the tensor ``NAME_crop32`` is the tensor NAME without 32 pixels on each side.

Padding spoils the border of a tile's output; an exported model can give out the valid middle alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import tensorflow as tf

from flowtrain.utils.errors import ModelError

__all__ = ["make_crop"]

_CROP = re.compile(r"(?P<base>.+)_crop(?P<pixels>\d+)(:0)?")


def make_crop(name: str, tensor: Callable[[str], tf.Tensor]) -> tf.Tensor | None:
    """Add the operation of a named crop to the graph of the tensor that it crops.

    Args:
        name: The name of the crop, e.g. ``"prediction/output_crop32"``.
        tensor: Looks up a tensor by name.

    Returns:
        The cropped tensor, the output of an operation of that name; None if it is not the name of a crop.

    Raises:
        TensorNameError: There is no tensor to crop; lists the nearest names.
        ModelError: The tensor has fewer than three dimensions, or the crop leaves nothing of it.
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
    # The caller's name scopes and control dependencies must not reach the crop: its operation has exactly the name that
    # was asked for, and fetching it runs nothing else.
    with whole.graph.as_default(), whole.graph.name_scope(None), tf.control_dependencies(None):
        return tf.identity(whole[:, kept, kept], name=name.removesuffix(":0"))
