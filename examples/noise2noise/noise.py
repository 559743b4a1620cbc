"""Noise models for pictures in [-0.5, 0.5], drawn anew for each datapoint and each corruption."""

from __future__ import annotations

import numpy as np

import flowtrain as ft


class Gaussian:
    """Additive noise N(0, (sigma / 255)^2).

    Args:
        train: Range from which sigma is drawn for each picture, in units of 1/255.
        valid: sigma in validation.
    """

    clip = None  # greatest norm of the gradients in training

    def __init__(self, train: tuple[float, float] = (0.0, 50.0), valid: float = 25.0) -> None:
        self.train, self.valid = train, valid

    def __call__(self, picture: np.ndarray, rng: np.random.Generator, training: bool) -> np.ndarray:
        sigma = rng.uniform(*self.train) if training else self.valid
        return picture + np.float32(sigma / 255) * rng.standard_normal(picture.shape, np.float32)


class Poisson:
    """Poisson (photon counting) noise: a white pixel has ``chi`` photons on average.

    Args:
        train: Range from which chi is drawn for each picture.
        valid: chi in validation.
    """

    # A photon where hardly any is expected has the value 1 / chi; its gradients are thousands of times the usual ones.
    clip = 0.1

    def __init__(self, train: tuple[float, float] = (0.001, 50.0), valid: float = 30.0) -> None:
        self.train, self.valid = train, valid

    def __call__(self, picture: np.ndarray, rng: np.random.Generator, training: bool) -> np.ndarray:
        chi = rng.uniform(*self.train) if training else self.valid
        return (rng.poisson(chi * (picture + 0.5)) / chi - 0.5).astype(np.float32)


NOISES = {"gaussian": Gaussian, "poisson": Poisson}


def noise_pair(dp: list, rng: np.random.Generator, noise, noise2noise: bool) -> list[np.ndarray]:
    """Map [picture] to [noisy, target]: two independent corruptions, or a corruption and the clean picture."""
    (picture,) = dp
    noisy = noise(picture, rng, training=True)
    return [noisy, noise(picture, rng, training=True) if noise2noise else picture]


def to_float(picture: np.ndarray) -> np.ndarray:
    """Convert uint8 to float32 in [-0.5, 0.5]."""
    return picture.astype(np.float32) / np.float32(255) - np.float32(0.5)


def to_uint8(picture: np.ndarray) -> np.ndarray:
    """Convert floats in [-0.5, 0.5] to uint8, rounded."""
    return ft.to_uint8(picture, low=-0.5, high=0.5)
