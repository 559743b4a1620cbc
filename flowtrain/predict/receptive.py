"""How far a pixel of the output sees: the margin that tiled inference needs, from the graph's operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import tensorflow as tf
from tabulate import tabulate

from flowtrain.model import Predictor
from flowtrain.model.ancestors import ancestors
from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import ExportError, ModelError

from .freeze import frozen, resized
from .named_graph import as_predictor
from .receptive_ops import Field, follow

__all__ = ["LayerField", "ValidCrop", "valid_crop", "walked"]

# Divisible by every stride one meets, and larger than every picture: nothing is computed, only sizes.
_SIZE = 2**12 * 3


@dataclass(frozen=True)
class LayerField:
    """One layer that looks at neighbours.

    Attributes:
        name: Its name in the graph.
        kind: The operation, e.g. "Conv2D".
        kernel: Pixels it looks at, in each direction, dilation included.
        stride: How many pixels of its input are one pixel of its output (1/2 for a transposed one).
        scale: How many pixels of the picture are one pixel of its output.
        lost: Pixels of the picture, of both sides together, that the borders have spoiled up to its output.
    """

    name: str
    kind: str
    kernel: int
    stride: Fraction
    scale: Fraction
    lost: Fraction


class ValidCrop(int):
    """The margin of :func:`valid_crop`: a number of pixels, and where it comes from.

    Attributes:
        layers: The layers that look at neighbours, in order.
        radius: How far a pixel of the output sees, exactly: (up, down, left, right).
        align: The product of the strides, for the argument of that name of :func:`tiled`.
    """

    layers: list[LayerField]
    radius: tuple[int, int, int, int]
    align: int

    @property
    def crop(self) -> int:
        """The margin as the next multiple of align: what to give to :func:`tiled`, or to a crop's name."""
        return -(-self // self.align) * self.align

    def valid(self, size: int) -> int:
        """How many pixels in the middle of an output of this size do not depend on the borders."""
        return max(size - 2 * self, 0)

    def table(self, size: int = 128) -> str:
        """The layers with their output size and the valid part of it, for a picture of this size."""
        rows = [["input", "", "", "", size, size]]
        for layer in self.layers:
            out = math.ceil(size / layer.scale)
            rows.append(
                [
                    layer.name,
                    layer.kind,
                    layer.kernel,
                    str(layer.stride),
                    out,
                    math.floor((size - layer.lost) / layer.scale),
                ]
            )
        return tabulate(
            rows, ["layer", "operation", "kernel", "stride", "output", "valid output"], disable_numparse=True
        )

    def __repr__(self) -> str:
        return f"ValidCrop({int(self)}, crop={self.crop}, align={self.align})"


@names_arguments
def valid_crop(model: object, outputs: str | Sequence[str] | None = None) -> ValidCrop:
    """Compute how many pixels at the border of a tile's output must be dropped.

    A convolution near the border of its input sees padding instead of the neighbouring tile. This walks the graph's
    convolutions, transposed convolutions, poolings, resizes and shifts and adds up, for kernel k and stride s, how
    much of x valid pixels stays valid: (x - k + 1) / s behind a convolution, x * s - k + 1 behind a transposed one
    (so Cresson's Deep Learning for Remote Sensing Images, 2020, which computes 66 of 128 for its example), and
    beside it the exact reach to each side. The larger one is the margin.

    Args:
        model: A trainer, ModelDesc, Keras model, predictor or loaded file.
        outputs: The output or outputs that are wanted; None for those the model or file declares, or its last layer.

    Returns:
        The margin in pixels of the input. It is an int that also knows its table.

    Raises:
        ModelError: An output that depends on the whole picture (a global pooling, an instance normalisation), so
            that no margin is enough; names the operation.

    Example:
        >>> picture = keras.Input((None, None, 3))
        >>> model = keras.Model(picture, keras.layers.Conv2D(8, 5, strides=2, padding="same")(picture))
        >>> margin = valid_crop(model)        # for tiled(..., margin=margin.crop, align=margin.align)
        >>> margin, margin.valid(128)
        (ValidCrop(3, crop=4, align=2), 122)
    """
    both, largest = walked(as_predictor(model, None, [outputs] if isinstance(outputs, str) else outputs))
    return _summed_up([(Field.worst(fields), layers) for fields, layers in both], largest)


def walked(predictor: Predictor) -> tuple[list[tuple[list[Field], list[LayerField]]], list[int]]:
    """The outputs' fields and the layers, vertically and horizontally; and the size of the picture behind them."""
    try:
        definition = frozen(predictor.function)
    except ExportError as error:
        raise ModelError(f"no margin can be computed: {error}") from error
    given = list(zip(predictor.inputs, predictor.function.inputs, strict=False))
    shapes = {tensor.op.name: _sized(name, tensor) for name, tensor in given if tensor.shape.rank == 4}
    if not shapes:
        raise ModelError(f"None of the inputs {predictor.inputs} is a picture (batch, height, width, channels).")
    graph = resized(definition, shapes)
    largest = [max(shape[1 + axis] for shape in shapes.values()) for axis in (0, 1)]
    reached = [tensor.name for tensor in predictor.function.outputs]
    return [_walk(graph, list(shapes), reached, axis, largest[axis]) for axis in (0, 1)], largest


def _sized(name: str, tensor: tf.Tensor) -> list[int]:
    batch, height, width, channels = tensor.shape.as_list()
    if channels is None:
        raise ModelError(f"the input {name!r} has no declared number of channels: {tensor.shape}.")
    return [batch or 1, height or _SIZE, width or _SIZE, channels]


def _walk(
    graph: tf.Graph, inputs: list[str], outputs: list[str], axis: int, size: int
) -> tuple[list[Field], list[LayerField]]:
    """Follow one axis of the pictures from the inputs to the outputs."""
    fields: dict[str, Field | None] = {}
    for name in inputs:
        own = int(graph.get_tensor_by_name(f"{name}:0").shape[1 + axis] or _SIZE)
        fields[f"{name}:0"] = Field.of_input(own, Fraction(size, own))
    ends = [graph.get_tensor_by_name(name).op for name in outputs]
    wanted = {op.name for op in ancestors(ends, control=False)}
    layers = []
    for op in graph.get_operations():
        if op.name in inputs or op.name not in wanted:
            continue
        before = [fields[tensor.name] for tensor in op.inputs]
        if op.type == "IdentityN":  # what is left of a function with several results
            fields.update(zip((tensor.name for tensor in op.outputs), before, strict=True))
            continue
        after, kernel = follow(op, before, axis)
        fields.update((tensor.name, after) for tensor in op.outputs)
        if after is not None and kernel is not None:
            data = next(field for field in before if field is not None)
            layers.append(
                LayerField(op.name, op.type, kernel, after.scale / data.scale, after.scale, size - after.valid)
            )
    ends = [fields[name] for name in outputs]
    found = [field for field in ends if field is not None]
    if len(found) < len(ends):
        lost = outputs[ends.index(None)]
        raise ModelError(f"the output {lost!r} is no picture that follows from the input's pixels.")
    return found, layers


def _summed_up(both: list[tuple[Field, list[LayerField]]], sizes: list[int]) -> ValidCrop:
    reach = [math.ceil(max(distance, 0)) for field, _ in both for distance in (field.before, field.after)]
    spoiled = [math.ceil((size - field.valid) / 2) for (field, _), size in zip(both, sizes, strict=True)]
    result = ValidCrop(max(*reach, *spoiled))
    result.radius = (reach[0], reach[1], reach[2], reach[3])
    result.layers = both[spoiled.index(max(spoiled))][1]
    scales = [layer.scale for _, layers in both for layer in layers]
    result.align = math.lcm(*(scale.numerator for scale in scales)) if scales else 1
    return result
