"""Resizing to fixed and to random sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from flowtrain.utils.errors import ConfigError, DataFlowError

from ...utils.arguments import check_int, if_given, old_spellings
from .arithmetic import in_fours
from .augmentor import Augmentor, GeometricTransform
from .checks import OPENCV_DTYPES, as_number, as_range, as_size, check_image
from .interpolation import Interpolation, as_interpolation, as_stand_in

__all__ = ["RandomResize", "Resize", "ResizeShortestEdge", "ResizeTransform"]


@dataclass(eq=False)
class ResizeTransform(GeometricTransform):
    """Resize to a fixed size. Pixel centres move as x' = (x + 0.5) * new_width / width - 0.5.

    Args:
        width: New width, in pixels.
        height: New height.
        source: (height, width) of the picture.
        interpolation: OpenCV's constant.
    """

    width: int
    height: int
    source: tuple[int, int]
    interpolation: int = cv2.INTER_LINEAR

    dtypes = OPENCV_DTYPES

    def move(self, img: np.ndarray, exact: bool) -> np.ndarray:
        """Resize; a picture of the right size is returned as it is."""
        if self.source == (self.height, self.width):
            return img
        # INTER_NEAREST takes the source pixel at the corner of a new pixel rather than at its centre: up to half a
        # pixel off all other methods, and off move_points.
        nearest = exact or self.interpolation == cv2.INTER_NEAREST
        method = cv2.INTER_NEAREST_EXACT if nearest else self.interpolation
        stand_in = as_stand_in(img) if exact else img

        def resize(part: np.ndarray, fill: tuple[float, ...]) -> np.ndarray:
            return cv2.resize(part, (self.width, self.height), interpolation=method)

        return in_fours(stand_in, (0.0,), resize).view(img.dtype)

    def move_points(self, xy: np.ndarray) -> np.ndarray:
        # Scale about the picture's corner: (-0.5, -0.5), as (0, 0) is the centre of the first pixel.
        scale = np.array([self.width / self.source[1], self.height / self.source[0]], xy.dtype)
        xy += 0.5
        xy *= scale
        xy -= 0.5
        return xy


@old_spellings(shape="size", interp="interpolation")
class Resize(Augmentor):
    """Resize to a fixed size; the aspect ratio is not kept.

    Args:
        size: (height, width) in pixels, or an int for a square. (OpenCV itself takes the width first.)
        interpolation: "linear", "nearest", "cubic", "area", "lanczos" or OpenCV's constant. "area" averages: the best
            and slowest for making pictures much smaller.

    Example:
        >>> Resize((256, 320)).augment(np.zeros((480, 640, 1), np.uint8)).shape
        (256, 320, 1)
    """

    def __init__(self, size: int | tuple[int, int], interpolation: Interpolation = "linear") -> None:
        self.size = as_size(size, self)
        self.interpolation = interpolation
        self._method = as_interpolation(interpolation, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> ResizeTransform:
        """Take the picture's size; draws nothing."""
        check_image(img, self, None, None)
        return ResizeTransform(self.size[1], self.size[0], img.shape[:2], self._method)


@old_spellings(interp="interpolation")
class ResizeShortestEdge(Augmentor):
    """Resize so that the shorter side has a given length; the aspect ratio is kept.

    Args:
        size: New length of the shorter side, in pixels.
        interpolation: As for :class:`Resize`.
        max_size: Limit of the longer side, in pixels; it may make the shorter side shorter than ``size``. None: no
            limit.
    """

    def __init__(self, size: int, interpolation: Interpolation = "linear", max_size: int | None = None) -> None:
        self.size = check_int("ResizeShortestEdge", "size", size)
        self.max_size = if_given(check_int, "ResizeShortestEdge", "max_size", max_size)
        if self.max_size is not None and self.max_size < self.size:
            raise ConfigError(f"ResizeShortestEdge: max_size={max_size} is less than size={size}")
        self.interpolation = interpolation
        self._method = as_interpolation(interpolation, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> ResizeTransform:
        """Compute the new size; draws nothing."""
        check_image(img, self, None, None)
        height, width = img.shape[:2]
        scale = self.size / min(height, width)
        if self.max_size is not None:
            scale = min(scale, self.max_size / max(height, width))
        return ResizeTransform(_scaled(width, scale), _scaled(height, scale), (height, width), self._method)


def _scaled(length: int, scale: float) -> int:
    return max(1, math.floor(length * scale + 0.5))  # round() would round halves to even: 2.5 to 2, 3.5 to 4


@old_spellings(
    xrange="x_range",
    yrange="y_range",
    interp="interpolation",
    aspect_ratio_thres="max_distortion",
    minimum="min_size",
)
class RandomResize(Augmentor):
    """Resize by random factors, or to a random size.

    Args:
        x_range: (lowest, highest) factor of the width, drawn uniformly; two ints are widths in pixels.
        y_range: The same for the height. None: the factor of the width, so that the aspect ratio is kept.
        min_size: The smallest (height, width) of the new picture, in pixels; an int for both.
        max_distortion: Largest change of the aspect ratio, as a fraction: 0.15 lets the two factors differ by 15 %.
            A draw beyond is repeated, at most 100 times.
        interpolation: As for :class:`Resize`.

    Raises:
        ConfigError: One range is of ints (pixels), the other of floats (factors).

    Example:
        >>> RandomResize((0.5, 2.0)).augment(np.zeros((100, 100), np.uint8)).shape
        (146, 146)
    """

    _tries = 100

    def __init__(
        self,
        x_range: tuple[float, float],
        y_range: tuple[float, float] | None = None,
        *,
        min_size: int | tuple[int, int] = 1,
        max_distortion: float | None = None,
        interpolation: Interpolation = "linear",
    ) -> None:
        self.x_range = as_range(x_range, self, "x_range", 0.0)
        self.y_range = None if y_range is None else as_range(y_range, self, "y_range", 0.0)
        self.min_size = as_size(min_size, self, "min_size")
        self.max_distortion = None if max_distortion is None else as_number(max_distortion, self, "max_distortion", 0.0)
        self.interpolation = interpolation
        self._method = as_interpolation(interpolation, self)
        self._pixels = _in_pixels(x_range)
        if y_range is not None and _in_pixels(y_range) != self._pixels:
            raise ConfigError(
                f"RandomResize: x_range={x_range} and y_range={y_range} must both be factors (floats) or both "
                "sizes in pixels (ints)"
            )
        for name, bounds in (("x_range", self.x_range), ("y_range", self.y_range)):
            if bounds is not None and bounds[0] <= 0:
                raise ConfigError(f"RandomResize: {name} must be above 0, not {bounds}")

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> ResizeTransform:
        """Draw the new size."""
        check_image(img, self, None, None)
        height, width = img.shape[:2]
        for _ in range(self._tries):
            x_factor = self._draw(self.x_range, width, rng)
            y_factor = x_factor if self.y_range is None else self._draw(self.y_range, height, rng)
            new_width = max(_scaled(width, x_factor), self.min_size[1])
            new_height = max(_scaled(height, y_factor), self.min_size[0])
            if self.max_distortion is None or self.y_range is None:  # one factor for both axes keeps the ratio
                break
            x_factor, y_factor = new_width / width, new_height / height
            if max(x_factor / y_factor, y_factor / x_factor) - 1 <= self.max_distortion:
                break
        else:
            raise DataFlowError(
                f"{self!r}: {self._tries} draws for a picture of {height} x {width} (height x width) gave no size "
                "within max_distortion. Let the two ranges overlap more, or leave y_range out to keep the aspect ratio"
            )
        return ResizeTransform(new_width, new_height, (height, width), self._method)

    def _draw(self, bounds: tuple[float, float], length: int, rng: np.random.Generator) -> float:
        if self._pixels:
            return int(rng.integers(int(bounds[0]), int(bounds[1]) + 1)) / length
        return rng.uniform(*bounds)


def _in_pixels(bounds: tuple[float, float]) -> bool:
    return all(isinstance(bound, (int, np.integer)) for bound in bounds)
