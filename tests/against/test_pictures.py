"""Pictures beside Pillow: palettes, depths, orientations, damage. Both agree, or flowtrain says what it cannot tell."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from flowtrain.dataflow import ImageFromFile
from flowtrain.dataflow.formats.tarsample import decode_webdataset
from flowtrain.dataflow.sources.decode import BrokenImage, decode_image
from flowtrain.utils.errors import DataFlowError

from .tries import tries

few = tries(60)
sides = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
DEPTHS = [("png", "u1"), ("png", "u2"), ("tif", "u1"), ("tif", "u2"), ("tif", "i4"), ("tif", "f4")]


def decoded(data, **options):
    return decode_image(np.frombuffer(data, np.uint8), "a picture", **options)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def palette_picture(indices, colours):
    image = Image.new("P", indices.shape[::-1])
    image.putpalette(np.pad(colours.reshape(-1), (0, 768 - colours.size)).tolist())
    image.putdata(indices.reshape(-1).tolist())
    return image


@few
@given(hnp.arrays("u1", sides), hnp.arrays("u1", (256, 3)), st.sampled_from(["PNG", "GIF", "BMP", "TIFF"]))
def test_indices_of_a_palette(indices, colours, kind):
    data = saved(palette_picture(indices, colours), kind, **({"optimize": False} if kind in ("PNG", "GIF") else {}))
    with Image.open(io.BytesIO(data)) as again:
        stored, rgb = (np.array(again), np.array(again.convert("RGB"))) if again.mode == "P" else (None, None)
    if stored is None:  # a palette of grays is none
        return
    assert np.array_equal(decoded(data, channel=1, palette="index")[..., 0], stored)
    assert np.array_equal(decoded(data), rgb)
    with pytest.raises(DataFlowError, match=r"has a palette.*palette='index'.*palette='color'"):
        decoded(data, channel=1)
    assert decoded(data, channel=1, palette="color").shape == (*indices.shape, 1)


@few
@given(st.data(), st.sampled_from(DEPTHS), st.sampled_from([1, 3]))
def test_every_level_is_kept(data, kind, channel):
    ending, dtype = kind
    elements = {"allow_nan": False, "width": 32} if dtype == "f4" else None
    values = data.draw(hnp.arrays(dtype, sides, elements=st.floats(**elements) if elements else None))
    encoded = saved(Image.fromarray(values), "PNG" if ending == "png" else "TIFF")
    found = decoded(encoded, channel=channel)
    assert found.dtype == values.dtype and found.shape == (*values.shape, channel)
    assert all(np.array_equal(found[..., place], values) for place in range(channel))
    if dtype == "u2":
        assert np.array_equal(decoded(encoded, channel=channel, depth=8)[..., 0], values >> 8)
    elif dtype != "u1":
        with pytest.raises(DataFlowError, match="depth='keep'"):
            decoded(encoded, channel=channel, depth=8)


@few
@given(hnp.arrays("u2", hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9).map(lambda s: (*s, 3))))
def test_colours_of_16_bits(rgb):
    encoded = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()  # Pillow has none
    assert np.array_equal(decoded(encoded), rgb)


def tiff(values, order="<", big=False, colours=None, extra=None):
    """An uncompressed TIFF, as the specification has it: of all numbers, byte orders and counts of channels."""
    values = np.ascontiguousarray(values)
    count = values.shape[2] if values.ndim == 3 else 1
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    bits = [8 * values.dtype.itemsize] * count
    tags = [(256, 4, [values.shape[1]]), (257, 4, [values.shape[0]]), (258, 3, bits), (259, 3, [1])]
    tags += [(262, 3, [colours or (1 if count < 3 else 2)]), (273, 4, [2048]), (277, 3, [count])]
    tags += [(278, 4, [values.shape[0]]), (279, 4, [len(data)])]
    tags += [(338, 3, [extra])] if extra is not None else []
    tags += [(339, 3, [kind] * count)]
    head, number, place = (16, "Q", "Q") if big else (8, "H", "I")
    room, entries, more, far = (8 if big else 4), b"", b"", 1024
    for tag, of, numbers in tags:
        packed = struct.pack(order + ("H" if of == 3 else "I") * len(numbers), *numbers)
        if len(packed) > room:
            packed, more = struct.pack(order + place, far + len(more)), more + packed
        entries += struct.pack(order + "HH" + place, tag, of, len(numbers)) + packed.ljust(room, b"\0")
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    start = mark + (struct.pack(order + "HHQ", 8, 0, head) if big else struct.pack(order + "I", head))
    directory = start + struct.pack(order + number, len(tags)) + entries
    return (directory.ljust(far, b"\0") + more).ljust(2048, b"\0") + data


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_tiffs_of_all_numbers(dtype, order, big):
    gray = (np.arange(35) * (3 if dtype[1] == "1" else 700)).astype(dtype).reshape(5, 7)
    rgb = np.dstack([gray, gray[::-1], gray[:, ::-1]])
    for channel in (1, 3):
        found = decoded(tiff(gray, order, big), channel=channel)
        assert found.dtype == gray.dtype and np.array_equal(found, np.dstack([gray] * channel))
    found = decoded(tiff(rgb, order, big))
    assert found.dtype == rgb.dtype and np.array_equal(found, rgb)
    if dtype[1] in "48":
        with pytest.raises(DataFlowError, match="makes no gray"):
            decoded(tiff(rgb, order, big), channel=1)
    else:
        assert decoded(tiff(rgb, order, big), channel=1).dtype == gray.dtype


@few
@given(hnp.arrays("u1", (5, 7, 4)), st.sampled_from(["PNG", "TIFF", "WEBP"]))
def test_transparency_is_left_out_and_changes_no_colour(rgba, kind):
    data = saved(Image.fromarray(rgba, "RGBA"), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    assert np.array_equal(decoded(data), rgba[..., :3])
    gray = decoded(data, channel=1)[..., 0].astype(int)
    assert np.abs(gray - np.array(Image.fromarray(rgba[..., :3]).convert("L"))).max() <= 2


def test_depth_and_transparency_of_a_gray_tiff():
    deep = np.dstack([np.arange(35, dtype=np.uint16).reshape(5, 7)] * 2)
    with pytest.raises(DataFlowError, match="16 bits, of which OpenCV would keep 8"):
        decoded(tiff(deep, extra=2), channel=1)
    assert np.array_equal(decoded(tiff(deep.astype("u1"), extra=2), channel=1), deep[..., :1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_turned_jpeg(orientation, mode):
    rng = np.random.default_rng(orientation)
    pixels = cv2.GaussianBlur(rng.integers(0, 256, (37, 53, 3), np.uint8), (0, 0), 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(pixels).convert(mode), "JPEG", exif=exif, quality=95, subsampling=0)
    with Image.open(io.BytesIO(data)) as file:
        wanted = np.array(ImageOps.exif_transpose(file).convert("RGB"))
    found = decoded(data)
    assert found.shape == wanted.shape and np.abs(found.astype(int) - wanted).max() <= 2
    assert decoded(data, channel=1).shape == (*wanted.shape[:2], 1)


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    return Image.fromarray(cv2.GaussianBlur(rng.integers(0, 256, (120, 160, 3), np.uint8), (0, 0), 1))


def test_most_lost_blocks_of_a_jpeg_are_named(photo):
    """A JPEG has no checksum: its codes soon fall into step again, one in ten times with as many blocks as before."""
    whole = saved(photo, "JPEG", quality=90)
    truth, rng, named = decoded(whole), np.random.default_rng(1), 0
    for _ in range(200):
        start = int(rng.integers(len(whole) // 4, len(whole) - 600))
        length = int(rng.integers(100, 500))
        how = rng.integers(3)
        lost = {0: bytes(length), 1: b"", 2: rng.bytes(length)}[int(how)]
        try:
            image = decoded(whole[:start] + lost + whole[start + length :])
        except BrokenImage:
            named += 1
        else:
            assert image.shape == truth.shape
    assert named >= 170


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF"])
def test_a_picture_that_is_cut_short_is_named(photo, kind):
    whole = saved(photo, kind)
    for share in (0.02, 0.3, 0.7, 0.95):
        with pytest.raises(DataFlowError, match="a picture"):
            decoded(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("see_through", [None, 0, 2])
@pytest.mark.parametrize("channel", [1, 3])
def test_a_gif_has_its_palettes_colours_where_it_is_transparent(see_through, channel):
    image = palette_picture(np.arange(12).reshape(3, 4) % 5, np.arange(30, dtype=np.uint8).reshape(10, 3) * 8)
    data = saved(image, "GIF", optimize=False, **({} if see_through is None else {"transparency": see_through}))
    with Image.open(io.BytesIO(data)) as again:
        rgb = np.array(again.convert("RGB"))
    found = decoded(data, channel=channel, palette="color")
    assert np.array_equal(
        found if channel == 3 else found[..., 0], rgb if channel == 3 else cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    )


def test_a_pfm_has_the_channels_that_were_asked_for():
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    data = saved(Image.fromarray(values), "PPM")
    assert np.array_equal(decoded(data, channel=1)[..., 0], values)
    assert np.array_equal(decoded(data, channel=3), np.repeat(values[..., None], 3, axis=2))


@pytest.mark.skipif(not cv2.haveImageWriter("x.avif"), reason="this OpenCV has no AVIF")
@pytest.mark.parametrize("alpha", [False, True])
def test_red_is_red_in_an_avif(alpha):
    bgra = np.full((16, 16, 4), (10, 100, 200, 255), np.uint8)
    bgra[:8, :, 3] = 0
    _, data = cv2.imencode(".avif", bgra if alpha else bgra[..., :3], [cv2.IMWRITE_AVIF_QUALITY, 100])
    found = decoded(data.tobytes())
    assert np.abs(found[12:].astype(int) - (200, 100, 10)).max() <= 8


def test_a_flipped_byte_in_a_png_is_found(photo):
    whole, rng = saved(photo, "PNG"), np.random.default_rng(2)
    truth = decoded(whole)
    for _ in range(100):
        at = int(rng.integers(8, len(whole)))
        flipped = bytearray(whole)
        flipped[at] ^= int(rng.integers(1, 256))
        try:
            image = decoded(bytes(flipped))
        except BrokenImage:
            continue
        assert np.array_equal(image, truth), at


@pytest.mark.parametrize("channel", [1, 3])
def test_files_and_tars_decode_alike(tmp_path, photo, channel):
    for kind, image in (("png", photo), ("jpg", photo), ("tif", Image.fromarray(np.full((3, 4), 0.5, np.float32)))):
        path = tmp_path / f"x.{kind}"
        image.save(path)
        found = ImageFromFile([path], channel=channel).get(0)[0]
        if channel == 3:
            assert np.array_equal(decode_webdataset({kind: path.read_bytes()})[kind], found)


def test_numbers_of_classes_are_never_mixed(tmp_path):
    indices = np.repeat(np.repeat(np.array([[0, 255], [15, 1]], np.uint8), 5, 0), 5, 1)
    image = Image.new("P", (10, 10))
    image.putpalette([*(0, 0, 0), *(128, 0, 0)] + [7, 8, 9] * 254)
    image.putdata(indices.reshape(-1).tolist())
    image.save(tmp_path / "mask.png")
    cv2.imwrite(str(tmp_path / "gray.png"), indices)
    for name in ("mask.png", "gray.png"):
        found = ImageFromFile([tmp_path / name], channel=1, palette="index", resize=7).get(0)[0]
        assert set(np.unique(found)) == {0, 1, 15, 255}
    Image.fromarray(indices > 7).save(tmp_path / "bits.png")
    assert set(np.unique(ImageFromFile([tmp_path / "bits.png"], channel=1, palette="index").get(0)[0])) == {0, 1}
    Image.fromarray(np.dstack([indices] * 3)).save(tmp_path / "rgb.png")
    with pytest.raises(DataFlowError, match=r"rgb.png has no palette.*ImageFromFile, epoch 0, datapoint 0"):
        list(ImageFromFile([tmp_path / "rgb.png"], channel=1, palette="index"))
    for options, message in [
        ({"palette": "index"}, "pass channel=1"),
        ({"palette": "rgb"}, "palette must be 'index', 'color' or None"),
        ({"depth": 16}, "depth must be 'keep' or 8"),
        ({"channel": 4}, "must be 3 or 1, got 4"),
    ]:
        with pytest.raises(DataFlowError, match=message):
            ImageFromFile([tmp_path / "mask.png"], **options)
