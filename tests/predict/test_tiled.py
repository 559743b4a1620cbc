import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrain.predict import tiled
from flowtrain.utils.errors import ConfigError, ModelError


def _picture(height, width, channels=2, seed=0):
    return np.random.default_rng(seed).normal(size=(height, width, channels)).astype("float32")


def _model(*layers):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.layers.Input((None, None, 2)), *layers])


def _conv(filters, kernel_size=3, **kwargs):
    return keras.layers.Conv2D(filters, kernel_size, padding="same", bias_initializer="normal", **kwargs)


@pytest.fixture(scope="module")
def plain():
    return _model(_conv(8, activation="relu"), _conv(8, dilation_rate=3), _conv(3))


@pytest.fixture(scope="module")
def hourglass():
    up = keras.layers.Conv2DTranspose
    return _model(
        _conv(4, strides=2, activation="relu"), _conv(4, strides=2), up(4, 3, strides=2, padding="same"),
        up(2, 3, strides=2, padding="same"),
    )  # fmt: skip


@pytest.mark.parametrize("size", [(64, 64), (150, 203), (5, 130), (129, 31), (256, 48)])
def test_equals_the_whole_picture_up_to_its_border(plain, size):
    picture = _picture(*size)
    whole = plain(picture[None]).numpy()[0]
    np.testing.assert_allclose(tiled(plain, picture, margin=16), whole, atol=1e-5)


def test_strides_are_met_in_the_phase_of_the_whole_picture(hourglass):
    picture = _picture(176, 240)
    whole = hourglass(picture[None]).numpy()[0]
    np.testing.assert_allclose(tiled(hourglass, picture, batch_size=3), whole, atol=1e-5)
    shifted = tiled(hourglass, picture, expression=66, margin=9, align=1)
    assert np.abs(shifted - whole).max() > 1e-3


def test_a_size_the_model_cannot_take_is_continued_and_cropped_back(hourglass):
    picture = _picture(75, 110)
    reflected = np.pad(picture, [(0, 1), (0, 2), (0, 0)], mode="reflect")
    whole = hourglass(reflected[None]).numpy()[0, :75, :110]
    assert hourglass(picture[None]).shape[1:3] != (75, 110)
    result = tiled(hourglass, picture, expression=32, margin=16, align=4)
    assert result.shape == (75, 110, 2)
    np.testing.assert_allclose(result, whole, atol=1e-5)
    large = tiled(hourglass, picture, expression=128, margin=16, align=4)
    np.testing.assert_allclose(large, whole, atol=1e-5)


def test_tiles_have_one_shape_where_the_model_has_only_one():
    shapes = set()

    def fixed(batch):
        shapes.add(batch.shape)
        if batch.shape[1:3] != (32, 32):
            raise ValueError("this model takes 32 x 32")
        return batch * 2

    picture = _picture(50, 20)
    np.testing.assert_array_equal(tiled(fixed, picture, expression=16, margin=8, align=8), picture * 2)
    assert (1, 32, 32, 2) in shapes


def test_memory_is_that_of_the_tiles():
    largest = 0

    def watch(batch):
        nonlocal largest
        largest = max(largest, batch.size)
        return batch

    tiled(watch, _picture(700, 900), expression=32, margin=16, batch_size=4)
    assert largest == 4 * 64 * 64 * 2


def test_a_memory_map_is_read_in_windows(tmp_path):
    picture = _picture(90, 70)
    np.save(tmp_path / "scene.npy", picture)
    scene = np.load(tmp_path / "scene.npy", mmap_mode="r")
    np.testing.assert_array_equal(tiled(lambda batch: batch, scene), picture)


def test_outputs_of_other_scales_in_a_list_or_dict():
    def several(batch):
        return {"half": batch[:, ::2, ::2], "same": batch[..., 0], "double": batch.repeat(2, 1).repeat(2, 2)}

    picture = _picture(96, 128)
    result = tiled(several, picture, batch_size=2)
    np.testing.assert_array_equal(result["half"], picture[::2, ::2])
    np.testing.assert_array_equal(result["same"], picture[..., 0])
    np.testing.assert_array_equal(result["double"], picture.repeat(2, 0).repeat(2, 1))
    both = tiled(lambda batch: [batch, -batch], picture)
    assert isinstance(both, list)
    np.testing.assert_array_equal(both[1], -picture)


def test_half_scale_of_an_odd_size():
    picture = _picture(51, 33)
    result = tiled(lambda batch: batch[:, ::2, ::2], picture, expression=16, margin=8, align=2)
    np.testing.assert_array_equal(result, picture[::2, ::2])


def test_a_batch_of_pictures_and_several_inputs():
    pictures = np.stack([_picture(70, 80, seed=seed) for seed in range(3)])
    result = tiled(lambda a, b: a + b.astype("float32"), [pictures, pictures.astype("float64")], batch_size=2)
    np.testing.assert_allclose(result, pictures * 2)


@settings(max_examples=40)
@given(
    height=st.integers(1, 90), width=st.integers(1, 90), blocks=st.integers(1, 4), margins=st.integers(0, 3),
    align=st.sampled_from([1, 2, 8]), batch_size=st.integers(1, 5), strict=st.booleans(),
)  # fmt: skip
def test_every_pixel_comes_from_its_own_place(height, width, blocks, margins, align, batch_size, strict):
    picture = np.arange(height * width).reshape(height, width, 1)

    def model(batch):
        if strict and (batch.shape[1] % align or batch.shape[2] % align):
            raise ValueError("not aligned")
        return batch

    result = tiled(model, picture, blocks * align, margins * align, align, batch_size=batch_size)
    np.testing.assert_array_equal(result, picture)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expression": 60}, r"expression is 60, which is no multiple of align \(16\). Take 64"),
        ({"margin": 31}, "Take 32"),
        ({"pad": "mirror"}, "one of 'reflect'"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        tiled(lambda batch: batch, _picture(20, 20), **options)


def test_wrong_pictures_and_outputs():
    with pytest.raises(ConfigError, match=r"image\[\.\.\., None\]"):
        tiled(lambda batch: batch, np.zeros((20, 20)))
    with pytest.raises(ConfigError, match="differ in size"):
        tiled(lambda a, b: a, [_picture(20, 20), _picture(20, 30)])
    with pytest.raises(ModelError, match="before the model's pooling"):
        tiled(lambda batch: batch.mean((1, 2)), _picture(20, 20))
    with pytest.raises(ModelError, match="crop its output"):
        tiled(lambda batch: batch[:, 3:-3, 3:-3], _picture(300, 300))


def test_an_error_of_the_model_itself_is_shown():
    def broken(batch):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        tiled(broken, _picture(33, 20))


@pytest.mark.parametrize("size", [(1, 2), (4, 130), (40, 48)])
def test_small_pictures_keep_their_size(hourglass, size):
    assert tiled(hourglass, _picture(*size), expression=32, margin=16, align=4).shape[:2] == size
