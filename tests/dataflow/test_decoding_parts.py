"""A crop that comes first is drawn before a JPEG is decoded: the same datapoints, and less is decoded."""

from __future__ import annotations

import io
import struct
import tarfile

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flowtrain.dataflow import (
    AugmentImageComponent,
    AugmentImageComponents,
    BatchData,
    ConcatData,
    DataFromList,
    ImageFolder,
    ImageFromFile,
    JoinData,
    MapData,
    MapDataComponent,
    PrefetchData,
    RepeatedData,
    SelectComponent,
    TakeData,
    imgaug,
)
from flowtrain.dataflow.formats import LMDBData, TarData
from flowtrain.dataflow.imgaug.crop import CropTransform
from flowtrain.dataflow.sources import jpeg, turbojpeg
from flowtrain.dataflow.sources.decode import BrokenImage, read_image

SUBSAMPLINGS = ("444", "422", "420", "440", "411", "Gray")


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Shapes and noise in strong colours, so that a pixel from the wrong place shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5 + y / 9), np.cos(x / 3 - y / 7), np.sin(x * y / 300)], -1)
    return (127 + 90 * waves + rng.integers(-30, 30, (height, width, 3))).clip(0, 255).astype(np.uint8)


def encoded(image: np.ndarray, subsampling: str = "420", progressive: bool = False, orientation: int = 1) -> bytes:
    gray = subsampling == "Gray"
    pixels = image[:, :, :1].copy() if gray else image
    data = simplejpeg.encode_jpeg(pixels, 88, "GRAY" if gray else "RGB", "444" if gray else subsampling)
    if progressive:
        out = io.BytesIO()
        Image.open(io.BytesIO(data)).save(out, "JPEG", quality="keep", progressive=True)
        data = out.getvalue()
    if orientation != 1:
        tiff = b"II*\0" + struct.pack("<IHHHIIII", 8, 1, 0x0112, 3, 1, orientation, 0, 0)[:22]
        exif = b"Exif\0\0" + tiff
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    return data


class Window(imgaug.Augmentor):
    """Cuts out a window at given fractions of the picture: an augmentor of a user's that says what it looks at."""

    draws_from_size = True

    def __init__(self, y: float, x: float, height: float, width: float) -> None:
        self.parts = y, x, height, width

    def get_transform(self, img, rng):
        rows, columns = img.shape[:2]
        y, x = int(self.parts[0] * rows), int(self.parts[1] * columns)
        height, width = max(1, int(self.parts[2] * (rows - y))), max(1, int(self.parts[3] * (columns - x)))
        return CropTransform(x, y, width, height, (rows, columns))


@pytest.fixture
def parts(monkeypatch):
    """The regions that were decoded."""
    seen = []

    def counted(data, channel, scale, region):
        image = turbojpeg.decode_region(data, channel, scale, region)
        seen.append(region)
        return image

    monkeypatch.setattr(jpeg, "decode_region", counted)
    return seen


@pytest.fixture
def without(monkeypatch):
    """Call it to be on a machine without TurboJPEG 3."""
    return lambda: monkeypatch.setattr(turbojpeg, "_library", lambda: None)


@pytest.fixture
def photos(tmp_path):
    """JPEGs of many kinds, and pictures that are none."""
    kinds = [(name, progressive) for name in SUBSAMPLINGS for progressive in (False, True)]
    for number, (name, progressive) in enumerate(kinds):
        image = textured(120 + 7 * number, 190 - 5 * number, number)
        (tmp_path / f"{number:02d}.jpg").write_bytes(encoded(image, name, progressive, number % 8 + 1))
    Image.fromarray(textured(130, 140)).save(tmp_path / "20.png")
    Image.fromarray(textured(130, 140)).convert("CMYK").save(tmp_path / "21.jpg")
    return sorted(tmp_path.iterdir())


def same(one, other) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def test_this_machine_decodes_parts():
    assert turbojpeg.why_no_regions() is None


fractions = st.floats(0, 1, exclude_max=True)


@given(
    size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    window=st.tuples(fractions, fractions, st.floats(0, 1), st.floats(0, 1)),
    subsampling=st.sampled_from(SUBSAMPLINGS),
    progressive=st.booleans(),
    orientation=st.integers(1, 8),
    channel=st.sampled_from([1, 3]),
    min_size=st.sampled_from([None, 1, 5, 17, 40]),
)
def test_a_part_has_the_pixels_of_the_whole(
    tmp_path_factory, size, window, subsampling, progressive, orientation, channel, min_size
):
    path = tmp_path_factory.getbasetemp() / "part.jpg"
    path.write_bytes(encoded(textured(*size), subsampling, progressive, orientation))
    whole = read_image(path, channel, min_size)
    ds = AugmentImageComponent(ImageFromFile([path], channel, min_size=min_size), Window(*window))
    assert same(ds.get(0)[0], Window(*window).augment(whole))


RECIPES = [
    [imgaug.RandomResizedCrop(64)],
    [imgaug.RandomResizedCrop(64, interpolation="area"), imgaug.Flip(horiz=True), imgaug.Brightness(30)],
    [imgaug.RandomCrop(48), imgaug.Flip(vert=True), imgaug.Rotation(20)],
    [imgaug.RandomCropRandomShape(20, max_size=60), imgaug.Resize(32)],
    [imgaug.CenterCrop((50, 60)), imgaug.RandomCrop(32)],
    [imgaug.Flip(horiz=True), imgaug.Transpose(), imgaug.Flip(vert=True), imgaug.RandomCrop((40, 50))],
    [imgaug.RandomApplyAug(imgaug.RandomCrop(60)), imgaug.RandomResizedCrop(32)],
    [imgaug.RandomChooseAug([imgaug.RandomCrop(50), imgaug.CenterCrop(50)]), imgaug.GaussianNoise()],
    [imgaug.AugmentorList([imgaug.Identity(), imgaug.RandomResizedCrop(40)])],
]


@pytest.mark.parametrize("augmentors", RECIPES, ids=lambda recipe: "-".join(type(each).__name__ for each in recipe))
def test_datapoints_are_those_of_decoding_the_whole(photos, augmentors, parts, without):
    def made():
        ds = AugmentImageComponent(ImageFromFile(photos, shuffle=True, seed=3), augmentors, seed=4)
        return [ds.get(index, epoch)[0] for epoch in (0, 1) for index in range(len(photos))]

    quick = made()
    assert len(parts) > len(photos) // 2
    without()
    parts.clear()
    slow = made()
    assert not parts
    assert all(map(same, quick, slow))


def test_drawn_numbers_are_those_of_the_decoded_picture(photos):
    augmentors = [imgaug.Flip(horiz=True), imgaug.RandomResizedCrop(64), imgaug.GaussianNoise()]
    source = ImageFromFile(photos)
    ds = AugmentImageComponent(source, augmentors)
    for index in range(len(ds)):
        (image,) = source.get(index)
        assert same(ds.get(index, 2)[0], imgaug.AugmentorList(augmentors).augment(image, ds.stream.at(2, index)))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_datapoints_of_a_serial_walk(photos, workers):
    def chain():
        ds = AugmentImageComponent(ImageFromFile(photos, shuffle=True), [imgaug.RandomResizedCrop(40)])
        return BatchData(ds, 4)

    serial = [batch for _ in range(2) for batch in chain()]
    flow = PrefetchData(chain(), num_prefetch=2, num_proc=workers)
    assert len(list(flow)) == len(chain())
    again = PrefetchData(chain(), num_prefetch=2, num_proc=workers)
    batches = list(again)
    assert all(same(a[0], b[0]) for a, b in zip(batches, serial, strict=False))
    assert same(flow.get(1)[0], serial[1][0])


def _chains(photos, folder):
    source = ImageFromFile(photos, shuffle=True)
    labels = DataFromList([[number] for number in range(len(photos))])
    return {
        "repeated": (RepeatedData(source, 2), 0),
        "taken": (TakeData(source, 5), 0),
        "concatenated": (ConcatData([source, ImageFromFile(photos[:3])]), 0),
        "joined": (JoinData([labels, source]), 1),
        "two pictures": (JoinData([source, ImageFromFile(photos)]), 0),
        "selected": (SelectComponent(JoinData([labels, source]), [1, 0]), 0),
        "mapped beside": (MapDataComponent(JoinData([source, labels]), lambda label: label + 100, index=1), 0),
        "mapped before": (MapDataComponent(JoinData([labels, source]), lambda image: image[::2], index=1), 1),
        "folder": (ImageFolder(folder), 0),
    }


@pytest.mark.parametrize("name", [
    "repeated", "taken", "concatenated", "joined", "two pictures", "selected", "mapped beside", "mapped before",
    "folder",
])  # fmt: skip
def test_stages_that_do_not_look_at_the_picture_may_lie_between(photos, tmp_path_factory, name, parts, without):
    folder = tmp_path_factory.mktemp("classes")
    for number, path in enumerate(photos):
        (folder / f"class{number % 2}").mkdir(exist_ok=True)
        (folder / f"class{number % 2}" / path.name).write_bytes(path.read_bytes())

    def made():
        ds, index = _chains(photos, folder)[name]
        return [list(dp) for dp in AugmentImageComponent(ds, [imgaug.RandomResizedCrop(30)], index=index)]

    quick = made()
    assert bool(parts) == (name != "mapped before")
    without()
    for one, other in zip(quick, made(), strict=True):
        assert all(same(a, b) if isinstance(a, np.ndarray) else a == b for a, b in zip(one, other, strict=True))


class _Inverted(ImageFromFile):
    def get(self, index, epoch=0):
        return [255 - super().get(index, epoch)[0]]


class _Darker(imgaug.RandomCrop):
    """Inherits what its parent says of itself, and looks at pixels."""

    def get_transform(self, img, rng):
        size = 30 if img.mean() > 1 else 20
        return CropTransform(0, 0, size, size, img.shape[:2])


class _Framed(imgaug.RandomCrop):
    def augment(self, img, rng=None):
        return np.pad(super().augment(img, rng), ((1, 1), (1, 1), (0, 0)))


@pytest.mark.parametrize(
    "chain",
    [
        lambda source: AugmentImageComponent(MapData(source, lambda dp: [dp[0] // 2]), imgaug.RandomCrop(30)),
        lambda source: AugmentImageComponent(_Inverted(source.files), imgaug.RandomCrop(30)),
        lambda source: AugmentImageComponent(source, _Darker(30)),
        lambda source: AugmentImageComponent(source, _Framed(30)),
        lambda source: AugmentImageComponent(source, [imgaug.Brightness(30), imgaug.RandomCrop(30)]),
        lambda source: AugmentImageComponent(source, [imgaug.Resize(50), imgaug.RandomCrop(30)]),
        lambda source: AugmentImageComponent(source, [imgaug.RandomOrderAug([imgaug.RandomCrop(30)])]),
        lambda source: AugmentImageComponent(ImageFromFile(source.files, resize=60), imgaug.RandomCrop(30)),
        lambda source: AugmentImageComponents(source, imgaug.RandomCrop(30), index=[0]),
    ],
)
def test_what_may_look_at_pixels_is_given_the_whole(photos, chain, parts):
    ds = chain(ImageFromFile(photos))
    shapes = {dp[0].shape for dp in ds}
    assert shapes <= {(30, 30, 3), (32, 32, 3)} and not parts


def test_explain_says_what_is_decoded(photos, without):
    source, crop = ImageFromFile(photos), imgaug.RandomCrop(30)

    def notes(ds):
        return " ".join(ds.explain(n=3, quiet=True).notes)

    assert "only the part that is kept" in notes(AugmentImageComponent(source, crop))
    assert "only the part that is kept" in str(
        PrefetchData(BatchData(AugmentImageComponent(source, crop), 2), 2, 1).explain(n=3, quiet=True)
    )
    assert "whole: Brightness" in notes(AugmentImageComponent(source, [imgaug.Brightness(9), crop]))
    assert "whole: MapData" in notes(AugmentImageComponent(MapData(source, list), crop))
    assert "whole: ImageFromFile resizes" in notes(AugmentImageComponent(ImageFromFile(photos, resize=40), crop))
    assert "whole: other components" in notes(AugmentImageComponents(source, crop, index=[0]))
    assert notes(AugmentImageComponent(source, imgaug.Flip(horiz=True))) == ""
    assert notes(AugmentImageComponent(DataFromList([[np.zeros((40, 40, 3), np.uint8)]]), crop)) == ""
    without()
    assert "no TurboJPEG 3" in notes(AugmentImageComponent(source, crop))


def test_time_for_decoding_is_the_sources(tmp_path):
    Image.fromarray(textured(900, 1200)).save(tmp_path / "a.jpg")
    ds = AugmentImageComponent(ImageFromFile([tmp_path / "a.jpg"]), imgaug.RandomCrop(300))
    source, stage = ds.explain(n=5, quiet=True).stages
    assert source.datapoints == stage.datapoints == 5
    assert source.ms > stage.ms


def _damaged(data: bytes, at: float) -> bytes:
    """A JPEG with a marker where its entropy-coded data go on."""
    scan = data.index(b"\xff\xda")
    place = scan + int((len(data) - scan) * at)
    return data[:place] + b"\xff\xd9" * 8 + data[place + 16 :]


@pytest.mark.parametrize("progressive", [False, True])
def test_damage_in_what_is_read_is_the_error_of_the_whole(tmp_path, progressive, without):
    good = encoded(textured(200, 200), progressive=progressive)
    paths = [tmp_path / "0.jpg", tmp_path / "1.jpg"]
    paths[0].write_bytes(_damaged(good, 0.3))
    paths[1].write_bytes(good)

    def said(window):
        ds = AugmentImageComponent(ImageFromFile(paths), window)
        with pytest.raises(BrokenImage, match=r"0\.jpg: .* damaged.*ImageFromFile, epoch 0, datapoint 0") as caught:
            ds.get(0)
        return str(caught.value)

    bottom = Window(0.6, 0.2, 1.0, 0.5)
    message = said(bottom)
    skipping = AugmentImageComponent(ImageFromFile(paths, on_error="skip"), bottom)
    expected = bottom.augment(read_image(paths[1]))
    assert same(skipping.get(0)[0], expected)
    assert skipping.ds.skipped == [str(paths[0])]
    without()
    assert said(bottom) == message


def test_damage_below_what_is_read_does_no_harm(tmp_path):
    good = encoded(textured(200, 200))
    (tmp_path / "good.jpg").write_bytes(good)
    (tmp_path / "bad.jpg").write_bytes(_damaged(good, 0.8))
    top = Window(0.0, 0.2, 0.3, 0.5)
    expected = top.augment(read_image(tmp_path / "good.jpg"))
    assert same(AugmentImageComponent(ImageFromFile([tmp_path / "bad.jpg"]), top).get(0)[0], expected)


@pytest.mark.parametrize("keep", [0, 3, 30, 0.5, -3])
def test_a_file_that_is_cut_short_is_always_an_error(tmp_path, keep):
    data = encoded(textured(100, 100))
    (tmp_path / "a.jpg").write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    ds = AugmentImageComponent(ImageFromFile([tmp_path / "a.jpg"]), Window(0, 0, 0.2, 0.2))
    with pytest.raises(BrokenImage, match=r"a\.jpg"):
        ds.get(0)


def test_a_crop_that_does_not_fit_is_the_error_that_it_was(photos, without):
    ds = AugmentImageComponent(ImageFromFile(photos), imgaug.RandomCrop(500))
    with pytest.raises(
        Exception, match=r"500 x 500.*in AugmentImageComponent\(RandomCrop\), epoch 0, datapoint 1"
    ) as quick:
        ds.get(1)
    without()
    with pytest.raises(type(quick.value)) as slow:
        AugmentImageComponent(ImageFromFile(photos), imgaug.RandomCrop(500)).get(1)
    assert str(quick.value) == str(slow.value)


def test_threads_decode_parts_at_once(photos):
    from concurrent.futures import ThreadPoolExecutor

    ds = AugmentImageComponent(RepeatedData(ImageFromFile(photos), 20), [imgaug.RandomResizedCrop(40)])
    expected = [dp[0] for dp in ds]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(same, expected, pool.map(lambda index: ds.get(index)[0], range(len(ds)))))


def test_a_run_goes_on_where_it_was(photos):
    def chain():
        return AugmentImageComponent(ImageFromFile(photos, shuffle=True), [imgaug.RandomResizedCrop(40)])

    ds = chain()
    iterator = iter(ds)
    for _ in range(5):
        next(iterator)
    state, rest = ds.state_dict(), [dp[0] for dp in iterator]
    again = chain()
    again.load_state_dict(state)
    assert all(map(same, rest, [dp[0] for dp in again]))


def test_tars_and_caffes_records_are_decoded_in_part_too(photos, tmp_path, parts, without):
    lmdb = pytest.importorskip("lmdb")
    jpegs = [path for path in photos if path.suffix == ".jpg"]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, path in enumerate(jpegs):
            tar.add(path, f"{number:03d}{path.suffix}")
            info = tarfile.TarInfo(f"{number:03d}.cls")
            info.size = 1
            tar.addfile(info, io.BytesIO(b"%d" % (number % 10)))
    with lmdb.open(str(tmp_path / "a.mdb"), subdir=False, map_size=1 << 24) as env, env.begin(write=True) as txn:
        for number, path in enumerate(jpegs):
            data = path.read_bytes()
            size = bytes([len(data) & 127 | 128, len(data) >> 7 & 127 | 128, len(data) >> 14])
            txn.put(b"%03d" % number, b"\x22" + size + data + b"\x28\x07\x38\x01")  # data, label=7, encoded=1

    def made(quick):
        crop = imgaug.RandomResizedCrop(40)
        flows = {
            "tar": AugmentImageComponent(TarData(tmp_path / "a.tar", decode="auto", shuffle=True), crop, index="jpg"),
            "caffe": AugmentImageComponent(LMDBData(tmp_path / "a.mdb", decode="caffe", shuffle=True), crop),
            "own function": AugmentImageComponent(
                LMDBData(tmp_path / "a.mdb", decode=lambda key, value: [np.zeros((50, 50, 3), np.uint8)]), crop
            ),
        }
        out = {}
        for name, flow in flows.items():
            parts.clear()
            out[name] = [[dp[key] for key in (dp if isinstance(dp, dict) else range(len(dp)))] for dp in flow]
            assert bool(parts) == (quick and name != "own function")
        return out

    quick = made(True)
    without()
    slow = made(False)
    for name in quick:
        for one, other in zip(quick[name], slow[name], strict=True):
            assert all(same(a, b) if isinstance(a, np.ndarray) else a == b for a, b in zip(one, other, strict=True))


def test_a_damaged_picture_leaves_nothing_behind(tmp_path, parts):
    good = encoded(textured(120, 120))
    codes, levels = good.index(b"\xff\xc4"), good.index(b"\xff\xdb")
    more_codes_than_can_be = good[: codes + 5] + b"\xff" * 16 + good[codes + 21 :]
    length = struct.unpack(">H", good[levels + 2 : levels + 4])[0]
    files = {
        "0.jpg": good,
        "1.jpg": more_codes_than_can_be,
        "2.jpg": good[:levels] + good[levels + 2 + length :],  # no table of levels: not to be decoded by another's
        "3.jpg": encoded(textured(120, 120, seed=1)),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    ds = AugmentImageComponent(ImageFromFile(tmp_path), imgaug.RandomResizedCrop(40))
    ds.get(0)
    for index in (1, 2):
        with pytest.raises(BrokenImage, match=rf"{index}\.jpg"):
            ds.get(index)
    parts.clear()
    (image,) = ds.get(3)
    assert len(parts) == 1
    assert same(image, ds.augmentors.augment(read_image(tmp_path / "3.jpg"), ds.stream.at(0, 3)))
