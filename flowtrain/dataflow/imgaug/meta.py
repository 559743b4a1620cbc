"""Composition of augmentors: sequences, random choices, random order; and MapImage, which wraps a plain function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from flowtrain.utils.errors import ConfigError

from ...utils.arguments import old_spellings
from .augmentor import (
    Augmentor,
    FixedAugmentor,
    FunctionTransform,
    IdentityTransform,
    Transform,
    TransformList,
    check_rng,
)
from .checks import as_prob, check_image, name_of

__all__ = ["AugmentorList", "Identity", "MapImage", "RandomApplyAug", "RandomChooseAug", "RandomOrderAug"]


def _checked_list(augmentors: Sequence[Augmentor], owner: object) -> list[Augmentor]:
    if isinstance(augmentors, Augmentor) or not isinstance(augmentors, Sequence):
        raise ConfigError(f"{name_of(owner)}: expected a list of augmentors, got {augmentors!r}")
    return [checked_augmentor(augmentor, owner) for augmentor in augmentors]


def checked_augmentor(augmentor: Augmentor, owner: object) -> Augmentor:
    """Return the augmentor; for anything else raise an error that says how to make it an augmentor."""
    if isinstance(augmentor, Augmentor):
        return augmentor
    if isinstance(augmentor, type) and issubclass(augmentor, Augmentor):
        advice = f"Make one of the class: {augmentor.__name__}(...)"
    elif type(augmentor).__module__.startswith("albumentations"):
        advice = "Wrap it: imgaug.Albumentations(transform)"
    elif callable(augmentor):
        advice = "Wrap a function: imgaug.MapImage(function)"
    elif isinstance(augmentor, tuple) and len(augmentor) == 2 and isinstance(augmentor[0], Augmentor):
        advice = "Give the augmentors alone, and RandomChooseAug's shares as weights=[...]"
    elif isinstance(augmentor, Sequence) and not isinstance(augmentor, str):
        advice = "Wrap a list: imgaug.AugmentorList([...])"
    else:
        advice = "See flowtrain.dataflow.imgaug for those that there are"
    raise ConfigError(f"{name_of(owner)}: {augmentor!r} is not an augmentor. {advice}")


class _Several(Augmentor):
    """Base of augmentors that apply all of several augmentors, one after the other."""

    def __init__(self, augmentors: Sequence[Augmentor]) -> None:
        self.augmentors = _checked_list(augmentors, self)

    def _in_order(self, rng: np.random.Generator) -> list[Augmentor]:
        return self.augmentors

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> TransformList:
        """Draw all transforms. The picture is augmented on the way: :meth:`augment_return_transform` returns it too."""
        transforms: list[Transform] = []
        augmentors = self._in_order(rng)
        for augmentor in augmentors[:-1]:
            img, transform = augmentor.augment_return_transform(img, rng)
            transforms.append(transform)
        if augmentors:  # the last one is not applied, since no other draws for its result
            transforms.append(augmentors[-1].get_transform(img, rng))
        return TransformList(transforms)

    def augment(self, img: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Draw and apply each once; see :meth:`Augmentor.augment`."""
        rng = check_rng(rng)  # once, so that all augmentors draw from one generator
        for augmentor in self._in_order(rng):
            img = augmentor.augment(img, rng)
        return img

    def augment_return_transform(
        self, img: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, Transform]:
        """Draw and apply each once; see :meth:`Augmentor.augment_return_transform`."""
        rng = check_rng(rng)
        transforms = []
        for augmentor in self._in_order(rng):
            img, transform = augmentor.augment_return_transform(img, rng)
            transforms.append(transform)
        return img, TransformList(transforms)


class AugmentorList(_Several):
    """Several augmentors, one after the other; each draws for the picture that the augmentors before it made.

    Args:
        augmentors: Applied in this order. An empty list changes nothing.

    Example:
        >>> both = AugmentorList([RandomCrop(256), Flip(horiz=True)])
        >>> img, transform = both.augment_return_transform(np.zeros((300, 400, 3), np.uint8))
        >>> img.shape
        (256, 256, 3)
    """


class Identity(Augmentor):
    """The augmentor that changes nothing, e.g. as a choice in :class:`RandomChooseAug`."""

    draws_from_size = True

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> IdentityTransform:
        """Draw nothing."""
        check_image(img, self, None, None)
        return IdentityTransform()


@old_spellings(func="function", coord_func="coords")
class MapImage(FixedAugmentor):
    """Make an augmentor of a function of a picture.

    The function must not draw random numbers of its own; for an augmentor that draws see :class:`Augmentor`.

    Args:
        function: Takes the picture, returns the new one.
        coords: Moves (N, 2) points; needed for :meth:`Transform.apply_coords` if pixels move.
        mask: Makes the new label map; needed for :meth:`Transform.apply_mask` if pixels move.
        moves: Pass True if the function moves pixels. Points are then an error if ``coords`` is None, and masks if
            ``mask`` is None, rather than silently left in place.

    Example:
        >>> MapImage(lambda img: 255 - img).augment(np.array([[0, 5]], np.uint8))
        array([[255, 250]], dtype=uint8)
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        coords: Callable[[np.ndarray], np.ndarray] | None = None,
        mask: Callable[[np.ndarray], np.ndarray] | None = None,
        moves: bool = False,
    ) -> None:
        if not callable(function):
            raise ConfigError(f"MapImage: expected a function that takes and returns a picture, got {function!r}")
        self.function = function
        self._transform = FunctionTransform(function, coords, mask, moves)


@old_spellings(aug="augmentor")
class RandomApplyAug(Augmentor):
    """Apply an augmentor with a given probability, else leave the picture as it is.

    Args:
        augmentor: The augmentor.
        prob: Probability, 0 to 1.
    """

    def __init__(self, augmentor: Augmentor, prob: float = 0.5) -> None:
        self.augmentor = checked_augmentor(augmentor, self)
        self.prob = as_prob(prob, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> Transform:
        """Draw whether to apply the augmentor, then let it draw."""
        check_image(img, self, None, None)
        return self.augmentor.get_transform(img, rng) if rng.random() < self.prob else IdentityTransform()


@old_spellings(aug_lists="augmentors", prob="weights", p="weights")
class RandomChooseAug(Augmentor):
    """Apply one of several augmentors, drawn at random.

    Args:
        augmentors: The choices.
        weights: Relative frequency of each choice. None: all are equally likely.

    Example:
        >>> RandomChooseAug([Identity(), Flip(vert=True, prob=1.0)], weights=[3, 1])
        RandomChooseAug(augmentors=[Identity(), Flip(horiz=False, vert=True, prob=1.0)], weights=[3, 1])
    """

    def __init__(self, augmentors: Sequence[Augmentor], weights: Sequence[float] | None = None) -> None:
        self.augmentors = _checked_list(augmentors, self)
        self.weights = None if weights is None else list(weights)
        if not self.augmentors:
            raise ConfigError("RandomChooseAug: there is nothing to choose from; give at least one augmentor")
        shares = np.ones(len(self.augmentors)) if self.weights is None else _as_weights(self.weights)
        if len(shares) != len(self.augmentors):
            raise ConfigError(
                f"RandomChooseAug: {len(shares)} weights were given for {len(self.augmentors)} augmentors"
            )
        self._upto = np.cumsum(shares / shares.sum())

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> Transform:
        """Draw one of the augmentors, then let it draw."""
        # side="right" never chooses a weight of 0; min is for a cumulative sum that is rounded to just below 1.
        chosen = int(np.searchsorted(self._upto, rng.random(), side="right"))
        return self.augmentors[min(chosen, len(self.augmentors) - 1)].get_transform(img, rng)


def _as_weights(weights: Sequence[float]) -> np.ndarray:
    try:
        shares = np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        shares = np.full(1, np.nan)
    if shares.ndim != 1 or not np.isfinite(shares).all() or (shares < 0).any() or not shares.sum() > 0:
        raise ConfigError(f"RandomChooseAug: weights must be numbers of at least 0, not all of them 0; got {weights!r}")
    return shares


@old_spellings(aug_lists="augmentors")
class RandomOrderAug(_Several):
    """Apply all of several augmentors in random order.

    Args:
        augmentors: The augmentors.
    """

    def _in_order(self, rng: np.random.Generator) -> list[Augmentor]:
        return [self.augmentors[i] for i in rng.permutation(len(self.augmentors))]
