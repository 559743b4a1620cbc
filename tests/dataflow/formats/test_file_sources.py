"""Every public source of files and data sets keeps the contract of a flow; new ones must be listed here."""

from __future__ import annotations

import inspect
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from flowtrain import dataflow
from flowtrain.dataflow import DataFlow, DataFromList, datasets, formats
from flowtrain.dataflow.formats import TFRecordWriter, encode_example, encode_tensor, write

N = 23
DIGITS = Path(__file__).parents[1] / "datasets" / "data" / "mnist"
POINTS = DataFromList([{"x": np.full(2, i), "i": i} for i in range(N)])


def text(path, line):
    path.write_text("".join(line(i) for i in range(N)))
    return path


def records(path, record):
    with TFRecordWriter(path) as writer:
        for i in range(N):
            writer.write(record(i))
    return path


def otbtf(folder, **options):
    folder = folder / "otbtf"
    folder.mkdir()
    records(folder / "0.records", lambda i: encode_example({"x": encode_tensor(np.float32([i]))}))
    (folder / "output_types.json").write_text(json.dumps({"x": "float32"}))
    (folder / "output_shapes.json").write_text(json.dumps({"x": [1]}))
    return formats.OTBTFData(folder, **options)


def noise2noise(folder, **options):
    path = records(folder / "n.records", lambda i: encode_example({"shape": [3, 1, 1], "data": bytes([i, i, i])}))
    return formats.Noise2NoiseData(path, **options)


def written(kind, ending):
    return lambda tmp, **options: kind(write(POINTS, tmp / f"x{ending}", progress=False), **options)


def hub(tmp, **options):
    import datasets as library

    library.Dataset.from_dict({"x": list(range(N))}).save_to_disk(tmp / "hub")
    return formats.DataFromHuggingFace(library.load_from_disk(tmp / "hub"), **options)


SOURCES = {
    "CSVData": lambda tmp, **o: formats.CSVData(text(tmp / "x.csv", lambda i: f"{i},t{i}\n"), header=False, **o),
    "HDF5Data": written(formats.HDF5Data, ".h5"),
    "LMDBData": written(formats.LMDBData, ".lmdb"),
    "NpzData": written(formats.NpzData, ".npz"),
    "ParquetData": written(formats.ParquetData, ".parquet"),
    "Noise2NoiseData": noise2noise,
    "OTBTFData": otbtf,
    "SVMLightData": lambda tmp, **o: formats.SVMLightData(text(tmp / "x.svm", lambda i: f"{i} 1:{i}\n"), **o),
    "DataFromHuggingFace": hub,
    "TFRecordData": written(formats.TFRecordData, ".tfrecord"),
    "TarData": written(formats.TarData, ".tar"),
    "TextLineData": lambda tmp, **o: formats.TextLineData(text(tmp / "x.txt", lambda i: f"line {i}\n"), **o),
    "Mnist": lambda tmp, **o: datasets.Mnist("train", folder=DIGITS, **o),
    "FashionMnist": lambda tmp, **o: datasets.FashionMnist("test", folder=DIGITS, **o),
}
# built from made-up archives, and read, in the tests of data sets and of rasters; all stand on the same base
ELSEWHERE = {"PatchesImages", "BSDS500", "Cifar10", "Cifar100", "ILSVRC12", "ILSVRC12Files", "SVHNDigit"}


def test_every_public_source_is_checked():
    public = {
        name
        for module in (formats, datasets)
        for name in module.__all__
        if inspect.isclass(getattr(module, name)) and issubclass(getattr(module, name), DataFlow)
    }
    assert public == SOURCES.keys() | ELSEWHERE


@pytest.mark.parametrize("name", SOURCES)
def test_contract(name, tmp_path, same):
    ds = SOURCES[name](tmp_path, shuffle=True, seed=3)
    assert ds.indexable and name in repr(ds)
    first, second = list(ds), list(ds)
    size = len(ds)
    assert len(first) == len(second) == size
    assert sorted(map(repr, first)) == sorted(map(repr, second))
    assert list(map(repr, first)) != list(map(repr, second))
    same(second, [ds.get(i, 1) for i in range(size)])

    fresh = pickle.loads(pickle.dumps(ds))  # as in another process: no handle travels
    walk = iter(ds)
    for _ in range(size // 3):
        next(walk)
    fresh.load_state_dict(json.loads(json.dumps(ds.state_dict())))
    same(list(walk), list(fresh))
    same(list(ds), list(fresh))

    for wrong in (-1, size):
        with pytest.raises(IndexError, match=f"{size} datapoints"):
            ds.get(wrong)
    if ds.vectorized:
        columns = ds.get_batch(np.arange(size), 1)
        assert len(columns) == len(second[0])
        assert all(len(columns[key]) == size for key in (columns if isinstance(columns, dict) else [0]))


@pytest.mark.parametrize("name", SOURCES)
def test_arguments_are_checked(name, tmp_path):
    with pytest.raises(ValueError, match="shuffle"):
        SOURCES[name](tmp_path, shuffle="yes")


def test_sources_are_names_of_dataflow():
    classes = [
        name
        for name in formats.__all__
        if inspect.isclass(value := getattr(formats, name)) and issubclass(value, DataFlow)
    ]
    assert [name for name in classes if getattr(dataflow, name, None) is not getattr(formats, name)] == []
