"""Conversion to another dtype or colour space."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from flowtrain.utils.errors import ConfigError, DataFlowError, closest

from ...utils.arguments import check_choice, old_spellings
from .arithmetic import to_float32, to_uint8
from .augmentor import FixedAugmentor, PixelTransform
from .checks import as_number

__all__ = ["ColorSpace", "Grayscale", "ToFloat32", "ToUint8"]


@dataclass(eq=False)
class ToFloat32Transform(PixelTransform):
    """Convert to float32, then scale."""

    scale: float

    dtypes = None
    channels = None
    touches_alpha = True

    def change(self, img: np.ndarray) -> np.ndarray:
        _require_real(img, self)
        return img.astype(np.float32) if self.scale == 1 else to_float32(img, self.scale, 0.0)


@dataclass(eq=False)
class ToUint8Transform(PixelTransform):
    """Scale, round, limit to 0..255, convert to uint8."""

    scale: float

    dtypes = None
    channels = None
    touches_alpha = True

    def change(self, img: np.ndarray) -> np.ndarray:
        _require_real(img, self)
        if img.dtype == np.uint8 and self.scale == 1:
            return img
        # Whole numbers need no rounding, so no pass through float32.
        if self.scale == 1 and img.dtype.kind in "biu":
            return img.clip(0, 255).astype(np.uint8) if img.dtype != bool else img.astype(np.uint8)
        return to_uint8(to_float32(img, self.scale, 0.0) if self.scale != 1 else img.astype(np.float32, copy=False))


def _require_real(img: np.ndarray, owner: object) -> None:
    if img.dtype.kind not in "biuf":
        raise DataFlowError(f"{type(owner).__name__}: expected a picture of real numbers, got {img.dtype}")


class ToFloat32(FixedAugmentor):
    """Convert a picture of any real dtype to float32.

    Args:
        scale: The factor of all values. 1, the default, keeps the scale of 0 to 255, which the other augmentors
            expect; ``1 / 255`` belongs at the end of a list.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = as_number(scale, self, "scale")
        self._transform = ToFloat32Transform(self.scale)


class ToUint8(FixedAugmentor):
    """Convert a picture of any real dtype to uint8: rounded to the nearest, limited to 0..255; NaN becomes 0.

    Args:
        scale: The factor of all values, applied first; 255 for pictures from 0 to 1.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = as_number(scale, self, "scale")
        self._transform = ToUint8Transform(self.scale)


@dataclass(eq=False)
class ColorSpaceTransform(PixelTransform):
    """Convert with cv2.cvtColor."""

    mode: str
    code: int

    touches_alpha = True

    def change(self, img: np.ndarray) -> np.ndarray:
        try:
            return cv2.cvtColor(img, self.code)
        except cv2.error as error:
            raise DataFlowError(
                f"ColorSpace({self.mode!r}) cannot convert a picture of {img.dtype} and shape {img.shape}: "
                f"{str(error).strip().splitlines()[-1]}"
            ) from error


class ColorSpace(FixedAugmentor):
    """Convert to another colour space.

    Args:
        mode: "RGB2LAB", "RGB2HSV", "GRAY2RGB", "RGB2BGR", ...: any of OpenCV's names without ``COLOR_``, or
            OpenCV's constant. For float32 pictures OpenCV's rules hold: the result has other ranges than for uint8,
            and some colour spaces need RGB from 0 to 1.

    Example:
        >>> ColorSpace("RGB2GRAY").augment(np.zeros((4, 5, 3), np.uint8)).shape
        (4, 5, 1)
    """

    def __init__(self, mode: str | int) -> None:
        # "2": COLOR_COLORCVT_MAX converts nothing.
        known = {name[6:]: getattr(cv2, name) for name in dir(cv2) if name.startswith("COLOR_") and "2" in name}
        if isinstance(mode, str):
            name = mode.upper().removeprefix("COLOR_")
            if name not in known:
                raise ConfigError(f"ColorSpace: mode={mode!r} is not known. {closest(name, list(known))}")
        else:
            name = next((name for name, code in known.items() if code == mode), "")
            if not name or isinstance(mode, bool):
                raise ConfigError(f"ColorSpace: mode={mode!r} is none of cv2's COLOR_ constants")
        self.mode = name
        self._transform = ColorSpaceTransform(name, known[name])


@dataclass(eq=False)
class GrayscaleTransform(PixelTransform):
    """Replace colours by their luma."""

    channels_out: int

    touches_alpha = True

    def change(self, img: np.ndarray) -> np.ndarray:
        """Compute 0.299 R + 0.587 G + 0.114 B; alpha is kept if the result has three colour channels."""
        if img.ndim == 2 or img.shape[2] == 1:
            return img if self.channels_out == 1 else cv2.cvtColor(img, cv2.COLOR_GRAY2RGB)
        gray = cv2.cvtColor(img, cv2.COLOR_RGB2GRAY if img.shape[2] == 3 else cv2.COLOR_RGBA2GRAY)
        if self.channels_out == 1:
            return gray
        if img.shape[2] == 4:  # GRAY2RGBA would make the picture opaque
            return cv2.merge([gray, gray, gray, img[:, :, 3]])
        return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)


@old_spellings(
    keepdims="The channel axis is always kept. Leave it out",
    rgb="Pictures are RGB. Leave it out",
    keepshape="Write channels=3 instead",
)
class Grayscale(FixedAugmentor):
    """Make a picture gray, by the luma of ITU-R BT.601.

    Args:
        channels: 1 gives (H, W, 1) without alpha, and leaves (H, W) as it is; 3 gives three equal channels, and keeps
            alpha as a fourth.
    """

    def __init__(self, channels: int = 1) -> None:
        self.channels = check_choice("Grayscale", "channels", channels, (1, 3))
        self._transform = GrayscaleTransform(channels)
