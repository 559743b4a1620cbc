"""One walk over every public augmentor: what all of them promise, for every kind of picture."""

import inspect
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrain.dataflow import imgaug
from flowtrain.utils.errors import DataFlowError


def invert(img):
    return 255 - img


class OwnFiller(imgaug.BackgroundFiller):
    def fill(self, size, img, rng):
        return np.full((*size, *img.shape[2:]), 7, img.dtype)


# Each public augmentor, made so that it takes pictures of any size from 1 x 1.
MADE = {
    "Affine": lambda: imgaug.Affine((0.8, 1.2), (0.1, 0.1), 20, 10, border="constant", border_value=3),
    "AugmentorList": lambda: imgaug.AugmentorList([imgaug.Brightness(10), imgaug.Flip(vert=True)]),
    "Brightness": lambda: imgaug.Brightness(60),
    "BrightnessScale": lambda: imgaug.BrightnessScale((0.5, 2.0)),
    "CenterCrop": lambda: imgaug.CenterCrop(1),
    "CenterPaste": lambda: imgaug.CenterPaste((70, 70), OwnFiller()),
    "Clip": lambda: imgaug.Clip(20, 200),
    "ColorSpace": lambda: imgaug.ColorSpace("RGB2LAB"),
    "Contrast": lambda: imgaug.Contrast((0.5, 2.0), per_channel=True),
    "Flip": lambda: imgaug.Flip(horiz=True),
    "Gamma": lambda: imgaug.Gamma(),
    "GaussianBlur": lambda: imgaug.GaussianBlur((0, 3), (0.5, 2.0), symmetric=False),
    "GaussianNoise": lambda: imgaug.GaussianNoise(10),
    "Grayscale": lambda: imgaug.Grayscale(),
    "Hue": lambda: imgaug.Hue(),
    "Identity": lambda: imgaug.Identity(),
    "JpegNoise": lambda: imgaug.JpegNoise(),
    "Lighting": lambda: imgaug.Lighting(0.5),
    "MapImage": lambda: imgaug.MapImage(invert),
    "MeanVarianceNormalize": lambda: imgaug.MeanVarianceNormalize(all_channel=False),
    "MinMaxNormalize": lambda: imgaug.MinMaxNormalize(all_channel=False),
    "PoissonNoise": lambda: imgaug.PoissonNoise(50),
    "RandomApplyAug": lambda: imgaug.RandomApplyAug(imgaug.Brightness(50)),
    "RandomChooseAug": lambda: imgaug.RandomChooseAug([imgaug.Identity(), imgaug.Brightness(50)], [1, 2]),
    "RandomCrop": lambda: imgaug.RandomCrop(1),
    "RandomCropRandomShape": lambda: imgaug.RandomCropRandomShape(1, max_aspect_ratio=2),
    "RandomCutout": lambda: imgaug.RandomCutout(1, 1, fill=9),
    "RandomOrderAug": lambda: imgaug.RandomOrderAug([imgaug.Brightness(50), imgaug.Gamma()]),
    "RandomPaste": lambda: imgaug.RandomPaste(70, imgaug.RandomColorBackgroundFiller()),
    "RandomResize": lambda: imgaug.RandomResize((0.5, 2.0), (0.5, 2.0)),
    "RandomResizedCrop": lambda: imgaug.RandomResizedCrop((16, 20)),
    "Resize": lambda: imgaug.Resize((20, 16), "cubic"),
    "ResizeShortestEdge": lambda: imgaug.ResizeShortestEdge(20, "area", max_size=60),
    "Rotation": lambda: imgaug.Rotation(40, (0.3, 0.7)),
    "RotationAndCropValid": lambda: imgaug.RotationAndCropValid(40),
    "SaltPepperNoise": lambda: imgaug.SaltPepperNoise(),
    "Saturation": lambda: imgaug.Saturation(),
    "Shift": lambda: imgaug.Shift(0.3, 0.3, border="reflect"),
    "ToFloat32": lambda: imgaug.ToFloat32(),
    "ToUint8": lambda: imgaug.ToUint8(),
    "Transpose": lambda: imgaug.Transpose(),
}
COLOUR_ONLY = {"ColorSpace", "Hue", "Lighting", "Saturation"}  # an error for gray pictures
TO_FLOAT = {"ToFloat32", "MeanVarianceNormalize"}
SAME_SIZE = set(MADE) - {
    *("CenterCrop", "CenterPaste", "RandomCrop", "RandomCropRandomShape", "RandomPaste", "RandomResize"),
    *("RandomResizedCrop", "Resize", "ResizeShortestEdge", "RotationAndCropValid", "Transpose"),
}
NOT_OF_ONE_KIND = {"Augmentor", "Albumentations"}  # the base; tested by itself where the package is there

every = pytest.mark.parametrize("name", sorted(MADE))


def picture(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def test_none_is_left_out():
    public = {
        name
        for name in imgaug.__all__
        if inspect.isclass(getattr(imgaug, name)) and issubclass(getattr(imgaug, name), imgaug.Augmentor)
    }
    assert public - NOT_OF_ONE_KIND == set(MADE)


@every
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(31, 45), (31, 45, 1), (31, 45, 3), (31, 45, 4), (1, 1, 3), (1, 1), (1, 9, 3)])
def test_shape_dtype_and_range(name, dtype, shape):
    aug, img = MADE[name](), picture(shape, dtype)
    channels = shape[2] if len(shape) == 3 else 1
    before = img.copy()
    rng = np.random.default_rng(1)
    if name in COLOUR_ONLY and (channels == 1 or (name == "ColorSpace" and channels == 4)):
        if name == "ColorSpace" and channels == 4:
            return  # OpenCV decides which spaces take alpha
        with pytest.raises(DataFlowError):
            aug.augment(img, rng)
        return
    for _ in range(4):
        out = aug.augment(img, rng)
        assert out.dtype == (np.float32 if name in TO_FLOAT else np.uint8 if name == "ToUint8" else dtype)
        assert out.ndim == img.ndim
        if name == "Grayscale":
            assert out.ndim == 2 or out.shape[2] == 1
        else:
            assert out.shape[2:] == img.shape[2:]
        if name in SAME_SIZE:
            assert out.shape[:2] == img.shape[:2]
        if name not in {"MeanVarianceNormalize", "ColorSpace", "Resize"}:  # cubic reaches beyond the range
            assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 255
        np.testing.assert_array_equal(img, before, err_msg="the picture that was given was written to")


@every
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(3, 40), width=st.integers(3, 40))
def test_equal_generators_give_equal_results(name, seed, height, width):
    aug, img = MADE[name](), picture((height, width, 3), seed=seed)
    one, transform = aug.augment_return_transform(img, np.random.default_rng(seed))
    two = aug.get_transform(img, np.random.default_rng(seed)).apply_image(img)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, transform.apply_image(img))
    np.testing.assert_array_equal(one, pickle.loads(pickle.dumps(transform)).apply_image(img))
    assert "object at 0x" not in repr(transform).replace("OwnFiller", "")


@every
def test_views_give_what_copies_give(name):
    aug = MADE[name]()
    large = picture((60, 60, 3))
    for view in (large[5:40, 7:50], large[::-1, ::2], large.transpose(1, 0, 2)):
        one = aug.augment(view, np.random.default_rng(3))
        two = aug.augment(view.copy(order="C"), np.random.default_rng(3))
        np.testing.assert_array_equal(one, two)


@every
def test_masks_and_points_follow(name):
    aug, img = MADE[name](), picture((31, 45, 3))
    mask = np.random.default_rng(0).integers(0, 2**40, (31, 45))
    out, transform = aug.augment_return_transform(img, np.random.default_rng(2))
    moved = transform.apply_mask(mask)
    assert moved.dtype == mask.dtype and moved.shape == out.shape[:2]
    assert set(np.unique(moved)) <= {0, *np.unique(mask)}
    points = np.array([[0, 0], [3, 4]], np.float32)
    assert transform.apply_coords(points).dtype == np.float32
    assert transform.apply_coords(np.zeros((0, 2))).shape == (0, 2)
    np.testing.assert_array_equal(points, [[0, 0], [3, 4]])


@every
def test_wrong_pictures_are_refused(name):
    aug = MADE[name]()
    for wrong in ("picture", None, picture((4,)), picture((2, 5, 6, 3)), picture((0, 5, 3)), picture((5, 0))):
        if name == "MapImage":
            continue  # the user's own function decides
        with pytest.raises(DataFlowError):
            imgaug.AugmentorList([aug, imgaug.Identity()]).augment(wrong, np.random.default_rng(0))


@every
def test_other_dtypes_work_or_are_refused(name):
    aug = MADE[name]()
    for dtype in (bool, np.int32, np.int64, np.float16, np.float64, np.uint16, np.complex64):
        img = picture((31, 45, 3)).astype(dtype)
        try:
            out = aug.augment(img, np.random.default_rng(0))
        except DataFlowError as error:
            assert np.dtype(dtype).name in str(error)
        else:
            expected = {"ToUint8": np.uint8, "ToFloat32": np.float32}.get(name, dtype)
            assert out.dtype == expected or name in {"MapImage"}


@every
def test_readable_and_picklable(name):
    aug, img = MADE[name](), picture((31, 45, 3))
    assert repr(aug).startswith(name + "(")
    assert " at 0x" not in repr(aug).replace("<function", "")
    again = pickle.loads(pickle.dumps(aug))
    np.testing.assert_array_equal(
        again.augment(img, np.random.default_rng(4)), aug.augment(img, np.random.default_rng(4))
    )


@every
def test_the_legacy_global_state_is_not_touched(name):
    before = np.random.get_state()[1].copy()
    MADE[name]().augment(picture((31, 45, 3)))
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize(
    "name", sorted({*("Brightness", "BrightnessScale", "Contrast", "Gamma", "GaussianNoise", "Hue", "JpegNoise"),
                    *("Lighting", "PoissonNoise", "SaltPepperNoise", "Saturation")})
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_alpha_is_left_alone(name, dtype):
    aug, img = MADE[name](), picture((31, 45, 4), dtype)
    out = aug.augment(img, np.random.default_rng(7))
    np.testing.assert_array_equal(out[:, :, 3], img[:, :, 3])
    assert (out[:, :, :3] != img[:, :, :3]).any()


@pytest.mark.parametrize(
    "name",
    sorted({*("Affine", "CenterCrop", "CenterPaste", "Flip", "RandomCrop", "RandomCropRandomShape", "RandomPaste"),
            *("RandomResize", "RandomResizedCrop", "Resize", "ResizeShortestEdge", "Rotation"),
            *("RotationAndCropValid", "Shift", "Transpose")}),
)  # fmt: skip
@pytest.mark.parametrize("channels", [2, 5, 12])
def test_pixels_of_many_channels_can_be_moved(name, channels):
    aug = imgaug.Affine((0.8, 1.2), border="constant") if name == "Affine" else MADE[name]()
    img = picture((31, 45, channels))
    out, transform = aug.augment_return_transform(img, np.random.default_rng(3))
    alone = np.stack([transform.apply_image(np.ascontiguousarray(img[:, :, i])) for i in range(channels)], axis=2)
    if not isinstance(getattr(aug, "filler", None), imgaug.RandomColorBackgroundFiller):
        # OpenCV warps two channels in another loop, which rounds places to 1/32 of a pixel.
        np.testing.assert_allclose(out.astype(int), alone, atol=8 if channels == 2 else 1)
    assert out.shape[2] == channels
