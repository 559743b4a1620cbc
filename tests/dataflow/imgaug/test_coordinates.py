"""apply_coords agrees with apply_image: marks in a picture are found where their points go."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrain.dataflow import imgaug

HEIGHT, WIDTH = 120, 160
MOVING = {
    "Affine": imgaug.Affine((0.8, 1.3), (0.15, 0.1), 25, 15, border="constant"),
    "CenterCrop": imgaug.CenterCrop((81, 100)),
    "CenterPaste": imgaug.CenterPaste((180, 201)),
    "Flip horiz": imgaug.Flip(horiz=True, prob=1),
    "Flip vert": imgaug.Flip(vert=True, prob=1),
    "RandomCrop": imgaug.RandomCrop((90, 101)),
    "RandomCropRandomShape": imgaug.RandomCropRandomShape(60, max_aspect_ratio=1.7),
    "RandomPaste": imgaug.RandomPaste((150, 180)),
    "RandomResize": imgaug.RandomResize((0.5, 2.0), (0.5, 2.0)),
    "RandomResize pixels": imgaug.RandomResize((100, 200), (90, 150)),
    "RandomResizedCrop": imgaug.RandomResizedCrop((100, 120), area_range=(0.5, 1.0)),
    "Resize up": imgaug.Resize((300, 333)),
    "Resize down": imgaug.Resize((60, 80), "area"),
    "Resize nearest": imgaug.Resize((70, 90), "nearest"),
    "Resize cubic": imgaug.Resize((170, 190), "cubic"),
    "ResizeShortestEdge": imgaug.ResizeShortestEdge(90),
    "Rotation": imgaug.Rotation(180, (0.4, 0.6), border="constant"),
    "Rotation steps": imgaug.Rotation(90, border="constant", step_deg=45),
    "RotationAndCropValid": imgaug.RotationAndCropValid(45),
    "Shift": imgaug.Shift(0.3, 0.3, border="constant"),
    "Shift replicate": imgaug.Shift(0.3, 0.3),
    "Transpose": imgaug.Transpose(prob=1),
    "several": imgaug.AugmentorList(
        [imgaug.Rotation(15), imgaug.Flip(horiz=True, prob=1), imgaug.Resize((200, 190)), imgaug.RandomCrop(150)]
    ),
    "nothing moves": imgaug.AugmentorList([imgaug.Brightness(20), imgaug.GaussianBlur((1, 1))]),
}
moving = pytest.mark.parametrize("name", sorted(MOVING))


def blob(point, size=(HEIGHT, WIDTH)):
    """A smooth mark, whose centre of mass is the point."""
    y, x = np.mgrid[: size[0], : size[1]]
    return (200 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 3.0**2))).astype(np.float32)


def center_of_mass(img):
    y, x = np.mgrid[: img.shape[0], : img.shape[1]]
    return np.array([(img * x).sum(), (img * y).sum()]) / img.sum()


@moving
@settings(max_examples=12, deadline=None)
@given(x=st.floats(20, WIDTH - 21), y=st.floats(20, HEIGHT - 21), seed=st.integers(0, 2**32))
def test_a_mark_is_found_where_its_point_goes(name, x, y, seed):
    img = blob((x, y))
    transform = MOVING[name].get_transform(img, np.random.default_rng(seed))
    out = transform.apply_image(img)
    ((new_x, new_y),) = transform.apply_coords(np.array([[x, y]]))
    margin = 22
    if margin <= new_x < out.shape[1] - margin and margin <= new_y < out.shape[0] - margin:
        limit = 0.6 if name == "Resize nearest" else 0.25
        base = 20.0 if name == "nothing moves" else 0.0
        found = center_of_mass(out if base == 0 else np.where(out > out.max() / 2, out, 0))
        np.testing.assert_allclose(found, [new_x, new_y], atol=limit)


@moving
def test_a_mask_moves_like_its_picture(name):
    img = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.circle(img, (85, 55), 18, 255.0, -1)
    mask = (img > 0).astype(np.int32)
    for seed in range(5):
        transform = MOVING[name].get_transform(img, np.random.default_rng(seed))
        moved = transform.apply_mask(mask)
        smooth = transform.apply_image(img)
        if name == "nothing moves":
            continue
        sure = (smooth > 250) | (smooth < 5)
        inner = cv2.erode(sure.astype(np.uint8), np.ones((3, 3))).astype(bool)
        np.testing.assert_array_equal(moved[inner], (smooth > 128)[inner])


@pytest.mark.parametrize(
    "dtype", [bool, np.int8, np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.float16, np.float64]
)
@pytest.mark.parametrize("name", ["Rotation", "Resize down", "RandomPaste", "Shift", "Flip horiz", "RandomCrop"])
def test_masks_keep_every_bit(name, dtype):
    bits = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, np.dtype(dtype).itemsize), np.uint8)
    mask = (bits[:, :, 0] > 127) if dtype is bool else bits.view(dtype)[:, :, 0]
    transform = MOVING[name].get_transform(mask, np.random.default_rng(0))
    moved = transform.apply_mask(mask)
    assert moved.dtype == mask.dtype
    before = {value.tobytes() for value in mask.ravel()} | {np.zeros(1, dtype).tobytes()}
    assert {value.tobytes() for value in moved.ravel()} <= before


def test_corners_of_the_picture_are_half_a_pixel_out():
    img = np.zeros((10, 20), np.uint8)
    corners = np.array([[-0.5, -0.5], [19.5, 9.5]])
    t = imgaug.Resize((30, 10)).get_transform(img, np.random.default_rng(0))
    np.testing.assert_allclose(t.apply_coords(corners), [[-0.5, -0.5], [9.5, 29.5]])
    t = imgaug.Flip(horiz=True, prob=1).get_transform(img, np.random.default_rng(0))
    np.testing.assert_allclose(t.apply_coords(corners), [[19.5, -0.5], [-0.5, 9.5]])


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 50), (50, 37), (64, 64), (200, 9)])
@pytest.mark.parametrize("degrees", [0, 1, 30, 45, 60, 89, 90])
def test_the_valid_window_shows_nothing_from_outside_and_could_not_be_larger(size, degrees):
    aug = imgaug.RotationAndCropValid(max_deg=degrees, step_deg=degrees or None)
    img = np.full(size, 255, np.uint8)
    for seed in range(4):
        t = aug.get_transform(img, np.random.default_rng(seed))
        out = t.apply_image(img)
        back = cv2.invertAffineTransform(t.matrix)
        height, width = out.shape[:2]
        corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]]) @ back[:, :2].T
        corners += back[:, 2]
        assert (corners >= -1e-3).all()
        assert (corners <= np.array([size[1] - 1, size[0] - 1]) + 1e-3).all()
    if size == (64, 64) and degrees == 45:
        assert out.shape == (45, 45)  # 63 / sqrt(2) = 44.5 between centres


def test_rotation_is_counter_clockwise():
    img = np.zeros((21, 21), np.uint8)
    img[10, 20] = 255  # the right
    for seed in range(20):
        t = imgaug.Rotation(90, step_deg=90).get_transform(img, np.random.default_rng(seed))
        if np.allclose(t.apply_coords(np.array([[20, 10]])), [[10, 0]]):
            assert t.apply_image(img)[0, 10] > 250  # is on top
            return
    pytest.fail("a turn of +90 degrees was never drawn")
