"""Cutting a window out of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowtrain.utils.errors import ConfigError, DataFlowError

from .base import Augmentor, GeometricTransform
from .checks import as_number, as_positive_int, as_size, check_image, draw_corner, draw_int, name_of, renamed

__all__ = ["CenterCrop", "CropTransform", "RandomCrop", "RandomCropRandomShape"]


@dataclass(eq=False)
class CropTransform(GeometricTransform):
    """Cut out a window: a view into the picture, nothing is copied.

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
        """Slice."""
        return img[self.y : self.y + self.height, self.x : self.x + self.width]

    def move_points(self, xy: np.ndarray) -> np.ndarray:
        """Count from the window's own corner."""
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


@renamed(crop_shape="size", shape="size")
class RandomCrop(Augmentor):
    """Cut out a window of a fixed size, anywhere in the picture with equal chance.

    Args:
        size: An int for a square, or (height, width), in pixels.

    Example:
        >>> RandomCrop(256).augment(np.zeros((480, 640, 3), np.uint8)).shape
        (256, 256, 3)
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = as_size(size, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> CropTransform:
        """Draw the window's corner."""
        check_image(img, self, None, None)
        height, width = self.size
        require_room(img, height, width, self)
        y, x = draw_corner(rng, img.shape[0] - height + 1, img.shape[1] - width + 1)
        return CropTransform(x, y, width, height, img.shape[:2])


@renamed(crop_shape="size", shape="size")
class CenterCrop(Augmentor):
    """Cut out the window of a fixed size in the middle; an odd remainder is cut at the bottom and the right.

    Args:
        size: An int for a square, or (height, width), in pixels.
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = as_size(size, self)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> CropTransform:
        """Place the window; draws nothing."""
        check_image(img, self, None, None)
        height, width = self.size
        require_room(img, height, width, self)
        return CropTransform((img.shape[1] - width) // 2, (img.shape[0] - height) // 2, width, height, img.shape[:2])


@renamed(wmin="min_width", hmin="min_height", wmax="max_width", hmax="max_height")
class RandomCropRandomShape(Augmentor):
    """Cut out a window whose height, width and place are drawn.

    Where the picture is smaller than the maximum, the picture's own size is the maximum.

    Args:
        min_height: Least height, in pixels.
        min_width: Least width.
        max_height: Greatest height; None is the picture's.
        max_width: Greatest width; None is the picture's.
        max_aspect_ratio: The longer side is at most this many times the shorter one. None: any.
    """

    def __init__(
        self,
        min_height: int,
        min_width: int,
        max_height: int | None = None,
        max_width: int | None = None,
        max_aspect_ratio: float | None = None,
    ) -> None:
        self.min_height = as_positive_int(min_height, self, "min_height")
        self.min_width = as_positive_int(min_width, self, "min_width")
        self.max_height = None if max_height is None else as_positive_int(max_height, self, "max_height")
        self.max_width = None if max_width is None else as_positive_int(max_width, self, "max_width")
        self.max_aspect_ratio = max_aspect_ratio
        for side, low, high in (
            ("height", self.min_height, self.max_height),
            ("width", self.min_width, self.max_width),
        ):
            if high is not None and high < low:
                raise ConfigError(f"RandomCropRandomShape: max_{side}={high} is less than min_{side}={low}")
        if max_aspect_ratio is not None:
            self.max_aspect_ratio = as_number(max_aspect_ratio, self, "max_aspect_ratio", 1.0)
            least = max(self.min_height, self.min_width)
            for name, high in (("max_height", self.max_height), ("max_width", self.max_width)):
                if high is not None and high * self.max_aspect_ratio < least:
                    raise ConfigError(
                        f"RandomCropRandomShape: {name}={high} leaves no window whose sides differ by at most "
                        f"max_aspect_ratio={max_aspect_ratio}, since the other side is at least {least}"
                    )

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> CropTransform:
        """Draw the width, then the height within the aspect ratio, then the corner."""
        check_image(img, self, None, None)
        rows, columns = img.shape[:2]
        require_room(img, self.min_height, self.min_width, self)
        highest, widest = min(self.max_height or rows, rows), min(self.max_width or columns, columns)
        lowest, narrowest = self.min_height, self.min_width
        if self.max_aspect_ratio is not None:
            # The width is drawn among those for which some height exists.
            narrowest = max(narrowest, int(np.ceil(lowest / self.max_aspect_ratio)))
            widest = min(widest, int(highest * self.max_aspect_ratio))
        if narrowest > widest:
            raise DataFlowError(
                f"RandomCropRandomShape: no window of at least {lowest} x {self.min_width} (height x width) with "
                f"sides that differ by at most {self.max_aspect_ratio} fits into the picture of {rows} x {columns}"
            )
        width = narrowest + draw_int(rng, widest - narrowest + 1)
        if self.max_aspect_ratio is not None:
            lowest = max(lowest, int(np.ceil(width / self.max_aspect_ratio)))
            highest = min(highest, int(width * self.max_aspect_ratio))
        height = lowest + draw_int(rng, highest - lowest + 1)
        y, x = draw_corner(rng, rows - height + 1, columns - width + 1)
        return CropTransform(x, y, width, height, (rows, columns))
