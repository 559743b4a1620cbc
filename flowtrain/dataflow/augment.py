"""Stages that augment pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from .base import DataFlow, RNGDataFlow
from .components import Key, check_key, missing_component, replaced
from .cursor import Datapoint
from .each import EachData
from .imgaug import Augmentor, AugmentorList

__all__ = ["AugmentImageComponent"]


class _Augmented(EachData, RNGDataFlow):
    """What the stages share: the augmentors, and a stream of their own."""

    def __init__(self, ds: DataFlow, augmentors: Augmentor | Sequence[Augmentor], seed: Any) -> None:
        EachData.__init__(self, ds)
        RNGDataFlow.__init__(self, seed)
        self.augmentors = augmentors if isinstance(augmentors, Augmentor) else AugmentorList(augmentors)

    def _component(self, datapoint: Datapoint, key: Key) -> Any:
        try:
            return datapoint[key]
        except (LookupError, TypeError) as error:
            raise missing_component(datapoint, key, self.describe()) from error

    def describe(self) -> str:
        return f"{type(self).__name__}({self.augmentors})"


class AugmentImageComponent(_Augmented):
    """Augment the picture in one component of each datapoint.

    Args:
        ds: The flow beneath.
        augmentors: One, or a list that is applied in its order.
        index: Which component is the picture: a position, or a key where datapoints are dicts.
        seed: None takes the default.

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

    def _apply(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint:
        image = self._component(datapoint, self.index)
        try:
            image = self.augmentors.augment(image, self.stream.at(epoch, index))
        except Exception as error:
            self._fail(error, index, epoch)
        return replaced(datapoint, self.index, image)
