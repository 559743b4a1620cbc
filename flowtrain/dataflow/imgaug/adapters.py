"""Adapters that turn the transforms of other augmentation libraries into augmentors."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType
from typing import Any

import numpy as np

from flowtrain.utils.errors import ConfigError, DataFlowError
from flowtrain.utils.optional import MissingPackage

from .augmentor import Augmentor, Transform
from .checks import check_coords, check_image, keep_channel_axis

__all__ = ["Albumentations", "AlbumentationsTransform"]


def _library() -> ModuleType:
    try:
        return importlib.import_module("albumentations")
    except ImportError as error:
        raise MissingPackage(
            f"imgaug.Albumentations needs the package 'albumentations', which cannot be imported ({error}). "
            "Install it with: pip install 'albumentations>=2.0'"
        ) from error


class AlbumentationsTransform(Transform):
    """An albumentations pipeline with a fixed seed, set anew before each call so that all calls draw the same numbers.

    For points and masks albumentations is called again with the picture that the transform was made for: some of its
    transforms draw numbers that depend on the picture.
    """

    def __init__(self, compose: Any, seed: int, img: np.ndarray) -> None:
        self.seed = seed
        self.source = img.shape[:2]
        self._compose, self._img = compose, img

    def _run(self, **data: np.ndarray) -> dict[str, Any]:
        self._compose.set_random_seed(self.seed)
        return self._compose(**data)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Change a picture."""
        check_image(img, self, None, None)
        out = self._run(image=np.ascontiguousarray(img))["image"]  # a crop before it may have made a view
        if not isinstance(out, np.ndarray):
            raise DataFlowError(
                f"{self!r}: albumentations returned {type(out).__name__}, expected an array. Leave ToTensor out"
            )
        return keep_channel_axis(out, img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Move points as keypoints in albumentations' own convention."""
        points = check_coords(coords, self)
        moved = self._run(image=self._img, keypoints=points)["keypoints"]
        return np.asarray(moved, points.dtype).reshape(-1, 2)

    def apply_mask(self, mask: np.ndarray) -> np.ndarray:
        """Change a mask."""
        check_image(mask, self, None, None)
        out = self._run(image=self._img, mask=np.ascontiguousarray(mask))["mask"]
        return keep_channel_axis(out, mask)


class Albumentations(Augmentor):
    """Apply a transform of albumentations 2.0 (or a Compose, or a list of them), seeded from the flow's random stream.

    Points follow albumentations' own convention, which differs from this package's by less than a pixel. Do not use
    one instance in several threads at once: albumentations keeps its random state in its objects.

    Args:
        transform: E.g. ``A.RandomFog(p=0.5)`` or ``[A.Rotate(10), A.CLAHE()]``.

    Raises:
        MissingPackage: albumentations is not installed.

    Example:
        >>> import albumentations as A  # doctest: +SKIP
        >>> Albumentations(A.ElasticTransform(p=1.0)).augment(img)  # doctest: +SKIP
    """

    def __init__(self, transform: object) -> None:
        library = _library()
        steps = list(transform) if isinstance(transform, (list, tuple)) else [transform]
        known = (library.BasicTransform, library.BaseCompose)
        for step in steps:
            if not isinstance(step, known):
                raise ConfigError(f"Albumentations: {step!r} is not a transform of albumentations")
        self.transform = transform
        # By default albumentations drops points that leave the picture; here N points stay N points.
        keypoints = library.KeypointParams(format="xy", remove_invisible=False)
        with warnings.catch_warnings():
            # albumentations warns of transforms that cannot move points; those that only change colours need not.
            warnings.filterwarnings("ignore", "Got processor for keypoints", UserWarning)
            self._compose = library.Compose(steps, keypoint_params=keypoints)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> AlbumentationsTransform:
        """Draw the seed from which albumentations draws all its numbers."""
        check_image(img, self, None, None)
        return AlbumentationsTransform(self._compose, int(rng.integers(2**32)), img)
