"""valid_crop: the receptive field of a model's outputs, and the margin that tiled inference needs."""

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

# Height and width that the analysis assumes where a model leaves them open: divisible by the usual strides (products of
# 2 and 3) and larger than any receptive field. Only shapes are inferred, nothing is computed.
_SIZE = 2**12 * 3


@dataclass(frozen=True)
class LayerField:
    """Receptive field up to one layer that looks at neighbours; a row of the table of `ValidCrop`.

    Attributes:
        name: The operation's name in the graph.
        kind: The operation's type, e.g. "Conv2D".
        kernel: Size of its window in pixels of its input, dilation included.
        stride: Pixels of its input for one pixel of its output (1/2 for a transposed convolution).
        scale: Pixels of the picture for one pixel of its output.
        lost: Pixels of the picture, at both sides together, whose output up to here depends on the borders.
    """

    name: str
    kind: str
    kernel: int
    stride: Fraction
    scale: Fraction
    lost: Fraction


class ValidCrop(int):
    """Result of :func:`valid_crop`: an int, the margin in pixels, that also knows how it came about.

    Attributes:
        layers: The layers that look at neighbours, in order.
        radius: How many pixels of the picture an output pixel depends on: (up, down, left, right).
        align: The product of the strides, for ``align=`` of :func:`tiled`.
    """

    layers: list[LayerField]
    radius: tuple[int, int, int, int]
    align: int

    @property
    def crop(self) -> int:
        """The margin rounded up to a multiple of align, for ``margin=`` of :func:`tiled` or the name of a crop."""
        return -(-self // self.align) * self.align

    def valid(self, size: int) -> int:
        """The number of pixels in the middle of an output of this size that do not depend on the borders."""
        return max(size - 2 * self, 0)

    def table(self, size: int = 128) -> str:
        """A table of the layers with the sizes of their outputs and of the valid parts, for a picture of this size."""
        rows = [["input", "", "", "", size, size]]
        for layer in self.layers:
            output, valid = math.ceil(size / layer.scale), math.floor((size - layer.lost) / layer.scale)
            rows.append([layer.name, layer.kind, layer.kernel, str(layer.stride), output, valid])
        headers = ["layer", "operation", "kernel", "stride", "output", "valid output"]
        return tabulate(rows, headers, disable_numparse=True)

    def __repr__(self) -> str:
        return f"ValidCrop({int(self)}, crop={self.crop}, align={self.align})"


@names_arguments
def valid_crop(model: object, outputs: str | Sequence[str] | None = None) -> ValidCrop:
    """Compute how many pixels at the border of a tile's output must be dropped.

    Near the border of its input, a convolution sees padding instead of the neighbouring tile. This follows the graph's
    convolutions, transposed convolutions, poolings, resizes and shifts in two ways. The first counts valid pixels: with
    kernel k and stride s, x valid pixels become (x - k + 1) / s behind a convolution and x * s - k + 1 behind a
    transposed one (Cresson, Deep Learning for Remote Sensing Images, 2020, whose example gives 66 of 128). The second
    adds up the reach to each side. The margin is the larger result.

    Args:
        model: A trainer, ModelDesc, Keras model, predictor or loaded file.
        outputs: Names of the outputs; None for those that the model or file declares, or its last layer.

    Returns:
        The margin in pixels of the input, an int.

    Raises:
        ModelError: An output depends on the whole picture (a global pooling, an instance normalisation), so that no
            margin is enough; names the operation.

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
    """Follow the receptive fields from a predictor's inputs to its outputs.

    Returns:
        (fields of the outputs, layers), vertically and horizontally; and the picture's (height, width) that they refer
        to.

    Raises:
        ModelError: The graph cannot be frozen, or no input is a picture.
    """
    # Frozen, so that paddings, slices and kernels are constants that the rules can read.
    try:
        definition = frozen(predictor.function)
    except ExportError as error:
        raise ModelError(f"no margin can be computed: {error}") from error
    given = list(zip(predictor.inputs, predictor.function.inputs, strict=False))  # captured variables come after them
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
    """Follow the receptive fields along one axis from the inputs to the outputs.

    Args:
        graph: A graph in which all sizes are known.
        inputs: Names of the operations that are pictures.
        outputs: Names of the output tensors.
        axis: 0 for the height, 1 for the width.
        size: Pixels of the largest input, which is "the picture"; smaller inputs have a scale above 1.
    """
    fields: dict[str, Field | None] = {}
    for name in inputs:
        own = int(graph.get_tensor_by_name(f"{name}:0").shape[1 + axis] or _SIZE)
        fields[f"{name}:0"] = Field.of_input(own, Fraction(size, own))
    ends = [graph.get_tensor_by_name(name).op for name in outputs]
    # Only operations that the outputs depend on: another branch of the model may have a global pooling.
    wanted = {op.name for op in ancestors(ends, control=False)}
    layers = []
    for op in graph.get_operations():
        if op.name in inputs or op.name not in wanted:
            continue
        before = [fields[tensor.name] for tensor in op.inputs]
        if op.type == "IdentityN":  # remains of an inlined function with several results: each output has its own field
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
    # A scale is the product of the strides up to its layer. Branches may have different ones: tiles must fit all.
    result.align = math.lcm(*(scale.numerator for scale in scales)) if scales else 1
    return result
