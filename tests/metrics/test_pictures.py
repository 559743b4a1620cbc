"""psnr, ssim and mse against scikit-image, on arrays and on tensors."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from flowtrain.metrics import mse, psnr, psnr_uint8, ssim, to_uint8
from flowtrain.utils import FlowtrainError


def pair(shape, scale=1.0, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    clean = rng.random(shape) * scale
    noisy = np.clip(clean + rng.normal(0, 0.1 * scale, shape), 0, scale)
    return clean.astype(dtype), noisy.astype(dtype)


KINDS = [(np.float64, 1.0), (np.float64, 255.0), (np.uint8, 255), (np.float32, 1.0), (np.uint16, 65535)]


@pytest.mark.parametrize("dtype,scale", KINDS)
@pytest.mark.parametrize("shape", [(31, 40), (24, 17, 3)])
def test_arrays_equal_scikit_image(shape, dtype, scale):
    clean, noisy = pair(shape, scale, dtype)
    wide = clean.astype(np.float64), noisy.astype(np.float64)
    assert mse(clean, noisy) == pytest.approx(mean_squared_error(*wide), rel=1e-12)
    assert psnr(clean, noisy, data_range=scale) == pytest.approx(
        peak_signal_noise_ratio(*wide, data_range=scale), abs=1e-6
    )
    channels = -1 if len(shape) == 3 else None
    for options in ({}, {"win_size": 5}):
        theirs = structural_similarity(*wide, data_range=scale, channel_axis=channels, **options)
        assert ssim(clean, noisy, data_range=scale, **options) == pytest.approx(theirs, abs=1e-6)
    theirs = structural_similarity(*wide, data_range=scale, channel_axis=channels, gaussian_weights=True)
    assert ssim(clean, noisy, data_range=scale, gaussian=True) == pytest.approx(theirs, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(7, 40), st.integers(7, 40), st.integers(0, 2**32 - 1))
def test_ssim_equals_scikit_image_on_any_size(height, width, seed):
    clean, noisy = pair((height, width), seed=seed)
    assert ssim(clean, noisy, data_range=1.0) == pytest.approx(
        structural_similarity(clean, noisy, data_range=1.0), abs=1e-6
    )


def test_a_batch_gives_one_value_per_picture():
    clean, noisy = pair((5, 16, 16, 3))
    for metric, options in ((mse, {}), (psnr, {"data_range": 1.0}), (ssim, {"data_range": 1.0})):
        each = metric(clean, noisy, per_image=True, **options)
        assert each.shape == (5,)
        assert each == pytest.approx([metric(a, b, **options) for a, b in zip(clean, noisy, strict=True)])


def test_tensors_give_tensors_near_the_float64_value():
    tf = pytest.importorskip("tensorflow")
    clean, noisy = pair((3, 20, 20, 3), 255, np.uint8)
    for metric, options in (
        (mse, {}),
        (psnr, {"data_range": 255}),
        (ssim, {"data_range": 255}),
        (ssim, {"data_range": 255, "gaussian": True}),
    ):
        for per_image in (False, True):
            exact = metric(clean, noisy, per_image=per_image, **options)
            got = metric(tf.constant(clean), tf.constant(noisy), per_image=per_image, **options)
            assert got.dtype == tf.float32
            np.testing.assert_allclose(got.numpy(), exact, atol=1e-4, rtol=1e-6)
            wide = metric(
                tf.constant(clean, tf.float64), tf.constant(noisy, tf.float64), per_image=per_image, **options
            )
            np.testing.assert_allclose(wide.numpy(), exact, atol=1e-6, rtol=0)


def test_metrics_work_inside_a_function_with_an_unknown_batch():
    tf = pytest.importorskip("tensorflow")
    clean, noisy = pair((3, 20, 20, 1), dtype=np.float32)
    spec = tf.TensorSpec((None, None, None, 1), tf.float32)

    @tf.function(input_signature=[spec, spec], autograph=False)
    def measured(a, b):
        return psnr(a, b, data_range=1.0), ssim(a, b, data_range=1.0), to_uint8(a)

    db, similarity, levels = measured(clean, noisy)
    assert float(db) == pytest.approx(psnr(clean, noisy, data_range=1.0), abs=1e-4)
    assert float(similarity) == pytest.approx(ssim(clean, noisy, data_range=1.0), abs=1e-4)
    np.testing.assert_array_equal(levels.numpy(), to_uint8(clean))


def test_equal_pictures():
    picture = pair((12, 12))[0]
    assert mse(picture, picture) == 0.0
    assert psnr(picture, picture, data_range=1.0) == math.inf
    assert ssim(picture, picture, data_range=1.0) == 1.0


def test_integers_do_not_wrap_around():
    assert mse(np.uint8([[0, 255]]), np.uint8([[255, 0]])) == 65025.0


def test_psnr_of_rounded_pictures_follows_its_definition():
    clean, noisy = pair((16, 16, 3))
    clean, noisy = clean - 0.5, noisy - 0.5

    def rounded(x):
        return np.clip((x + 0.5) * 255 + 0.5, 0, 255).astype(np.uint8)

    error = np.mean((rounded(clean).astype(float) - rounded(noisy).astype(float)) ** 2)
    expected = 10 * np.log10(255**2 / error)
    assert psnr_uint8(clean, noisy, low=-0.5, high=0.5) == pytest.approx(expected, abs=1e-9)
    assert psnr_uint8(rounded(clean), noisy, low=-0.5, high=0.5) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: psnr(np.zeros((4, 4)), np.zeros((4, 5)), data_range=1), ["(4, 4)", "(4, 5)"]),
        (lambda: psnr(np.zeros((4, 4)), np.zeros((4, 4)), data_range=0), ["data_range", "255"]),
        (lambda: mse(np.zeros((0, 4)), np.zeros((0, 4))), ["empty"]),
        (lambda: mse(np.array(["a"]), np.array(["b"])), ["dtype", "real"]),
        (lambda: ssim(np.zeros((4, 9)), np.zeros((4, 9)), data_range=1), ["4x9", "7x7", "win_size"]),
        (lambda: ssim(np.zeros((9, 9)), np.zeros((9, 9)), data_range=1, win_size=4), ["odd"]),
        (lambda: ssim(np.zeros(9), np.zeros(9), data_range=1), ["(9,)", "(H, W)"]),
        (lambda: ssim(np.zeros((9, 9)), np.zeros((9, 9)), data_range=1, per_image=True), ["(N, H, W, C)"]),
        (lambda: mse(np.zeros(3), np.zeros(3), per_image=True), ["per_image"]),
        (lambda: to_uint8(np.zeros(3), low=1, high=0), ["low"]),
    ],
)
def test_mistakes_are_named(call, words):
    with pytest.raises(FlowtrainError) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    for word in words:
        assert word in str(caught.value)


def test_the_data_range_has_no_default():
    with pytest.raises(TypeError, match="data_range"):
        psnr(np.zeros((9, 9)), np.zeros((9, 9)))
    with pytest.raises(TypeError, match="data_range"):
        ssim(np.zeros((9, 9)), np.zeros((9, 9)))


def test_importing_the_metrics_does_not_import_tensorflow():
    code = (
        "import sys, numpy as np, flowtrain.metrics as m\n"
        "m.psnr(np.zeros((8, 8)), np.ones((8, 8)), data_range=1.0)\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=800)
