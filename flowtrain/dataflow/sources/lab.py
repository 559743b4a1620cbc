"""CIE L*a*b* for networks: lightness and the two colour axes, each scaled to [-1, 1].

Colours are sRGB (IEC 61966-2-1) with the white point D65; L*, a*, b* are those of CIE 15 (which OpenCV's
``COLOR_RGB2LAB`` computes for float pictures). L*, 0 to 100, is scaled to [-1, 1]. Within sRGB a* goes from -86.2 to
98.3 and b* from -107.9 to 94.5, so both are divided by 110, as is usual in colorization: the output of a tanh can then
reach every colour.
"""

from __future__ import annotations

import cv2
import numpy as np

from ...utils.errors import DataFlowError

__all__ = ["AB_SCALE", "L_SCALE", "lab_to_rgb", "rgb_to_ab", "rgb_to_lab", "rgb_to_luminance"]

L_SCALE = 50.0
"""L* is ``(luminance + 1) * L_SCALE``."""

AB_SCALE = 110.0
"""a* and b* are ``ab * AB_SCALE``."""


def rgb_to_lab(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert RGB pictures to scaled lightness and colour.

    Args:
        rgb: (..., H, W, 3), uint8, or float in [0, 1].

    Returns:
        The luminance, float32 (..., H, W, 1), and ab, float32 (..., H, W, 2); both in [-1, 1].

    Raises:
        DataFlowError: ``rgb`` has another shape or dtype.

    Example:
        >>> luminance, ab = rgb_to_lab(np.full((2, 2, 3), 255, np.uint8))
        >>> luminance.shape, float(luminance.max()), ab.shape
        ((2, 2, 1), 1.0, (2, 2, 2))
    """
    lab = _lab(rgb)
    return _scaled_l(lab), _scaled_ab(lab)


def rgb_to_luminance(rgb: np.ndarray) -> np.ndarray:
    """The scaled lightness of RGB pictures: the input of a colorizing network.

    Args:
        rgb: (..., H, W, 3), uint8, or float in [0, 1].

    Returns:
        float32 (..., H, W, 1) in [-1, 1].
    """
    return _scaled_l(_lab(rgb))


def rgb_to_ab(rgb: np.ndarray) -> np.ndarray:
    """The scaled colour of RGB pictures without their lightness: the target of a colorizing network.

    Args:
        rgb: (..., H, W, 3), uint8, or float in [0, 1].

    Returns:
        float32 (..., H, W, 2) in [-1, 1].
    """
    return _scaled_ab(_lab(rgb))


def lab_to_rgb(luminance: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """Convert scaled lightness and colour back to RGB. Colours outside of sRGB are clipped.

    Args:
        luminance: float (..., H, W, 1) or (..., H, W), in [-1, 1].
        ab: float (..., H, W, 2), in [-1, 1].

    Returns:
        uint8 (..., H, W, 3), RGB. OpenCV's ``imwrite`` wants BGR: ``cv2.imwrite(path, rgb[..., ::-1])``.

    Raises:
        DataFlowError: The shapes do not fit each other.

    Example:
        >>> lab_to_rgb(np.ones((1, 1, 1)), np.zeros((1, 1, 2))).tolist()
        [[[255, 255, 255]]]
    """
    luminance, ab = np.asarray(luminance, np.float32), np.asarray(ab, np.float32)
    if luminance.shape == ab.shape[:-1]:
        luminance = luminance[..., None]
    if ab.ndim < 3 or ab.shape[-1] != 2 or luminance.shape != (*ab.shape[:-1], 1):
        raise DataFlowError(
            f"lab_to_rgb takes luminance (..., H, W, 1) and ab (..., H, W, 2), got {luminance.shape} and {ab.shape}"
        )
    lab = np.empty((*ab.shape[:-1], 3), np.float32)
    lab[..., :1] = (luminance + 1.0) * L_SCALE
    lab[..., 1:] = ab * AB_SCALE
    rgb = cv2.cvtColor(_flat(lab), cv2.COLOR_LAB2RGB).reshape(lab.shape)
    return np.rint(np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8)


def _lab(rgb: np.ndarray) -> np.ndarray:
    if not isinstance(rgb, np.ndarray) or rgb.ndim < 3 or rgb.shape[-1] != 3:
        given = f"an array of shape {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise DataFlowError(f"expected RGB pictures (..., H, W, 3), got {given}")
    if rgb.dtype == np.uint8:
        flat = _flat(rgb).astype(np.float32)
        flat *= np.float32(1 / 255)
    elif rgb.dtype.kind == "f":
        flat = _flat(rgb.astype(np.float32, copy=False))
    else:
        raise DataFlowError(f"expected RGB pictures of uint8, or of floats in [0, 1]; got {rgb.dtype}")
    return cv2.cvtColor(flat, cv2.COLOR_RGB2LAB).reshape(rgb.shape)


def _flat(pictures: np.ndarray) -> np.ndarray:
    """Stack pictures to one of shape (N * H, W, channels), since OpenCV converts one picture per call."""
    return np.ascontiguousarray(pictures).reshape(-1, pictures.shape[-2], pictures.shape[-1])


def _scaled_l(lab: np.ndarray) -> np.ndarray:
    luminance = lab[..., :1] * np.float32(1 / L_SCALE)
    luminance -= np.float32(1)
    return luminance


def _scaled_ab(lab: np.ndarray) -> np.ndarray:
    return lab[..., 1:] * np.float32(1 / AB_SCALE)
