"""The base classes: an Augmentor draws random numbers, the Transform that it returns is deterministic.

An :class:`Augmentor` looks at a picture, draws its random numbers from the generator that it is given, and
returns a :class:`Transform`. The transform can be applied to the picture, to its label map and to points in it, and
all of them move together.

Coordinates follow one convention everywhere: a point is (x, y), and the *centre* of the top left pixel is
(0, 0), so the centre of the bottom right pixel of an H x W picture is (W - 1, H - 1).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar, NoReturn, TypeVar, cast

import numpy as np

from flowtrain.utils.arguments import names_arguments, unknown_attribute
from flowtrain.utils.errors import ConfigError, DataFlowError

from .checks import PICTURE_DTYPES, check_coords, check_image, check_same_size, keep_channel_axis

__all__ = [
    "Augmentor",
    "FixedAugmentor",
    "FunctionTransform",
    "GeometricTransform",
    "IdentityTransform",
    "PixelTransform",
    "Transform",
    "TransformList",
]

DEFAULT_SEED = 0


def _described(thing: object) -> str:
    """``Name(field=value, ...)`` of the public attributes; arrays are named by shape, not printed."""
    parts = []
    for name, value in vars(thing).items():
        if name.startswith("_"):
            continue
        if isinstance(value, np.ndarray) and value.size > 6:  # the 2 x 3 matrix of a warp is still printed
            value = f"<{value.dtype} array {value.shape}>"
        elif isinstance(value, (np.ndarray, np.generic)):
            value = value.tolist()
        elif callable(value) and hasattr(value, "__qualname__"):
            value = value.__qualname__
        parts.append(f"{name}={value}" if isinstance(value, str) and value[:1] == "<" else f"{name}={value!r}")
    return f"{type(thing).__name__}({', '.join(parts)})"


class Transform:
    """A deterministic change of a picture, its label map and its points; it can be applied any number of times.

    A transform never draws random numbers and never writes to what it is given. Its result may share memory with its
    argument (a crop is a view).
    """

    # No abstract methods: a transform that defines apply_image alone is complete until masks or points are asked for.

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Change a picture.

        Args:
            img: (H, W) or (H, W, C). A transform that moves pixels takes only the size of the picture it was made for.

        Returns:
            The new picture; a channel axis is kept, even of one channel.
        """
        raise DataFlowError(f"{type(self).__name__} does not define apply_image(img)")

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Move points as the picture moves.

        Args:
            coords: (N, 2) real numbers, x before y, in pixels; (0, 0) is the centre of the top left pixel.

        Returns:
            The new points, (N, 2): float32 for float32, else float64. Points may lie outside the new picture.
        """
        raise DataFlowError(f"{type(self).__name__} does not define apply_coords(coords): it cannot move points")

    def apply_mask(self, mask: np.ndarray) -> np.ndarray:
        """Move a label map as the picture moves, by nearest neighbour: no label is mixed or changed.

        Use this rather than :meth:`apply_image` for segmentation maps: it never interpolates, it fills the area
        outside of the picture with 0, and transforms that only change colours leave it as it is.

        Args:
            mask: (H, W) or (H, W, C): bool, or integers or floats of up to 64 bits.

        Returns:
            The new mask, of the same dtype.
        """
        raise DataFlowError(f"{type(self).__name__} does not define apply_mask(mask): it cannot change label maps")

    def __repr__(self) -> str:
        return _described(self)


class PixelTransform(Transform):
    """Base of transforms that change values and move nothing: points and masks stay as they are.

    A subclass defines :meth:`change`. A fourth channel is alpha, and is kept as it is unless ``touches_alpha``.

    Attributes:
        dtypes: The dtypes of pictures that it takes; None takes all.
        channels: The numbers of channels that it takes, where (H, W) counts as 1; None takes all.
        touches_alpha: Whether :meth:`change` is given a fourth channel too.
    """

    dtypes: tuple[np.dtype, ...] | None = PICTURE_DTYPES
    channels: tuple[int, ...] | None = (1, 3, 4)
    touches_alpha = False

    def change(self, img: np.ndarray) -> np.ndarray:
        """Make the new picture: a new array, or ``img`` itself or a view of it where nothing changes.

        The dtype and channels of ``img`` fit; the caller restores a channel axis that OpenCV has dropped.
        """
        raise NotImplementedError

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Change a picture's values; see :meth:`Transform.apply_image`."""
        check_image(img, self, self.dtypes, self.channels)
        if img.ndim == 3 and img.shape[2] == 4 and not self.touches_alpha:
            # Contiguous, since each OpenCV function would copy the view img[:, :, :3], which has gaps, for itself.
            colour = keep_channel_axis(self.change(np.ascontiguousarray(img[:, :, :3])), img)
            out = np.empty((*colour.shape[:2], colour.shape[2] + 1), colour.dtype)
            out[:, :, :-1] = colour
            out[:, :, -1] = img[:, :, 3]
            return out
        return keep_channel_axis(self.change(img), img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Return the points as they are (checked, as floats)."""
        return check_coords(coords, self)

    def apply_mask(self, mask: np.ndarray) -> np.ndarray:
        """Return the mask as it is."""
        check_image(mask, self, None, None)
        return mask


class GeometricTransform(Transform):
    """Base of transforms that move pixels. A subclass defines :meth:`move` and :meth:`move_points`.

    Attributes:
        source: (height, width) of the picture that the transform was made for; others are refused.
        dtypes: The dtypes of pictures that it takes; None takes all.
    """

    source: tuple[int, int]
    dtypes: tuple[np.dtype, ...] | None = None

    def move(self, img: np.ndarray, exact: bool) -> np.ndarray:
        """Make the new picture. With ``exact`` (a mask) no values may be mixed, and 0 fills the area outside."""
        raise NotImplementedError

    def move_points(self, xy: np.ndarray) -> np.ndarray:
        """Move points, (N, 2) floats; ``xy`` is a copy, which may be written to."""
        raise NotImplementedError

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Move a picture's pixels; see :meth:`Transform.apply_image`."""
        check_image(img, self, self.dtypes, None)
        check_same_size(img, self.source, self)
        return keep_channel_axis(self.move(img, exact=False), img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Move points; see :meth:`Transform.apply_coords`."""
        return self.move_points(check_coords(coords, self))  # check_coords copies, so move_points may write in place

    def apply_mask(self, mask: np.ndarray) -> np.ndarray:
        """Move a label map; see :meth:`Transform.apply_mask`."""
        check_image(mask, self, None, None)
        check_same_size(mask, self.source, self)
        return keep_channel_axis(self.move(mask, exact=True), mask)


class IdentityTransform(PixelTransform):
    """The transform that changes nothing: it returns the picture and mask themselves, not copies."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return the picture itself."""
        check_image(img, self, None, None)
        return img


class FunctionTransform(Transform):
    """A transform made of plain functions: the short way to write an augmentor of your own.

    Args:
        image: Makes the new picture from the picture.
        coords: Moves (N, 2) points. None: points stay where they are.
        mask: Makes the new label map from a label map. None: masks stay as they are.
        moves: Pass True if the function moves pixels. Points are then an error if ``coords`` is None, and masks if
            ``mask`` is None, rather than silently left in place.

    Example:
        >>> class Darken(Augmentor):
        ...     def get_transform(self, img, rng):
        ...         factor = rng.uniform(0.5, 1.0)
        ...         return FunctionTransform(lambda img: np.rint(img * factor).astype(img.dtype))
        >>> Darken().augment(np.full((2, 2), 100, np.uint8)).dtype
        dtype('uint8')
    """

    def __init__(
        self,
        image: Callable[[np.ndarray], np.ndarray],
        coords: Callable[[np.ndarray], np.ndarray] | None = None,
        mask: Callable[[np.ndarray], np.ndarray] | None = None,
        moves: bool = False,
    ) -> None:
        for name, given in (("image", image), ("coords", coords), ("mask", mask)):
            if not callable(given) and (name == "image" or given is not None):
                raise ConfigError(f"FunctionTransform: {name} must be a function, not {given!r}")
        self.image = image
        self._coords, self._mask, self._moves = coords, mask, moves

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Call the function for pictures, which must return an array."""
        out = self.image(img)
        if not isinstance(out, np.ndarray):
            raise DataFlowError(
                f"{self!r}: the function returned {type(out).__name__}, expected the new picture as a NumPy array"
            )
        return out

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Call the function for points, if there is one."""
        checked = check_coords(coords, self)
        if self._coords is not None:
            return check_coords(self._coords(checked), self)
        if self._moves:
            return super().apply_coords(coords)  # raises: what becomes of points is not known
        return checked

    def apply_mask(self, mask: np.ndarray) -> np.ndarray:
        """Call the function for masks, if there is one."""
        if self._mask is not None:
            return self._mask(mask)
        if self._moves:
            return super().apply_mask(mask)  # raises
        return mask


class TransformList(Transform):
    """A sequence of transforms, applied in their order."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Apply all to a picture."""
        for transform in self.transforms:
            img = transform.apply_image(img)
        return img

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Apply all to points."""
        coords = check_coords(coords, self)  # an empty list checks and copies too
        for transform in self.transforms:
            coords = transform.apply_coords(coords)
        return coords

    def apply_mask(self, mask: np.ndarray) -> np.ndarray:
        """Apply all to a label map."""
        for transform in self.transforms:
            mask = transform.apply_mask(mask)
        return mask

    def __repr__(self) -> str:
        return f"TransformList([{', '.join(map(repr, self.transforms))}])"


_Draw = TypeVar("_Draw", bound="Callable[..., Transform]")


def _with_optional_rng(get_transform: _Draw) -> _Draw:
    """Make the argument ``rng`` optional, for calls in a notebook; type checkers see the method as it was written."""

    @functools.wraps(get_transform)
    def called(self: Augmentor, img: np.ndarray, rng: np.random.Generator | None = None) -> Transform:
        return get_transform(self, img, check_rng(rng))

    return cast(_Draw, called)


class Augmentor:
    """Base of all augmentors: it holds settings, and no random state.

    An augmentor of your own overrides :meth:`get_transform`, draws from ``rng`` alone (so that the data are the same
    in every run and for any number of workers) and returns a transform:

    Example:
        >>> class Shade(Augmentor):
        ...     def get_transform(self, img, rng):
        ...         amount = int(rng.integers(0, 50))
        ...         return FunctionTransform(lambda img: img // 2 + amount)
    """

    draws_from_size: ClassVar[bool] = False
    """Whether ``get_transform`` reads only the shape and dtype of a picture, never its pixels. If True, a crop at the
    start of a list is drawn before a JPEG is decoded, and only the region that it keeps is decoded."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        names_arguments(cls)
        # Wrapped here, so that users' augmentors, written with a required rng, can be called without one as well.
        if "get_transform" in vars(cls):
            cls.get_transform = _with_optional_rng(cls.get_transform)  # type: ignore[method-assign]

    @_with_optional_rng
    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> Transform:
        """Draw the transform for a picture. Augmentors of your own define it as ``get_transform(self, img, rng)``.

        Args:
            img: The picture: (H, W) or (H, W, C).
            rng: The generator of this datapoint. It is valid during the call only: draw here, not in the transform.
                A caller may leave it out, as in a notebook; then it is a fresh generator of seed 0.

        Returns:
            The transform, not yet applied.
        """
        raise NotImplementedError(f"{type(self).__name__} must define get_transform(img, rng)")

    def augment(self, img: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Draw a transform and apply it.

        Args:
            img: The picture.
            rng: None takes a fresh generator of seed 0, so that every such call gives the same result.

        Returns:
            The new picture.
        """
        return self.get_transform(img, check_rng(rng)).apply_image(img)

    def augment_return_transform(
        self, img: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, Transform]:
        """Draw a transform, apply it, and return it as well, for the masks and points of the same picture.

        Args:
            img: The picture.
            rng: As for :meth:`augment`.

        Returns:
            The new picture and the transform that made it.
        """
        transform = self.get_transform(img, check_rng(rng))
        return transform.apply_image(img), transform

    def __repr__(self) -> str:
        return _described(self)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(unknown_attribute(self, name, _OLD_METHODS))


class FixedAugmentor(Augmentor):
    """Base of augmentors that draw nothing: one transform, ``_transform``, serves all pictures."""

    # Private, so that the repr of the augmentor, which lists public attributes, shows the settings alone.
    _transform: Transform

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> Transform:
        """Return the transform, which is the same for every picture."""
        return self._transform


_OLD_METHODS = {
    "augment_return_params": "call augment_return_transform(img, rng), which returns (img, transform).",
    "augment_with_params": "call transform.apply_image(img) of the transform that get_transform returned.",
    "augment_coords": "call transform.apply_coords(coords) of the transform that get_transform returned.",
    "reset_state": "augmentors hold no randomness; a generator is handed to get_transform(img, rng).",
    "_get_augment_params": "override get_transform(img, rng).",
}


def check_rng(rng: np.random.Generator | None) -> np.random.Generator:
    """The given generator; for None a fresh one of the default seed."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is not None:
        raise ConfigError(f"rng must be a numpy.random.Generator, not {rng!r}. Write numpy.random.default_rng(seed)")
    return np.random.default_rng(DEFAULT_SEED)
