"""Flip and Transpose."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from flowtrain.utils.errors import ConfigError

from .augmentor import Augmentor, GeometricTransform, IdentityTransform, Transform
from .checks import OPENCV_DTYPES, as_prob, check_image

__all__ = ["Flip", "FlipTransform", "Transpose", "TransposeTransform"]


def _opencv_moves(img: np.ndarray) -> bool:
    """Whether OpenCV mirrors and transposes a picture as it is."""
    # Of other dtypes int64 would come back as int32. Of more channels than 4, transpose knows some sizes of a pixel and
    # raises for others (5 channels of uint8), and flip raises above 512.
    return img.dtype in OPENCV_DTYPES and (img.ndim == 2 or img.shape[2] <= 4)


@dataclass(eq=False)
class FlipTransform(GeometricTransform):
    """Mirror a picture.

    Args:
        horiz: True swaps left and right, False swaps top and bottom.
        source: (height, width) of the picture.
    """

    horiz: bool
    source: tuple[int, int]

    def move(self, img: np.ndarray, exact: bool) -> np.ndarray:
        # A new, contiguous array rather than a view of negative strides, which OpenCV's functions would copy each time.
        if _opencv_moves(img):
            return cv2.flip(img, 1 if self.horiz else 0)
        return np.ascontiguousarray(img[:, ::-1] if self.horiz else img[::-1])

    def move_points(self, xy: np.ndarray) -> np.ndarray:
        column = 0 if self.horiz else 1
        last = self.source[1] - 1 if self.horiz else self.source[0] - 1
        xy[:, column] = last - xy[:, column]
        return xy


class Flip(Augmentor):
    """Mirror the picture with a given probability.

    Args:
        horiz: Swap left and right.
        vert: Swap top and bottom. Exactly one of the two must be True; for both write two Flips.
        prob: Probability, 0 to 1.

    Example:
        >>> Flip(horiz=True, prob=1.0).augment(np.array([[1, 2, 3]], np.uint8))
        array([[3, 2, 1]], dtype=uint8)
    """

    draws_from_size = True

    def __init__(self, horiz: bool = False, vert: bool = False, prob: float = 0.5) -> None:
        if bool(horiz) == bool(vert):
            raise ConfigError(
                f"Flip: exactly one of horiz and vert must be True, not horiz={horiz}, vert={vert}. "
                "For both write two augmentors: Flip(horiz=True), Flip(vert=True)"
            )
        self.horiz, self.vert = bool(horiz), bool(vert)
        self.prob = as_prob(prob, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> Transform:
        """Draw whether to mirror."""
        check_image(img, self, None, None)
        if rng.random() >= self.prob:
            return IdentityTransform()
        return FlipTransform(self.horiz, img.shape[:2])


@dataclass(eq=False)
class TransposeTransform(GeometricTransform):
    """Swap rows and columns.

    Args:
        source: (height, width) of the picture.
    """

    source: tuple[int, int]

    def move(self, img: np.ndarray, exact: bool) -> np.ndarray:
        if _opencv_moves(img):
            return cv2.transpose(img)
        return np.ascontiguousarray(img.swapaxes(0, 1))

    def move_points(self, xy: np.ndarray) -> np.ndarray:
        return xy[:, ::-1].copy()


class Transpose(Augmentor):
    """Swap rows and columns with a given probability: the picture is mirrored along its diagonal.

    Args:
        prob: Probability, 0 to 1.
    """

    draws_from_size = True

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = as_prob(prob, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> Transform:
        """Draw whether to transpose."""
        check_image(img, self, None, None)
        return TransposeTransform(img.shape[:2]) if rng.random() < self.prob else IdentityTransform()
