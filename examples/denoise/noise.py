"""Ways to spoil a picture in [0, 1]; each is called with the picture and a generator."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Noise = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def gaussian(sigma: float = 25.0) -> Noise:
    """N(0, (sigma / 255)^2), added."""
    return lambda x, rng: x + np.float32(sigma / 255) * rng.standard_normal(x.shape, np.float32)


def blind_gaussian(low: float = 0.0, high: float = 55.0) -> Noise:
    """Gaussian with sigma drawn for each picture."""
    return lambda x, rng: gaussian(rng.uniform(low, high))(x, rng)


def poisson(peak: float = 30.0) -> Noise:
    """Photon counts, `peak` of them for white."""
    return lambda x, rng: (rng.poisson(np.clip(x, 0, 1) * peak) / peak).astype(np.float32)


def salt_and_pepper(share: float = 0.1) -> Noise:
    """A share of the pixels is black or white."""

    def spoil(x, rng):
        drawn = rng.random((*x.shape[:2], 1))
        return np.where(drawn < share / 2, 0, np.where(drawn > 1 - share / 2, 1, x)).astype(np.float32)

    return spoil


def speckle(sigma: float = 25.0) -> Noise:
    """Gaussian noise times the picture, added."""
    return lambda x, rng: x + x * np.float32(sigma / 255) * rng.standard_normal(x.shape, np.float32)


def jpeg(quality: int = 20) -> Noise:
    """What JPEG's compression leaves."""

    def spoil(x, rng):
        levels = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
        _, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED).reshape(x.shape).astype(np.float32) / 255

    return spoil


NOISES: dict[str, Callable[..., Noise]] = {
    "gaussian": gaussian,
    "blind": blind_gaussian,
    "poisson": poisson,
    "salt-and-pepper": salt_and_pepper,
    "speckle": speckle,
    "jpeg": jpeg,
}
