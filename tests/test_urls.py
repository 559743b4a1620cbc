"""Every public name that takes a path takes a URL, or refuses it in one sentence that says what to do instead."""

from __future__ import annotations

import gzip
import importlib
import inspect
import tarfile
from pathlib import Path

import click
import cv2
import keras
import numpy as np
import pytest
import scipy.io

import flowtrain as ft
from flowtrain import cli
from flowtrain.cli.options import LocalPath
from flowtrain.dataflow import datasets
from flowtrain.dataflow.datasets.fetch import DownloadError
from flowtrain.dataflow.formats import read_raster, write_raster
from flowtrain.dataflow.remote import RemoteData, make_keys, send_dataflow
from flowtrain.model.checkpoint_io import CheckpointWriter, read_checkpoint
from flowtrain.monitors import CurvesMonitor, TensorBoardMonitor, TimelineMonitor, plot_history, read_jsonl
from flowtrain.predict import get_model_loader, load_predictor, read_weights
from flowtrain.report import RunFolder, find_runs, runs_table, watch, write_report
from flowtrain.training.log_folder import FileClaims
from flowtrain.utils.errors import CheckpointError, ConfigError, DataFlowError, ExportError
from flowtrain.utils.storage import NotLocal, put, put_folder, read_all, set_remote_storage

from .training.helpers import Classifier, config

ROOT = Path(ft.__file__).parent
NAMES = {"path", "file", "files", "folder", "dir", "filename", "log_dir", "url", "key", "cache"}
ROWS = [[float(number), number] for number in range(6)]


def takes_path(parameter: inspect.Parameter) -> bool:
    return "Path" in str(parameter.annotation) or parameter.name in NAMES


def public() -> dict[str, object]:
    """The public functions and classes that are called with a path."""
    found = {}
    for stub in ROOT.rglob("__init__.pyi"):
        package = importlib.import_module(".".join(stub.parent.relative_to(ROOT.parent).parts))
        for name in package.__all__:
            value = getattr(package, name)
            try:
                parameters = inspect.signature(value).parameters.values()
            except (TypeError, ValueError):  # no callable, or one of Python's own: exceptions
                continue
            if any(map(takes_path, parameters)):
                found[name] = value
    return found


@pytest.fixture
def far(tmp_path, storage_cache):
    """Puts files and folders to URLs, and gives those."""

    class Far:
        url = f"memory://{tmp_path.name}"

        def __call__(self, path: Path | str) -> str:
            path = Path(path)
            url = f"{self.url}/{path.name}"
            put_folder(path, url) if path.is_dir() else put(path, url)
            return url

    return Far()


# -- what takes a URL: given the fixture and an empty folder, each reads or writes one


def written(far, folder, ending):
    return far(ft.write(ft.DataFromList(ROWS), folder / f"rows{ending}", progress=False))


def source(name, ending):
    def run(far, folder):
        assert list(getattr(ft, name)(written(far, folder, ending))) == ROWS

    return run


def text_source(name, text):
    def run(far, folder):
        (folder / "x").write_text(text)
        assert len(getattr(ft, name)(far(folder / "x"))) == 2

    return run


def pictures(far, folder):
    for name in ("a/1.png", "b/2.png"):
        (folder / "photos" / name).parent.mkdir(parents=True)
        cv2.imwrite(str(folder / "photos" / name), np.full((4, 5, 3), 7, np.uint8))
    return far(folder / "photos")


def run_data_from_files(far, folder):
    assert len(ft.DataFromFiles(f"{pictures(far, folder)}/*/*.png")) == 2


def run_image_folder(far, folder):
    assert [label for _, label in ft.ImageFolder(pictures(far, folder))] == [0, 1]


def run_image_from_file(far, folder):
    ((picture,),) = ft.ImageFromFile([f"{pictures(far, folder)}/a/1.png"])
    assert picture.shape == (4, 5, 3)


def run_otbtf(far, folder):
    rows = [{"x": np.full(2, number, np.float32)} for number in range(3)]
    url = ft.write(ft.DataFromList(rows), f"{far.url}/shards", "otbtf", progress=False)
    assert len(ft.OTBTFData(url)) == 3


def run_noise2noise(far, folder):
    with pytest.raises(FileNotFoundError, match=f"{far.url}/none"):
        ft.Noise2NoiseData(f"{far.url}/none.tfrecords")


def run_raster(far, folder):
    values = np.arange(24, dtype=np.uint16).reshape(4, 3, 2)
    write_raster(f"{far.url}/x.tif", values)
    np.testing.assert_array_equal(read_raster(f"{far.url}/x.tif"), values)


def run_patches(far, folder):
    values = np.arange(128, dtype=np.uint8).reshape(16, 8, 1)  # two patches, one under the other
    write_raster(f"{far.url}/x.tif", values)
    assert len(ft.PatchesImages({"x": f"{far.url}/x.tif"})) == 2


def run_writer(far, folder):
    with ft.TFRecordWriter(f"{far.url}/x.tfrecord") as writer:
        writer.write(b"one")
    assert list(ft.TFRecordData(f"{far.url}/x.tfrecord")) == [[b"one"]]


def run_write(far, folder):
    assert list(ft.NpzData(ft.write(ft.DataFromList(ROWS), f"{far.url}/x.npz", progress=False))) == ROWS


def run_show(far, folder):
    assert ft.show(ft.FakeData([(8, 8, 3)], 2), f"{far.url}/sheet.png") == f"{far.url}/sheet.png"
    assert cv2.imdecode(np.frombuffer(read_all(f"{far.url}/sheet.png"), np.uint8), 1) is not None
    ft.show(ft.FakeData([(8, 8, 3)], 2), f"{far.url}/sheet.html")
    assert read_all(f"{far.url}/sheet.html").startswith(b"<!doctype html>")


def run_plot(far, folder):
    assert plot_history({"cost": [(1, 2.0), (2, 1.0)]}, f"{far.url}/curves.svg") == f"{far.url}/curves.svg"
    assert b"<svg" in read_all(f"{far.url}/curves.svg")


def run_read_jsonl(far, folder):
    (folder / "run").mkdir()
    (folder / "run" / "metrics.jsonl").write_text('{"step": 1, "cost": 2.0}\n')
    for url in (far(folder / "run"), f"{far.url}/run/metrics.jsonl"):
        assert read_jsonl(url) == {"cost": [(1, 2.0)]}


def run_report(far, folder):
    (folder / "run").mkdir()
    (folder / "run" / "metrics.jsonl").write_text('{"step": 1, "cost": 2.0}\n')
    assert write_report([folder / "run"], f"{far.url}/report.html") == f"{far.url}/report.html"
    assert b"<html" in read_all(f"{far.url}/report.html")
    with pytest.raises(NotLocal, match="Copy it here first"):
        write_report([f"{far.url}/run"], folder / "report.html")


# data sets


def write_idx(path, array):
    path.parent.mkdir(exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + array.tobytes()))


def idx_folder(far, folder):
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        write_idx(folder / "digits" / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 255, (3, 28, 28), np.uint8))
        write_idx(folder / "digits" / f"{part}-labels-idx1-ubyte.gz", np.arange(3, dtype=np.uint8))
    return far(folder / "digits")


def idx_set(name):
    def run(far, folder):
        url = idx_folder(far, folder)
        kind = getattr(datasets, name)
        assert [label for _, label in kind("test", folder=url)] == [0, 1, 2]
        assert [label for _, label in ft.PrefetchData(kind("train", folder=url), num_proc=1)] == [0, 1, 2]
        with pytest.raises(DownloadError, match=f"is not in {far.url}/none: get http.* and put it there"):
            kind("test", folder=f"{far.url}/none")

    return run


def run_read_idx(far, folder):
    assert datasets.read_idx(f"{idx_folder(far, folder)}/train-labels-idx1-ubyte.gz").tolist() == [0, 1, 2]


def cifar(name, inside, member, label_bytes):
    def run(far, folder):
        row = bytes([1] * label_bytes) + bytes(3072)
        (folder / "set" / inside).mkdir(parents=True)
        (folder / "set" / inside / member).write_bytes(2 * row)
        packed = folder / "packed"
        packed.mkdir()
        archive = {"Cifar10": "cifar-10-binary.tar.gz", "Cifar100": "cifar-100-binary.tar.gz"}[name]
        with tarfile.open(packed / archive, "w:gz") as tar:
            tar.add(folder / "set" / inside, inside)
        for url in (far(folder / "set"), far(packed)):
            assert [label for _, label in getattr(datasets, name)("test", folder=url)] == [1, 1]

    return run


def run_svhn(far, folder):
    (folder / "svhn").mkdir()
    arrays = {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [10]])}
    scipy.io.savemat(folder / "svhn" / "test_32x32.mat", arrays)
    assert [label for _, label in datasets.SVHNDigit("test", folder=far(folder / "svhn"))] == [1, 0]


def run_bsds(far, folder):
    for name in ("images/test", "groundTruth/test"):
        (folder / "BSR" / name).mkdir(parents=True)
    cv2.imwrite(str(folder / "BSR" / "images" / "test" / "1.jpg"), np.zeros((4, 6, 3), np.uint8))
    truth = np.empty((1, 1), object)
    truth[0, 0] = {"Boundaries": np.ones((4, 6))}
    scipy.io.savemat(folder / "BSR" / "groundTruth" / "test" / "1.mat", {"groundTruth": truth})
    ((picture, contours),) = datasets.BSDS500("test", folder=far(folder / "BSR"))
    assert picture.shape == (4, 6, 3) and contours.min() == 1
    with pytest.raises(DataFlowError, match=f"no folder images in {far.url}/none: unpack"):
        datasets.BSDS500("test", folder=f"{far.url}/none")


def imagenet(far, folder):
    (folder / "meta").mkdir()
    for name, text in {"synsets": "n1\nn2\n", "synset_words": "n1 one\nn2 two\n", "val": "1.png 0\n2.png 1\n"}.items():
        (folder / "meta" / f"{name}.txt").write_text(text)
    (folder / "imagenet" / "val").mkdir(parents=True)
    for number in (1, 2):
        cv2.imwrite(str(folder / "imagenet" / "val" / f"{number}.png"), np.zeros((4, 5, 3), np.uint8))
    return far(folder / "imagenet"), datasets.ILSVRCMeta(far(folder / "meta"))


def run_ilsvrc(far, folder):
    url, meta = imagenet(far, folder)
    assert [label for _, label in datasets.ILSVRC12("val", url, meta=meta)] == [0, 1]
    assert datasets.ILSVRC12Files("val", url, meta=meta).get(1) == [f"{url}/val/2.png", 1]
    with pytest.raises(DataFlowError, match=f"no folder {far.url}/none/val"):
        datasets.ILSVRC12("val", f"{far.url}/none", meta=meta)


def run_meta(far, folder):
    assert imagenet(far, folder)[1].class_names() == ["one", "two"]


# models


def weights_of(far, folder):
    np.savez(folder / "weights.npz", **{"hidden/kernel": np.ones((6, 16), np.float32)})
    return far(folder / "weights.npz")


def run_read_weights(far, folder):
    assert read_weights(weights_of(far, folder)).keys() == {"hidden/kernel"}
    (folder / "bad.keras").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=f"^{far.url}/bad.keras cannot be read"):
        read_weights(far(folder / "bad.keras"))


def run_loader(far, folder):
    assert list(get_model_loader(weights_of(far, folder))) == ["hidden/kernel"]


def run_checkpoint(far, folder):
    writer = CheckpointWriter(folder / "run" / "checkpoints" / "step-00000003")
    writer.write({"a/b": np.arange(3.0)}, {}, {})
    writer.commit()
    url = far(folder / "run")
    for place in (url, f"{url}/checkpoints/step-00000003"):
        np.testing.assert_array_equal(read_checkpoint(place)["a/b"], np.arange(3.0))
    assert read_weights(url).keys() == {"a/b"}


def keras_model():
    return keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2, name="y")])


def run_export(far, folder):
    model, rows = keras_model(), np.ones((2, 3), np.float32)
    for name in ("model.keras", "saved"):
        url = ft.export(model, f"{far.url}/{name}")
        assert url == f"{far.url}/{name}"
        np.testing.assert_allclose(load_predictor(url)(rows)[0], model(rows), rtol=1e-5)
        with pytest.raises(ExportError, match=f"{url} exists"):
            ft.export(model, url)
    with pytest.raises(CheckpointError, match=rf"^{far.url}/weights.npz holds weights only"):
        load_predictor(weights_of(far, folder))


def run_predict_config(far, folder):
    model = keras_model()
    url = ft.export(model, f"{far.url}/w.npz")
    settings = ft.PredictConfig(keras_model(), weights=url)
    np.testing.assert_allclose(ft.OfflinePredictor(settings)(np.ones((1, 3)))[0], model(np.ones((1, 3))), rtol=1e-5)


def run_mirror(far, folder):
    ft.MirrorTo(f"{far.url}/run").fetch(folder)


TAKEN = {
    "BSDS500": run_bsds,
    "CSVData": text_source("CSVData", "a,b\n1,2\n3,4\n"),
    "Cifar10": cifar("Cifar10", "cifar-10-batches-bin", "test_batch.bin", 1),
    "Cifar100": cifar("Cifar100", "cifar-100-binary", "test.bin", 2),
    "DataFromFiles": run_data_from_files,
    "FashionMnist": idx_set("FashionMnist"),
    "HDF5Data": source("HDF5Data", ".h5"),
    "ILSVRC12": run_ilsvrc,
    "ILSVRC12Files": run_ilsvrc,
    "ILSVRCMeta": run_meta,
    "ImageFolder": run_image_folder,
    "ImageFromFile": run_image_from_file,
    "LMDBData": source("LMDBData", ".lmdb"),
    "MirrorTo": run_mirror,
    "Mnist": idx_set("Mnist"),
    "Noise2NoiseData": run_noise2noise,
    "NpzData": source("NpzData", ".npz"),
    "OTBTFData": run_otbtf,
    "ParquetData": source("ParquetData", ".parquet"),
    "PatchesImages": run_patches,
    "PredictConfig": run_predict_config,
    "SVHNDigit": run_svhn,
    "SVMLightData": text_source("SVMLightData", "1 1:2\n0 2:3\n"),
    "TFRecordData": source("TFRecordData", ".tfrecord"),
    "TFRecordWriter": run_writer,
    "TarData": source("TarData", ".tar"),
    "TextLineData": text_source("TextLineData", "one\ntwo\n"),
    "export": run_export,
    "get_model_loader": run_loader,
    "load_predictor": run_export,
    "plot_history": run_plot,
    "read_checkpoint": run_checkpoint,
    "read_idx": run_read_idx,
    "read_jsonl": run_read_jsonl,
    "read_raster": run_raster,
    "read_weights": run_read_weights,
    "show": run_show,
    "write": run_write,
    "write_raster": run_raster,
    "write_report": run_report,
}

# -- what refuses one, given the URL


REFUSED = {
    "CSVMonitor": lambda url: ft.CSVMonitor(url),
    "CacheData": lambda url: ft.CacheData(ft.DataFromList(ROWS), url),
    "CurvesMonitor": CurvesMonitor,
    "DumpTensors": lambda url: ft.DumpTensors(["x"], folder=url),
    "HumanHyperParamSetter": lambda url: ft.HumanHyperParamSetter("learning_rate", url),
    "InjectShell": lambda url: ft.InjectShell(url),
    "JSONLMonitor": lambda url: ft.JSONLMonitor(url),
    "NoOpTrainer": lambda url: ft.NoOpTrainer(config(None), resume=url),
    "RemoteData": lambda url: next(iter(RemoteData("tcp://127.0.0.1:0", key=url))),
    "RunFolder": lambda url: RunFolder(url),
    "SimpleTrainer": lambda url: ft.SimpleTrainer(config(None), resume=url),
    "TensorBoardMonitor": TensorBoardMonitor,
    "TimelineMonitor": TimelineMonitor,
    "TrainConfig": lambda url: ft.TrainConfig(model=Classifier(), log_dir=url),
    "Trainer": lambda url: ft.Trainer(config(None), resume=url),
    "find_runs": find_runs,
    "make_keys": make_keys,
    "runs_table": runs_table,
    "send_dataflow": lambda url: send_dataflow(ft.DataFromList(ROWS), "tcp://127.0.0.1:1", key=url),
    "set_remote_storage": lambda url: set_remote_storage(cache=url),
    "train": lambda url: ft.train(config(None), resume=url),
    "watch": lambda url: watch([url]),
}


def test_all_are_here():
    assert public().keys() == TAKEN.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", TAKEN)
def test_what_takes_a_url(name, far, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    TAKEN[name](far, folder)
    assert not [found for found in tmp_path.rglob("memory:*")]


@pytest.mark.parametrize("name", REFUSED)
def test_what_refuses_one(name, far, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotLocal, match=rf"is a path of this machine, got '{far.url}/x'\. [A-Z].+") as told:
        REFUSED[name](f"{far.url}/x")
    assert isinstance(told.value, ConfigError) and isinstance(told.value, DataFlowError)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


# -- commands

WITH_URL = {("data", "sheet"), ("export", "source"), ("export", "target"), ("inspect", "path"), ("predict", "source")}
WITH_URL |= {("report", "output"), ("runs", "folder")}


def test_commands():
    context = click.Context(cli.main)
    for name in cli.main.list_commands(context):
        for parameter in cli.main.get_command(context, name).params:
            if isinstance(parameter.type, LocalPath):
                with pytest.raises(
                    click.BadParameter, match=r"path of this machine, got 's3://bucket/x'. Copy it here"
                ):
                    parameter.type.convert("s3://bucket/x", parameter, context)
            elif isinstance(parameter.type, click.Path):
                assert (name, parameter.name) in WITH_URL


def test_files_in_the_folder_of_a_run(far, tmp_path):
    with pytest.raises(NotLocal, match=f"the file of a callback is a path of this machine, got '{far.url}/x'"):
        FileClaims(tmp_path).claim(f"{far.url}/x", "a callback")  # what DumpTensorAsImage(prefix=) and the like ask
