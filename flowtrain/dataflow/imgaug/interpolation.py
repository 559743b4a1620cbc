"""Names for OpenCV's interpolation methods and border modes."""

from __future__ import annotations

import cv2
import numpy as np

from flowtrain.utils.errors import DataFlowError

from .checks import as_choice

__all__ = ["Border", "Interpolation", "as_border", "as_interpolation", "as_stand_in"]

Interpolation = str | int
Border = str | int

_INTERPOLATION = {
    "linear": cv2.INTER_LINEAR,
    "nearest": cv2.INTER_NEAREST,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
    "bilinear": cv2.INTER_LINEAR,  # Keras's names for these two
    "bicubic": cv2.INTER_CUBIC,
    "linear_exact": cv2.INTER_LINEAR_EXACT,
    "nearest_exact": cv2.INTER_NEAREST_EXACT,
}

_BORDER = {
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT,
    "reflect_101": cv2.BORDER_REFLECT_101,
    "wrap": cv2.BORDER_WRAP,
}


def as_interpolation(value: object, owner: object) -> int:
    """OpenCV's constant for a name such as "linear", or for itself."""
    return as_choice(value, _INTERPOLATION, owner, "interpolation")


def as_border(value: object, owner: object) -> int:
    """OpenCV's constant for a name such as "replicate", or for itself."""
    return as_choice(value, _BORDER, owner, "border")


# By size in bytes. Floats of 4 and 8: warpAffine takes no uint32, and int64 becomes int32.
_STAND_INS = {1: np.uint8, 2: np.uint16, 4: np.float32, 8: np.float64}


def as_stand_in(mask: np.ndarray) -> np.ndarray:
    """The bytes of a mask under a dtype that OpenCV takes, for functions that only move values.

    OpenCV's nearest neighbour copies values bit for bit, so that labels of any dtype, int64 too, survive unchanged.

    Raises:
        DataFlowError: The mask's values are not numbers of 8, 16, 32 or 64 bits.
    """
    stand_in = _STAND_INS.get(mask.dtype.itemsize)
    if stand_in is None or mask.dtype.hasobject:
        raise DataFlowError(f"a mask must be of numbers of at most 64 bits, not {mask.dtype}")
    return np.ascontiguousarray(mask).view(stand_in)
