"""Hue, saturation and lighting: colour changes of RGB pictures, with or without alpha."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from flowtrain.utils.errors import ConfigError

from ...utils.arguments import old_spellings
from .arithmetic import as_rows, limit
from .augmentor import Augmentor, PixelTransform
from .checks import as_number, as_range, draw_uniform

__all__ = ["Hue", "Lighting", "Saturation"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in cv2.COLOR_RGB2GRAY
_FIXED_POINT = 1024  # for uint8 pictures cv2.transform rounds its coefficients to multiples of 1 / 1024


@dataclass(eq=False)
class HueTransform(PixelTransform):
    """Rotate the hue in HSV."""

    degrees: float

    channels = (3, 4)

    def change(self, img: np.ndarray) -> np.ndarray:
        if img.dtype == np.uint8:
            # HSV_FULL spreads the colour circle over 0..255, so that uint8 addition, which wraps, is a rotation. Whole
            # rows (turn, 0, 0, turn, 0, 0, ...) are added: contiguous memory, which one channel of three is not.
            hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV_FULL)
            turn = np.zeros(hsv.shape[1] * 3, np.uint8)
            turn[::3] = round(self.degrees * 256 / 360) % 256
            rows = as_rows(hsv)  # a view, as cvtColor's result is contiguous: the addition changes hsv
            rows += turn
            return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
        hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV)
        hue = hsv[:, :, 0]
        hue += np.float32(self.degrees % 360)
        hue[hue >= 360] -= 360  # the range that OpenCV documents; beyond it its result is off in the last digits
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


@old_spellings(range="degrees", rgb="Pictures are RGB. Leave it out")
class Hue(Augmentor):
    """Rotate all colours around the colour circle (the hue of HSV) by a random angle; gray stays gray.

    Args:
        degrees: (lowest, highest) angle, drawn uniformly; the whole circle is 360. uint8 pictures are rotated in steps
            of 360 / 256 degrees.
    """

    def __init__(self, degrees: tuple[float, float] = (-180.0, 180.0)) -> None:
        self.degrees = as_range(degrees, self, "degrees")

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> HueTransform:
        """Draw the angle."""
        return HueTransform(draw_uniform(rng, self.degrees))


@dataclass(eq=False)
class SaturationTransform(PixelTransform):
    """Mix each pixel with its luma: ``factor * colour + (1 - factor) * luma``."""

    factor: float
    clip: bool

    channels = (3, 4)

    def change(self, img: np.ndarray) -> np.ndarray:
        matrix = self.factor * np.eye(3, dtype=np.float32) + (1 - self.factor) * _LUMA
        if img.dtype == np.uint8:
            # Rounded here rather than in OpenCV, so that each row still adds up to 1: then gray stays exactly gray.
            matrix = np.rint(matrix * _FIXED_POINT)
            matrix[np.diag_indices(3)] += _FIXED_POINT - matrix.sum(axis=1)
            return cv2.transform(img, matrix / _FIXED_POINT)
        return limit(cv2.transform(img, matrix), self.clip)


@old_spellings(alpha="delta", rgb="Pictures are RGB. Leave it out")
class Saturation(Augmentor):
    """Make colours stronger or weaker by mixing the picture with its own luma (ITU-R BT.601).

    uint8 pictures are computed in fixed point, at most 1 away from the exact result.

    Args:
        delta: The factor is drawn uniformly from 1 - delta to 1 + delta; 0 is gray, 1 is unchanged.
        clip: Limit float32 pictures to 0..255 as well. (uint8 always is.)
    """

    def __init__(self, delta: float = 0.4, clip: bool = True) -> None:
        self.delta = as_number(delta, self, "delta", 0.0, 8.0)
        self.clip = bool(clip)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> SaturationTransform:
        """Draw the factor."""
        return SaturationTransform(1 + self.delta * (2 * rng.random() - 1), self.clip)


@dataclass(eq=False)
class LightingTransform(PixelTransform):
    """Add one number to each colour channel."""

    shift: tuple[float, float, float]
    clip: bool

    channels = (3, 4)

    def change(self, img: np.ndarray) -> np.ndarray:
        if img.dtype != np.uint8:
            return limit(img + np.array(self.shift, np.float32), self.clip)
        whole = [round(value) for value in self.shift]
        # Positive and negative shifts in two saturating calls: OpenCV is five times as fast if the numbers fit uint8.
        # No channel has both, so that the first call never cuts off what the second would have needed.
        brighter = cv2.add(img, (*(float(max(0, value)) for value in whole), 0.0))
        return cv2.subtract(brighter, (*(float(max(0, -value)) for value in whole), 0.0))


# Of the covariance of ImageNet's RGB values: the square roots of its eigenvalues, 0.2175, 0.0188 and 0.0045 for values
# from 0 to 1 in most code for ImageNet, here times 255.
_IMAGENET_EIGVAL = (55.4625, 4.7940, 1.1475)
_IMAGENET_EIGVEC = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


class Lighting(Augmentor):
    """Shift the colours along the principal components of natural pictures' RGB values.

    The "fancy PCA" of Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks"
    (2012): adds ``eigvec @ (eigval * z)`` to the channels, where z is three draws from N(0, std ** 2).

    Args:
        std: Standard deviation of z.
        eigval: (3,): square roots of the eigenvalues of the RGB values' covariance, for values from 0 to 255.
            None: those of ImageNet.
        eigvec: (3, 3): the eigenvectors of that covariance, as columns. None: those of ImageNet.
        clip: Limit float32 pictures to 0..255 as well. (uint8 always is.)
    """

    def __init__(
        self,
        std: float,
        eigval: Sequence[float] | np.ndarray | None = None,
        eigvec: Sequence[Sequence[float]] | np.ndarray | None = None,
        clip: bool = True,
    ) -> None:
        self.std = as_number(std, self, "std", 0.0)
        self.eigval = _as_floats(_IMAGENET_EIGVAL if eigval is None else eigval, (3,), "eigval")
        self.eigvec = _as_floats(_IMAGENET_EIGVEC if eigvec is None else eigvec, (3, 3), "eigvec")
        self.clip = bool(clip)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> LightingTransform:
        """Draw z."""
        red, green, blue = (self.eigvec @ (self.eigval * rng.normal(0.0, self.std, 3))).tolist()
        return LightingTransform((red, green, blue), self.clip)


def _as_floats(given: object, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != shape or not np.isfinite(array).all():
        raise ConfigError(f"Lighting: {name} must be finite numbers of shape {shape}, not {given!r}")
    return array
