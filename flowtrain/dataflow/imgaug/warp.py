"""Shifts by whole pixels, and affine warps: rotation, scale, shear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from flowtrain.utils.errors import ConfigError

from ...utils.arguments import old_spellings
from .arithmetic import blank, in_fours
from .augmentor import Augmentor, GeometricTransform
from .checks import OPENCV_DTYPES, as_fill, as_number, as_range, check_fill, check_image, draw_uniform
from .interpolation import Border, Interpolation, as_border, as_interpolation, as_stand_in

__all__ = ["Affine", "Rotation", "RotationAndCropValid", "Shift", "ShiftTransform", "WarpTransform"]

Fill = float | Sequence[float]
Bounds = tuple[float, float]


@dataclass(eq=False)
class WarpTransform(GeometricTransform):
    """An affine warp.

    Args:
        matrix: (2, 3) float64: maps a point (x, y, 1) of the picture to its new (x, y).
        height: Height of the new picture, in pixels.
        width: Width of the new picture, in pixels.
        source: (height, width) of the picture.
        interpolation: OpenCV's constant.
        border: OpenCV's constant.
        border_value: With a constant border: one number, or one for each channel.
    """

    matrix: np.ndarray
    height: int
    width: int
    source: tuple[int, int]
    interpolation: int = cv2.INTER_LINEAR
    border: int = cv2.BORDER_REPLICATE
    border_value: tuple[float, ...] = (0.0,)

    dtypes = OPENCV_DTYPES

    def move(self, img: np.ndarray, exact: bool) -> np.ndarray:
        if not exact:
            check_fill(self.border_value, img, self)
        method = cv2.INTER_NEAREST if exact else self.interpolation
        border = cv2.BORDER_CONSTANT if exact else self.border
        stand_in = as_stand_in(img) if exact else img

        def warp(part: np.ndarray, fill: tuple[float, ...]) -> np.ndarray:
            size = (self.width, self.height)
            return cv2.warpAffine(part, self.matrix, size, flags=method, borderMode=border, borderValue=fill)

        warped = in_fours(stand_in, (0.0,) if exact else self.border_value, warp)
        return warped.view(img.dtype)  # back from the stand-in's dtype

    def move_points(self, xy: np.ndarray) -> np.ndarray:
        return (xy @ self.matrix[:, :2].T + self.matrix[:, 2]).astype(xy.dtype)


@dataclass(eq=False)
class ShiftTransform(GeometricTransform):
    """Move the picture by whole pixels within its frame.

    Args:
        x: Pixels to the right.
        y: Pixels down.
        source: (height, width) of the picture.
        border: OpenCV's constant.
        border_value: With a constant border: one number, or one for each channel.
    """

    x: int
    y: int
    source: tuple[int, int]
    border: int = cv2.BORDER_REPLICATE
    border_value: tuple[float, ...] = (0.0,)

    dtypes = WarpTransform.dtypes

    def move(self, img: np.ndarray, exact: bool) -> np.ndarray:
        if not exact:
            check_fill(self.border_value, img, self)
        height, width = self.source
        if exact or self.border == cv2.BORDER_CONSTANT:
            out = blank(self.source, img, (0,) if exact else self.border_value)
            kept = img[max(0, -self.y) : height - self.y, max(0, -self.x) : width - self.x]
            out[max(0, self.y) : height + self.y, max(0, self.x) : width + self.x] = kept
            return out
        # A border that mirrors or wraps may need pixels that are shifted out, so extend first, then cut.
        top, left = max(0, self.y), max(0, self.x)
        bottom, right = max(0, -self.y), max(0, -self.x)

        def extend(part: np.ndarray, fill: tuple[float, ...]) -> np.ndarray:
            return cv2.copyMakeBorder(part, top, bottom, left, right, self.border)

        return in_fours(img, (0.0,), extend)[bottom : bottom + height, right : right + width]

    def move_points(self, xy: np.ndarray) -> np.ndarray:
        xy += (self.x, self.y)
        return xy


@old_spellings(interp="interpolation")
class Shift(Augmentor):
    """Move the picture by whole pixels within its frame.

    Args:
        horiz_frac: Largest shift to the left or right, as a fraction of the width.
        vert_frac: Largest shift up or down, as a fraction of the height.
        border: Fills the area outside of the picture: "replicate", "constant", "reflect", "reflect_101", "wrap" or
            OpenCV's constant.
        border_value: With ``border="constant"``: one number, or one for each channel.
    """

    def __init__(
        self,
        horiz_frac: float = 0.0,
        vert_frac: float = 0.0,
        border: Border = "replicate",
        border_value: Fill = 0.0,
    ) -> None:
        self.horiz_frac = as_number(horiz_frac, self, "horiz_frac", 0.0, 1.0)
        self.vert_frac = as_number(vert_frac, self, "vert_frac", 0.0, 1.0)
        self.border, self.border_value = border, as_fill(border_value, self, "border_value")
        self._border = as_border(border, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> ShiftTransform:
        """Draw the two shifts, uniformly."""
        check_image(img, self, None, None)
        height, width = img.shape[:2]
        x = round(width * self.horiz_frac * (2 * rng.random() - 1))
        y = round(height * self.vert_frac * (2 * rng.random() - 1))
        return ShiftTransform(x, y, (height, width), self._border, self.border_value)


def rotation_matrix(degrees: float, center: tuple[float, float]) -> np.ndarray:
    """The (2, 3) matrix of a rotation about a point; counter-clockwise as the picture is seen, with y pointing down."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = center
    return np.array([[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y]])


def _as_angles(owner: object, max_deg: float, step_deg: float | None) -> tuple[float, float | None]:
    max_deg = as_number(max_deg, owner, "max_deg", 0.0, 360.0)
    if step_deg is not None:
        step_deg = as_number(step_deg, owner, "step_deg", 0.0, 360.0)
        if step_deg == 0 or step_deg > max_deg:
            raise ConfigError(
                f"{type(owner).__name__}: step_deg must be above 0 and at most max_deg={max_deg:g}, not {step_deg:g}"
            )
    return max_deg, step_deg


def _draw_angle(max_deg: float, step_deg: float | None, rng: np.random.Generator) -> float:
    if step_deg is None:
        return max_deg * (2 * rng.random() - 1)
    steps = int(max_deg / step_deg)  # zero is among the multiples, and max_deg only if it is one
    return step_deg * int(rng.integers(-steps, steps + 1))


@old_spellings(interp="interpolation")
class Rotation(Augmentor):
    """Rotate the picture by a random angle; the size is kept.

    Args:
        max_deg: Largest angle in either direction, in degrees.
        center_range: (lowest, highest) position of the centre of rotation, as a fraction of the width and of the
            height; drawn for each.
        interpolation: As for :class:`Resize`.
        border: Fills the area outside of the picture: "replicate", "constant", "reflect", "reflect_101", "wrap" or
            OpenCV's constant.
        step_deg: Only multiples of this angle are drawn. None: any angle.
        border_value: With ``border="constant"``: one number, or one for each channel.
    """

    def __init__(
        self,
        max_deg: float,
        center_range: Bounds = (0.5, 0.5),
        interpolation: Interpolation = "linear",
        border: Border = "replicate",
        step_deg: float | None = None,
        border_value: Fill = 0.0,
    ) -> None:
        self.max_deg, self.step_deg = _as_angles(self, max_deg, step_deg)
        self.center_range = as_range(center_range, self, "center_range")
        self.interpolation, self.border = interpolation, border
        self.border_value = as_fill(border_value, self, "border_value")
        self._method, self._border = as_interpolation(interpolation, self), as_border(border, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> WarpTransform:
        """Draw the angle and the centre."""
        check_image(img, self, None, None)
        height, width = img.shape[:2]
        x, y = draw_uniform(rng, self.center_range), draw_uniform(rng, self.center_range)
        angle = _draw_angle(self.max_deg, self.step_deg, rng)
        # - 0.5: the picture goes from -0.5 to width - 0.5, as (0, 0) is the centre of the first pixel.
        matrix = rotation_matrix(angle, (x * width - 0.5, y * height - 0.5))
        return WarpTransform(matrix, height, width, (height, width), self._method, self._border, self.border_value)


@old_spellings(interp="interpolation")
class RotationAndCropValid(Augmentor):
    """Rotate the picture about its centre by a random angle, and crop the largest window without border pixels.

    The size of the result depends on the angle; put a Resize after it for a fixed size.

    Args:
        max_deg: Largest angle in either direction, in degrees.
        interpolation: As for :class:`Resize`.
        step_deg: Only multiples of this angle are drawn. None: any angle.
    """

    def __init__(self, max_deg: float, interpolation: Interpolation = "linear", step_deg: float | None = None) -> None:
        self.max_deg, self.step_deg = _as_angles(self, max_deg, step_deg)
        self.interpolation = interpolation
        self._method = as_interpolation(interpolation, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> WarpTransform:
        """Draw the angle; rotation and crop are one warp."""
        check_image(img, self, None, None)
        height, width = img.shape[:2]
        angle = _draw_angle(self.max_deg, self.step_deg, rng)
        # Measured between pixel centres, height - 1 by width - 1: a new pixel is valid if its centre lies within the
        # rectangle of the picture's centres. n + 1 centres span n; 1e-6 keeps a rounded n from losing a pixel.
        inner_height, inner_width = largest_upright(height - 1, width - 1, angle)
        new_height, new_width = int(inner_height + 1e-6) + 1, int(inner_width + 1e-6) + 1
        matrix = rotation_matrix(angle, ((width - 1) / 2, (height - 1) / 2))
        matrix[:, 2] += (new_width - width) / 2, (new_height - height) / 2
        return WarpTransform(matrix, new_height, new_width, (height, width), self._method)


def largest_upright(height: float, width: float, degrees: float) -> tuple[float, float]:
    """(height, width) of the largest axis-aligned rectangle within a rotated one.

    Args:
        height: Height of the rectangle that is rotated.
        width: Width of the rectangle that is rotated.
        degrees: The angle.
    """
    sin, cos = abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))
    short, long = min(height, width), max(height, width)
    if short <= 2 * sin * cos * long or abs(sin - cos) < 1e-9:
        # A long rectangle: two opposite corners lie on its two long sides, the other two touch nothing.
        along, across = (short / 2 / sin, short / 2 / cos) if sin and cos else (long, short)
        return (across, along) if width >= height else (along, across)
    # All four corners lie on its sides: with h, w of the inner rectangle, w * cos + h * sin = width and
    # w * sin + h * cos = height, of which this is the solution.
    double = cos * cos - sin * sin
    return (height * cos - width * sin) / double, (width * cos - height * sin) / double


@old_spellings(interp="interpolation", shear="shear_max_deg")
class Affine(Augmentor):
    """Scale, shear and rotate the picture about its centre, and shift it, all by random amounts; the size is kept.

    Args:
        scale: (lowest, highest) factor; above 1 enlarges. None: 1.
        translate_frac: Largest shift (horizontal, vertical), as fractions of the width and the height. None: no shift.
        rotate_max_deg: Largest angle in either direction, in degrees.
        shear_max_deg: Largest shear in either direction: the angle by which upright lines lean, in degrees.
        interpolation: As for :class:`Resize`.
        border: Fills the area outside of the picture: "replicate", "constant", "reflect", "reflect_101", "wrap" or
            OpenCV's constant.
        border_value: With ``border="constant"``: one number, or one for each channel.
    """

    def __init__(
        self,
        scale: Bounds | None = None,
        translate_frac: Bounds | None = None,
        rotate_max_deg: float = 0.0,
        shear_max_deg: float = 0.0,
        interpolation: Interpolation = "linear",
        border: Border = "replicate",
        border_value: Fill = 0.0,
    ) -> None:
        self.scale = (1.0, 1.0) if scale is None else as_range(scale, self, "scale", 0.0)
        if self.scale[0] <= 0:
            raise ConfigError(f"Affine: scale must be above 0, not {scale!r}")
        self.translate_frac = _as_fractions(translate_frac)
        self.rotate_max_deg = as_number(rotate_max_deg, self, "rotate_max_deg", 0.0, 360.0)
        self.shear_max_deg = as_number(shear_max_deg, self, "shear_max_deg", 0.0, 89.0)  # the tangent of 90 is infinite
        self.interpolation, self.border = interpolation, border
        self.border_value = as_fill(border_value, self, "border_value")
        self._method, self._border = as_interpolation(interpolation, self), as_border(border, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> WarpTransform:
        """Draw the scale, the shift, the angle and the shear, each uniformly."""
        check_image(img, self, None, None)
        height, width = img.shape[:2]
        scale = draw_uniform(rng, self.scale)
        move_x = width * self.translate_frac[0] * (2 * rng.random() - 1)
        move_y = height * self.translate_frac[1] * (2 * rng.random() - 1)
        angle = self.rotate_max_deg * (2 * rng.random() - 1)
        lean = math.tan(math.radians(self.shear_max_deg * (2 * rng.random() - 1)))
        # Sheared and scaled first, rotated afterwards. As y points down, -lean moves the upper half to the right.
        center = np.array([(width - 1) / 2, (height - 1) / 2])
        linear = rotation_matrix(angle, (0.0, 0.0))[:, :2] @ np.array([[scale, -lean * scale], [0.0, scale]])
        # center - linear @ center keeps the centre in place; the shift comes on top.
        matrix = np.column_stack([linear, center - linear @ center + (move_x, move_y)])
        return WarpTransform(matrix, height, width, (height, width), self._method, self._border, self.border_value)


def _as_fractions(given: Bounds | None) -> Bounds:
    try:
        horizontal, vertical = (0.0, 0.0) if given is None else given
    except (TypeError, ValueError):
        raise ConfigError(
            f"Affine: translate_frac must be (horizontal, vertical), two fractions from 0 to 1, not {given!r}"
        ) from None
    return (
        as_number(horizontal, "Affine", "translate_frac[0]", 0.0, 1.0),
        as_number(vertical, "Affine", "translate_frac[1]", 0.0, 1.0),
    )
