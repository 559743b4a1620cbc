"""The contract of augmentors and transforms, on the ones that everything else is built from."""

import numpy as np
import pytest

from flowtrain.dataflow import imgaug
from flowtrain.utils.errors import ConfigError, DataFlowError


def picture(height=40, width=60, channels=3, dtype=np.uint8, seed=0):
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def test_an_own_augmentor_is_five_lines():
    class Darken(imgaug.Augmentor):
        def get_transform(self, img, rng):
            factor = rng.uniform(0.5, 1.0)
            return imgaug.FunctionTransform(lambda img: np.rint(img * factor).astype(img.dtype))

    img = picture()
    first, again = Darken().augment(img), Darken().augment(img)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8
    other = Darken().augment(img, np.random.default_rng(5))
    assert (first != other).any()


def test_a_list_applies_each_once_and_in_order():
    calls = []

    def noting(name):
        return imgaug.MapImage(lambda img: (calls.append(name), img + 1)[1])

    both = imgaug.AugmentorList([noting("a"), noting("b"), noting("c")])
    out, transform = both.augment_return_transform(np.zeros((2, 2), np.uint8))
    assert calls == ["a", "b", "c"]
    assert (out == 3).all()
    assert (transform.apply_image(np.zeros((2, 2), np.uint8)) == 3).all()


def test_get_transform_and_augment_return_transform_of_a_list_agree():
    both = imgaug.AugmentorList(
        [imgaug.RandomCrop(20), imgaug.Flip(horiz=True), imgaug.RandomResize((0.5, 2.0)), imgaug.Transpose()]
    )
    img = picture()
    out, _ = both.augment_return_transform(img, np.random.default_rng(3))
    again = both.get_transform(img, np.random.default_rng(3)).apply_image(img)
    np.testing.assert_array_equal(out, again)


def test_one_transform_moves_picture_mask_and_points_together():
    img = picture()
    mask = np.arange(40 * 60, dtype=np.int64).reshape(40, 60)
    _, t = imgaug.AugmentorList(
        [imgaug.RandomCrop((30, 50)), imgaug.Flip(horiz=True, prob=1), imgaug.Transpose(prob=1)]
    ).augment_return_transform(img, np.random.default_rng(1))
    moved = t.apply_mask(mask)
    assert moved.dtype == np.int64 and moved.shape == (50, 30)
    y, x = np.argwhere(moved == 15 * 60 + 30)[0]
    np.testing.assert_allclose(t.apply_coords(np.array([[30, 15]])), [[x, y]])
    np.testing.assert_array_equal(t.apply_image(img)[y, x], img[15, 30])


def test_resize_takes_height_and_width_and_keeps_axes():
    assert imgaug.Resize((10, 20)).augment(picture()).shape == (10, 20, 3)
    assert imgaug.Resize(8).augment(picture(channels=1)).shape == (8, 8, 1)
    assert imgaug.Resize(8).augment(picture(channels=None)).shape == (8, 8)
    assert imgaug.ResizeShortestEdge(20).augment(picture()).shape == (20, 30, 3)
    assert imgaug.ResizeShortestEdge(20, max_size=24).augment(picture()).shape == (16, 24, 3)


def test_resize_moves_pixel_centres():
    t = imgaug.Resize((80, 30)).get_transform(picture(), np.random.default_rng(0))
    np.testing.assert_allclose(t.apply_coords(np.array([[0, 0], [59, 39]])), [[-0.25, 0.5], [29.25, 78.5]])


def test_center_crop_is_in_the_middle_and_a_view():
    img = picture(5, 7)
    out = imgaug.CenterCrop((3, 3)).augment(img)
    np.testing.assert_array_equal(out, img[1:4, 2:5])
    assert np.shares_memory(out, img)


def test_random_crop_reaches_every_corner():
    img = np.arange(9, dtype=np.uint8).reshape(3, 3)
    rng = np.random.default_rng(0)
    seen = {int(imgaug.RandomCrop(2).augment(img, rng)[0, 0]) for _ in range(60)}
    assert seen == {0, 1, 3, 4}


def test_random_crop_of_a_random_shape_keeps_its_bounds():
    aug = imgaug.RandomCropRandomShape((5, 6), max_size=(30, 40), max_aspect_ratio=1.5)
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = aug.augment(picture(35, 50), rng).shape[:2]
        assert 5 <= height <= 30 and 6 <= width <= 40
        assert max(height / width, width / height) <= 1.5


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: imgaug.RandomCrop(crop_shape=3), "size="),
        (lambda: imgaug.RandomCrop(0), "positive int"),
        (lambda: imgaug.RandomCrop((3, 4, 5)), "height, width"),
        (lambda: imgaug.Resize(10, interp="linear"), "interpolation="),
        (lambda: imgaug.Resize(10, interpolation="lin"), "linear"),
        (lambda: imgaug.Flip(), "exactly one"),
        (lambda: imgaug.Flip(horiz=True, vert=True), "two augmentors"),
        (lambda: imgaug.Flip(horiz=True, prob=1.5), "0 to 1"),
        (lambda: imgaug.AugmentorList([imgaug.Flip]), "Make one of the class"),
        (lambda: imgaug.AugmentorList([lambda img: img]), "MapImage"),
        (lambda: imgaug.AugmentorList(imgaug.Identity()), "list of augmentors"),
        (lambda: imgaug.RandomChooseAug([]), "nothing to choose"),
        (lambda: imgaug.RandomChooseAug([imgaug.Identity()], weights=[0]), "not all of them 0"),
        (lambda: imgaug.RandomResize((0.5, 1.0), (10, 20)), "both be factors"),
        (lambda: imgaug.ResizeShortestEdge(20, max_size=10), "less than size"),
        (lambda: imgaug.Identity().augment(picture(), rng=7), "numpy.random.default_rng"),
    ],
)
def test_wrong_arguments(build, says):
    with pytest.raises(ConfigError, match=says):
        build()


@pytest.mark.parametrize(
    ("aug", "img", "says"),
    [
        (imgaug.RandomCrop((50, 30)), picture(), r"50 x 30 .* 40 x 60"),
        (imgaug.CenterCrop(41), picture(), r"41 x 41 .* 40 x 60"),
        (imgaug.RandomCropRandomShape((50, 5)), picture(), "larger than the picture"),
        (imgaug.Resize(5), picture().astype(np.float16), "float16"),
        (imgaug.Resize(5), np.zeros((2, 3, 4, 5), np.uint8), "picture by picture"),
        (imgaug.Resize(5), np.zeros((0, 3), np.uint8), "empty"),
        (imgaug.Flip(horiz=True), [[1, 2]], "NumPy array, got list"),
    ],
)
def test_pictures_that_do_not_fit(aug, img, says):
    with pytest.raises(DataFlowError, match=says):
        aug.augment(img)


def test_a_transform_refuses_a_picture_of_another_size():
    t = imgaug.CenterCrop(10).get_transform(picture(), np.random.default_rng(0))
    with pytest.raises(DataFlowError, match="40 x 60"):
        t.apply_image(picture(20, 60))
    with pytest.raises(DataFlowError, match=r"\(N, 2\)"):
        t.apply_coords(np.zeros(2))


def test_old_methods_name_todays():
    with pytest.raises(AttributeError, match="augment_return_transform"):
        imgaug.Identity().augment_return_params
    with pytest.raises(AttributeError, match="hold no randomness"):
        imgaug.Identity().reset_state()


def test_an_augmentor_draws_without_a_generator_in_a_notebook():
    class Shade(imgaug.Augmentor):
        def get_transform(self, img, rng):
            amount = int(rng.integers(1, 50))
            return imgaug.FunctionTransform(lambda img: img // 2 + amount)

    img = picture()
    for augmentor in (Shade(), imgaug.RandomCrop(20), imgaug.AugmentorList([Shade(), imgaug.Flip(horiz=True)])):
        alone = augmentor.get_transform(img).apply_image(img)
        np.testing.assert_array_equal(alone, augmentor.augment(img))
        np.testing.assert_array_equal(alone, augmentor.get_transform(img, np.random.default_rng(0)).apply_image(img))
    with pytest.raises(ConfigError, match="default_rng"):
        Shade().get_transform(img, 3)
