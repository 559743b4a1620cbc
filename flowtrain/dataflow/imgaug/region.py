"""Region of interest of a list of augmentors: drawn before the picture is decoded, so that only it is decoded.

The test of types here is exact (``type(x) is``): a subclass may move pixels in another way than its parent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...utils.inherited import written_for
from .augmentor import Augmentor, IdentityTransform, Transform, TransformList
from .crop import CropTransform
from .flip import Flip, FlipTransform, Transpose, TransposeTransform
from .meta import AugmentorList, Identity, RandomApplyAug, RandomChooseAug

__all__ = ["Kept", "Region", "draw_region", "in_the_way", "may_crop"]

Region = tuple[int, int, int, int]
"""(y, x, height, width) in pixels."""

_KEEP_ALL = (Flip, Transpose, Identity)
"""Augmentors that draw from the size alone and keep every pixel: a list of these is no reason to decode a region."""


class Kept(NamedTuple):
    """The result of :func:`draw_region`.

    Attributes:
        region: The part of the picture to decode.
        transforms: Transforms to be applied to that part, in this order.
        rest: The augmentors that have not drawn yet, to be applied afterwards.
    """

    region: Region
    transforms: list[Transform]
    rest: list[Augmentor]


def draw_region(augmentors: Augmentor, shape: tuple[int, int, int], rng: np.random.Generator) -> Kept | None:
    """Let the augmentors up to the first crop draw, and work out which region of the picture they keep.

    They draw the same numbers in the same order as for the decoded picture.

    Args:
        augmentors: One, or a list of them.
        shape: (H, W, C) of the picture, which is uint8.
        rng: The datapoint's generator.

    Returns:
        None if the whole picture is needed, or may be: then decode it, and draw anew from a fresh generator.
    """
    listed = list(_flat(augmentors))
    height, width, channels = shape
    moves: list[FlipTransform | TransposeTransform] = []
    for number, augmentor in enumerate(listed, 1):
        if not _draws_from_size(augmentor):
            return None
        # A picture of any size in one byte of memory: augmentors that draw from the size look at nothing else.
        hollow = np.ndarray((height, width, channels), np.uint8, b"\0", strides=(0, 0, 0))
        steps = list(_flat(augmentor.get_transform(hollow, rng)))
        for place, step in enumerate(steps, 1):
            if type(step) is CropTransform:
                region, transforms = _undo_moves((step.y, step.x, step.height, step.width), moves)
                return Kept(region, [*transforms, *steps[place:]], listed[number:])
            if type(step) is TransposeTransform:
                height, width = width, height
            if type(step) is FlipTransform or type(step) is TransposeTransform:
                moves.append(step)
            elif type(step) is not IdentityTransform:
                return None
    return None


def may_crop(augmentors: Augmentor) -> bool:
    """Whether :func:`draw_region` can find a region smaller than the picture."""
    return any(map(_crops, _flat(augmentors))) and in_the_way(augmentors) is None


def in_the_way(augmentors: Augmentor) -> Augmentor | None:
    """The first augmentor before the first crop that may look at pixels; None if there is none, or no crop."""
    looks: Augmentor | None = None
    for augmentor in _flat(augmentors):
        if _crops(augmentor):
            return looks
        if looks is None and not _draws_from_size(augmentor):
            looks = augmentor
    return None


def _crops(augmentor: Augmentor) -> bool:
    # Of an unknown class, a user's too, this is a guess: draw_region looks at the transform that it draws.
    return _draws_from_size(augmentor) and type(augmentor) not in _KEEP_ALL


def _draws_from_size(augmentor: Augmentor) -> bool:
    if type(augmentor) is RandomApplyAug:
        return _draws_from_size(augmentor.augmentor)
    if type(augmentor) is RandomChooseAug:
        return all(map(_draws_from_size, augmentor.augmentors))
    # The attribute is believed only of the class that defines these methods, not of a subclass that overrides one.
    known = written_for(type(augmentor), "draws_from_size", "get_transform", "augment", "augment_return_transform")
    return known and augmentor.draws_from_size


def _flat(item: Any) -> Iterator[Any]:
    """Flatten nested AugmentorLists to augmentors, or nested TransformLists to transforms."""
    if type(item) is AugmentorList or type(item) is TransformList:
        for part in item.augmentors if type(item) is AugmentorList else item.transforms:
            yield from _flat(part)
    else:
        yield item


def _undo_moves(region: Region, moves: list[FlipTransform | TransposeTransform]) -> tuple[Region, list[Transform]]:
    """Map a region of a flipped and transposed picture back to the picture itself.

    Args:
        region: In the picture after all ``moves``.
        moves: In the order in which they were drawn.

    Returns:
        The region in the picture before the moves, and the moves for a picture of that region's size.
    """
    transforms: list[Transform] = []
    y, x, height, width = region
    for move in reversed(moves):  # undo the last move first; each is made anew for a picture of the region's size
        if isinstance(move, TransposeTransform):
            y, x, height, width = x, y, width, height
            transforms.append(TransposeTransform((height, width)))
            continue
        rows, columns = move.source
        if move.horiz:
            x = columns - x - width
        else:
            y = rows - y - height
        transforms.append(FlipTransform(move.horiz, (height, width)))
    return (y, x, height, width), transforms[::-1]
