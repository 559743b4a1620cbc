"""Validation shared by all augmentors: constructor arguments, pictures, points; and fast draws of whole numbers."""

from __future__ import annotations

import contextlib
import math
from numbers import Integral, Real
from typing import Any

import numpy as np

from flowtrain.utils.arguments import as_int
from flowtrain.utils.errors import ConfigError, DataFlowError, closest, either

__all__ = [
    "FLOAT32",
    "OPENCV_DTYPES",
    "PICTURE_DTYPES",
    "UINT8",
    "as_choice",
    "as_fill",
    "as_int_range",
    "as_number",
    "as_prob",
    "as_range",
    "as_size",
    "check_coords",
    "check_fill",
    "check_image",
    "check_same_size",
    "draw_corner",
    "draw_int",
    "draw_uniform",
    "keep_channel_axis",
    "name_of",
]

# In the machine's byte order: a dtype of the other order equals none of these, and OpenCV would misread it.
UINT8, FLOAT32 = np.dtype(np.uint8), np.dtype(np.float32)
PICTURE_DTYPES = (UINT8, FLOAT32)
"""The dtypes that transforms of values take."""
OPENCV_DTYPES = (UINT8, FLOAT32, np.dtype(np.uint16), np.dtype(np.int16), np.dtype(np.float64))
"""The dtypes that OpenCV can interpolate. (int64 its Python binding takes too, but as int32, without an error.)"""


def name_of(owner: object) -> str:
    """The name at the start of an error message: the augmentor's, also for the transform that it made."""
    return owner if isinstance(owner, str) else type(owner).__name__.removesuffix("Transform")


# -- pictures and points ------------------------------------------------------------------------------------


def check_image(
    img: np.ndarray, owner: object, dtypes: tuple[np.dtype, ...] | None, channels: tuple[int, ...] | None
) -> None:
    """Raise a DataFlowError unless ``img`` is a picture that the owner can take.

    Args:
        img: The picture to check.
        owner: The augmentor or transform, to be named in the message.
        dtypes: The dtypes that it takes; None takes all.
        channels: The numbers of channels that it takes, where (H, W) counts as 1; None takes all.
    """
    # One expression for the good case, since every augmentor passes here; the cause is looked for only on failure.
    fits = (
        isinstance(img, np.ndarray)
        and img.ndim in (2, 3)
        and img.size
        and (dtypes is None or img.dtype in dtypes)
        and (channels is None or (img.shape[2] if img.ndim == 3 else 1) in channels)
    )
    if not fits:
        raise DataFlowError(f"{name_of(owner)}: {_complaint(img, dtypes, channels)}")


def _complaint(img: object, dtypes: tuple[np.dtype, ...] | None, channels: tuple[int, ...] | None) -> str:
    """Say why :func:`check_image` refuses a picture."""
    if not isinstance(img, np.ndarray):
        return f"expected a picture as a NumPy array, got {type(img).__name__}"
    shape = img.shape
    if len(shape) not in (2, 3):
        hint = " A batch must be augmented picture by picture, before BatchData." if len(shape) == 4 else ""
        return f"expected a picture of shape (H, W) or (H, W, C), got an array of shape {shape}.{hint}"
    if not img.size:
        return f"the picture is empty: its shape is {shape}"
    if channels is not None and (shape[2] if len(shape) == 3 else 1) not in channels:
        hint = _channel_hint(shape, channels)
        return f"expected a picture with {either(channels)} channel(s), got shape {shape}.{hint}"
    dtypes = dtypes or ()
    return f"expected a picture of {either(dtypes)}, got {img.dtype}.{_dtype_hint(dtypes)}"


def _channel_hint(shape: tuple[int, ...], channels: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[0] in channels and shape[2] not in (1, 3, 4):
        return " It looks like (C, H, W): channels come last here; use np.moveaxis(img, 0, -1)."
    if 1 not in channels and (len(shape) == 2 or shape[2] == 1):
        return " A gray picture becomes a colour one with ColorSpace('GRAY2RGB')."
    return ""


def _dtype_hint(dtypes: tuple[np.dtype, ...]) -> str:
    return " Convert it before, e.g. with ToFloat32() or ToUint8()." if FLOAT32 in dtypes else " Use ToUint8() before."


def check_same_size(img: np.ndarray, source: tuple[int, int], owner: object) -> None:
    """Raise unless a picture has the size that a transform was made for."""
    if img.shape[:2] != source:
        raise DataFlowError(
            f"{name_of(owner)}: this transform was made for a picture of {source[0]} x {source[1]} (height x width) "
            f"and was given one of {img.shape[0]} x {img.shape[1]}. Pictures and masks that share a transform must "
            "be of one size"
        )


def check_fill(fill: tuple[float, ...], img: np.ndarray, owner: object) -> None:
    """Raise unless ``fill`` has one value, or one for each channel of the picture."""
    channels = img.shape[2] if img.ndim == 3 else 1
    if len(fill) not in (1, channels):
        raise DataFlowError(
            f"{name_of(owner)}: {len(fill)} values {fill} were given to fill with, but the picture of shape "
            f"{img.shape} has {channels} channel(s). Give one number, or one for each channel"
        )


def check_coords(coords: np.ndarray, owner: object) -> np.ndarray:
    """Return the points as a new array of shape (N, 2): float32 for float32, else float64.

    Raises:
        DataFlowError: They are not real numbers of that shape.
    """
    array = np.asarray(coords)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "fiu":
        raise DataFlowError(
            f"{name_of(owner)}: expected points as an array of numbers of shape (N, 2), x before y, "
            f"got {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.float32 if array.dtype == np.float32 else np.float64)


def keep_channel_axis(out: np.ndarray, img: np.ndarray) -> np.ndarray:
    """Restore the channel axis of (H, W, 1), which OpenCV drops: (H, W) stays (H, W), (H, W, 1) stays (H, W, 1)."""
    return out[:, :, None] if out.ndim == 2 and img.ndim == 3 else out


def draw_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """Draw a number uniformly between two bounds."""
    low, high = bounds
    return low + (high - low) * rng.random()


def draw_int(rng: np.random.Generator, low: int, high: int) -> int:
    """Draw a whole number uniformly, from ``low`` to ``high`` with both.

    Takes a third of the time of ``rng.integers``; its bias, one part in ``2**53 / (high - low)``, is nothing here.
    """
    # random() is below 1, and its product with a whole number n up to 2 ** 53 is never rounded up to n.
    return low + int(rng.random() * (high - low + 1))


def draw_corner(rng: np.random.Generator, rows: int, columns: int) -> tuple[int, int]:
    """Draw (y, x) uniformly, y below ``rows`` and x below ``columns``; from one random number, half the time of two."""
    return divmod(int(rng.random() * (rows * columns)), columns)


# -- constructor arguments ----------------------------------------------------------------------------------


def as_size(value: Any, owner: object, name: str = "size") -> tuple[int, int]:
    """(height, width) from a pair, or from an int for both."""
    try:  # a value that is neither fails to unpack, or as_int refuses it: one error for all of these
        height, width = map(as_int, (value, value) if isinstance(value, Integral) else value)
    except (TypeError, ValueError):
        height = width = None
    if height is None or width is None or min(height, width) < 1:
        raise ConfigError(
            f"{name_of(owner)}: {name} must be a positive int or (height, width) in pixels, not {value!r}"
        )
    return height, width


def as_number(value: object, owner: object, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number in [low, high]."""
    # A bool is a Real in Python, but True as a number is a mistake.
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or not low <= number <= high:
        raise ConfigError(f"{name_of(owner)}: {name} must be {_bounds(low, high)}, not {value!r}")
    return number


def as_range(
    value: Any, owner: object, name: str, low: float = -math.inf, high: float = math.inf
) -> tuple[float, float]:
    """A pair (lowest, highest) of finite numbers in [low, high]."""
    with contextlib.suppress(TypeError, ValueError):  # not two, or not numbers: as_number's error is a ValueError too
        first, last = (as_number(bound, owner, name, low, high) for bound in value)
        if first <= last:
            return first, last
    raise ConfigError(
        f"{name_of(owner)}: {name} must be a pair (lowest, highest), each {_bounds(low, high)}, not {value!r}"
    )


def as_int_range(value: Any, owner: object, name: str, low: float, high: float = math.inf) -> tuple[int, int]:
    """A pair (lowest, highest) of whole numbers in [low, high]."""
    first, last = as_range(value, owner, name, low, high)
    if first % 1 or last % 1:  # 2.0 is taken as 2, unlike a bool, which as_number refuses
        raise ConfigError(f"{name_of(owner)}: {name} must be of whole numbers, not {value!r}")
    return int(first), int(last)


def _bounds(low: float, high: float) -> str:
    if low == -math.inf and high == math.inf:
        return "a finite number"
    if high == math.inf:
        return f"a finite number of at least {low:g}"
    if low == -math.inf:
        return f"a finite number of at most {high:g}"
    return f"a number from {low:g} to {high:g}"


def as_fill(value: Any, owner: object, name: str) -> tuple[float, ...]:
    """The fill values as a tuple: of one number, or of one for each channel."""
    with contextlib.suppress(TypeError, ConfigError):
        fill = tuple(as_number(number, owner, name) for number in ((value,) if isinstance(value, Real) else value))
        if fill:
            return fill
    raise ConfigError(f"{name_of(owner)}: {name} must be a number, or one for each channel, not {value!r}")


def as_prob(value: object, owner: object, name: str = "prob") -> float:
    """A probability."""
    return as_number(value, owner, name, 0.0, 1.0)


def as_choice(value: object, choices: dict[str, int], owner: object, name: str) -> int:
    """The OpenCV constant for its short name; a constant among ``choices`` is returned as it is."""
    if isinstance(value, str) and value in choices:
        return choices[value]
    if isinstance(value, int) and not isinstance(value, bool) and value in choices.values():
        return value
    hint = closest(value, list(choices)) if isinstance(value, str) else closest("", list(choices))
    raise ConfigError(f"{name_of(owner)}: {name}={value!r} is not known. {hint}")
