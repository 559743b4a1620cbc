"""The work that all contenders of bench/dataflow.py do, and its sizes."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np

PHOTOS = sorted(Path(__file__).parent.parent.glob("examples/colorize/photos/[tv]*/*.jpg"))
PATHS = [str(path) for path in PHOTOS]
MANY = 1_000_000  # datapoints in an "epoch": none ends while it is measured
BATCH = 32
WORKERS = 2


def picture(path: str) -> np.ndarray:
    """Read a JPEG as a Lab picture: float32 (256, 256, 3)."""
    return small_lab(cv2.imread(path, cv2.IMREAD_COLOR_RGB))


def small_lab(image: np.ndarray) -> np.ndarray:
    image = cv2.resize(image, (256, 256), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(image.astype(np.float32) * np.float32(1 / 255), cv2.COLOR_RGB2Lab)


def nth_picture(index: int) -> np.ndarray:
    return picture(PATHS[index % len(PATHS)])


def batch_of(case: str) -> np.ndarray:
    shape = (32, 256, 256, 3)
    return np.ones(shape, np.uint8) if case == "transport-uint8" else np.ones(shape, np.float32)


@functools.cache
def tiny_datapoints() -> list[tuple[np.ndarray, int]]:
    return [(np.full((28, 28), i, np.float32), i) for i in range(1000)]


@functools.cache
def array() -> np.ndarray:
    """Random pictures as many as MNIST has: float32 (60000, 28, 28), 188 MB.

    Made at the first call: worker processes that only need pictures import this module too.
    """
    return np.random.default_rng(0).random((60_000, 28, 28), dtype=np.float32)
