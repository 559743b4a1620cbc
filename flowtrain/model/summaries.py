"""Summaries: scalars, pictures and histograms of tensors in ``build_graph``.

They are computed in the training step, and read when a monitor is due.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import tensorflow as tf

from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import ModelError, closest

from .tower import get_current_tower_context
from .variables import check_name

__all__ = [
    "add_activation_summary",
    "add_image_summary",
    "add_moving_summary",
    "add_param_summary",
    "add_tensor_summary",
]

_SCALARS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "rms": lambda x: tf.sqrt(tf.reduce_mean(tf.square(x))),
    "mean": tf.reduce_mean,
    "norm": tf.norm,
    "sparsity": lambda x: tf.reduce_mean(tf.cast(tf.equal(x, 0), tf.float32)),
}
_KINDS = ("histogram", *_SCALARS)


def add_moving_summary(*tensors: tf.Tensor) -> None:
    """Show scalars as exponential moving averages over the training steps.

    Each has the name of its operation, so name what matters: ``tf.reduce_mean(error, name="l2_loss")``. The averages
    have a decay of 0.95 and no bias towards zero; they are kept on the device and read when due.

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
        tower.add_tensor(name, tensor)  # in inference, too: a validation averages it by its name (ScalarStats)


@names_arguments
def add_image_summary(name: str, images: tf.Tensor, max_outputs: int = 3) -> None:
    """Show pictures of the latest batch.

    Args:
        name: The name to show them under.
        images: (N, H, W, C) with 1, 3 or 4 channels; uint8, or floats in [0, 1].
        max_outputs: The number of pictures to show, from the first of the batch.

    Raises:
        ModelError: Another shape or dtype, or the name is taken.

    Example:
        >>> add_image_summary("colorized", rgb, max_outputs=10)  # doctest: +SKIP
    """
    tower = get_current_tower_context()
    check_name(name, "image summary")
    if name in tower.images:
        raise ModelError(f"there are two image summaries named {name!r}.")
    if not tf.is_tensor(images) or images.shape.rank != 4 or images.shape[-1] not in (1, 3, 4):
        shape = images.shape if tf.is_tensor(images) else f"{images!r:.60}"
        raise ModelError(f"add_image_summary({name!r}) takes pictures (N, H, W, 1, 3 or 4), got {shape}.")
    if images.dtype != tf.uint8 and not images.dtype.is_floating:
        raise ModelError(f"add_image_summary({name!r}) takes uint8 or floats in [0, 1], got {images.dtype.name}.")
    if images.dtype.is_floating and images.dtype != tf.float32:
        images = tf.cast(images, tf.float32)
    # Cut in the graph, so that only these pictures leave the device.
    shown = tower.images[name] = tf.identity(images[:max_outputs], name=f"image_summary/{name}")
    tower.add_tensor(f"image_summary/{name}", shown)


@names_arguments
def add_tensor_summary(tensor: tf.Tensor, kinds: Sequence[str] = ("histogram",), name: str | None = None) -> None:
    """Show a tensor's histogram, or moving averages of statistics of it.

    Args:
        tensor: A tensor of any shape and numeric dtype.
        kinds: Some of ``"histogram"``, ``"rms"``, ``"mean"``, ``"norm"`` (L2), ``"sparsity"`` (the share of zeros).
        name: The name to show it under; None for the name of its operation.

    Raises:
        ModelError: Not a tensor of this graph, or an unknown kind.

    Example:
        >>> add_tensor_summary(features, ["rms", "sparsity"])  # shown as NAME/rms, ...  # doctest: +SKIP
    """
    tower = get_current_tower_context()
    _check_kinds("add_tensor_summary", kinds)
    base = tower.name_of_tensor(tensor, "add_tensor_summary")
    if not tower.is_training:
        return
    name = name or base
    values = tf.cast(tensor, tf.float32)
    for kind in kinds:
        if kind == "histogram":
            full = f"{name}/histogram"
            tower.histograms[full] = tf.identity(values, name=f"histogram_summary/{full}")
            tower.add_tensor(f"histogram_summary/{full}", tower.histograms[full])
        else:
            tower.scalars[f"{name}/{kind}"] = _SCALARS[kind](values)


@names_arguments
def add_activation_summary(*tensors: tf.Tensor, kinds: Sequence[str] = ("histogram", "rms", "sparsity")) -> None:
    """Show activations: :func:`add_tensor_summary` of each tensor, with the usual statistics of activations.

    Args:
        *tensors: Outputs of layers.
        kinds: As in :func:`add_tensor_summary`.

    Raises:
        ModelError: Not tensors of this graph, or an unknown kind.
    """
    for tensor in tensors:
        add_tensor_summary(tensor, kinds)


@names_arguments
def add_param_summary(pattern: str, kinds: Sequence[str] = ("histogram", "rms")) -> None:
    """Show trainable variables: :func:`add_tensor_summary` of each whose name matches.

    It may be called anywhere in ``build_graph``: variables made later are found too.

    Args:
        pattern: A regular expression for whole names of variables, e.g. ``".*/kernel"``.
        kinds: As in :func:`add_tensor_summary`.

    Raises:
        ModelError: No variable matches, or an unknown kind.

    Example:
        >>> add_param_summary(".*/kernel", ["histogram", "rms"])  # doctest: +SKIP
    """
    tower = get_current_tower_context()
    if not isinstance(pattern, str):
        shown = ", ".join(repr(part) for part in pattern) if isinstance(pattern, tuple) else ".*/kernel, ['histogram']"
        raise ModelError(
            f"add_param_summary takes a pattern and a list of kinds, got {pattern!r:.80}. Write "
            f"add_param_summary({shown}), once for each pattern; weights are called kernel here, not W."
        )
    _check_kinds("add_param_summary", kinds)

    def add() -> None:
        names = [name for name in tower.store.trainable if re.fullmatch(pattern, name)]
        if not names:
            raise ModelError(
                f"add_param_summary: no trainable variable matches {pattern!r}. "
                f"{closest(pattern, list(tower.store.trainable))}"
            )
        for name in names:
            add_tensor_summary(tf.identity(tower.store.trainable[name].value), kinds, name)

    tower.at_end.append(add)


def _check_kinds(function: str, kinds: Sequence[str]) -> None:
    if isinstance(kinds, str):
        raise ModelError(f"{function} takes a list of kinds: [{kinds!r}].")
    for kind in kinds:
        if kind not in _KINDS:
            raise ModelError(f"{function} knows no kind {kind!r}. There are: {', '.join(_KINDS)}.")
