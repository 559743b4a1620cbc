"""Crops of fixed and of random size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flowtrain.utils.errors import ConfigError, DataFlowError

from ...utils.arguments import old_spellings
from .augmentor import Augmentor, GeometricTransform
from .checks import as_number, as_size, check_image, draw_corner, draw_int, name_of

__all__ = ["CenterCrop", "CropTransform", "RandomCrop", "RandomCropRandomShape"]


@dataclass(eq=False)
class CropTransform(GeometricTransform):
    """Crop a window; the result is a view of the picture, nothing is copied.

    Args:
        x: First column.
        y: First row.
        width: Columns, in pixels.
        height: Rows, in pixels.
        source: (height, width) of the picture.
    """

    x: int
    y: int
    width: int
    height: int
    source: tuple[int, int]

    def move(self, img: np.ndarray, exact: bool) -> np.ndarray:
        return img[self.y : self.y + self.height, self.x : self.x + self.width]

    def move_points(self, xy: np.ndarray) -> np.ndarray:
        xy -= (self.x, self.y)
        return xy


def require_room(img: np.ndarray, height: int, width: int, owner: object) -> None:
    """Raise unless a window of this size fits into the picture."""
    if height > img.shape[0] or width > img.shape[1]:
        raise DataFlowError(
            f"{name_of(owner)}: the crop of {height} x {width} (height x width) is larger than the picture of "
            f"{img.shape[0]} x {img.shape[1]}. Enlarge the picture first, e.g. with "
            f"ResizeShortestEdge({max(height, width)}), or place it on a larger one with CenterPaste"
        )


class _SizedCrop(Augmentor):
    """Base of crops of a fixed size, anywhere in the picture."""

    draws_from_size = True

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = as_size(size, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> CropTransform:
        """Choose the window's corner."""
        check_image(img, self, None, None)
        height, width = self.size
        require_room(img, height, width, self)
        y, x = self._place(img.shape[0] - height, img.shape[1] - width, rng)
        return CropTransform(x, y, width, height, img.shape[:2])

    def _place(self, room_y: int, room_x: int, rng: np.random.Generator) -> tuple[int, int]:
        raise NotImplementedError


@old_spellings(crop_shape="size", shape="size")
class RandomCrop(_SizedCrop):
    """Crop a window of a fixed size at a random place; all places are equally likely.

    Args:
        size: An int for a square, or (height, width), in pixels.

    Example:
        >>> RandomCrop(256).augment(np.zeros((480, 640, 3), np.uint8)).shape
        (256, 256, 3)
    """

    def _place(self, room_y: int, room_x: int, rng: np.random.Generator) -> tuple[int, int]:
        return draw_corner(rng, room_y + 1, room_x + 1)


@old_spellings(crop_shape="size", shape="size")
class CenterCrop(_SizedCrop):
    """Crop a window of a fixed size from the middle; of an odd remainder the bottom and the right lose one pixel more.

    Args:
        size: An int for a square, or (height, width), in pixels.
    """

    def _place(self, room_y: int, room_x: int, rng: np.random.Generator) -> tuple[int, int]:
        return room_y // 2, room_x // 2


@old_spellings(
    wmin="Write min_size=(height, width)",
    hmin="Write min_size=(height, width)",
    wmax="Write max_size=(height, width)",
    hmax="Write max_size=(height, width)",
)
class RandomCropRandomShape(Augmentor):
    """Crop a window of random height, width and place.

    Args:
        min_size: The smallest (height, width) in pixels; an int for both.
        max_size: The largest (height, width), limited by the picture's size; an int for both. None: the picture's size.
        max_aspect_ratio: The longer side is at most this many times the shorter one. None: no limit.
    """

    draws_from_size = True

    def __init__(
        self,
        min_size: int | tuple[int, int],
        *,
        max_size: int | tuple[int, int] | None = None,
        max_aspect_ratio: float | None = None,
    ) -> None:
        self.min_size = as_size(min_size, self, "min_size")
        self.max_size = None if max_size is None else as_size(max_size, self, "max_size")
        ratio = max_aspect_ratio
        self.max_aspect_ratio = None if ratio is None else as_number(ratio, self, "max_aspect_ratio", 1.0)
        if self.max_size is None:
            return
        if self.max_size[0] < self.min_size[0] or self.max_size[1] < self.min_size[1]:
            raise ConfigError(f"RandomCropRandomShape: max_size={max_size} is less than min_size={min_size}")
        if self.max_aspect_ratio and min(self.max_size) * self.max_aspect_ratio < max(self.min_size):
            raise ConfigError(
                f"RandomCropRandomShape: between min_size={min_size} and max_size={max_size} there is no window whose "
                f"sides differ by at most max_aspect_ratio={max_aspect_ratio}"
            )

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> CropTransform:
        """Draw the width, then the height within the aspect ratio, then the corner."""
        check_image(img, self, None, None)
        rows, columns = img.shape[:2]
        (lowest, narrowest), (highest, widest) = self.min_size, self.max_size or (rows, columns)
        require_room(img, lowest, narrowest, self)
        highest, widest = min(highest, rows), min(widest, columns)
        ratio = self.max_aspect_ratio
        if ratio is not None:  # only widths for which a height within the ratio exists, so that no draw is repeated
            narrowest, widest = max(narrowest, math.ceil(lowest / ratio)), min(widest, int(highest * ratio))
        if narrowest > widest:
            raise DataFlowError(
                f"{self!r}: no window whose sides differ by at most max_aspect_ratio fits into the picture of "
                f"{rows} x {columns} (height x width)"
            )
        width = draw_int(rng, narrowest, widest)
        if ratio is not None:  # the outer min and max: width / ratio may be rounded to just beyond a bound
            lowest = min(highest, max(lowest, math.ceil(width / ratio)))
            highest = max(lowest, min(highest, int(width * ratio)))
        height = draw_int(rng, lowest, highest)
        y, x = draw_corner(rng, rows - height + 1, columns - width + 1)
        return CropTransform(x, y, width, height, (rows, columns))
