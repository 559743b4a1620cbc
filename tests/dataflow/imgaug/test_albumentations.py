"""The adapter for albumentations, where that optional package is installed."""

import os
import sys

import numpy as np
import pytest

from flowtrain.dataflow import imgaug
from flowtrain.utils.errors import ConfigError, DataFlowError
from flowtrain.utils.optional import MissingPackage

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"


@pytest.fixture
def library():
    return pytest.importorskip("albumentations")


def picture():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(MissingPackage, match=r"imgaug\.Albumentations needs .*pip install"):
        imgaug.Albumentations(object())


def test_the_flow_s_stream_is_all_that_counts(library):
    aug = imgaug.Albumentations([library.GaussNoise(p=1), library.RandomBrightnessContrast(p=0.5)])
    img = picture()
    outs = [aug.augment(img, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    np.testing.assert_array_equal(outs[0], outs[2])
    assert (outs[0] != outs[1]).any()
    out, transform = aug.augment_return_transform(img, np.random.default_rng(1))
    np.testing.assert_array_equal(out, outs[0])
    np.testing.assert_array_equal(transform.apply_image(img), out)


def test_points_and_masks_move_with_the_picture(library):
    aug = imgaug.Albumentations(library.Compose([library.HorizontalFlip(p=0.5), library.Rotate(30, p=1)]))
    img = np.zeros((61, 81, 1), np.uint8)
    img[18:23, 28:33] = 255
    mask = (img[:, :, 0] > 0).astype(np.uint8)
    for seed in range(6):
        out, transform = aug.augment_return_transform(img, np.random.default_rng(seed))
        assert out.shape == img.shape
        y, x = np.argwhere(out[:, :, 0] > 128).mean(axis=0)
        np.testing.assert_allclose(transform.apply_coords(np.array([[30.0, 20.0]])), [[x, y]], atol=1.0)
        moved = transform.apply_mask(mask)
        np.testing.assert_allclose(np.argwhere(moved).mean(axis=0), [y, x], atol=1.0)


def test_works_in_a_list_and_refuses_what_is_not_of_the_library(library):
    both = imgaug.AugmentorList([imgaug.RandomCrop(32), imgaug.Albumentations(library.CLAHE(p=1))])
    assert both.augment(picture()).shape == (32, 32, 3)
    with pytest.raises(ConfigError, match=r"imgaug\.Albumentations"):
        imgaug.AugmentorList([library.CLAHE(p=1)])
    with pytest.raises(ConfigError, match="not a transform of albumentations"):
        imgaug.Albumentations(lambda img: img)
    with pytest.raises(DataFlowError, match="NumPy array"):
        imgaug.Albumentations(library.CLAHE(p=1)).augment("picture")
