"""Brightness, contrast, gamma, clipping and normalisation: maps of single values, the same for all colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from flowtrain.utils.errors import ConfigError

from ...utils.arguments import old_spellings
from .arithmetic import LEVELS, apply_table, as_rows, limit, linear, make_table, to_float32
from .augmentor import Augmentor, FixedAugmentor, PixelTransform
from .checks import as_number, as_range, draw_uniform

__all__ = [
    "Brightness",
    "BrightnessScale",
    "Clip",
    "Contrast",
    "Gamma",
    "MeanVarianceNormalize",
    "MinMaxNormalize",
]

Bounds = tuple[float, float]


@dataclass(eq=False)
class BrightnessTransform(PixelTransform):
    """Add one number to all values."""

    shift: float
    clip: bool

    def change(self, img: np.ndarray) -> np.ndarray:
        if img.dtype != np.uint8:
            return limit(img + np.float32(self.shift), self.clip)
        shift = round(self.shift)  # the picture's values are whole, so rounding the shift rounds the sum
        add = cv2.add if shift >= 0 else cv2.subtract  # both saturate; fast if the number fits uint8, so no negative
        return add(as_rows(img), float(abs(shift))).reshape(img.shape)


class Brightness(Augmentor):
    """Make the picture brighter or darker by adding one number to all values.

    Args:
        delta: The number is drawn uniformly from -delta to delta, on the scale of 0 to 255.
        clip: Limit float32 pictures to 0..255 as well. (uint8 always is.)
    """

    def __init__(self, delta: float, clip: bool = True) -> None:
        self.delta = as_number(delta, self, "delta", 0.0)
        self.clip = bool(clip)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> BrightnessTransform:
        """Draw the number."""
        return BrightnessTransform(self.delta * (2 * rng.random() - 1), self.clip)


@dataclass(eq=False)
class BrightnessScaleTransform(PixelTransform):
    """Multiply all values by one factor."""

    factor: float
    clip: bool

    def change(self, img: np.ndarray) -> np.ndarray:
        return linear(img, self.factor, 0.0, self.clip)


@old_spellings(range="factor_range")
class BrightnessScale(Augmentor):
    """Make the picture brighter or darker by multiplying all values by one factor.

    Args:
        factor_range: (lowest, highest) factor, drawn uniformly.
        clip: Limit float32 pictures to 0..255 as well. (uint8 always is.)
    """

    def __init__(self, factor_range: Bounds, clip: bool = True) -> None:
        self.factor_range = as_range(factor_range, self, "factor_range", 0.0)
        self.clip = bool(clip)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> BrightnessScaleTransform:
        """Draw the factor."""
        return BrightnessScaleTransform(draw_uniform(rng, self.factor_range), self.clip)


@dataclass(eq=False)
class ContrastTransform(PixelTransform):
    """Scale values about their mean."""

    factor: float
    per_channel: bool
    clip: bool

    def change(self, img: np.ndarray) -> np.ndarray:
        return _by_channel(img, self._scaled) if self.per_channel else self._scaled(img)

    def _scaled(self, img: np.ndarray) -> np.ndarray:
        # img.mean() takes three times as long for float32, which it also sums up in float32; twenty times for uint8.
        mean = cv2.mean(as_rows(img))[0]
        return linear(img, self.factor, mean * (1 - self.factor), self.clip)


def _by_channel(img: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function to each channel by itself."""
    parts = [change(part) for part in (cv2.split(img) if img.ndim == 3 else [img])]
    return cv2.merge(parts) if len(parts) > 1 else parts[0]


@old_spellings(rgb="Means are over all values, or write per_channel=True")
class Contrast(Augmentor):
    """Scale the values about their mean by a random factor.

    Args:
        factor_range: (lowest, highest) factor, drawn uniformly; above 1 is more contrast.
        per_channel: Scale each channel about its own mean rather than about the mean of all values; this keeps the
            average colour.
        clip: Limit float32 pictures to 0..255 as well. (uint8 always is.)
    """

    def __init__(self, factor_range: Bounds, per_channel: bool = False, clip: bool = True) -> None:
        self.factor_range = as_range(factor_range, self, "factor_range", 0.0)
        self.per_channel, self.clip = bool(per_channel), bool(clip)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> ContrastTransform:
        """Draw the factor."""
        return ContrastTransform(draw_uniform(rng, self.factor_range), self.per_channel, self.clip)


@dataclass(eq=False)
class GammaTransform(PixelTransform):
    """Raise values, as fractions of 255, to a power (gamma correction)."""

    exponent: float

    def change(self, img: np.ndarray) -> np.ndarray:
        if img.dtype == np.uint8:
            return apply_table(img, make_table(255 * np.power(LEVELS / 255, np.float32(self.exponent))))
        out = img.clip(0, 255)  # a negative number has no real power: it would become NaN
        out /= 255
        np.power(out, np.float32(self.exponent), out=out)
        out *= 255
        return out


@old_spellings(range="Write gamma_range=(lowest, highest) of the exponent itself, (0.5, 1.5) where (-0.5, 0.5) was")
class Gamma(Augmentor):
    """Change the gamma: ``255 * (value / 255) ** gamma``; float32 pictures are limited to 0..255 first.

    Args:
        gamma_range: (lowest, highest) exponent, drawn uniformly; below 1 brightens.
    """

    def __init__(self, gamma_range: Bounds = (0.5, 1.5)) -> None:
        self.gamma_range = as_range(gamma_range, self, "gamma_range", 0.0)
        if self.gamma_range[0] <= 0:
            raise ConfigError(
                f"Gamma: gamma_range must be above 0, not {gamma_range!r}: it is the exponent, where 1 changes nothing"
            )

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> GammaTransform:
        """Draw the exponent."""
        return GammaTransform(draw_uniform(rng, self.gamma_range))


@dataclass(eq=False)
class ClipTransform(PixelTransform):
    """Limit values to a range."""

    min: float
    max: float

    touches_alpha = True
    channels = None

    def change(self, img: np.ndarray) -> np.ndarray:
        if img.dtype == np.uint8:  # limits of the picture's dtype: Python's floats would make a float64 picture
            return img.clip(np.uint8(max(0, round(self.min))), np.uint8(min(255, round(self.max))))
        return img.clip(np.float32(self.min), np.float32(self.max))


class Clip(FixedAugmentor):
    """Limit all values, alpha included, to a range.

    Args:
        min: The lowest value.
        max: The highest value. For uint8 pictures both are rounded.
    """

    def __init__(self, min: float = 0.0, max: float = 255.0) -> None:
        self.min, self.max = as_number(min, self, "min"), as_number(max, self, "max")
        if self.min > self.max or self.max < 0 or self.min > 255:
            raise ConfigError(f"Clip: min must be at most max, and 0..255 must not be missed: got {min!r}, {max!r}")
        self._transform = ClipTransform(self.min, self.max)


@dataclass(eq=False)
class MeanVarianceTransform(PixelTransform):
    """Normalise to mean 0 and variance 1, as float32."""

    all_channel: bool

    touches_alpha = True
    channels = None

    def change(self, img: np.ndarray) -> np.ndarray:
        return self._normalized(img) if self.all_channel else _by_channel(img, self._normalized)

    @staticmethod
    def _normalized(img: np.ndarray) -> np.ndarray:
        mean, deviation = (value.item() for value in cv2.meanStdDev(as_rows(img)))
        # The bound of tf.image.per_image_standardization: n values of which one differs by a level deviate as much.
        scale = 1 / max(deviation, img.size**-0.5)
        return to_float32(img, scale, -mean * scale)


class MeanVarianceNormalize(FixedAugmentor):
    """Normalise each picture to mean 0 and variance 1. The result is float32.

    The standard deviation is taken as at least 1 / sqrt(number of values), so a picture of one value becomes all 0.

    Args:
        all_channel: Normalise all values together; False: each channel by itself. A fourth channel counts as any other.
    """

    def __init__(self, all_channel: bool = True) -> None:
        self.all_channel = bool(all_channel)
        self._transform = MeanVarianceTransform(self.all_channel)


@dataclass(eq=False)
class MinMaxTransform(PixelTransform):
    """Map the values' own range linearly to a given one."""

    min: float
    max: float
    all_channel: bool

    touches_alpha = True
    channels = None

    def change(self, img: np.ndarray) -> np.ndarray:
        return self._stretched(img) if self.all_channel else _by_channel(img, self._stretched)

    def _stretched(self, img: np.ndarray) -> np.ndarray:
        low, high = float(img.min()), float(img.max())
        scale = (self.max - self.min) / (high - low) if high > low else 0.0  # one value: all become min
        return linear(img, scale, self.min - low * scale, clip=False)


class MinMaxNormalize(FixedAugmentor):
    """Map each picture's values linearly so that its smallest becomes ``min`` and its largest ``max``.

    The dtype is kept: put ToFloat32 first for a range such as (0, 1). A picture of one value becomes all ``min``.

    Args:
        min: New smallest value; of uint8 pictures the result is limited to 0..255.
        max: New largest value.
        all_channel: Map all values together; False: each channel by itself. A fourth channel counts as any other.
    """

    def __init__(self, min: float = 0.0, max: float = 255.0, all_channel: bool = True) -> None:
        self.min, self.max = as_number(min, self, "min"), as_number(max, self, "max")
        if self.min >= self.max:
            raise ConfigError(f"MinMaxNormalize: min must be below max, not {min!r} and {max!r}")
        self.all_channel = bool(all_channel)
        self._transform = MinMaxTransform(self.min, self.max, self.all_channel)
