"""Colours: against the definition, and there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowtrain.dataflow import lab_to_rgb, rgb_to_ab, rgb_to_lab, rgb_to_luminance
from flowtrain.utils.errors import DataFlowError


def _defined(rgb):
    """CIE 15 and IEC 61966-2-1, in float64."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.412453, 0.35758, 0.180423], [0.212671, 0.71516, 0.072169], [0.019334, 0.119193, 0.950227]])
    xyz = linear @ to_xyz.T / np.array([0.950456, 1.0, 1.088754])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def test_the_definition():
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), -1).reshape(-1, 18, 3).astype(np.uint8)
    luminance, ab = rgb_to_lab(grid)
    expected = _defined(grid / 255.0)
    assert np.abs((luminance[..., 0] + 1) * 50 - expected[..., 0]).max() < 0.6
    assert np.abs(ab * 110 - expected[..., 1:]).max() < 1.5
    assert luminance.dtype == ab.dtype == np.float32
    assert luminance.min() >= -1 and luminance.max() <= 1 and np.abs(ab).max() <= 1


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_there_and_back(rgb):
    back = lab_to_rgb(*rgb_to_lab(rgb))
    assert back.dtype == np.uint8 and np.abs(back.astype(int) - rgb).max() <= 1
    assert np.array_equal(rgb_to_luminance(rgb), rgb_to_lab(rgb)[0])
    assert np.array_equal(rgb_to_ab(rgb), rgb_to_lab(rgb)[1])


def test_batches_and_floats():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    luminance, ab = rgb_to_lab(rgb)
    assert luminance.shape == (2, 4, 5, 1) and ab.shape == (2, 4, 5, 2)
    assert np.array_equal(luminance[1], rgb_to_luminance(rgb[1]))
    assert np.allclose(rgb_to_ab((rgb / 255).astype(np.float32)), ab, atol=1e-5)
    assert np.array_equal(lab_to_rgb(luminance[..., 0], ab), lab_to_rgb(luminance, ab))
    view = rgb[:, ::2, ::-1]
    assert np.array_equal(rgb_to_ab(view), rgb_to_ab(view.copy()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"expected RGB pictures \(..., H, W, 3\)"),
        (np.zeros((4, 4, 1), np.uint8), "got an array of shape"),
        (np.zeros((4, 4, 3), np.int64), "got int64"),
        ([[1, 2, 3]], "got list"),
    ],
)
def test_no_pictures(wrong, message):
    with pytest.raises(DataFlowError, match=message):
        rgb_to_lab(wrong)


def test_shapes_that_do_not_fit():
    with pytest.raises(DataFlowError, match="lab_to_rgb takes"):
        lab_to_rgb(np.zeros((4, 4, 1)), np.zeros((4, 5, 2)))
