"""Stages that augment pictures."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from ...utils.arguments import old_spellings
from ...utils.errors import USER_ERRORS, DataFlowError
from ..core.base import DataFlow
from ..core.components import Key, check_key, missing_component, replaced
from ..core.cursor import Datapoint
from ..core.datapoint import Component
from ..core.random_flow import RNGDataFlow
from ..core.undecoded import decoded, get_undecoded, holds_undecoded, is_undecoded, why_decoded
from ..core.values import check_unmasked
from ..imgaug import Augmentor, AugmentorList
from ..imgaug.region import draw_region, in_the_way, may_crop
from .each import EachData

__all__ = ["AugmentImageComponent", "AugmentImageComponents", "AugmentImageCoordinates"]


_OLD = {
    "copy": "What is given is never written to",
    "catch_exceptions": "To leave pictures out, use MapData(..., may_drop=True)",
}


class _Augmented(EachData, RNGDataFlow):
    """The base of the augmenting stages: the augmentors, and the stage's own random stream."""

    def __init__(
        self, ds: DataFlow, augmentors: Augmentor | Sequence[Augmentor], seed: int | Literal["random"] | None
    ) -> None:
        EachData.__init__(self, ds)
        RNGDataFlow.__init__(self, seed)
        self.augmentors = augmentors if isinstance(augmentors, Augmentor) else AugmentorList(augmentors)

    @property
    def _note(self) -> str:
        """The remark of ``explain`` on the stage, below its table; empty if there is none."""
        return self._decoding("takes JPEGs that are decoded whole: other components are changed like the picture")

    def _decoding(self, note: str) -> str:
        """The note, or why pictures come decoded anyway; empty if no source beneath has JPEGs."""
        reason = why_decoded(self.ds)
        return note if reason is None else reason and f"takes JPEGs that are decoded whole: {reason}"

    def _component(self, datapoint: Datapoint, key: Key) -> Component:
        try:
            value = datapoint[key]
        except (LookupError, TypeError) as error:
            raise missing_component(datapoint, key, self.describe()) from error
        if isinstance(value, np.ma.MaskedArray):
            check_unmasked(value, f"{self.describe()}: component {key!r}")
        return value

    def describe(self) -> str:
        listed = self.augmentors.augmentors if isinstance(self.augmentors, AugmentorList) else [self.augmentors]
        return f"{type(self).__name__}({', '.join(type(augmentor).__name__ for augmentor in listed)})"


@old_spellings(**_OLD)
class AugmentImageComponent(_Augmented):
    """Augment the picture in one component of each datapoint.

    Args:
        ds: The flow beneath.
        augmentors: One, or a list that is applied in its order.
        index: Which component is the picture: a position, or a key where datapoints are dicts.
        seed: None takes the default.

    Of a JPEG only what a crop keeps is decoded, with the same result, under two conditions: the first augmentor that
    changes the picture is a crop (``RandomResizedCrop``, ``RandomCrop``, ...; ``Flip`` and ``Transpose`` may come
    before it), and ``ds`` is an ``ImageFromFile`` or the like, alone or beneath stages that do not look at the picture
    (``RepeatedData``, ``JoinData``, ``SelectComponent``, ...). Damage below the part that is kept is not noticed then.
    Else pictures are decoded whole; ``explain`` says which of the two is done.

    Order: that of ``ds``; what datapoint i of epoch e draws depends on (seed, e, i) alone.

    State: that of ``ds``.

    Example:
        >>> from flowtrain.dataflow import FakeData, imgaug
        >>> ds = AugmentImageComponent(FakeData([(8, 8, 3)], dtype="uint8"), [imgaug.CenterCrop(4)])
        >>> next(iter(ds))[0].shape
        (4, 4, 3)
    """

    def __init__(
        self,
        ds: DataFlow,
        augmentors: Augmentor | Sequence[Augmentor],
        index: Key = 0,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(ds, augmentors, seed)
        self.index = check_key(index, type(self).__name__)

    _needs = EachData._needs  # true of this get too: it takes the same datapoints, decoded or not

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        if self._may_crop:
            datapoint = get_undecoded(self.ds, index, epoch)
            if not holds_undecoded(datapoint):
                return self._apply(datapoint, index, epoch)
            if is_undecoded(datapoint, self.index):
                kept = self._read_kept(datapoint, index, epoch)
                if kept is not None:
                    return kept
        return super().get(index, epoch)

    @functools.cached_property
    def _may_crop(self) -> bool:
        return may_crop(self.augmentors) and why_decoded(self.ds) is None

    @property
    def _note(self) -> str:
        if may_crop(self.augmentors):
            return self._decoding("decodes of JPEGs only the part that is kept")
        first = in_the_way(self.augmentors)
        if first is None:
            return ""
        return self._decoding(f"takes JPEGs that are decoded whole: {type(first).__name__} comes before the crop")

    def _read_kept(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint | None:
        """Decode what the crop keeps, and augment it; None where the whole picture has to be decoded."""
        picture, rng = datapoint[self.index], self.stream.at(epoch, index)
        try:
            kept = draw_region(self.augmentors, picture.shape, rng)
            if kept is None:
                return None
            image = picture.read_region(kept.region)
            datapoint = decoded(replaced(datapoint, self.index, image))
        except Exception:
            # Then the picture is decoded whole, with the same draws. If something is wrong, the error comes from there.
            return None
        try:
            for transform in kept.transforms:
                image = transform.apply_image(image)
            for augmentor in kept.rest:
                image = augmentor.augment(image, rng)
        except USER_ERRORS as error:
            self._fail(error, index, epoch)
        return replaced(datapoint, self.index, image)

    def _apply(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint:
        image = self._component(datapoint, self.index)
        try:
            image = self.augmentors.augment(image, self.stream.at(epoch, index))
        except USER_ERRORS as error:
            self._fail(error, index, epoch)
        return replaced(datapoint, self.index, image)


class _AugmentedAlike(_Augmented):
    """The base of stages that change several components with what is drawn for the first picture."""

    _keys: tuple[list[Key], ...]  # of pictures, of label maps, of points

    def _apply(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint:
        images, masks, points = ([self._component(datapoint, key) for key in keys] for keys in self._keys)
        try:
            first, transform = self.augmentors.augment_return_transform(images[0], self.stream.at(epoch, index))
            changed = [first, *map(transform.apply_image, images[1:])]
            changed += map(transform.apply_mask, masks)
            changed += map(transform.apply_coords, points)
        except USER_ERRORS as error:
            self._fail(error, index, epoch)
        for key, value in zip(itertools.chain(*self._keys), changed, strict=True):
            datapoint = replaced(datapoint, key, value)
        return datapoint


@old_spellings(**_OLD)
class AugmentImageComponents(_AugmentedAlike):
    """Augment several components of each datapoint alike: a picture, its target, its label map and points in it.

    Random parameters are drawn once, for the first picture, and applied to all components.

    Args:
        ds: The flow beneath.
        augmentors: One, or a list that is applied in its order.
        index: Which components are pictures, all of one size.
        mask_index: Which components are label maps: moved as the pictures are, without interpolating new values, and
            never recoloured.
        coords_index: Which components are points: (N, 2), x before y, in pixels.
        seed: None takes the default.

    Order: that of ``ds``; what datapoint i of epoch e draws depends on (seed, e, i) alone.

    State: that of ``ds``.

    Raises:
        DataFlowError: ``index`` is empty, or the pictures differ in size.

    Example:
        >>> from flowtrain.dataflow import FakeData, imgaug
        >>> ds = FakeData([(8, 8, 3), (8, 8)], dtype="uint8")
        >>> ds = AugmentImageComponents(ds, [imgaug.RandomCrop(4)], index=[0], mask_index=[1])
        >>> [component.shape for component in next(iter(ds))]
        [(4, 4, 3), (4, 4)]
    """

    def __init__(
        self,
        ds: DataFlow,
        augmentors: Augmentor | Sequence[Augmentor],
        index: Sequence[Key] = (0, 1),
        mask_index: Sequence[Key] = (),
        coords_index: Sequence[Key] = (),
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(ds, augmentors, seed)
        self._keys = tuple(_checked(keys) for keys in (index, mask_index, coords_index))
        self.index, self.mask_index, self.coords_index = self._keys
        if not self.index:
            raise DataFlowError("AugmentImageComponents: index must name at least one picture")


@old_spellings(**_OLD, img_index="index")
class AugmentImageCoordinates(_AugmentedAlike):
    """Augment a picture and move points in it with it: boxes' corners, landmarks.

    Args:
        ds: The flow beneath.
        augmentors: One, or a list that is applied in its order.
        index: Which component is the picture.
        coords_index: Which component holds the points: (N, 2), x before y, in pixels.
        seed: None takes the default.

    Order: that of ``ds``; what datapoint i of epoch e draws depends on (seed, e, i) alone.

    State: that of ``ds``.

    Example:
        >>> import numpy as np
        >>> from flowtrain.dataflow import DataFromList, imgaug
        >>> ds = DataFromList([[np.zeros((8, 8, 3), np.uint8), np.array([[4.0, 4.0]])]])
        >>> next(iter(AugmentImageCoordinates(ds, imgaug.CenterCrop(4))))[1]
        array([[2., 2.]])
    """

    def __init__(
        self,
        ds: DataFlow,
        augmentors: Augmentor | Sequence[Augmentor],
        index: Key = 0,
        coords_index: Key = 1,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(ds, augmentors, seed)
        self.index, self.coords_index = (check_key(key, "AugmentImageCoordinates") for key in (index, coords_index))
        self._keys = [self.index], [], [self.coords_index]


def _checked(keys: Key | Iterable[Key]) -> list[Key]:
    listed = keys if isinstance(keys, Iterable) and not isinstance(keys, str) else [keys]
    return [check_key(key, "AugmentImageComponents") for key in listed]
