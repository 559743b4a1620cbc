"""Which part of a picture a list of augmentors keeps, drawn before the picture is decoded."""

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
_LISTS = {AugmentorList: "augmentors", TransformList: "transforms"}


class Kept(NamedTuple):
    """What :func:`draw_region` drew.

    Attributes:
        region: The part of the picture that is needed.
        transforms: To be applied to that part, in this order.
        rest: The augmentors that have not drawn yet, to be applied afterwards.
    """

    region: Region
    transforms: list[Transform]
    rest: list[Augmentor]


def draw_region(augmentors: Augmentor, shape: tuple[int, int, int], rng: np.random.Generator) -> Kept | None:
    """Let the first augmentors draw, up to the one that cuts a window out of the picture.

    They draw what they draw for the decoded picture: the same numbers, in the same order.

    Args:
        augmentors: One, or a list of them.
        shape: (H, W, C) of the picture, which is uint8.
        rng: The datapoint's generator.

    Returns:
        None where all of the picture is needed, or where that cannot be told: then decode it, and draw anew.
    """
    listed = list(_flat(augmentors))
    height, width, channels = shape
    moves: list[FlipTransform | TransposeTransform] = []
    for number, augmentor in enumerate(listed, 1):
        if not _draws_from_size(augmentor):
            return None
        hollow = np.ndarray((height, width, channels), np.uint8, b"\0", strides=(0, 0, 0))  # any size in one byte
        steps = list(_flat(augmentor.get_transform(hollow, rng)))
        for place, step in enumerate(steps, 1):
            if type(step) is CropTransform:
                region, transforms = _before((step.y, step.x, step.height, step.width), moves)
                return Kept(region, [*transforms, *steps[place:]], listed[number:])
            if type(step) is TransposeTransform:
                height, width = width, height
            if type(step) is FlipTransform or type(step) is TransposeTransform:
                moves.append(step)
            elif type(step) is not IdentityTransform:
                return None
    return None


def may_crop(augmentors: Augmentor) -> bool:
    """Whether :func:`draw_region` can find a region that is not the whole picture."""
    listed = list(_flat(augmentors))
    return any(map(_crops, listed)) and in_the_way(augmentors) is None


def in_the_way(augmentors: Augmentor) -> Augmentor | None:
    """The augmentor before the first crop that may look at pixels; None where there is none, or no crop."""
    looks: Augmentor | None = None
    for augmentor in _flat(augmentors):
        if _crops(augmentor):
            return looks
        if looks is None and not _draws_from_size(augmentor):
            looks = augmentor
    return None


def _crops(augmentor: Augmentor) -> bool:
    return _draws_from_size(augmentor) and type(augmentor) not in _KEEP_ALL


def _draws_from_size(augmentor: Augmentor) -> bool:
    if type(augmentor) is RandomApplyAug:
        return _draws_from_size(augmentor.augmentor)
    if type(augmentor) is RandomChooseAug:
        return all(map(_draws_from_size, augmentor.augmentors))
    known = written_for(type(augmentor), "draws_from_size", "get_transform", "augment", "augment_return_transform")
    return known and augmentor.draws_from_size


def _flat(item: Any) -> Iterator[Any]:
    """The augmentors of a list, or the transforms that one drew, and those of lists in it."""
    if type(item) not in _LISTS:
        yield item
        return
    for part in getattr(item, _LISTS[type(item)]):
        yield from _flat(part)


def _before(region: Region, moves: list[FlipTransform | TransposeTransform]) -> tuple[Region, list[Transform]]:
    """Where a region of a mirrored picture lies in the picture itself, and how that part has to be mirrored."""
    transforms: list[Transform] = []
    y, x, height, width = region
    for move in reversed(moves):
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
