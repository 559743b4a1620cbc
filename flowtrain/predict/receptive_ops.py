"""Receptive-field arithmetic: the rule of each type of operation, along one axis.

Lengths and positions are exact fractions of the picture's pixels: transposed convolutions and resizes leave the integer
grid, and the rounding of floats would move a margin by a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import tensorflow as tf

from flowtrain.utils.errors import ModelError

__all__ = ["Field", "follow"]


@dataclass(frozen=True)
class Field:
    """Receptive field of a tensor's pixels along one axis: which pixels of the picture they depend on.

    Pixel i of the tensor depends on the picture's pixels scale * i - before to scale * i + after.

    Attributes:
        size: Pixels of the tensor, when it last had the shape of a picture.
        scale: Pixels of the picture for one pixel of the tensor.
        valid: Length of the middle part that no border has spoiled, in pixels of the picture. The same is taken off at
            both sides, as a crop does.
        before: Reach of a pixel towards the beginning, in pixels of the picture.
        after: Reach of a pixel towards the end, in pixels of the picture.
        origin: Position of the tensor's pixel 0, in pixels of the picture: 32 behind a crop by 32, 1 behind a 3 x 3
            convolution without padding, -1 behind a padding by 1.
    """

    size: int
    scale: Fraction
    valid: Fraction
    before: Fraction
    after: Fraction
    origin: Fraction = Fraction(0)

    @staticmethod
    def of_input(size: int, scale: Fraction) -> Field:
        """The receptive field of an input: each pixel depends on itself alone."""
        return Field(size, scale, size * scale, Fraction(0), Fraction(0))

    @staticmethod
    def worst(fields: Sequence[Field]) -> Field:
        """The receptive field of a tensor computed pixel by pixel from several tensors: the union of their fields."""
        first = fields[0]
        return Field(
            first.size,
            first.scale,
            min(field.valid for field in fields),
            max(field.before for field in fields),
            max(field.after for field in fields),
            min(field.origin for field in fields),
        )

    def moved(self, distance: Fraction | int) -> Field:
        """The field with its origin moved by a distance in pixels of the picture."""
        return replace(self, origin=self.origin + distance)

    def seeing(self, before: Fraction | int, after: Fraction | int) -> Field:
        """The field with its reach extended, in pixels of the picture."""
        return replace(self, before=self.before + before, after=self.after + after)

    def cropped(self, distance: Fraction | int) -> Field:
        """The field behind a crop at the beginning, in pixels of the picture; behind a padding if it is negative."""
        return self.seeing(-distance, distance).moved(distance)

    def count(self) -> int:
        """The number of valid pixels of the tensor."""
        return math.floor(self.valid / self.scale)

    def scaled(self, stride: Fraction | int, valid: int) -> Field:
        """The field behind a stride, with the number of valid pixels there."""
        scale = self.scale * stride
        return replace(self, scale=scale, valid=valid * scale)


def follow(op: tf.Operation, inputs: Sequence[Field | None], axis: int) -> tuple[Field | None, int | None]:
    """The receptive field of an operation's outputs, from the fields of its inputs.

    Args:
        op: An operation of a graph in which all sizes are known.
        inputs: The fields of its inputs; None for weights and other tensors that do not come from the picture.
        axis: 0 for the height, 1 for the width.

    Returns:
        The field of its outputs, None if they do not come from the picture; and the size of its window, None if it
        does not look at neighbours.

    Raises:
        ModelError: The operation depends on the whole picture, or what it computes is not known.
    """
    given = [field for field in inputs if field is not None]
    if not given or op.type in _FORGETS or not op.outputs:
        return None, None
    _refuse_global(op, inputs, axis)
    field = Field.worst(given)
    rule = _RULES.get(op.type)
    field, kernel = rule(op, field, axis) if rule else (_by_size(op, field, axis), None)
    size = _size(op.outputs[0], axis, op)
    return (field if size is None else replace(field, size=size)), kernel


# -- looking at an operation ------------------------------------------------------------------------------


def _place(op: tf.Operation, axis: int) -> int:
    """The dimension of a picture tensor that belongs to the axis, by the operation's data format."""
    layout = op.node_def.attr["data_format"].s if "data_format" in op.node_def.attr else b"NHWC"
    return axis + (2 if layout.startswith(b"NC") else 1)


def _size(tensor: tf.Tensor, axis: int, op: tf.Operation) -> int | None:
    return tensor.shape[_place(op, axis)] if tensor.shape.rank == 4 else None


def _attribute(op: tf.Operation, name: str, axis: int) -> int:
    values = op.node_def.attr[name].list.i
    return int(values[_place(op, axis)]) if values else 1


def _padding(op: tf.Operation, axis: int, size: int, kernel: int, stride: int) -> int:
    """Pixels of padding at the beginning."""
    kind = op.node_def.attr["padding"].s
    if kind == b"SAME":
        # TensorFlow's rule: just enough padding for ceil(size / stride) windows, the smaller half of it in front.
        rest = size % stride
        return max(kernel - (rest or stride), 0) // 2
    if kind == b"EXPLICIT":
        return int(op.node_def.attr["explicit_paddings"].list.i[2 * _place(op, axis)])
    return 0


# -- the rules ------------------------------------------------------------------------------------------


def _window(op: tf.Operation, field: Field, axis: int, kernel: int, stride: int) -> tuple[Field, int]:
    """Rule of operations that compute each pixel from a window: convolution, pooling."""
    # Output pixel i is computed from the input's pixels stride * i - padding to stride * i - padding + kernel - 1.
    padding = _padding(op, axis, field.size, kernel, stride)
    inside = field.seeing(field.scale * padding, field.scale * (kernel - 1 - padding))
    if kernel <= stride and field.valid == field.size * field.scale:
        valid = field.size // stride  # windows that do not overlap reach over no border
    else:
        valid = (field.count() - kernel + 1) // stride
    return inside.scaled(stride, valid).moved(field.scale * _unpadded(op, padding, kernel, stride)), kernel


def _unpadded(op: tf.Operation, padding: int, kernel: int, stride: int) -> int:
    """How many pixels less padding than "SAME" there is at the beginning, for a size that the stride divides.

    The output of "SAME" covers the picture exactly. With less padding its first pixels are missing by this number, so
    that is how far the origin moves.
    """
    same = op.node_def.attr["padding"].s == b"SAME"
    return 0 if same else max(kernel - stride, 0) // 2 - padding


def _convolution(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int]:
    kernel = (op.inputs[1].shape[axis] - 1) * _attribute(op, "dilations", axis) + 1
    return _window(op, field, axis, kernel, _attribute(op, "strides", axis))


def _pooling(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int]:
    return _window(op, field, axis, _attribute(op, "ksize", axis), _attribute(op, "strides", axis))


def _transposed(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int]:
    kernel = (op.inputs[1].shape[axis] - 1) * _attribute(op, "dilations", axis) + 1
    stride = _attribute(op, "strides", axis)
    # It is the gradient of a convolution from the larger picture to the smaller one, so the padding is that of the
    # output. Input pixel i adds to the output's pixels stride * i - padding to stride * i - padding + kernel - 1, which
    # read backwards is the reach of an output pixel.
    made = op.outputs[0].shape[_place(op, axis)]
    padding = _padding(op, axis, made, kernel, stride)
    pixel = field.scale / stride
    valid = field.count() * stride - kernel + 1
    seeing = field.seeing(pixel * (kernel - 1 - padding), pixel * padding)
    return (
        seeing.scaled(Fraction(1, stride), valid).moved(-pixel * _unpadded(op, padding, kernel, stride)),
        kernel,
    )


def _shift(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int | None]:
    """Rule of padding: output pixel i is input pixel i - begin."""
    paddings = tf.get_static_value(op.inputs[1])
    made = op.outputs[0].shape[_place(op, axis)]
    # Amounts that are computed in the graph are not known here; then half of the growth is the best guess.
    begin = int(paddings[_place(op, axis)][0]) if paddings is not None else (made - field.size) // 2
    return field.cropped(-field.scale * begin), None


def _slice(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int | None]:
    """Rule of slices: output pixel i is input pixel first + step * i."""
    size = _size(op.outputs[0], axis, op)
    if size is None or op.inputs[0].shape.rank != 4 or size == field.size:
        return field, None
    place = _place_in_slice(op, 1 + axis)
    first = _entry(op.inputs[1], place, 0)
    first += field.size if first < 0 else 0
    cropped = field.cropped(field.scale * first)
    step = _entry(op.inputs[3], place, 1) if op.type == "StridedSlice" else 1
    if step < 0:
        raise ModelError(f"{op.name!r} turns the picture around: no margin is enough.")
    scaled = cropped.scaled(step, cropped.count() // step)
    # What is left by a crop may be less than what was valid.
    return replace(scaled, valid=min(scaled.valid, size * scaled.scale)), None


def _place_in_slice(op: tf.Operation, dimension: int) -> int:
    """The entry of a slice's begin and strides for a dimension of a tensor of rank 4.

    Entries after an ellipsis are counted from the last dimension, as ``x[..., 1:3, :]`` does.
    """
    mask = op.node_def.attr["ellipsis_mask"].i if "ellipsis_mask" in op.node_def.attr else 0
    entries = op.inputs[1].shape[0]
    if not mask or entries is None or dimension < mask.bit_length() - 1:
        return dimension
    return max(dimension - 4 + entries, mask.bit_length() - 1)


def _entry(tensor: tf.Tensor, place: int, default: int) -> int:
    values = tf.get_static_value(tensor)
    return int(values[place]) if values is not None and len(values) > place else default


def _to_batch(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int | None]:
    """Rule of SpaceToBatch, which moves each block-th pixel to a picture of its own, for a dilated convolution."""
    block = int(tf.get_static_value(op.inputs[1])[axis])
    made = op.outputs[0].shape[1 + axis]
    # For a kernel of odd size, the padding in front is a multiple of block, and at the end there is the same and less
    # than a block more, to fill the last one. So half of the growth, rounded down to a multiple of block, is in front.
    begin = (made * block - field.size) // 2 // block * block
    return replace(field.cropped(-field.scale * begin), scale=field.scale * block), None


def _from_batch(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int | None]:
    block = int(tf.get_static_value(op.inputs[1])[axis])
    crops = tf.get_static_value(op.inputs[2])
    begin = int(crops[axis][0]) if crops is not None else 0
    pixel = field.scale / block
    return replace(field.cropped(pixel * begin), scale=pixel), None


def _depth_to_space(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int | None]:
    block = op.node_def.attr["block_size"].i
    pixel = field.scale / block
    return field.seeing(pixel * (block - 1), 0).scaled(Fraction(1, block), field.count() * block), None


def _space_to_depth(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int | None]:
    block = op.node_def.attr["block_size"].i
    return field.seeing(0, field.scale * (block - 1)).scaled(block, field.count() // block), None


def _interpolation(reach: int) -> Callable[[Any, Field, int], tuple[Field, int | None]]:
    """Make the rule of interpolation from ``reach`` neighbours of a position on each side, whatever the stride."""
    return lambda op, field, axis: _resized(op, field, axis, reach, field.scale * reach)


def _nearest(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int | None]:
    """Rule of a resize to the nearest pixel: of each window it takes one, the middle one with half-pixel centres."""
    stride = _stride(op, field, axis)
    if op.node_def.attr["align_corners"].b or 1 not in (stride.numerator, stride.denominator):
        return _resized(op, field, axis, 1, field.scale)
    middle = math.floor(stride / 2) if op.node_def.attr["half_pixel_centers"].b else 0
    return _by_size(op, field, axis).seeing(0, field.scale * middle), None


def _area(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int | None]:
    """Rule of averages over the pixels that an output pixel covers; all lie within one output pixel of its centre."""
    return _resized(op, field, axis, 1, max(field.scale, field.scale * _stride(op, field, axis)))


# Half the width of each of ScaleAndTranslate's kernels, in pixels, rounded up (TensorFlow's sampling_kernels.h).
_SUPPORT = {
    b"lanczos1": 1, b"lanczos3": 3, b"lanczos5": 5, b"gaussian": 2,
    b"box": 1, b"triangle": 1, b"keyscubic": 2, b"mitchellcubic": 2,
}  # fmt: skip


def _filtered(op: tf.Operation, field: Field, axis: int) -> tuple[Field, int | None]:
    """Rule of ScaleAndTranslate: when it makes the picture smaller with antialias, its kernel grows with the stride."""
    reach = _SUPPORT.get(op.node_def.attr["kernel_type"].s, max(_SUPPORT.values()))
    widened = max(_stride(op, field, axis), Fraction(1)) if op.node_def.attr["antialias"].b else Fraction(1)
    return _resized(op, field, axis, reach, field.scale * reach * widened)


def _stride(op: tf.Operation, field: Field, axis: int) -> Fraction:
    return Fraction(field.size, op.outputs[0].shape[1 + axis])


def _resized(op: tf.Operation, field: Field, axis: int, reach: int, distance: Fraction) -> tuple[Field, int | None]:
    """The field behind a resize whose pixels depend on what lies within ``distance`` of their position.

    Output pixel i lies at (i + 1/2) * stride - 1/2 of the input with half-pixel centres, and at i * stride without. The
    result covers both.

    Args:
        op: The resize.
        field: The field of its input.
        axis: 0 for the height, 1 for the width.
        reach: Pixels on each side of the input, or of the output if those are larger, that the borders may spoil.
        distance: In pixels of the picture.
    """
    stride = _stride(op, field, axis)
    new = field.scale * stride
    valid = field.valid - 2 * reach * max(field.scale, new)
    if op.type != "ScaleAndTranslate" and op.node_def.attr["align_corners"].b:  # i * (size - 1) / (new size - 1)
        distance += abs(new - field.scale)
    seeing = field.seeing(distance + field.scale / 2, distance + new / 2)
    return seeing.scaled(stride, math.floor(valid / new)), 2 * reach


def _by_size(op: tf.Operation, field: Field, axis: int) -> Field:
    """Rule of all other operations: they work pixel by pixel, or repeat or pick pixels if they change the size."""
    size = _size(op.outputs[0], axis, op)
    if size is None or size in (0, field.size):
        return field
    stride = Fraction(field.size, size)
    if stride.numerator != 1 and stride.denominator != 1:
        return field
    # The last repetition of a pixel stands 1 - stride input pixels behind the first, and so looks back that far.
    return field.seeing(max(field.scale * (1 - stride), 0), 0).scaled(
        stride, math.floor(field.valid / (field.scale * stride))
    )


_RULES: dict[str, Callable[[Any, Field, int], tuple[Field, int | None]]] = {
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "_FusedConv2D": _convolution,
    "Dilation2D": _convolution,
    "Conv2DBackpropInput": _transposed,
    "DepthwiseConv2dNativeBackpropInput": _transposed,
    "MaxPool": _pooling,
    "AvgPool": _pooling,
    "MaxPoolWithArgmax": _pooling,
    "Pad": _shift,
    "PadV2": _shift,
    "MirrorPad": _shift,
    "StridedSlice": _slice,
    "Slice": _slice,
    "SpaceToBatchND": _to_batch,
    "BatchToSpaceND": _from_batch,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "ResizeBilinear": _interpolation(1),
    "ResizeBicubic": _interpolation(2),
    "ResizeNearestNeighbor": _nearest,
    "ResizeArea": _area,
    "ScaleAndTranslate": _filtered,
}
# Depend on the shape of their inputs alone, not on pixels.
_FORGETS = {"Shape", "ShapeN", "Rank", "Size", "ZerosLike", "OnesLike", "NoOp"}
_REDUCTIONS = {"Mean", "Sum", "Max", "Min", "Prod", "All", "Any", "ArgMax", "ArgMin", "Cumsum", "Cumprod", "ReverseV2"}
_WHOLE = {
    "FFT", "IFFT", "FFT2D", "IFFT2D", "FFT3D", "IFFT3D", "RFFT", "IRFFT", "RFFT2D", "IRFFT2D", "Roll", "Sort", "TopKV2",
}  # fmt: skip
# Run functions or loops of their own, which are not followed.
_CLOSED = {
    "While", "StatelessWhile", "If", "StatelessIf", "Case", "Enter", "PartitionedCall", "StatefulPartitionedCall",
}  # fmt: skip
_PRODUCTS = {"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"}


def _refuse_global(op: tf.Operation, inputs: Sequence[Field | None], axis: int) -> None:
    if op.type in _CLOSED:
        raise ModelError(f"{op.name!r} ({op.type}) cannot be seen through: its receptive field is not known.")
    whole = op.type in _WHOLE
    if op.type in _REDUCTIONS:
        axes, rank = tf.get_static_value(op.inputs[1]), op.inputs[0].shape.rank
        if axes is None or rank is None:
            whole = True
        else:
            reduced = {int(each) % rank for each in (axes.ravel() if axes.ndim else [axes])}
            whole = rank >= 3 and 1 + axis in reduced
    if op.type in _PRODUCTS:  # attention: every pixel is weighed against every other
        whole = sum(field is not None for field in inputs) > 1
    if whole:
        raise ModelError(
            f"{op.name!r} ({op.type}) sees the whole picture, so no margin is enough for tiles: their results "
            "differ from the whole picture's. Choose an output before it, or run the picture at once."
        )
