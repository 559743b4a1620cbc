"""Every source and writer over URLs: what the local file gives, for any number of workers; faults told once."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from flowtrain import MapData, PrefetchData
from flowtrain.dataflow import CacheData, DataFromFiles, DataFromList, ImageFolder, ImageFromFile
from flowtrain.dataflow.formats import (
    CSVData,
    HDF5Data,
    LMDBData,
    NpzData,
    OTBTFData,
    ParquetData,
    SVMLightData,
    TarData,
    TextLineData,
    TFRecordData,
    TFRecordWriter,
    write,
)
from flowtrain.utils.errors import DataFlowError, FormatError
from flowtrain.utils.optional import MissingPackage
from flowtrain.utils.storage import StorageError, put, set_remote_storage

from ...far_away import http_folder


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, dict):
            assert list(one) == list(other)
            one, other = list(one.values()), list(other.values())
        for a, b in zip(one, other, strict=True):
            assert type(a) is type(b)
            np.testing.assert_array_equal(a, b)
            if isinstance(b, np.ndarray):
                assert a.dtype == b.dtype


def datapoints(count=40):
    rng = np.random.default_rng(3)
    return [[rng.integers(0, 255, (8, 9), np.uint8), i, float(i) / 3, f"name {i}"] for i in range(count)]


def first(datapoint):
    return datapoint["a"] if isinstance(datapoint, dict) else datapoint[0]


def make_plain_npz(folder):
    np.savez(folder / "x.npz", a=np.arange(600.0).reshape(100, 6), f=np.asfortranarray(np.arange(600).reshape(100, 6)))
    return folder / "x.npz"


def make_compressed_npz(folder):
    np.savez_compressed(folder / "x.npz", a=np.arange(600.0).reshape(100, 6))
    return folder / "x.npz"


def make_npy(folder):
    np.save(folder / "x.npy", np.arange(600.0, dtype=np.float32).reshape(100, 6))
    return folder / "x.npy"


def make_chunked_hdf5(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("a", data=np.arange(600.0).reshape(100, 6), chunks=(7, 6), compression="gzip")
        file.create_dataset("g/s", data=[f"s{i}" for i in range(100)])
        file.create_dataset("whole", data=np.arange(100))
    return folder / "x.h5"


def make_text(name, text):
    def make(folder):
        (folder / name).write_text(text)
        return folder / name

    return make


def make_written(ending, format=None):
    def make(folder):
        return Path(write(DataFromList(datapoints()), folder / f"x{ending}", format, progress=False))

    return make


CASES = {
    "tfrecord": (TFRecordData, make_written(".tfrecord")),
    "tar": (TarData, make_written(".tar")),
    "npz": (NpzData, make_written(".npz")),
    "hdf5": (HDF5Data, make_written(".h5")),
    "parquet": (ParquetData, make_written(".parquet")),
    "lmdb": (LMDBData, make_written(".lmdb")),
    "plain npz": (NpzData, make_plain_npz),
    "compressed npz": (NpzData, make_compressed_npz),
    "npy": (NpzData, make_npy),
    "chunked hdf5": (HDF5Data, make_chunked_hdf5),
    "csv": (CSVData, make_text("x.csv", "a,b\n" + "".join(f'{i},"q {i}\n"\n' for i in range(50)))),
    "text": (TextLineData, make_text("x.txt", "".join(f"line {i}\n" for i in range(50)))),
    "svmlight": (SVMLightData, make_text("x.svm", "".join(f"{i} 1:2 {i + 2}:0.5\n" for i in range(50)))),
}


@pytest.mark.parametrize("kind", list(CASES))
def test_what_the_local_file_gives(s3, tmp_path, kind):
    source, make = CASES[kind]
    path = make(tmp_path)
    local = list(source(path))
    ds = source(s3.put(path))
    assert len(ds) == len(local)
    same([ds.get(7), ds.get(len(local) - 1), ds.get(0)], [local[7], local[-1], local[0]])
    same(list(ds), local)
    same(list(source(s3.put(path), shuffle=True, seed=4)), list(source(path, shuffle=True, seed=4)))
    with http_folder(path.parent) as url:
        same(list(source(f"{url}/{path.name}")), local)
    put(path, f"memory://far-{os.getpid()}/{path.name}")
    same(list(source(f"memory://far-{os.getpid()}/{path.name}")), local)
    same(list(source(f"file://{path}")), local)


@pytest.mark.parametrize("kind", ["tfrecord", "lmdb", "npz", "csv", "parquet"])
@pytest.mark.parametrize("memory", [False, True])
def test_the_same_data_from_workers(s3, tmp_path, kind, memory):
    source, make = CASES[kind]
    path = make(tmp_path)
    local = list(source(path, shuffle=True, seed=1))
    url = s3.put(path)
    if memory:
        url = f"memory://workers-{os.getpid()}/{path.name}"
        put(path, url)
    ds = PrefetchData(source(url, shuffle=True, seed=1), num_prefetch=4, num_proc=2)
    same(list(ds), local)


@pytest.mark.parametrize("num_proc", [0, 1, 2])
def test_a_flow_goes_on_in_mid_epoch(s3, tmp_path, num_proc):
    url = s3.put(CASES["tar"][1](tmp_path))

    def make():
        return PrefetchData(TarData(url, shuffle=True, seed=2), num_prefetch=4, num_proc=num_proc)

    whole, ds = list(make()), make()
    walk = iter(ds)
    before = [next(walk) for _ in range(15)]
    state = ds.state_dict()
    walk.close()
    again = make()
    again.load_state_dict(state)
    same(before + list(again), whole)


def test_shards_by_a_pattern_and_by_a_list(s3, tmp_path):
    for number in range(3):
        path = write(DataFromList([[number, i] for i in range(5)]), tmp_path / f"{number}.tfrecord", progress=False)
        s3.put(Path(path), f"shards/{number}.tfrecord")
    assert list(TFRecordData(f"{s3.url}/shards/*.tfrecord")) == [[n, i] for n in range(3) for i in range(5)]
    assert list(PrefetchData(TFRecordData(f"{s3.url}/shards/*.tfrecord"), num_proc=2)) == [
        [n, i] for n in range(3) for i in range(5)
    ]
    urls = [f"{s3.url}/shards/{number}.tfrecord" for number in (2, 0)]
    assert list(TFRecordData(urls)) == [[n, i] for n in (2, 0) for i in range(5)]
    with pytest.raises(FileNotFoundError, match=r"no TFRecord file matches 's3://.*none-\*'"):
        TFRecordData(f"{s3.url}/none-*")
    with pytest.raises(FileNotFoundError, match=r"no TFRecord file at s3://.*/shards/\*.tfrecord"):
        TFRecordData([f"{s3.url}/shards/*.tfrecord"])
    with pytest.raises(FileNotFoundError, match=r"no TFRecord file at s3://.*/7.tfrecord"):
        TFRecordData(f"{s3.url}/7.tfrecord")


@pytest.mark.parametrize("kind", ["tfrecord", "tar", "npz", "npy"])
def test_a_few_records_are_ranges_and_the_index_is_kept(s3, tmp_path, kind):
    rows = np.random.default_rng(0).integers(0, 255, (40, 200_000), np.uint8)
    source = {"tfrecord": TFRecordData, "tar": TarData, "npz": NpzData}.get(kind, NpzData)
    if kind == "npy":
        path = tmp_path / "x.npy"
        np.save(path, rows)
    else:
        path = Path(write(DataFromList([{"a": row} for row in rows]), tmp_path / f"x.{kind}", progress=False))
    url = s3.put(path)
    len(source(url))
    shutil.rmtree(tmp_path / "cache", ignore_errors=True) if kind in ("npz", "npy") else [
        blocks.unlink() for blocks in (tmp_path / "cache").glob("*/*blocks*")
    ]
    s3.proxy.reset()
    ds = source(url)
    for index in (30, 3):
        np.testing.assert_array_equal(first(ds.get(index)), rows[index])
    assert s3.proxy.sent < 2_500_000  # of 8 MB
    s3.proxy.reset()
    np.testing.assert_array_equal(first(source(url).get(30)), rows[30])
    assert s3.proxy.sent < 300_000


@pytest.mark.parametrize("kind", ["tfrecord", "tar", "csv", "text", "svmlight", "parquet"])
def test_of_many_files_the_first_that_is_damaged_is_told(s3, tmp_path, kind):
    source, make = CASES[kind]
    path = make(tmp_path)
    urls = [s3.put(path, f"{number}{path.suffix}") for number in range(6)]
    same(list(source(urls)), 6 * list(source(path)))
    path.write_bytes(b"")
    for number in (2, 4):
        s3.put(path, f"{number}{path.suffix}")
    try:
        found = list(source(urls))
    except FormatError as error:
        assert urls[2] in str(error)
    else:
        assert kind in ("text", "svmlight", "tfrecord") and found  # an empty file is one without lines or records


def test_an_index_is_made_anew_for_a_changed_object(s3, tmp_path):
    path = Path(write(DataFromList([[1], [2]]), tmp_path / "x.tfrecord", progress=False))
    url = s3.put(path)
    assert list(TFRecordData(url)) == [[1], [2]]
    s3.put(Path(write(DataFromList([[3]]), tmp_path / "y.tfrecord", progress=False)), "x.tfrecord")
    assert list(TFRecordData(url)) == [[3]]


@pytest.mark.parametrize("fault", ["503", "break", "short"])
@pytest.mark.parametrize("kind", ["tfrecord", "npz", "lmdb", "csv", "parquet"])
def test_faults_that_pass_change_nothing(s3, tmp_path, kind, fault):
    source, make = CASES[kind]
    path = make(tmp_path)
    url = s3.put(path)
    s3.proxy.first(2, fault)
    same(list(source(url)), list(source(path)))


@pytest.mark.parametrize("kind", ["tfrecord", "npz", "chunked hdf5", "lmdb", "csv", "tar", "parquet"])
def test_faults_that_stay_are_one_error_that_names_the_object(s3, tmp_path, kind):
    source, make = CASES[kind]
    url = s3.put(make(tmp_path))
    set_remote_storage(attempts=2)
    s3.proxy.always("break")
    with pytest.raises(StorageError, match=rf"{url}.*tried 2 times"):
        source(url).get(0)


@pytest.mark.parametrize("kind", list(CASES))
def test_what_is_damaged_is_named_by_its_url(s3, tmp_path, kind):
    source, make = CASES[kind]
    path = make(tmp_path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    wrong = bytes(byte ^ 0xA5 for byte in whole[middle - 40 : middle + 40])
    for damaged in (whole[:middle], b"none of it" * 9, whole[: middle - 40] + wrong + whole[middle + 40 :]):
        path.write_bytes(damaged)
        url = s3.put(path)
        try:
            list(source(url))
        except DataFlowError as error:
            assert url in str(error) and str(tmp_path) not in str(error)


def test_an_error_reaches_the_consumer_from_a_worker(s3, tmp_path):
    url = s3.put(CASES["tfrecord"][1](tmp_path))
    len(TFRecordData(url))
    shutil.rmtree(tmp_path / "cache")
    set_remote_storage(attempts=2)
    s3.proxy.always("503")
    with pytest.raises(StorageError, match=rf"{url}.*tried 2 times"):
        list(PrefetchData(TFRecordData(url), num_prefetch=2, num_proc=1))


# -- pictures and files


@pytest.fixture
def pictures(s3, tmp_path):
    rng = np.random.default_rng(1)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        ending = ["jpg", "png", "bmp", "jpg", "tif"][number]
        cv2.imwrite(str(folder / f"{number}.{ending}"), rng.integers(0, 255, (20, 30, 3), np.uint8))
        s3.put(folder / f"{number}.{ending}", f"photos/{number}.{ending}")
    (folder / "notes.txt").write_text("x")
    s3.put(folder / "notes.txt", "photos/notes.txt")
    return folder, f"{s3.url}/photos"


def test_pictures(s3, pictures):
    folder, url = pictures
    local = list(ImageFromFile(folder))
    same(list(ImageFromFile(url)), local)
    same(list(ImageFromFile(f"{url}/*.jpg")), [local[0], local[3]])
    same(list(ImageFromFile(f"{folder}/*.jpg")), [local[0], local[3]])
    same(list(ImageFromFile([f"{url}/3.jpg", str(folder / "1.png")])), [local[3], local[1]])
    same(list(ImageFromFile(url, resize=10, channel=1)), list(ImageFromFile(folder, resize=10, channel=1)))
    ds = ImageFromFile(url, shuffle=True, seed=3)
    expected = list(ImageFromFile(folder, shuffle=True, seed=3))
    same(list(PrefetchData(ds, num_prefetch=2, num_proc=2)), expected)
    with pytest.raises(DataFlowError, match=rf"{url}/9.jpg does not exist"):
        ImageFromFile([f"{url}/0.jpg", f"{url}/9.jpg"])
    with pytest.raises(DataFlowError, match=r"none.* is no folder"):
        ImageFromFile(f"{s3.url}/none")


def test_broken_pictures_are_skipped_and_unreached_ones_are_not(s3, pictures, tmp_path):
    folder, url = pictures
    (tmp_path / "broken.jpg").write_bytes((folder / "0.jpg").read_bytes()[:300])
    s3.put(tmp_path / "broken.jpg", "photos/5.jpg")
    ds = ImageFromFile(url, on_error="skip")
    assert ds.skipped == [f"{url}/5.jpg"]
    same(list(ds), list(ImageFromFile(folder)))
    set_remote_storage(attempts=2)
    s3.proxy.always("503", match="1.png")
    with pytest.raises(StorageError, match=r"1.png.*tried 2 times"):
        list(ds)
    with pytest.raises(StorageError, match=r"1.png.*tried 2 times"):
        ImageFromFile(url, on_error="skip")


def test_files_and_classes(s3, pictures, tmp_path):
    _, url = pictures
    ds = DataFromFiles(f"{url}/*.jpg", labels="folder")
    assert list(ds) == [[f"{url}/0.jpg", 0], [f"{url}/3.jpg", 0]]
    assert ds.classes == ["photos"]
    assert list(DataFromFiles([f"{url}/3.jpg"])) == [[f"{url}/3.jpg"]]
    for wrong, said in [(f"{url}/*.gif", "no file fits"), ([f"{url}/9.jpg"], "does not exist"), (url, "is a folder")]:
        with pytest.raises(DataFlowError, match=said):
            DataFromFiles(wrong)
    flowers = tmp_path / "flowers"
    for name, color in [("rose/1.png", 10), ("daisy/2.png", 20), ("daisy/deep/3.png", 30)]:
        (flowers / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(flowers / name), np.full((4, 4, 3), color, np.uint8))
        s3.put(flowers / name, f"flowers/{name}")
    far, here = ImageFolder(f"{s3.url}/flowers"), ImageFolder(flowers)
    assert (far.classes, far.labels) == (here.classes, here.labels)
    same(list(far), list(here))


def test_a_list_of_files_of_an_otbtf_folder(s3, tmp_path):
    rows = [{"x": np.full((2, 3), i, np.float32), "y": np.int64(i)} for i in range(7)]
    local = write(DataFromList(rows), tmp_path / "shards", "otbtf", per_file=3, progress=False)
    url = write(DataFromList(rows), f"{s3.url}/shards", "otbtf", per_file=3, progress=False)
    same(list(OTBTFData(url)), list(OTBTFData(local)))
    write(DataFromList(rows[:2]), url, "otbtf", per_file=3, progress=False, overwrite=True)
    assert s3.names() == ["shards/0.records", "shards/output_shape.json", "shards/output_types.json"]


# -- writers


@pytest.mark.parametrize("ending", [".tfrecord", ".tar", ".npz", ".h5", ".lmdb", ".parquet"])
def test_what_is_written_is_read_again(s3, ending):
    source = CASES[{".h5": "hdf5"}.get(ending, ending[1:])][0]
    url = write(DataFromList(datapoints()), f"{s3.url}/folder/x{ending}", progress=False)
    assert url == f"{s3.url}/folder/x{ending}"
    same(list(source(url)), datapoints())
    with pytest.raises(DataFlowError, match=r"exists: pass overwrite=True"):
        write(DataFromList(datapoints()), url, progress=False)
    write(DataFromList(datapoints(3)), url, progress=False, overwrite=True)
    same(list(source(url)), datapoints(3))


def test_a_write_that_fails_leaves_nothing_there_and_goes_on(s3):
    made = []

    def make(datapoint):
        made.append(datapoint[0])
        if len(made) == 7:
            raise ValueError("the seventh")
        return datapoint

    ds = MapData(DataFromList([[i] for i in range(10)]), make)
    url = f"{s3.url}/x.tfrecord"
    with pytest.raises(ValueError, match="the seventh"):
        write(ds, url, progress=False, commit_every=2)
    assert s3.names() == []
    set_remote_storage(attempts=2)
    s3.proxy.always("503", "PUT")
    with pytest.raises(StorageError, match=rf"cannot write {url}"):
        write(ds, url, progress=False, commit_every=2)
    assert s3.names() == []
    s3.proxy.reset()
    write(ds, url, progress=False)
    assert made == [*range(7), *range(6, 10)]
    assert list(TFRecordData(url)) == [[i] for i in range(10)]


@pytest.mark.parametrize(("rows", "factor"), [(10, 2), (10, 3), (9, 2)])
def test_a_complete_file_that_could_not_be_sent_is_not_sent_as_another(s3, rows, factor, caplog):
    def build(rows, factor):
        return MapData(DataFromList([[i] for i in range(rows)]), lambda dp: [dp[0] * factor])

    url = f"{s3.url}/x.tfrecord"
    set_remote_storage(attempts=1)
    s3.proxy.always("503", "PUT")
    with pytest.raises(StorageError, match="cannot write"):
        write(build(10, 2), url, progress=False)
    s3.proxy.reset()
    ds = build(rows, factor)
    if (rows, factor) == (10, 2):
        write(ds, url, progress=False)
        assert "could not be sent before" in caplog.text
    else:
        with pytest.raises(DataFlowError, match=r"is of another flow.*resume=False"):
            write(ds, url, progress=False)
        write(ds, url, progress=False, resume=False)
    assert list(TFRecordData(url)) == list(ds)


def test_records_written_one_by_one(s3):
    url = f"{s3.url}/two.tfrecord"
    with TFRecordWriter(url) as writer:
        writer.write(b"one")
        writer.write(b"two")
    assert list(TFRecordData(url)) == [[b"one"], [b"two"]]
    with pytest.raises(ZeroDivisionError), TFRecordWriter(f"{s3.url}/half.tfrecord") as writer:
        writer.write(b"one")
        raise ZeroDivisionError
    assert s3.names() == ["two.tfrecord"]


# -- errors of use


def test_errors_of_use(s3, tmp_path):
    with pytest.raises(DataFlowError, match=r"the folder of CacheData is a path of this machine, got 's3://"):
        CacheData(DataFromList([[1]]), "s3://bucket/cache")
    with pytest.raises(DataFlowError, match=r"give the URL as a string"):
        TFRecordData(Path("s3://bucket/x.tfrecord"))
    with pytest.raises(DataFlowError, match=r"xyz://x: .*Protocol not known: xyz"):
        TFRecordData("xyz://x")
    (tmp_path / "x.tfrecord").write_bytes(b"no record at all")
    url = s3.put(tmp_path / "x.tfrecord")
    with pytest.raises(FormatError, match=rf"{url}, record 0, byte 0: not a TFRecord"):
        len(TFRecordData(url))


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingPackage, match=r"pip install 'flowtrain\[remote-files\]'"):
        TFRecordData("gs://bucket/x.tfrecord")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingPackage, match=r"pip install 'flowtrain\[remote-files\]'"):
        TFRecordData("s3://bucket/x.tfrecord")
