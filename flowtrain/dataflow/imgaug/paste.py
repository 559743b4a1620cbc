"""CenterPaste and RandomPaste, which place a picture on a larger background, and fillers that make the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowtrain.utils.errors import ConfigError, DataFlowError

from ...utils.arguments import names_arguments, old_spellings
from .arithmetic import blank
from .augmentor import Augmentor, GeometricTransform
from .checks import as_fill, as_size, check_fill, check_image, draw_corner, name_of
from .noise import draw_seed, noise_stream

__all__ = [
    "BackgroundFiller",
    "CenterPaste",
    "ConstantBackgroundFiller",
    "NoiseBackgroundFiller",
    "PasteTransform",
    "RandomColorBackgroundFiller",
    "RandomPaste",
]


class BackgroundFiller:
    """Base of what makes the background of :class:`CenterPaste` and :class:`RandomPaste`; override :meth:`fill`."""

    draws = True
    """Whether :meth:`fill` draws random numbers. If False, it is called with ``rng=None``, which saves making one."""

    def fill(self, size: tuple[int, int], img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Make a background.

        Args:
            size: (height, width), in pixels.
            img: The picture that will be placed on the background.
            rng: The only source of random numbers to use.

        Returns:
            A new array of the picture's dtype and channels: (height, width) or (height, width, C).
        """
        raise NotImplementedError(f"{type(self).__name__} must define fill(size, img, rng)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"


@names_arguments
class ConstantBackgroundFiller(BackgroundFiller):
    """A background of one fixed colour.

    Args:
        value: One number, or one for each channel.
    """

    draws = False

    def __init__(self, value: float | Sequence[float] = 0.0) -> None:
        self.value = as_fill(value, self, "value")

    def fill(self, size: tuple[int, int], img: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Fill with the value; this draws nothing."""
        check_fill(self.value, img, self)
        return blank(size, img, self.value)


class RandomColorBackgroundFiller(BackgroundFiller):
    """A background of one random colour for each picture, each channel drawn uniformly from 0 to 255."""

    def fill(self, size: tuple[int, int], img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw the colour."""
        return blank(size, img, rng.integers(0, 256, img.shape[2:] or 1))  # (H, W) has no channel axis, but one value


class NoiseBackgroundFiller(BackgroundFiller):
    """A background of noise, every value drawn uniformly from 0 to 255."""

    def fill(self, size: tuple[int, int], img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw every value."""
        # Drawn as bytes whatever the dtype, so that a seed gives uint8 and float32 pictures the same background.
        return rng.integers(0, 256, (*size, *img.shape[2:]), np.uint8).astype(img.dtype, copy=False)


@dataclass(eq=False)
class PasteTransform(GeometricTransform):
    """Place the picture on a background; the background of a mask is 0.

    Args:
        x: Column of the picture's left edge.
        y: Row of its upper edge.
        height: Of the background, in pixels.
        width: Of the background.
        source: (height, width) of the picture.
        filler: Makes the background.
        seed: Seed of the filler's random numbers; None for a filler that draws nothing.
    """

    x: int
    y: int
    height: int
    width: int
    source: tuple[int, int]
    filler: BackgroundFiller
    seed: int | None

    def move(self, img: np.ndarray, exact: bool) -> np.ndarray:
        size = (self.height, self.width)
        if exact:
            out = blank(size, img, (0,))
        else:
            # From the seed each time, so that pictures that share the transform get the same background.
            rng = None if self.seed is None else noise_stream(self.seed)
            out = self.filler.fill(size, img, rng)  # type: ignore[arg-type]
            expected = (*size, *img.shape[2:])
            if not isinstance(out, np.ndarray) or out.shape != expected or out.dtype != img.dtype:
                got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
                raise DataFlowError(f"{self.filler!r} returned {got}, expected an array: {img.dtype} {expected}")
        out[self.y : self.y + self.source[0], self.x : self.x + self.source[1]] = img
        return out

    def move_points(self, xy: np.ndarray) -> np.ndarray:
        xy += (self.x, self.y)
        return xy


@old_spellings(background_shape="size", background_filler="filler")
class CenterPaste(Augmentor):
    """Place the picture in the middle of a larger background.

    Args:
        size: Size of the background in pixels: (height, width), or an int for a square.
        filler: Makes the background; None: black.
    """

    def __init__(self, size: int | tuple[int, int], filler: BackgroundFiller | None = None) -> None:
        self.size = as_size(size, self)
        self.filler = ConstantBackgroundFiller(0.0) if filler is None else filler
        if not isinstance(self.filler, BackgroundFiller):
            raise ConfigError(
                f"{name_of(self)}: filler must be a BackgroundFiller such as ConstantBackgroundFiller(255), "
                f"not {filler!r}"
            )

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> PasteTransform:
        """Choose the place, and draw a seed for the background if its filler draws."""
        check_image(img, self, None, None)
        height, width = img.shape[:2]
        room_y, room_x = self.size[0] - height, self.size[1] - width
        if room_y < 0 or room_x < 0:
            raise DataFlowError(
                f"{name_of(self)}: the picture of {height} x {width} (height x width) is larger than the background "
                f"of {self.size[0]} x {self.size[1]}"
            )
        y, x = self._place(room_y, room_x, rng)
        seed = draw_seed(rng) if self.filler.draws else None
        return PasteTransform(x, y, *self.size, (height, width), self.filler, seed)

    def _place(self, room_y: int, room_x: int, rng: np.random.Generator) -> tuple[int, int]:
        return room_y // 2, room_x // 2


class RandomPaste(CenterPaste):
    """Place the picture at a random place on a larger background.

    Args:
        size: Size of the background in pixels: (height, width), or an int for a square.
        filler: Makes the background; None: black.
    """

    def _place(self, room_y: int, room_x: int, rng: np.random.Generator) -> tuple[int, int]:
        return draw_corner(rng, room_y + 1, room_x + 1)
