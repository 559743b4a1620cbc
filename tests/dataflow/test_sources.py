"""Sources: what they give, and what they say to bad input."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from flowtrain.dataflow import (
    DataFromArrays,
    DataFromFiles,
    DataFromGenerator,
    DataFromIterable,
    DataFromList,
    DataFromPandas,
    FakeData,
    ImageFolder,
    ImageFromFile,
    MapData,
    PrefetchData,
)
from flowtrain.dataflow.formats.tarsample import decode_webdataset
from flowtrain.dataflow.sources.decode import BrokenImage
from flowtrain.utils.errors import ConfigError, DataFlowError, FormatError


@pytest.fixture
def photos(tmp_path):
    """Six JPEGs of different sizes, of a single colour each."""
    files = []
    for number in range(6):
        rgb = np.full((40 + number, 60, 3), (200, 10 * number, 30), np.uint8)
        files.append(tmp_path / f"p{number}.jpg")
        cv2.imwrite(str(files[-1]), rgb[:, :, ::-1])
    return files


def test_pictures_are_rgb(photos):
    (image,) = next(iter(ImageFromFile(photos)))
    assert image.dtype == np.uint8 and image.shape == (40, 60, 3)
    assert abs(int(image[0, 0, 0]) - 200) < 6 and abs(int(image[0, 0, 2]) - 30) < 6
    (gray,) = next(iter(ImageFromFile(photos, channel=1, resize=(20, 30))))
    assert gray.shape == (20, 30, 1)
    assert next(iter(ImageFromFile(photos, resize=16)))[0].shape == (16, 16, 3)


def test_scaled_decoding_is_near_to_area_resampling(tmp_path):
    rng = np.random.default_rng(0)
    rgb = cv2.GaussianBlur(rng.integers(0, 256, (520, 700, 3), np.uint8), (0, 0), 12)
    rgb = cv2.normalize(rgb, None, 0, 255, cv2.NORM_MINMAX)
    cv2.imwrite(str(tmp_path / "a.jpg"), rgb)
    (whole,) = next(iter(ImageFromFile([tmp_path / "a.jpg"])))
    for min_size, shape in [(261, (520, 700)), (260, (260, 350)), (131, (260, 350)), (130, (130, 175)), (10, (65, 88))]:
        (scaled,) = next(iter(ImageFromFile([tmp_path / "a.jpg"], min_size=min_size)))
        assert scaled.shape == (*shape, 3)
        area = cv2.resize(whole, shape[::-1], interpolation=cv2.INTER_AREA).astype(float)
        assert 10 * np.log10(255**2 / max(np.mean((area - scaled) ** 2), 1e-9)) > 35
    (gray,) = next(iter(ImageFromFile([tmp_path / "a.jpg"], channel=1, min_size=130)))
    assert gray.shape == (130, 175, 1)
    assert next(iter(ImageFromFile([tmp_path / "a.jpg"], resize=64, min_size=64)))[0].shape == (64, 64, 3)
    cv2.imwrite(str(tmp_path / "a.png"), rgb)
    assert next(iter(ImageFromFile([tmp_path / "a.png"], min_size=10)))[0].shape == (520, 700, 3)


def turned(jpeg: bytes, orientation: int, order: str = "<") -> bytes:
    """A JPEG with what a camera notes about how it was held (Exif 2.3)."""
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize("channel", [1, 3])
def test_workers_decode_the_same_pixels(tmp_path, channel):
    rng = np.random.default_rng(0)
    rgb = cv2.GaussianBlur(rng.integers(0, 256, (101, 67, 3), np.uint8), (0, 0), 2)
    jpegs = [cv2.imencode(".jpg", rgb[..., 0])[1].tobytes()]
    for sampling in (0x111111, 0x211111, 0x221111, 0x121111):  # 4:4:4, 4:2:2, 4:2:0, 4:4:0
        for progressive in (0, 1):
            options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
            jpegs.append(cv2.imencode(".jpg", rgb, options)[1].tobytes())
    jpegs += [turned(jpegs[1], orientation, order) for orientation in (1, 3, 6) for order in "<>"]
    paths = [tmp_path / f"{i:02d}.jpg" for i in range(len(jpegs))]
    for path, jpeg in zip(paths, jpegs, strict=True):
        path.write_bytes(jpeg)
    serial = [dp[0] for dp in ImageFromFile(paths, channel=channel)]
    assert serial[9].shape == (101, 67, channel) and serial[13].shape == (67, 101, channel)
    workers = PrefetchData(ImageFromFile(paths, channel=channel), num_proc=1)
    for expected, (image,) in zip(serial, workers, strict=True):
        assert np.array_equal(image, expected)
    paths[3].write_bytes(jpegs[1][:-400] + b"\xff\xd9")  # damaged, but ended
    for num_proc in (0, 1):
        with pytest.raises(BrokenImage, match=r"03\.jpg: the picture is damaged: .*, epoch 0, datapoint 3"):
            list(PrefetchData(ImageFromFile(paths, channel=channel), num_proc=num_proc))


def test_a_folder_is_its_pictures(photos):
    (photos[0].parent / "notes.txt").write_text("no picture")
    ds = ImageFromFile(photos[0].parent)
    assert ds.files == [str(path) for path in photos] and len(ds) == 6


def test_a_new_order_each_epoch(photos):
    ds = ImageFromFile(photos, shuffle=True, seed=3)
    orders = [[dp[0].shape[0] for dp in ds] for _ in range(3)]
    assert all(sorted(order) == [40 + n for n in range(6)] for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    again = ImageFromFile(photos, shuffle=True, seed=3)
    assert [[dp[0].shape[0] for dp in again] for _ in range(3)] == orders


def _broken(photos, how):
    data = photos[2].read_bytes()
    photos[2].write_bytes(
        {"cut": data[: len(data) // 2], "empty": b"", "text": b"this is no picture", "head": data[:2]}[how]
    )


@pytest.mark.parametrize("how", ["cut", "empty", "text", "head"])
def test_a_broken_picture_is_named(photos, how):
    _broken(photos, how)
    with pytest.raises(FormatError, match=r"p2\.jpg.*ImageFromFile, epoch 0, datapoint 2"):
        list(ImageFromFile(photos))


@pytest.mark.parametrize("how", ["cut", "empty", "text", "head"])
def test_broken_pictures_are_left_out_and_reported(photos, how, caplog):
    _broken(photos, how)
    with caplog.at_level(logging.WARNING, "flowtrain"):
        ds = ImageFromFile(photos, on_error="skip")
        assert len(ds) == len(list(ds)) == 5
    assert ds.skipped == [str(photos[2])]
    assert "skips 1 of 6 files" in caplog.text and "p2.jpg" in caplog.text
    assert ds.indexable


def test_a_file_that_breaks_later_is_replaced_by_the_next(photos, caplog):
    ds = ImageFromFile(photos, on_error="skip")
    photos[2].write_bytes(b"")
    assert [dp[0].shape[0] for dp in ds] == [40, 41, 43, 43, 44, 45]
    assert ds.skipped == [str(photos[2])]


def _camera_jpeg(size=(300, 400)):
    """A JPEG with a thumbnail in its Exif data, as cameras write them."""
    rng = np.random.default_rng(0)
    rgb = cv2.GaussianBlur(rng.integers(0, 256, (*size, 3), np.uint8), (0, 0), 1)
    jpeg, thumbnail = (cv2.imencode(".jpg", picture)[1].tobytes() for picture in (rgb, rgb[:60, :80]))
    segment = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + thumbnail
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize("how", ["middle", "cut and ended"])
def test_a_jpeg_damaged_in_its_middle_is_named_and_skipped(photos, how, caplog):
    whole = _camera_jpeg()
    half = len(whole) // 2
    damaged = whole[:half] + (bytes(3000) + whole[half + 3000 :] if how == "middle" else b"\xff\xd9")
    photos[2].write_bytes(damaged)
    with pytest.raises(
        BrokenImage, match=r"p2\.jpg: the picture is damaged: .*JPEG.*ImageFromFile, epoch 0, datapoint 2"
    ):
        list(ImageFromFile(photos))
    with pytest.raises(BrokenImage, match="damaged"):
        list(ImageFromFile(photos, min_size=20))
    ds = ImageFromFile(photos, on_error="skip")
    with caplog.at_level(logging.WARNING, "flowtrain"):
        assert [dp[0].shape[0] for dp in ds] == [40, 41, 43, 43, 44, 45]
    assert ds.skipped == [str(photos[2])] and "p2.jpg" in caplog.text
    with pytest.raises(FormatError, match=r"the file \.jpg: the picture is damaged"):
        decode_webdataset({"__key__": "a", "jpg": damaged})


def test_the_end_of_a_thumbnail_is_not_that_of_the_picture(photos):
    whole = _camera_jpeg()
    photos[2].write_bytes(whole[: len(whole) // 2])
    ds = ImageFromFile(photos, on_error="skip")
    assert len(ds) == 5 and ds.skipped == [str(photos[2])]
    with pytest.raises(BrokenImage, match="cut short"):
        list(ImageFromFile(photos))
    photos[2].write_bytes(whole + bytes(10_000))  # what lies behind the end does no harm
    assert len(list(ImageFromFile(photos, on_error="skip"))) == 6


def test_a_cut_png_is_broken_too(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FormatError, match="cut short"):
        list(ImageFromFile([path]))


def test_no_pictures_is_one_clear_error(tmp_path, photos):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataFlowError, match="holds no picture"):
        ImageFromFile(empty)
    with pytest.raises(DataFlowError, match="empty list of files"):
        ImageFromFile(sorted(empty.glob("*.jpg")))
    with pytest.raises(DataFlowError, match=r"nowhere\.jpg does not exist"):
        ImageFromFile([tmp_path / "nowhere.jpg"])
    with pytest.raises(DataFlowError, match="does not exist"):
        ImageFromFile(tmp_path / "nowhere")
    with pytest.raises(DataFlowError, match="none of the 1 files"):
        (tmp_path / "bad.jpg").write_bytes(b"x")
        ImageFromFile([tmp_path / "bad.jpg"], on_error="skip")
    with pytest.raises(DataFlowError, match=r"channel \(3: RGB, 1: gray\) must be 3 or 1"):
        ImageFromFile(photos, channel=4)
    with pytest.raises(DataFlowError, match="on_error must be 'raise' or 'skip', got "):
        ImageFromFile(photos, on_error="ignore")
    for size in ((1, 2, 3), True, 1.5, (2.0, 3), (0, 4)):
        with pytest.raises(DataFlowError, match="resize is"):
            ImageFromFile(photos, resize=size)


def test_a_folder_per_class(tmp_path):
    for name, count in (("rose", 2), ("daisy", 3)):
        (tmp_path / name / "more").mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(tmp_path / name / "more" / f"{number}.png"), np.zeros((4, 4, 3), np.uint8))
    ds = ImageFolder(tmp_path)
    assert ds.classes == ["daisy", "rose"] and [dp[1] for dp in ds] == [0, 0, 0, 1, 1]
    assert type(next(iter(ds))[1]) is int
    with pytest.raises(DataFlowError, match="holds no folders"):
        ImageFolder(tmp_path / "rose" / "more")
    with pytest.raises(DataFlowError, match="does not exist"):
        ImageFolder(tmp_path / "nowhere")


def test_paths_by_pattern(tmp_path):
    for name in ("b/1.txt", "a/2.txt", "a/3.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    ds = DataFromFiles(f"{tmp_path}/**/*.txt", labels="folder")
    assert list(ds) == [[str(tmp_path / "a/2.txt"), 0], [str(tmp_path / "b/1.txt"), 1]]
    assert list(DataFromFiles(f"{tmp_path}/a/*.csv")) == [[str(tmp_path / "a/3.csv")]]
    assert list(DataFromFiles(tmp_path / "a" / "*.csv")) == [[str(tmp_path / "a/3.csv")]]
    with pytest.raises(
        DataFlowError, match=r"3\.\*' does not exist. A list is taken literally: give a pattern as the one"
    ):
        DataFromFiles([f"{tmp_path}/a/3.*"])
    with pytest.raises(DataFlowError, match=r"no file fits.*That is a folder"):
        DataFromFiles(str(tmp_path))


@pytest.mark.parametrize("folder", ["run[1]", "what?", "**", "[!a]", "plain"])
@pytest.mark.parametrize("name", ["scan [3].npy", "a*.npy", "[].npy", "b?.npy"])
def test_a_list_of_paths_is_taken_literally(tmp_path, folder, name):
    where = tmp_path / folder
    where.mkdir()
    for other in ("scan 3.npy", "abc.npy", "bc.npy"):  # what the names would find as patterns
        (where / other).write_text("other")
    (where / name).write_text("x")
    given = [where / name, str(where / "scan 3.npy"), where / name]
    ds = DataFromFiles(given)
    assert [dp[0] for dp in ds] == ds.files == [str(path) for path in given]  # nothing dropped, none twice less
    assert DataFromFiles(str(where / name)).files == DataFromFiles(where / name).files == [str(where / name)]
    assert DataFromFiles(f"{where}/scan*.npy").files == sorted(map(str, where.glob("scan*.npy")))
    assert [Path(path).parent.name for path in DataFromFiles(f"{where}/*.npy").files] == [folder] * len(
        list(where.iterdir())
    )
    (where / name).unlink()
    with pytest.raises(DataFlowError, match="does not exist"):
        DataFromFiles(given)
    with pytest.raises(DataFlowError, match="a path expected, got int"):
        DataFromFiles([where / "bc.npy", 3])


def test_lists_as_columns_are_what_numpy_says_or_refused():
    ds = DataFromArrays({"n": [1, 2], "x": [[1, 2.5], [3, 4]], "s": ["a", "bc"], "o": [None, "x"], "t": [(), ("a",)]})
    assert [ds.get(0)[key] for key in "nso"] == [1, "a", None] and ds.get(0)["x"].dtype == np.float64
    assert [row["t"] for row in ds] == [(), ("a",)]
    for given, message in [(["a", 1], "row 0 is a str"), ([None, 1.5], "row 0 is None"), ([2**53 + 1, 0.5], "exactly")]:
        with pytest.raises(DataFlowError, match=message):
            DataFromArrays(given)


def test_pandas_numbers_with_some_missing_are_refused():
    big = 2**53 + 1
    frame = pd.DataFrame(
        {
            "whole": pd.array([big, 3], dtype="Int64"),
            "gaps": pd.array([big, None], dtype="Int64"),
            "category": pd.Categorical.from_codes([0, -1], [big]),
            "flags": pd.array([True, None], dtype="boolean"),
            "floats": pd.array([0.5, None], dtype="Float64"),
            "text": ["a", None],
        }
    )
    row = next(iter(DataFromPandas(frame, ["whole", "floats", "text"])))
    assert row["whole"] == big and row["whole"].dtype == np.int64 and row["floats"].dtype == np.float64
    for name in ("gaps", "category", "flags"):
        with pytest.raises(
            DataFlowError, match=rf"'{name}' is of .* with values missing.*\.fillna\(-1\).*\.dropna\(\)"
        ):
            DataFromPandas(frame, [name])
        with pytest.raises(DataFlowError, match="with values missing"):
            DataFromArrays(frame[name])
    as_objects = frame.assign(gaps=frame["gaps"].astype(object))
    assert next(iter(DataFromPandas(as_objects, ["gaps"])))["gaps"] == big
    assert [row["gaps"] for row in DataFromPandas(frame.assign(gaps=frame["gaps"].fillna(-1)), ["gaps"])] == [big, -1]


def test_what_a_function_writes_into_stays_out_of_the_source():
    rows = [[np.zeros(2), 1], [np.ones(2), 2]]

    def in_place(dp):
        dp[1] = 100
        return dp

    ds = MapData(DataFromList(rows), in_place)
    list(ds)
    assert rows[0][1] == 1

    def into_the_array(dp):
        dp[0] -= 1
        return dp

    with pytest.raises(ValueError, match=r"read-only.*MapData\(into_the_array\), epoch 0, datapoint 0"):
        list(MapData(DataFromList(rows), into_the_array))
    with pytest.raises(ValueError, match="read-only"):
        list(MapData(DataFromArrays(np.zeros((2, 2))), into_the_array))


def test_structured_scalars_are_the_consumers_own():
    record = np.zeros(1, [("x", "int64"), ("more", object)])[0]
    record["more"] = [1]
    ds = DataFromList([[record], [record]], shuffle=False)
    for _ in range(2):
        for (found,) in ds:
            assert found["x"] == 0 and found["more"] == [1]
            found["x"] = 5
            found["more"].append(2)


def test_sources_refuse_what_they_cannot_use():
    def numbers():
        yield [1]

    for build, message in [
        (lambda: DataFromList([]), "empty list"),
        (lambda: DataFromList(numbers()), "DataFromGenerator"),
        (lambda: DataFromList({1, 2}), "DataFromIterable"),
        (lambda: DataFromGenerator(numbers()), "pass the function itself"),
        (lambda: DataFromGenerator([1]), "DataFromList"),
        (lambda: DataFromIterable(iter([1])), "only once"),
        (lambda: DataFromIterable(3), "something to iterate over"),
        (lambda: DataFromArrays(), "got no array"),
        (lambda: DataFromArrays(np.zeros(3), np.zeros(4)), "0 has 3, 1 has 4"),
        (lambda: DataFromArrays(np.zeros((0, 3))), "no rows"),
        (lambda: DataFromArrays(np.float32(3)), "must be an array"),
        (lambda: DataFromArrays([[1, 2], [3]]), "no regular array"),
        (lambda: DataFromArrays([np.zeros((4, 2)), np.zeros(4)]), r"DataFromArrays\(X, Y\) instead of"),
        (lambda: DataFromArrays((np.zeros(4), np.zeros(4))), r"a tuple of 2 arrays \(4,\) and \(4,\).*np\.stack"),
        (lambda: DataFromPandas([1]), "pandas DataFrame"),
        (lambda: DataFromPandas(pd.DataFrame({"a": [1]}), ["b"]), "no column 'b'"),
        (lambda: DataFromPandas(pd.DataFrame({0: [1]})), "no string as its name"),
        (lambda: FakeData((28, 28)), "is not a shape"),
        (lambda: FakeData([(2,)], dtype=["int8", "int8"]), "one for all components or one for each"),
        (lambda: FakeData([(2,)], domain=(3, 1)), "low < high"),
    ]:
        with pytest.raises(DataFlowError, match=message):
            build()
    with pytest.raises(DataFlowError, match="must take no argument"):
        list(DataFromGenerator(lambda x: [x]))


def test_an_error_in_a_generator_keeps_its_type_and_says_where():
    def broken():
        yield [1]
        raise KeyError("lost")

    with pytest.raises(KeyError, match=r"DataFromGenerator\(broken\), epoch 0, datapoint 1"):
        list(DataFromGenerator(broken))


@pytest.mark.parametrize(("size", "message"), [(2, "gave more in epoch 0"), (4, "gave only 3 in epoch 0")])
def test_a_wrong_size_is_an_error(size, message):
    with pytest.raises(DataFlowError, match=message):
        list(DataFromGenerator(lambda: iter([[1], [2], [3]]), size=size))


def test_made_up_data():
    ds = FakeData(
        [(3,), (), (4,), ()], 5, dtype=["uint8", "int64", "float32", "bool"], domain=[(1, 3), (0, 10), (-1, 1), None]
    )
    first, second = list(ds), list(ds)
    assert len(first) == 5 and first[0][0].dtype == np.uint8 and type(first[0][3]) is np.bool_
    assert set(np.concatenate([dp[0] for dp in first + second])) == {1, 2}
    assert all(-1 <= value < 1 for dp in first for value in dp[2])
    assert not np.array_equal(first[0][2], second[0][2])
    fixed = FakeData([(3,)], 3, random=False)
    assert len({dp[0].tobytes() for dp in fixed}) == 1
    assert next(iter(FakeData({"x": (2, 2)})))["x"].shape == (2, 2)


def test_tables_keep_their_dtypes():
    frame = pd.DataFrame({"n": np.array([1, 2], np.int16), "s": ["a", "b"], "c": pd.Categorical(["u", "v"])})
    row = next(iter(DataFromPandas(frame, ["n", "s", "c"])))
    assert row == {"n": 1, "s": "a", "c": "u"} and row["n"].dtype == np.int16 and type(row["s"]) is str


def test_memory_mapped_arrays_are_not_read_whole(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(20).reshape(10, 2))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert DataFromArrays(x).get(3)[0].tolist() == [6, 7]
    assert type(DataFromArrays(x).get_batch(np.array([3]))[0]) is np.ndarray


@pytest.mark.parametrize("size", [2.5, True, -1, "3"])
def test_made_up_data_have_a_whole_number_of_datapoints(size):
    with pytest.raises(ConfigError, match="FakeData: size must be a whole number of at least 0"):
        FakeData([(2,)], size=size)
    assert len(FakeData([(2,)], size=np.int64(3))) == 3


def test_columns_of_one_name_are_refused():
    frame = pd.DataFrame([[1, 2.5, 3]], columns=["a", "a", "b"])
    with pytest.raises(DataFlowError, match="several columns 'a'"):
        DataFromPandas(frame)
    assert list(DataFromPandas(frame, ["b"])) == [{"b": 3}]


def test_what_has_no_rows_is_named():
    with pytest.raises(DataFlowError, match="is a set, of which NumPy makes no rows"):
        DataFromArrays({1, 2})


@pytest.mark.parametrize("source", [DataFromFiles, ImageFromFile])
@pytest.mark.parametrize(("given", "message"), [({"a.png"}, r"a set of paths .*sorted"), (b"a.png", "got bytes")])
def test_what_is_no_list_of_paths(source, given, message):
    with pytest.raises(DataFlowError, match=message):
        source(given)
