import keras
import numpy as np
import pytest
import tensorflow as tf

from flowtrain.predict import tiled, valid_crop
from flowtrain.utils.errors import ModelError

L = keras.layers


def _functional(body, channels=3):
    keras.utils.set_random_seed(1)
    picture = keras.Input((None, None, channels), name="picture")
    return keras.Model(picture, body(picture))


def _landcover(x):
    """The fully convolutional network that the table was published for."""
    skips = []
    for filters in (16, 32, 64, 64):
        x = L.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
        skips.append(x)
    for filters, skip in zip((64, 32, 16), skips[2::-1], strict=True):
        x = L.Conv2DTranspose(filters, 3, strides=2, padding="same", activation="relu")(x) + skip
    return L.Softmax()(L.Conv2DTranspose(2, 3, strides=2, padding="same")(x))


def test_the_published_table():
    margin = valid_crop(_functional(_landcover, 4))
    assert margin == 31
    assert margin.valid(128) == 66
    assert (margin.crop, margin.align) == (32, 16)
    valid = [int(line.split()[-1]) for line in margin.table(128).splitlines()[2:]]
    assert valid == [128, 63, 30, 14, 6, 10, 18, 34, 66]
    outputs = [int(line.split()[-2]) for line in margin.table(128).splitlines()[2:]]
    assert outputs == [128, 64, 32, 16, 8, 16, 32, 64, 128]


def _measured(model, size=96, at=48):
    """Which pixels a block of the output depends on, by gradient: (up, down) beyond the block."""
    picture = tf.random.stateless_normal((1, size, size, model.inputs[0].shape[-1]), (1, 2))
    before = after = 0
    for pixel in range(at, at + 16):
        with tf.GradientTape() as tape:
            tape.watch(picture)
            value = tf.reduce_sum(tf.square(model(picture)[0, pixel, at]))
        touched = np.flatnonzero(np.abs(tape.gradient(value, picture)).sum((0, 2, 3)))
        before, after = max(before, pixel - touched.min()), max(after, touched.max() - pixel)
    return before, after


MODELS = {
    "stack": lambda x: L.Conv2D(2, 5, padding="same")(L.Conv2D(4, 3, padding="same")(x)),
    "even kernels": lambda x: L.Conv2D(2, 2, padding="same")(L.Conv2D(4, 2, padding="same")(x)),
    "dilated": lambda x: L.Conv2D(2, 3, dilation_rate=3, padding="same")(x),
    "dilated depthwise": lambda x: L.DepthwiseConv2D(3, dilation_rate=5, padding="same")(x),
    "separable": lambda x: L.SeparableConv2D(4, 3, padding="same")(x),
    "padded": lambda x: L.Conv2D(2, 3)(L.ZeroPadding2D(1)(x)),
    "landcover": _landcover,
    "wide transposed": lambda x: L.Conv2DTranspose(2, 4, strides=2, padding="same")(L.AveragePooling2D(2)(x)),
    "average pools and nearest": lambda x: L.UpSampling2D(4)(L.AveragePooling2D(2)(L.AveragePooling2D(2)(x))),
    "overlapping pools": lambda x: L.UpSampling2D(2)(L.AveragePooling2D(3, strides=2, padding="same")(x)),
    "skip": lambda x: L.Concatenate()([x, L.Conv2D(2, 7, padding="same")(x)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_covers_what_gradients_reach_and_little_more(name):
    model = _functional(MODELS[name])
    margin = valid_crop(model)
    before, after = _measured(model)
    assert margin.radius[0] == margin.radius[2] >= before
    assert margin.radius[1] == margin.radius[3] >= after
    assert margin.radius[0] <= before + margin.align
    assert margin.radius[1] <= after + margin.align
    assert margin >= max(before, after)


def _measured_by_changes(model, size=96, at=48):
    """As `_measured`, for operations without gradients: which pixels change when one row of the picture does."""
    picture = np.random.default_rng(1).normal(size=(size, size, 3)).astype("f4")
    changed = np.repeat(picture[None], size, 0)
    changed[np.arange(size), np.arange(size)] += 10
    touched = np.abs(model(changed) - model(picture[None])).max((2, 3)) > 0  # [row of the picture, row of the output]
    block = [np.flatnonzero(touched[:, pixel]) for pixel in range(at, at + 16)]
    return max(at + i - rows.min() for i, rows in enumerate(block)), max(
        rows.max() - at - i for i, rows in enumerate(block)
    )


def _there_and_back(method, antialias, factor):
    """Resize to 1/factor of the height and width, and back without looking at neighbours."""

    def smaller(x):
        return tf.image.resize(x, tf.shape(x)[1:3] // factor, method, antialias=antialias)

    return lambda x: L.UpSampling2D(factor)(L.Lambda(smaller, output_shape=(None, None, 2))(L.Conv2D(2, 1)(x)))


@pytest.mark.parametrize(
    ("method", "antialias", "factor"),
    [
        ("bilinear", False, 4),
        ("bilinear", True, 4),
        ("bicubic", True, 2),
        ("area", False, 4),
        ("gaussian", True, 4),
        ("lanczos3", True, 3),
        ("lanczos5", False, 2),
        ("lanczos5", True, 2),
        ("nearest", False, 2),
        ("nearest", False, 3),
    ],
)
def test_covers_what_a_resize_reaches(method, antialias, factor):
    model = _functional(_there_and_back(method, antialias, factor))
    margin = valid_crop(model)
    before, after = _measured_by_changes(model)
    assert before <= margin.radius[0] <= before + 3 * factor
    assert after <= margin.radius[1] <= after + 3 * factor
    assert margin >= max(before, after)


@pytest.mark.parametrize("name", ["dilated", "landcover", "overlapping pools"])
def test_tiles_with_this_margin_equal_the_whole(name):
    model = _functional(MODELS[name])
    margin = valid_crop(model)
    picture = np.random.default_rng(0).normal(size=(208, 160, 3)).astype("float32")
    whole = model(picture[None]).numpy()[0]
    result = tiled(model, picture, expression=2 * margin.align, margin=margin.crop, align=margin.align)
    np.testing.assert_allclose(result, whole, atol=1e-5)


def test_height_and_width_apart():
    margin = valid_crop(_functional(lambda x: L.Conv2D(2, (1, 7), padding="same")(x)))
    assert margin.radius == (0, 0, 3, 3)
    assert margin == 3


def test_a_model_that_looks_at_no_neighbours():
    margin = valid_crop(_functional(lambda x: L.Conv2D(2, 1)(L.BatchNormalization()(x))))
    assert (margin, margin.align, margin.crop) == (0, 1, 0)


def test_a_fixed_input_size():
    picture = keras.Input((64, 48, 1))
    assert valid_crop(keras.Model(picture, L.Conv2D(1, 9, padding="same")(picture))) == 4


@pytest.mark.parametrize(
    "body",
    [
        lambda x: x * L.GlobalAveragePooling2D(keepdims=True)(x),
        lambda x: L.GroupNormalization(1)(x),
    ],
)
def test_an_output_of_the_whole_picture_is_refused(body):
    with pytest.raises(ModelError, match="sees the whole picture"):
        valid_crop(_functional(body))


def test_no_picture():
    values = keras.Input((3,))
    with pytest.raises(ModelError, match="is a picture"):
        valid_crop(keras.Model(values, L.Dense(2)(values)))
    with pytest.raises(ModelError, match="got int"):
        valid_crop(3)
