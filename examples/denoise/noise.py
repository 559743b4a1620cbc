"""Noise models for pictures in [0, 1]: functions of a picture and a random generator that return a noisy picture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

import flowtrain as ft

Noise = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def gaussian(sigma: float = 25.0) -> Noise:
    """Additive Gaussian noise N(0, (sigma / 255)^2)."""
    _check("sigma", sigma, 0, 255)
    return lambda x, rng: x + np.float32(sigma / 255) * rng.standard_normal(x.shape, np.float32)


def blind_gaussian(low: float = 0.0, high: float = 55.0) -> Noise:
    """Additive Gaussian noise, sigma drawn uniformly for each picture."""
    _check("the least sigma", low, 0, high)
    _check("the greatest sigma", high, low, 255)
    return lambda x, rng: gaussian(rng.uniform(low, high))(x, rng)


def poisson(peak: float = 30.0) -> Noise:
    """Poisson (photon counting) noise: a white pixel has `peak` photons on average."""
    _check("peak", peak, 1e-3, 1e6)
    return lambda x, rng: (rng.poisson(np.clip(x, 0, 1) * peak) / peak).astype(np.float32)


def salt_and_pepper(share: float = 0.1) -> Noise:
    """Salt-and-pepper noise: a share of the pixels becomes black or white, half of it each."""
    _check("share", share, 0, 1)

    def spoil(x, rng):
        drawn = rng.random((*x.shape[:2], 1))
        return np.where(drawn < share / 2, 0, np.where(drawn > 1 - share / 2, 1, x)).astype(np.float32)

    return spoil


def speckle(sigma: float = 25.0) -> Noise:
    """Speckle: multiplicative Gaussian noise, ``x + x * N(0, (sigma / 255)^2)``."""
    _check("sigma", sigma, 0, 255)
    return lambda x, rng: x + x * np.float32(sigma / 255) * rng.standard_normal(x.shape, np.float32)


def jpeg(quality: int = 20) -> Noise:
    """JPEG compression of a given quality."""
    _check("quality", quality, 1, 100)

    def spoil(x, rng):
        levels = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
        _, data = cv2.imencode(
            ".jpg", np.ascontiguousarray(levels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
        )
        made = cv2.imdecode(data, cv2.IMREAD_UNCHANGED).reshape(x.shape)[..., ::-1]
        return made.astype(np.float32) / np.float32(255)

    return spoil


def in_turn(*noises: Noise) -> Noise:
    """All noises, one after the other."""

    def spoil(x, rng):
        for noise in noises:
            x = noise(x, rng)
        return x

    return spoil


def one_of(*noises: Noise) -> Noise:
    """One of the noises, drawn for each picture."""
    return lambda x, rng: noises[rng.integers(len(noises))](x, rng)


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ft.FlowtrainError(f"{name} is {value:g}; it is from {least:g} to {most:g}")


NOISES: dict[str, Callable[..., Noise]] = {
    "gaussian": gaussian,
    "blind": lambda high=55.0: blind_gaussian(0.0, high),
    "poisson": poisson,
    "salt-and-pepper": salt_and_pepper,
    "speckle": speckle,
    "jpeg": jpeg,
}


def made_noise(names, levels=(), choose: bool = False) -> Noise:
    """Combine noises by name.

    Args:
        names: Keys of NOISES.
        levels: A level for each name, or none: the defaults.
        choose: Draw one of them for each picture, instead of applying all in turn.
    """
    if levels and len(levels) != len(names):
        raise ft.FlowtrainError(f"{len(names)} noises have {len(levels)} levels: give a --level for each, or none")
    made = [
        NOISES[name](*level) for name, level in zip(names, [(x,) for x in levels] or [()] * len(names), strict=True)
    ]
    return made[0] if len(made) == 1 else (one_of if choose else in_turn)(*made)
