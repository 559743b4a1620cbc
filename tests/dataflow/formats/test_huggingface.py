"""Datasets of Hugging Face: values beside those of the library, rows by index, workers, and what is refused."""

from __future__ import annotations

import datetime
import io
import json

import cloudpickle
import numpy as np
import pytest
from PIL import Image

from flowtrain.dataflow import BatchData, DataFromHuggingFace, PrefetchData
from flowtrain.utils.errors import DataFlowError, FormatError

datasets = pytest.importorskip("datasets", reason="the extra huggingface is a part of dev")

ROWS = 30


def picture(number, mode="RGB"):
    size = (5, 7) if mode == "L" else (5, 7, 3)
    return np.random.default_rng(number).integers(0, 256, size, np.uint8)


def encoded(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A dataset on disk, in two files."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "mask": datasets.Image(mode="L"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "grid": datasets.Array2D((2, 3), "float32"),
            "frames": datasets.Array3D((None, 2, 2), "int16"),
            "tokens": datasets.List(datasets.Value("int32")),
            "words": datasets.List(datasets.Value("string")),
            "box": {"x": datasets.Value("float16"), "name": datasets.Value("string")},
            "crops": datasets.List(datasets.Image()),
            "when": datasets.Value("timestamp[ms]"),
            "small": datasets.Value("uint8"),
            "flag": datasets.Value("bool"),
            "raw": datasets.Value("binary"),
        }
    )

    def make():
        for n in range(ROWS):
            yield {
                "image": encoded(picture(n)),
                "mask": encoded(picture(n, "L")),
                "label": n % 2,
                "grid": np.full((2, 3), n, np.float32),
                "frames": np.full((n % 3 + 1, 2, 2), n, np.int16),
                "tokens": list(range(n % 4)),
                "words": [f"w{n}"] * (n % 3),
                "box": {"x": n / 2, "name": str(n)},
                "crops": [encoded(picture(n + i)) for i in range(n % 3)],
                "when": datetime.datetime(2020, 1, 1) + datetime.timedelta(n),
                "small": n,
                "flag": n % 3 == 0,
                "raw": b"\0" * n,
            }

    folder = tmp_path_factory.mktemp("hub")
    rows = list(make())
    whole = datasets.Dataset.from_dict({key: [row[key] for row in rows] for key in features}, features=features)
    whole.save_to_disk(folder, num_shards=2)
    return datasets.load_from_disk(folder)


def row(n):
    return {
        "image": picture(n),
        "mask": picture(n, "L")[:, :, None],
        "label": np.int64(n % 2),
        "grid": np.full((2, 3), n, np.float32),
        "frames": np.full((n % 3 + 1, 2, 2), n, np.int16),
        "tokens": np.arange(n % 4, dtype=np.int32),
        "words": [f"w{n}"] * (n % 3),
        "box": {"x": np.float16(n / 2), "name": str(n)},
        "crops": [picture(n + i) for i in range(n % 3)],
        "when": np.datetime64("2020-01-01", "ms") + np.timedelta64(n, "D"),
        "small": np.uint8(n),
        "flag": np.bool_(n % 3 == 0),
        "raw": b"\0" * n,
    }


def test_rows_have_the_features_values(saved, same):
    ds = DataFromHuggingFace(saved)
    expected = [row(n) for n in range(ROWS)]
    assert len(ds) == ROWS
    same(expected, list(ds))
    same(expected[::-4], [ds.get(n) for n in range(ROWS - 1, -1, -4)])
    assert all(np.array_equal(np.asarray(saved[n]["image"]), ds.get(n)["image"]) for n in range(3))


def test_what_the_dataset_selects_counts(saved, same):
    for chosen in (
        saved.select([3, 1, 20]),
        saved.shuffle(seed=1),
        saved.train_test_split(5, seed=0)["test"],
        saved.select(range(4, 9)),
        saved.filter(lambda n: n % 7 == 0, input_columns="small"),
        datasets.concatenate_datasets([saved, saved.select([2, 0])]),
    ):
        numbers = chosen["small"][:]
        ds = DataFromHuggingFace(chosen)
        same([row(n) for n in numbers], list(ds))
        columns = DataFromHuggingFace(chosen, ["label", "small"])
        assert columns.vectorized
        (batch,) = BatchData(columns, len(numbers))
        assert batch["small"].tolist() == list(numbers) and batch["label"].dtype == np.int64
    same([{"raw": b"", "small": np.uint8(0)}], [DataFromHuggingFace(saved, ["raw", "small"]).get(0)])
    assert list(DataFromHuggingFace(saved.select_columns(["flag", "label"])).get(0)) == ["flag", "label"]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_in_workers_which_map_the_files_again(saved, same, workers):
    chosen = saved.select([5, 7, 2, 19, 4, 11])
    serial = DataFromHuggingFace(chosen, shuffle=True)
    parallel = PrefetchData(DataFromHuggingFace(chosen, shuffle=True), num_proc=workers)
    same([list(serial), list(serial)], [list(parallel), list(parallel)])
    assert len(cloudpickle.dumps(DataFromHuggingFace(saved))) < 20_000  # not the rows


def test_a_position_is_an_index(saved, same):
    reference = DataFromHuggingFace(saved, shuffle=True)
    epoch = list(reference)
    ds = DataFromHuggingFace(saved, shuffle=True)
    iterator = iter(ds)
    for _ in range(11):
        next(iterator)
    resumed = DataFromHuggingFace(saved, shuffle=True)
    resumed.load_state_dict(json.loads(json.dumps(ds.state_dict())))
    same(epoch[11:], list(resumed))


def test_a_dataset_in_memory_travels(same):
    dataset = datasets.Dataset.from_dict({"x": list(range(20)), "y": [[n] * n for n in range(20)]})
    serial = list(DataFromHuggingFace(dataset))
    assert serial[3]["x"] == 3 and serial[3]["y"].tolist() == [3, 3, 3]
    same(serial, list(PrefetchData(DataFromHuggingFace(dataset), num_proc=2)))


def test_none_is_an_error_unless_it_is_said_what_stands_there(same):
    dataset = datasets.Dataset.from_dict({"x": [2**53 + 1, None], "s": ["a", None], "l": [[1, None], None]})
    ds = DataFromHuggingFace(dataset, ["x"])
    assert ds.get(0)["x"] == 2**53 + 1
    with pytest.raises(DataFlowError, match=r"DataFromHuggingFace\(x\), row 1: 'x' has no value .*missing="):
        list(ds)
    with pytest.raises(DataFlowError, match="row 1"):
        list(BatchData(ds, 2))
    filled = list(DataFromHuggingFace(dataset, missing={"x": -1, "s": None, "l": [], "l[]": 7}))
    same({"x": np.int64(2**53 + 1), "s": "a", "l": np.array([1, 7])}, filled[0])
    same({"x": np.int64(-1), "s": None, "l": np.array([], np.int64)}, filled[1])
    with pytest.raises(DataFlowError, match="no such column"):
        DataFromHuggingFace(dataset, missing={"z": 0})


def test_pictures_that_the_table_has_only_the_path_of(tmp_path, same):
    Image.fromarray(picture(3)).save(tmp_path / "a.png")
    paths = [str(tmp_path / "a.png"), str(tmp_path / "gone.png")]
    dataset = datasets.Dataset.from_dict({"image": paths}).cast_column("image", datasets.Image())
    ds = DataFromHuggingFace(dataset)
    same({"image": picture(3)}, ds.get(0))
    with pytest.raises(FormatError, match=r"row 1, column 'image': .*no file is at .*gone.png"):
        ds.get(1)
    gray = DataFromHuggingFace(dataset, decode={"image": lambda cell: cell["path"]})
    assert gray.get(1)["image"] == paths[1]


def test_decode_by_column(saved, same):
    ds = DataFromHuggingFace(saved, ["image", "small"], decode={"image": "gray", "small": float})
    assert ds.get(0)["image"].shape == (5, 7, 1) and type(ds.get(4)["small"]) is float
    undecoded = saved.cast_column("image", datasets.Image(decode=False)).select_columns(["image"])
    same({"image": encoded(picture(2))}, DataFromHuggingFace(undecoded).get(2))
    same({"image": picture(2)}, DataFromHuggingFace(undecoded, decode={"image": "image"}).get(2))


def test_what_is_refused_and_what_to_write_instead(saved):
    with pytest.raises(DataFlowError, match=r"one split, .* of 'train', 'test': write dataset\['train'\]"):
        DataFromHuggingFace(datasets.DatasetDict({"train": saved, "test": saved}))
    with pytest.raises(DataFlowError, match=r"streaming=False, or .*DataFromGenerator"):
        DataFromHuggingFace(saved.to_iterable_dataset())
    with pytest.raises(DataFlowError, match=r"takes a datasets\.Dataset, got list"):
        DataFromHuggingFace([1])
    with pytest.raises(DataFlowError, match=r"the format 'numpy'.*with_format\(None\)"):
        DataFromHuggingFace(saved.with_format("numpy"))
    with pytest.raises(DataFlowError, match=r"has a transform.*MapData"):
        DataFromHuggingFace(saved.with_transform(lambda batch: batch))
    with pytest.raises(DataFlowError, match=r"no column 'lable'. Did you mean 'label'"):
        DataFromHuggingFace(saved, ["lable"])
    sounds = datasets.Dataset.from_dict({"sound": [b"RIFF"]}).cast_column("sound", datasets.Audio(decode=True))
    with pytest.raises(DataFlowError, match=r"'sound' is Audio.*Audio\(decode=False\)"):
        DataFromHuggingFace(sounds)


def test_a_batch_of_no_rows_has_the_dtypes_of_the_columns():
    part = datasets.Dataset.from_dict({"x": [1, 2], "text": ["a", "b"]})
    for dataset in (part, datasets.concatenate_datasets([part, part])):  # a column in one piece, and in two
        batch = DataFromHuggingFace(dataset).get_batch(np.empty(0, np.int64))
        assert {name: (cells.dtype, cells.shape) for name, cells in batch.items()} == {
            "x": (np.dtype(np.int64), (0,)),
            "text": (np.dtype(object), (0,)),
        }
