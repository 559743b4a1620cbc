import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrain.predict import export, load_predictor, tiled
from flowtrain.predict.named_graph import as_predictor
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
        ({"pad": "mirror"}, "pad must be 'reflect', 'symmetric', 'edge' or 'zeros', got 'mirror'"),
        ({"batch_size": 0}, "at least 1"),
        ({"expression": 64.0}, "tiled: expression must be a whole number of at least 1, got 64.0"),
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


@pytest.mark.parametrize("crop", [8, 16, 32])
@pytest.mark.parametrize("size", [(144, 256), (150, 101), (20, 30)])
def test_a_cropped_output_is_not_taken_for_another_scale(hourglass, crop, size):
    (output,) = as_predictor(hourglass).outputs
    predictor = as_predictor(hourglass, None, [f"{output}_crop{crop}"])
    picture = _picture(*size)
    around = crop + -size[0] % 4, crop + -size[1] % 4
    continued = np.pad(picture, [(crop, around[0]), (crop, around[1]), (0, 0)], mode="reflect")
    whole = hourglass(continued[None]).numpy()[0][crop:, crop:][: size[0], : size[1]]
    (result,) = tiled(predictor, picture, expression=64, margin=32, align=4)
    np.testing.assert_allclose(result, whole, atol=1e-5)


def test_crops_in_a_saved_model_and_beside_the_whole(hourglass, tmp_path):
    (output,) = as_predictor(hourglass).outputs
    export(hourglass, tmp_path / "saved", outputs=[output, f"{output}_crop32"], format="saved_model",
           batch=[_picture(96, 96)[None]])  # fmt: skip
    predictor = load_predictor(tmp_path / "saved")
    picture = _picture(512, 256)
    whole, cropped = tiled(predictor, picture, expression=64, receptive=128)
    assert whole.shape == cropped.shape == (512, 256, 2)
    np.testing.assert_allclose(whole[40:-40, 40:-40], cropped[40:-40, 40:-40], atol=1e-5)
    (half,) = tiled(load_predictor(tmp_path / "saved", outputs=[f"{output}_crop32"]), picture, 64, 32)
    np.testing.assert_array_equal(half, cropped)
    with pytest.raises(ConfigError, match="lacks 32 pixels at a border, and margin is 16"):
        tiled(predictor, picture, expression=64, margin=16)


@pytest.mark.parametrize(
    ("layers", "lead"),
    [
        ([keras.layers.Conv2D(2, 5), keras.layers.Conv2D(3, 3)], 3),
        ([keras.layers.Conv2D(2, 3), keras.layers.MaxPooling2D(2), keras.layers.Conv2D(2, 3, padding="same")], 2),
        ([keras.layers.Conv2D(2, 3, strides=2), keras.layers.UpSampling2D(2)], 0),
        ([keras.layers.Cropping2D(((4, 0), (4, 0)))], 4),
        ([keras.layers.Conv2DTranspose(2, 5)], -2),
    ],
)
def test_convolutions_without_padding_have_their_place(layers, lead):
    model = _model(*layers)
    picture = _picture(64, 96)
    around = 16
    continued = np.pad(picture, [(around, around), (around, around), (0, 0)], mode="reflect")
    whole = model(continued[None]).numpy()[0]
    result = tiled(model, picture, expression=16, margin=16, align=4)
    scale = round(64 / result.shape[0])
    first = (around - lead) // scale
    expected = whole[first:, first:][: result.shape[0], : result.shape[1]]
    np.testing.assert_allclose(result[4:-4, 4:-4], expected[4:-4, 4:-4], atol=1e-5)


def test_a_function_that_crops_half_of_a_tile_is_refused():
    with pytest.raises(ModelError, match="crop its output"):
        tiled(lambda batch: batch[:, 32:-32, 32:-32], _picture(300, 300), expression=64, margin=32)
    with pytest.raises(ModelError, match="crop its output"):  # twice the size and a crop: the tile's own size
        tiled(lambda batch: batch.repeat(2, 1).repeat(2, 2)[:, 64:-64, 64:-64], _picture(300, 300), 64, 32)


def test_a_function_of_one_size_and_another_scale_cannot_be_placed():
    def fixed(batch):
        if batch.shape[1:3] != (128, 128):
            raise ValueError("this model takes 128 x 128")
        return batch[:, ::2, ::2]

    with pytest.raises(ModelError, match="takes no other size"):
        tiled(fixed, _picture(300, 300))


def test_the_receptive_field_as_a_size():
    picture = _picture(70, 80)
    np.testing.assert_array_equal(tiled(lambda batch: batch, picture, 16, align=8, receptive=32), picture)
    with pytest.raises(ConfigError, match="not both"):
        tiled(lambda batch: batch, picture, margin=32, receptive=128)
    with pytest.raises(ConfigError, match=r"receptive is 63; it is expression \(64\)"):
        tiled(lambda batch: batch, picture, receptive=63)
