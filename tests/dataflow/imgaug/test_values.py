"""What the changes of values compute, against plain NumPy and scikit-image."""

import cv2
import numpy as np
import pytest
from skimage import color as skcolor

from flowtrain.dataflow import imgaug
from flowtrain.dataflow.imgaug import arithmetic
from flowtrain.dataflow.imgaug.noise import normal_quantiles
from flowtrain.utils.errors import ConfigError, DataFlowError


def picture(shape=(40, 50, 3), dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def rounded(values):
    return np.rint(values).clip(0, 255).astype(np.uint8)


def made(aug, img, seed=1):
    out, transform = aug.augment_return_transform(img, np.random.default_rng(seed))
    return out, transform


@pytest.mark.parametrize("seed", range(4))
def test_brightness(seed):
    img = picture()
    out, t = made(imgaug.Brightness(80), img, seed)
    np.testing.assert_array_equal(out, rounded(img + np.rint(t.shift)))
    out, t = made(imgaug.Brightness(80, clip=False), img.astype(np.float32), seed)
    np.testing.assert_allclose(out, img + t.shift, atol=1e-4)
    assert abs(t.shift) <= 80


@pytest.mark.parametrize("seed", range(4))
def test_brightness_scale(seed):
    img = picture()
    out, t = made(imgaug.BrightnessScale((0.3, 2.0)), img, seed)
    np.testing.assert_array_equal(out, rounded(img * np.float32(t.factor)))
    out, t = made(imgaug.BrightnessScale((1.5, 2.0)), img.astype(np.float32), seed)
    np.testing.assert_allclose(out, np.minimum(img * t.factor, 255), rtol=1e-5)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_contrast(per_channel, dtype):
    img = picture(dtype=dtype)
    img[:, :, 1] //= 2
    out, t = made(imgaug.Contrast((0.3, 2.0), per_channel), img)
    mean = img.mean(axis=(0, 1) if per_channel else None, dtype=np.float64)
    exact = ((img - mean) * t.factor + mean).clip(0, 255)
    np.testing.assert_allclose(out, exact, atol=0.501 if dtype == np.uint8 else 1e-3)


@pytest.mark.parametrize("exponent", [0.4, 1.0, 2.2])
def test_gamma(exponent):
    img = picture()
    out = imgaug.Gamma((exponent, exponent)).augment(img)
    exact = 255 * (img / 255) ** exponent
    np.testing.assert_allclose(out, exact, atol=0.501)
    np.testing.assert_allclose(imgaug.Gamma((exponent,) * 2).augment(img.astype(np.float32)), exact, atol=1e-2)


def test_tables_give_the_same_with_and_without_stringzilla(monkeypatch):
    img, table = picture((7, 9, 4)), np.random.default_rng(0).permutation(256).astype(np.uint8)
    expected = table[img]
    np.testing.assert_array_equal(arithmetic.apply_table(img, table), expected)
    monkeypatch.setattr(arithmetic, "_translate", None)
    np.testing.assert_array_equal(arithmetic.apply_table(img, table), expected)
    np.testing.assert_array_equal(arithmetic.apply_table(img[::2, ::-1], table), expected[::2, ::-1])


def test_clip():
    img = picture()
    np.testing.assert_array_equal(imgaug.Clip(30, 200).augment(img), img.clip(30, 200))
    np.testing.assert_array_equal(imgaug.Clip(-5, 300).augment(img), img)
    real = img.astype(np.float32) - 100
    np.testing.assert_array_equal(imgaug.Clip(-20.5, 50.25).augment(real), real.clip(-20.5, 50.25))


@pytest.mark.parametrize("all_channel", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_mean_variance_normalize(all_channel, dtype):
    img = picture((30, 31, 5), dtype)
    img[:, :, 2] //= 4
    out = imgaug.MeanVarianceNormalize(all_channel).augment(img)
    axis = None if all_channel else (0, 1)
    assert out.dtype == np.float32 and out.shape == img.shape
    np.testing.assert_allclose(out.mean(axis, dtype=np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis, dtype=np.float64), 1, atol=1e-5)
    assert (imgaug.MeanVarianceNormalize().augment(np.full((9, 9), 77, np.uint8)) == 0).all()


@pytest.mark.parametrize("all_channel", [True, False])
def test_min_max_normalize(all_channel):
    img = picture()
    img[:, :, 0] = img[:, :, 0] // 4 + 50
    img[:, :, 1:] = img[:, :, 1:] // 2 + 20
    out = imgaug.MinMaxNormalize(10, 240, all_channel=all_channel).augment(img)
    axis = None if all_channel else (0, 1)
    low, high = img.min(axis).astype(float), img.max(axis).astype(float)
    np.testing.assert_allclose(out, 10 + (img - low) * 230 / (high - low), atol=0.501)
    real = imgaug.MinMaxNormalize(-1, 1).augment(img.astype(np.float32))
    assert real.min() == pytest.approx(-1, abs=1e-6) and real.max() == pytest.approx(1, abs=1e-6)
    assert (imgaug.MinMaxNormalize(5, 6).augment(np.full((3, 3), 9, np.uint8)) == 5).all()


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.8])
def test_saturation(factor):
    img = picture()
    transform = imgaug.Saturation(1.0).get_transform(img, np.random.default_rng(0))
    transform.factor = factor
    luma = img @ np.array([0.299, 0.587, 0.114])
    exact = (img * factor + luma[:, :, None] * (1 - factor)).clip(0, 255)
    np.testing.assert_allclose(transform.apply_image(img), exact, atol=1.0)
    np.testing.assert_allclose(transform.apply_image(img.astype(np.float32)), exact, atol=1e-2)
    gray = np.repeat(picture((20, 20, 1)), 3, axis=2)
    np.testing.assert_array_equal(transform.apply_image(gray), gray)


def test_hue_against_scikit_image():
    smooth = cv2.resize(picture((6, 6, 3)), (60, 60), interpolation=cv2.INTER_CUBIC)
    for degrees in (-100.0, 40.0, 180.0):
        aug = imgaug.Hue((degrees, degrees))
        hsv = skcolor.rgb2hsv(smooth)
        hsv[:, :, 0] = (hsv[:, :, 0] + degrees / 360) % 1
        exact = skcolor.hsv2rgb(hsv) * 255
        np.testing.assert_allclose(aug.augment(smooth.astype(np.float32)), exact, atol=0.05)
        # Steps of 360 / 256 degrees of hue and of 1 / 255 of saturation: a few levels.
        assert np.abs(aug.augment(smooth) - exact).max() < 10
        assert np.abs(aug.augment(smooth) - exact).mean() < 1
    gray = np.repeat(picture((20, 20, 1)), 3, axis=2)
    np.testing.assert_array_equal(imgaug.Hue().augment(gray), gray)


def test_lighting():
    img = picture()
    out, t = made(imgaug.Lighting(0.5), img, 3)
    np.testing.assert_array_equal(out, rounded(img + np.rint(t.shift)))
    out, t = made(imgaug.Lighting(0.5), img.astype(np.float32), 3)
    np.testing.assert_allclose(out, (img + np.array(t.shift)).clip(0, 255), atol=1e-3)
    rng = np.random.default_rng(0)
    drawn = np.array([imgaug.Lighting(1.0).get_transform(img, rng).shift for _ in range(4000)])
    spread = np.linalg.eigvalsh(np.cov(drawn.T))
    np.testing.assert_allclose(np.sqrt(spread), [1.1475, 4.794, 55.4625], rtol=0.1)


def test_grayscale_and_color_space():
    img = picture()
    luma = img @ np.array([0.299, 0.587, 0.114])
    out = imgaug.Grayscale().augment(img)
    assert out.shape == (40, 50, 1)
    np.testing.assert_allclose(out[:, :, 0], luma, atol=0.51)
    three = imgaug.Grayscale(channels=3).augment(img)
    np.testing.assert_array_equal(three, np.repeat(out, 3, axis=2))
    rgba = np.dstack([img, img[:, :, :1]])
    np.testing.assert_array_equal(imgaug.Grayscale(3).augment(rgba), np.dstack([three, img[:, :, 0]]))
    lab = imgaug.ColorSpace("RGB2LAB").augment((img / 255).astype(np.float32))
    np.testing.assert_allclose(lab, skcolor.rgb2lab(img), atol=1.0)
    np.testing.assert_array_equal(imgaug.ColorSpace(cv2.COLOR_RGB2BGR).augment(img), img[:, :, ::-1])
    with pytest.raises(DataFlowError, match="RGB2LAB"):
        imgaug.ColorSpace("RGB2LAB").augment(img[:, :, 0])


def test_conversions():
    real = np.array([[-3.0, 0.5, 1.5, 2.4999, 254.6, 300.0]], np.float32)
    np.testing.assert_array_equal(imgaug.ToUint8().augment(real), [[0, 0, 2, 2, 255, 255]])
    np.testing.assert_array_equal(imgaug.ToUint8(255).augment(np.array([[0.0, 0.5, 1.0]])), [[0, 128, 255]])
    np.testing.assert_array_equal(imgaug.ToUint8().augment(np.array([[-1, 70000, 7]])), [[0, 255, 7]])
    np.testing.assert_array_equal(imgaug.ToUint8().augment(np.array([[True, False]])), [[1, 0]])
    far = np.array([[3e9, -3e9, 1e30, -1e30, np.inf, -np.inf, np.nan] * 3], np.float32)
    np.testing.assert_array_equal(imgaug.ToUint8().augment(far), [[255, 0, 255, 0, 255, 0, 0] * 3])
    out = imgaug.ToFloat32(1 / 255).augment(np.array([[0, 51, 255]], np.uint8))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, [[0, 0.2, 1]], rtol=1e-6)
    img = picture()
    np.testing.assert_array_equal(imgaug.ToUint8().augment(imgaug.ToFloat32().augment(img)), img)


def test_gaussian_blur():
    img = picture((30, 30, 3))
    out = imgaug.GaussianBlur((2, 2), (1.0, 1.0)).augment(img)
    np.testing.assert_array_equal(out, cv2.GaussianBlur(img, (5, 5), 1.0))
    assert imgaug.GaussianBlur((0, 0)).augment(img) is img


def test_gaussian_noise_is_gaussian():
    gray = np.full((300, 300, 3), 128, np.uint8)
    added = imgaug.GaussianNoise(10).augment(gray).astype(float) - 128
    assert abs(added.mean()) < 0.1
    assert added.std() == pytest.approx(np.hypot(10, 12**-0.5), rel=0.01)
    real = imgaug.GaussianNoise(0.5, clip=False).augment(np.zeros((300, 300), np.float32))
    assert real.std() == pytest.approx(0.5, rel=0.01)
    for limit, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        assert (np.abs(real) < 0.5 * limit).mean() == pytest.approx(share, abs=0.004)
    assert normal_quantiles().std() == pytest.approx(1, abs=1e-4)
    neighbours = np.corrcoef(real[:, :-1].ravel(), real[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 0.02


def test_poisson_noise_has_the_variance_of_its_definition():
    for level, photons in ((50, 255), (200, 100), (128, 1000)):
        gray = np.full((300, 300), level, np.float32)
        added = imgaug.PoissonNoise(photons, clip=False).augment(gray) - level
        assert abs(added.mean()) < 0.5
        assert added.std() == pytest.approx(np.sqrt(255 * level / photons), rel=0.02)
    assert (imgaug.PoissonNoise().augment(np.zeros((9, 9), np.uint8)) == 0).all()


@pytest.mark.parametrize("per_channel", [True, False])
def test_salt_and_pepper(per_channel):
    gray = np.full((300, 300, 3), 128, np.uint8)
    out = imgaug.SaltPepperNoise(0.04, 0.01, per_channel).augment(gray)
    assert (out == 255).mean() == pytest.approx(0.04, abs=0.004)
    assert (out == 0).mean() == pytest.approx(0.01, abs=0.002)
    if not per_channel:
        assert ((out == out[:, :, :1]).all(axis=2)).all()
    np.testing.assert_array_equal(imgaug.SaltPepperNoise(0, 0).augment(gray), gray)
    assert (imgaug.SaltPepperNoise(1, 0).augment(gray) == 255).all()
    assert (imgaug.SaltPepperNoise(0, 1).augment(gray) == 0).all()


def test_jpeg_keeps_colours_and_loses_detail():
    smooth = cv2.resize(picture((4, 4, 3)), (64, 64), interpolation=cv2.INTER_CUBIC)
    good = imgaug.JpegNoise((100, 100)).augment(smooth).astype(int)
    poor = imgaug.JpegNoise((5, 5)).augment(smooth).astype(int)
    assert np.abs(good - smooth).mean() < 2
    assert np.abs(good - smooth).mean() < np.abs(poor - smooth).mean() < 20
    gray = imgaug.JpegNoise((90, 90)).augment(smooth[:, :, :1])
    assert np.abs(gray.astype(int) - smooth[:, :, :1]).mean() < 3


def test_jpeg_noise_refuses_pictures_from_0_to_1():
    with pytest.raises(DataFlowError, match=r"expected values from 0 to 255, got a float32 picture from 0.9 to 0.9"):
        imgaug.JpegNoise().augment(np.full((8, 8, 3), 0.9, np.float32))
    for value in (0.0, 1.0, 1.5):  # black, nearly black
        assert imgaug.JpegNoise().augment(np.full((8, 8, 3), value, np.float32)).max() <= 2


@pytest.mark.parametrize("quality", [5, 60, 95, 100])
def test_jpeg_noise_is_what_opencv_encodes_and_decodes(quality):
    img = cv2.GaussianBlur(picture((67, 45, 3)), (5, 5), 2)
    encoded = cv2.imencode(".jpg", img[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1]
    np.testing.assert_array_equal(imgaug.JpegNoise((quality, quality)).augment(img), expected)


def test_cutout_blanks_one_window():
    img = np.full((40, 50, 3), 200, np.uint8)
    out, t = made(imgaug.RandomCutout((5, 9), 7, fill=(1, 2, 3)), img)
    hole = (out == (1, 2, 3)).all(axis=2)
    assert hole.sum() == t.height * 7 and 5 <= t.height <= 9
    assert hole[t.y : t.y + t.height, t.x : t.x + t.width].all()
    assert (out[~hole] == 200).all()


def test_paste_and_fillers():
    img = picture((20, 30, 3))
    out = imgaug.CenterPaste((41, 50), imgaug.ConstantBackgroundFiller((9, 8, 7))).augment(img)
    np.testing.assert_array_equal(out[10:30, 10:40], img)
    assert (out[:10] == (9, 8, 7)).all()
    out, t = made(imgaug.RandomPaste(60, imgaug.NoiseBackgroundFiller()), img)
    np.testing.assert_array_equal(out[t.y : t.y + 20, t.x : t.x + 30], img)
    assert out[0].std() > 20 or out[-1].std() > 20
    with pytest.raises(DataFlowError, match=r"20 x 30.*larger than the background of 10 x 10"):
        imgaug.CenterPaste(10).augment(img)
    with pytest.raises(DataFlowError, match="2 values"):
        imgaug.CenterPaste(60, imgaug.ConstantBackgroundFiller((1, 2))).augment(img)


def test_shift_moves_whole_pixels():
    img = picture((20, 30, 3))
    for border in ("constant", "replicate", "reflect_101", "wrap"):
        for seed in range(5):
            aug = imgaug.Shift(0.3, 0.4, border, (4, 5, 6) if border == "constant" else 0)
            out, t = made(aug, img, seed)
            matrix = np.float64([[1, 0, t.x], [0, 1, t.y]])
            code = getattr(cv2, f"BORDER_{border.upper()}")
            expected = cv2.warpAffine(
                img, matrix, (30, 20), flags=cv2.INTER_NEAREST, borderMode=code, borderValue=(4, 5, 6)
            )
            np.testing.assert_array_equal(out, expected)
            assert abs(t.x) <= 9 and abs(t.y) <= 8


def test_random_resized_crop_falls_back_to_the_middle():
    long = picture((10, 400, 3))
    out, t = made(imgaug.RandomResizedCrop((8, 9), area_range=(0.9, 1.0)), long)
    assert out.shape == (8, 9, 3)
    crop = t.transforms[0]
    assert (crop.height, crop.width) == (10, 13)
    assert crop.x == (400 - 13) // 2


def test_choices_follow_their_weights():
    count = {"a": 0, "b": 0, "c": 0}

    def counting(name):
        return imgaug.MapImage(lambda img: (count.update({name: count[name] + 1}), img)[1])

    choice = imgaug.RandomChooseAug([counting("a"), counting("b"), counting("c")], [1, 0, 3])
    rng, img = np.random.default_rng(0), picture((2, 2))
    for _ in range(2000):
        choice.augment(img, rng)
    assert count["b"] == 0 and count["c"] / 2000 == pytest.approx(0.75, abs=0.04)


def test_order_is_drawn_and_each_applied_once():
    order = []

    def noting(name):
        return imgaug.MapImage(lambda img: (order.append(name), img)[1])

    aug = imgaug.RandomOrderAug([noting("a"), noting("b"), noting("c")])
    seen, rng = set(), np.random.default_rng(0)
    for _ in range(100):
        order.clear()
        aug.augment(picture((2, 2)), rng)
        assert sorted(order) == ["a", "b", "c"]
        seen.add("".join(order))
    assert len(seen) == 6


@pytest.mark.parametrize("prob", [0.0, 0.3, 1.0])
def test_apply_with_a_probability(prob):
    aug = imgaug.RandomApplyAug(imgaug.Brightness(100), prob)
    rng, img = np.random.default_rng(0), picture((4, 4))
    changed = np.mean([aug.augment(img, rng) is not img for _ in range(1000)])
    assert changed == pytest.approx(prob, abs=0.05)


def test_map_image_can_move_points_and_refuses_to_guess():
    left = imgaug.MapImage(lambda img: img[:, ::-1], coords=lambda xy: (9, 0) + xy * (-1, 1), mask=lambda m: m[:, ::-1])
    t = left.get_transform(picture((5, 10)), np.random.default_rng(0))
    np.testing.assert_allclose(t.apply_coords(np.array([[1.0, 2.0]])), [[8, 2]])
    t = imgaug.MapImage(lambda img: img[:, ::-1], moves=True).get_transform(picture(), np.random.default_rng(0))
    with pytest.raises(DataFlowError, match="cannot move points"):
        t.apply_coords(np.zeros((1, 2)))
    with pytest.raises(DataFlowError, match="label maps"):
        t.apply_mask(np.zeros((3, 3)))
    with pytest.raises(DataFlowError, match="returned NoneType"):
        imgaug.MapImage(lambda img: None).augment(picture())


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: imgaug.Brightness(-1), "at least 0"),
        (lambda: imgaug.Brightness(float("nan")), "finite"),
        (lambda: imgaug.BrightnessScale((2, 1)), "pair"),
        (lambda: imgaug.BrightnessScale(range=(1, 2)), "factor_range="),
        (lambda: imgaug.Contrast((0.5, 1.5), rgb=True), "per_channel"),
        (lambda: imgaug.Gamma((-0.5, 0.5)), "gamma_range"),
        (lambda: imgaug.Gamma(range=(-0.5, 0.5)), "exponent"),
        (lambda: imgaug.Hue(range=(0, 180)), "degrees="),
        (lambda: imgaug.Saturation(alpha=0.4), "delta="),
        (lambda: imgaug.Lighting(0.1, eigval=[1, 2]), r"eigval.*\(3,\)"),
        (lambda: imgaug.Clip(5, 3), "at most max"),
        (lambda: imgaug.MinMaxNormalize(1, 1), "below max"),
        (lambda: imgaug.ColorSpace("RGB2LAP"), "RGB2LAB"),
        (lambda: imgaug.ColorSpace(99999), "COLOR_"),
        (lambda: imgaug.Grayscale(2), "1 or 3"),
        (lambda: imgaug.Grayscale(keepshape=True), "channels=3"),
        (lambda: imgaug.GaussianBlur((0.5, 2)), "whole numbers"),
        (lambda: imgaug.GaussianNoise("3"), "sigma"),
        (lambda: imgaug.JpegNoise((0, 50)), "from 1 to 100"),
        (lambda: imgaug.PoissonNoise(0), "photons"),
        (lambda: imgaug.SaltPepperNoise(0.7, 0.7), "more than 1"),
        (lambda: imgaug.RandomCutout(0, 5), "height"),
        (lambda: imgaug.RandomCutout((9, 5), 5), "lowest, highest"),
        (lambda: imgaug.RandomCutout(h_range=5, w_range=5), "height=|width="),
        (lambda: imgaug.RandomResizedCrop(area_range=(0, 2)), "from 0 to 1"),
        (lambda: imgaug.RandomResizedCrop(target_shape=224), "size="),
        (lambda: imgaug.Rotation(10, border="mirror"), "border"),
        (lambda: imgaug.Rotation(10, step_deg=20), "step_deg"),
        (lambda: imgaug.Affine(scale=(0, 1)), "above 0"),
        (lambda: imgaug.Affine(shear=3), "shear_max_deg="),
        (lambda: imgaug.Affine(translate_frac=0.1), "horizontal, vertical"),
        (lambda: imgaug.Shift(2.0), "0 to 1"),
        (lambda: imgaug.CenterPaste(background_shape=5), "size="),
        (lambda: imgaug.CenterPaste(5, filler=0), "BackgroundFiller"),
        (lambda: imgaug.RandomCropRandomShape(wmin=10, hmin=10), "min_size="),
        (lambda: imgaug.RandomChooseAug([(imgaug.Identity(), 0.5)]), "weights="),
        (lambda: imgaug.Grayscale(True), "1 or 3"),
        (lambda: imgaug.RandomCropRandomShape(10, max_size=5), "less than"),
        (lambda: imgaug.RandomCropRandomShape((10, 100), max_size=(20, 200), max_aspect_ratio=2), "max_aspect_ratio"),
    ],
)
def test_wrong_arguments(build, says):
    with pytest.raises(ConfigError, match=says):
        build()


@pytest.mark.parametrize(
    ("name", "today"),
    [
        ("GoogleNetRandomCropAndResize", "RandomResizedCrop"),
        ("ImageAugmentor", "Augmentor"),
        ("RandomCrob", "RandomCrop"),
    ],
)
def test_old_and_mistyped_names(name, today):
    with pytest.raises((AttributeError, ImportError), match=today):
        getattr(imgaug, name)


@pytest.mark.parametrize(
    "aug",
    [
        imgaug.RandomCutout(3, 3, fill=(1, 2, 3)),
        imgaug.Shift(0.1, border="constant", border_value=(1, 2, 3)),
        imgaug.Rotation(5, border="constant", border_value=(1, 2, 3)),
        imgaug.CenterPaste(60, imgaug.ConstantBackgroundFiller((1, 2, 3))),
    ],
)
def test_values_to_fill_with_fit_the_channels(aug):
    assert aug.augment(picture()).ndim == 3
    for shape in ((40, 50), (40, 50, 1), (40, 50, 4)):
        with pytest.raises(DataFlowError, match="3 values"):
            aug.augment(picture(shape))


def test_foreign_byte_order_is_named():
    with pytest.raises(DataFlowError, match=">f4"):
        imgaug.Brightness(3).augment(picture().astype(">f4"))


def test_jpeg_noise_sees_the_scale_behind_a_nan():
    picture = np.full((8, 8, 3), 0.5, np.float32)
    picture[0, 0] = np.nan
    with pytest.raises(DataFlowError, match=r"from 0\.5 to 0\.5, of which JPEG would leave black and white"):
        imgaug.JpegNoise().augment(picture)
