"""RandomCutout, which blanks a window, and RandomResizedCrop, ImageNet's crop of random area and aspect ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowtrain.utils.errors import ConfigError

from ...utils.arguments import check_int, old_spellings
from .augmentor import Augmentor, PixelTransform, TransformList
from .checks import as_fill, as_range, as_size, check_fill, check_image, draw_corner, draw_int
from .crop import CropTransform, require_room
from .interpolation import Interpolation, as_interpolation
from .resize import ResizeTransform

__all__ = ["CutoutTransform", "RandomCutout", "RandomResizedCrop"]

Lengths = int | tuple[int, int]


@dataclass(eq=False)
class CutoutTransform(PixelTransform):
    """Set a window to one value; points and masks stay as they are.

    Args:
        x: First column.
        y: First row.
        width: Columns, in pixels.
        height: Rows, in pixels.
        fill: One number, or one for each channel.
    """

    x: int
    y: int
    width: int
    height: int
    fill: tuple[float, ...]

    dtypes = None
    channels = None
    touches_alpha = True

    def change(self, img: np.ndarray) -> np.ndarray:
        check_fill(self.fill, img, self)
        out = img.copy(order="C")
        out[self.y : self.y + self.height, self.x : self.x + self.width] = self.fill
        return out


@old_spellings(h_range="height", w_range="width")
class RandomCutout(Augmentor):
    """Fill a window at a random place with one value, so that a model learns not to rely on one detail.

    After DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017);
    here the whole window lies within the picture.

    Args:
        height: Height of the window in pixels, or (lowest, highest).
        width: Width of the window in pixels, or (lowest, highest).
        fill: One number, or one for each channel.
    """

    def __init__(self, height: Lengths, width: Lengths, fill: float | Sequence[float] = 0.0) -> None:
        self.height, self.width = _as_lengths(height, "height"), _as_lengths(width, "width")
        self.fill = as_fill(fill, self, "fill")

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> CutoutTransform:
        """Draw the window's size and place."""
        check_image(img, self, None, None)
        height, width = _draw_length(self.height, rng), _draw_length(self.width, rng)
        require_room(img, height, width, self)
        y, x = draw_corner(rng, img.shape[0] - height + 1, img.shape[1] - width + 1)
        return CutoutTransform(x, y, width, height, self.fill)


def _as_lengths(given: Lengths, name: str) -> tuple[int, int]:
    # Anything else counts as one length, also a sequence of three: check_int then refuses it and shows it whole.
    both = given if isinstance(given, Sequence) and len(given) == 2 else (given, given)
    low, high = (check_int("RandomCutout", name, length) for length in both)
    if low > high:
        raise ConfigError(f"RandomCutout: {name} must be (lowest, highest), not {given!r}")
    return low, high


def _draw_length(bounds: tuple[int, int], rng: np.random.Generator) -> int:
    return bounds[0] if bounds[0] == bounds[1] else draw_int(rng, *bounds)


@old_spellings(
    crop_area_fraction="area_range",
    aspect_ratio_range="aspect_range",
    target_shape="size",
    interp="interpolation",
)
class RandomResizedCrop(Augmentor):
    """Crop a window of random area and aspect ratio, and resize it to a fixed size: how ImageNet models are trained.

    After Szegedy et al., "Going Deeper with Convolutions" (2015). If ten draws give no window that fits into the
    picture, the largest central window whose aspect ratio is in range is taken.

    Args:
        size: Size of the result in pixels: (height, width), or an int for a square.
        area_range: (lowest, highest) area of the window, as a fraction of the picture's.
        aspect_range: (lowest, highest) width / height, drawn uniformly on a log scale.
        interpolation: As for :class:`Resize`.
    """

    draws_from_size = True

    _tries = 10  # as many as torchvision's RandomResizedCrop makes; with the default ranges most draws fit at once

    def __init__(
        self,
        size: int | tuple[int, int] = 224,
        area_range: tuple[float, float] = (0.08, 1.0),
        aspect_range: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: Interpolation = "linear",
    ) -> None:
        self.size = as_size(size, self)
        self.area_range = as_range(area_range, self, "area_range", 0.0, 1.0)
        self.aspect_range = as_range(aspect_range, self, "aspect_range", 0.0)
        if self.area_range[0] <= 0 or self.aspect_range[0] <= 0:
            raise ConfigError(
                f"RandomResizedCrop: area_range={area_range} and aspect_range={aspect_range} must be above 0"
            )
        self.interpolation = interpolation
        self._method = as_interpolation(interpolation, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> TransformList:
        """Draw the window."""
        check_image(img, self, None, None)
        rows, columns = img.shape[:2]
        x, y, width, height = self._window(rows, columns, rng)
        crop = CropTransform(x, y, width, height, (rows, columns))
        return TransformList([crop, ResizeTransform(self.size[1], self.size[0], (height, width), self._method)])

    def _window(self, rows: int, columns: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        least, most = math.log(self.aspect_range[0]), math.log(self.aspect_range[1])
        for _ in range(self._tries):
            area = rows * columns * rng.uniform(*self.area_range)
            aspect = math.exp(rng.uniform(least, most))
            width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < width <= columns and 0 < height <= rows:
                y, x = draw_corner(rng, rows - height + 1, columns - width + 1)
                return x, y, width, height
        # The picture's own aspect ratio, limited to the range: the window then spans the picture along one axis.
        aspect = min(max(columns / rows, self.aspect_range[0]), self.aspect_range[1])
        width, height = min(columns, max(1, round(rows * aspect))), min(rows, max(1, round(columns / aspect)))
        return (columns - width) // 2, (rows - height) // 2, width, height
