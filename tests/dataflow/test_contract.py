"""Every public flow keeps the contract: one test walks over all of them."""

from __future__ import annotations

import inspect
import json
import queue
import sys

import cloudpickle
import cv2
import numpy as np
import pandas as pd
import pytest

import flowtrain.dataflow as df
from flowtrain.dataflow import imgaug
from flowtrain.dataflow.core.chain import describe_chain
from flowtrain.utils.errors import DataFlowError, StateError

from .helpers_dataflow import Numbers, Stream, first, same

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests

N = 23
LIMIT = 60  # how much of a flow that never ends is looked at

_IMAGES = {"list": 0, "dict": "image"}
_NUMBER = {"list": 1, "dict": "number"}
_POINTS = {"list": 3, "dict": "points"}


def _shape_changing(dp):
    key = "image" if isinstance(dp, dict) else 0
    size = 2 + (dp["number"] if isinstance(dp, dict) else dp[1]) % 3
    changed = dict(dp) if isinstance(dp, dict) else list(dp)
    changed[key] = dp[key][:size]
    return changed


def _number(dp):
    return dp["number"] if isinstance(dp, dict) else dp[1]


def _renamed(dp):
    return {key + "2": value for key, value in dp.items()} if isinstance(dp, dict) else dp


def _bright(columns):
    if isinstance(columns, dict):
        return {**columns, "image": columns["image"] / np.float32(255)}
    return [columns[0] / np.float32(255), *columns[1:]]


CROP = [imgaug.RandomCrop(4), imgaug.Flip(horiz=True)]

# name -> how to build it over a flow of 23 datapoints that are lists or dicts
STAGES = {
    "AugmentImageComponent": lambda ds, kind: df.AugmentImageComponent(ds, CROP, _IMAGES[kind]),
    "AugmentImageComponents": lambda ds, kind: df.AugmentImageComponents(
        ds, CROP, index=[_IMAGES[kind]], coords_index=[_POINTS[kind]]
    ),
    "AugmentImageCoordinates": lambda ds, kind: df.AugmentImageCoordinates(ds, CROP, _IMAGES[kind], _POINTS[kind]),
    "BatchData": lambda ds, kind: df.BatchData(ds, 4, remainder=True),
    "BatchData of lists": lambda ds, kind: df.BatchData(ds, 4, use_list=True),
    "BatchDataByShape": lambda ds, kind: df.BatchDataByShape(
        df.MapData(ds, _shape_changing), 4, _IMAGES[kind], remainder=True
    ),
    "CacheData": lambda ds, kind: df.CacheData(ds),
    "CacheData shuffled": lambda ds, kind: df.CacheData(ds, shuffle=True),
    "ConcatData": lambda ds, kind: df.ConcatData([ds, Numbers(5, kind), ds]),
    "FilterData": lambda ds, kind: df.FilterData(ds, lambda dp: _number(dp) % 3),
    "FixedSizeData": lambda ds, kind: df.FixedSizeData(ds, 31),
    "FixedSizeData restarting": lambda ds, kind: df.FixedSizeData(ds, 31, keep_state=False),
    "FlatMapData": lambda ds, kind: df.FlatMapData(ds, lambda dp: [dp] * (_number(dp) % 3)),
    "InterleaveData": lambda ds, kind: df.InterleaveData([ds, Numbers(7, kind), Stream(3, kind), ds], block=2),
    "InterleaveData indexable": lambda ds, kind: df.InterleaveData([ds, Numbers(7, kind), Numbers(9, kind)], block=3),
    "JoinData": lambda ds, kind: df.JoinData([ds, df.MapData(Numbers(N, kind, first=100), _renamed)]),
    "LocallyShuffleData": lambda ds, kind: df.LocallyShuffleData(ds, 9),
    "MapData": lambda ds, kind: df.MapData(ds, lambda dp: {"all": dp} if isinstance(dp, dict) else [dp[1], dp[0]]),
    "MapData that drops": lambda ds, kind: df.MapData(ds, lambda dp: dp if _number(dp) % 5 else None, may_drop=True),
    "MapData batched": lambda ds, kind: df.MapData(ds, _bright, batched=True),
    "MapDataComponent": lambda ds, kind: df.MapDataComponent(ds, lambda x: x * 2, _NUMBER[kind]),
    "PaddedBatchData": lambda ds, kind: df.PaddedBatchData(df.MapData(ds, _shape_changing), 4, remainder=True),
    "PrintData": lambda ds, kind: df.PrintData(ds),
    "ProxyDataFlow": lambda ds, kind: df.ProxyDataFlow(ds),
    "RandomChooseData": lambda ds, kind: df.RandomChooseData([ds, Numbers(5, kind)], probs=[0.7, 0.3], size=40),
    "RandomMapData": lambda ds, kind: df.RandomMapData(ds, lambda dp, rng: [_number(dp), rng.random(3)]),
    "RandomMixData": lambda ds, kind: df.RandomMixData([ds, Numbers(5, kind, first=50)]),
    "RepeatedData": lambda ds, kind: df.RepeatedData(ds, 2),
    "RepeatedData for ever": lambda ds, kind: df.RepeatedData(ds),
    "RepeatedDataPoint": lambda ds, kind: df.RepeatedDataPoint(ds, 3),
    "SelectComponent": lambda ds, kind: df.SelectComponent(ds, [_NUMBER[kind], _IMAGES[kind]]),
    "ShardData": lambda ds, kind: df.ShardData(ds, 3, 1),
    "ShuffleData": lambda ds, kind: df.ShuffleData(ds),
    "SkipData": lambda ds, kind: df.SkipData(ds, 5),
    "TakeData": lambda ds, kind: df.TakeData(ds, 11),
    "TestDataSpeed": lambda ds, kind: df.TestDataSpeed(ds, size=3),
    "UnbatchData": lambda ds, kind: df.UnbatchData(df.BatchData(ds, 4, remainder=True)),
    "WindowData": lambda ds, kind: df.WindowData(ds, 4, shift=3, stride=2, remainder=True),
    "WindowData with gaps": lambda ds, kind: df.WindowData(ds, 2, shift=5),
}


def _files(folder):
    for name in ("a", "b"):
        (folder / name).mkdir(exist_ok=True)
        for number in range(5):
            cv2.imwrite(str(folder / name / f"{number}.png"), np.full((5, 7, 3), number * 10, np.uint8))
    return sorted(folder.glob("*/*.png"))


def _generated():
    for number in range(N):
        yield [number, np.arange(number)]


# name -> how to build it, given an empty folder
SOURCES = {
    "DataFromArrays": lambda tmp: df.DataFromArrays(np.arange(46).reshape(23, 2), np.arange(23.0), shuffle=True),
    "DataFromArrays of a dict": lambda tmp: df.DataFromArrays({"a": np.arange(23), "s": np.array(["x"] * 23)}),
    "DataFromFiles": lambda tmp: df.DataFromFiles([str(path) for path in _files(tmp)], labels="folder", shuffle=True),
    "DataFromGenerator": lambda tmp: df.DataFromGenerator(_generated, size=N),
    "DataFromIterable": lambda tmp: df.DataFromIterable({number: str(number) for number in range(N)}.items()),
    "DataFromList": lambda tmp: df.DataFromList([[number] for number in range(N)], shuffle=True),
    "DataFromPandas": lambda tmp: df.DataFromPandas(pd.DataFrame({"n": np.arange(23), "s": ["text"] * 23})),
    "FakeData": lambda tmp: df.FakeData([(2, 3), ()], size=23, dtype=["float32", "int64"]),
    "ImageFolder": lambda tmp: df.ImageFolder(_files(tmp)[0].parents[1], resize=4, shuffle=True),
    "ImageFromFile": lambda tmp: df.ImageFromFile(_files(tmp), shuffle=True),
}

# public flows that are checked elsewhere, and why
ELSEWHERE = {
    "DataFlow": "the base",
    "RNGDataFlow": "the base",
    "DataFromQueue": "a queue can be read only once",
}


def _public_flows():
    for name in df.__all__:
        value = getattr(df, name)
        own = inspect.isclass(value) and issubclass(value, df.DataFlow)
        if own and value.__module__.split(".")[2] not in ("parallel", "formats", "datasets", "remote"):
            yield name


def test_every_public_flow_is_checked_here():
    checked = {name.split()[0] for name in (*STAGES, *SOURCES)} | ELSEWHERE.keys()
    assert set(_public_flows()) <= checked


def _builders(tmp_path):
    for name, build in SOURCES.items():
        yield name, lambda build=build: build(tmp_path)
    for name, build in STAGES.items():
        for kind in ("list", "dict"):
            for below in (Numbers, Stream):
                if name == "ShuffleData" and below is Stream:
                    continue
                yield f"{name} over {below.__name__} of {kind}s", lambda b=build, f=below, k=kind: b(f(N, k), k)


CASES = [name for name, _ in _builders(None)]


@pytest.fixture
def build(request, tmp_path):
    return dict(_builders(tmp_path))[request.param]


@pytest.mark.parametrize("build", CASES, indirect=True)
def test_contract(build, capsys):
    ds = build()
    epochs = [first(ds, LIMIT), first(ds, LIMIT)]
    size = ds.size_or_none()
    assert epochs[0]

    # the length is true, and each datapoint of an indexable flow can be made alone
    if size is not None:
        assert len(epochs[0]) == len(epochs[1]) == min(size, LIMIT)
    if ds.indexable:
        other = build()
        other.reset_state()
        for epoch, expected in enumerate(epochs):
            order = np.random.default_rng(0).permutation(len(expected))
            assert all(same(other.get(int(i), epoch), expected[i]) for i in order)
        if size is not None:
            with pytest.raises(IndexError):
                other.get(size, 0)
    else:
        fresh = build()
        with pytest.raises(DataFlowError, match="alone"):
            [fresh.get(index) for index in range(LIMIT)]

    # equal build, equal data; in another process too
    twin = cloudpickle.loads(cloudpickle.dumps(build()))
    assert same(first(twin, LIMIT), epochs[0])
    assert same(first(twin, LIMIT), epochs[1])

    # a description that equal builds share, in another process and after iterations too
    recipe = describe_chain(build())
    assert describe_chain(ds) == describe_chain(twin) == recipe and json.loads(json.dumps(recipe)) == recipe

    # vectorised or not, the rows are the same
    if ds.vectorized:
        columns = ds.get_batch(np.array([3, 1, 2]), 1)
        rows = [ds.get(i, 1) for i in (3, 1, 2)]
        keys = columns if isinstance(columns, dict) else range(len(columns))
        assert all(same(columns[key][row], rows[row][key]) for key in keys for row in range(3))

    assert repr(ds)


@pytest.mark.parametrize("build", CASES, indirect=True)
def test_goes_on_from_any_position(build, capsys):
    reference = build()
    epochs = [first(reference, LIMIT), first(reference, LIMIT)]
    count = len(epochs[0])
    for taken in sorted({0, 1, count // 2, count - 1, count}):
        for epoch in (0, 1):
            ds = build()
            for _ in range(epoch):
                first(ds, LIMIT)
            iterator = iter(ds)
            for _ in range(taken):
                next(iterator)
            state = ds.state_dict()
            text = json.dumps(state)  # numbers, strings, lists and dicts alone
            assert len(text) < 1000
            rest = list(next(iterator) for _ in range(min(3, count - taken)))
            assert same(rest, epochs[epoch][taken : taken + 3])  # asking for the position changed nothing

            resumed = build()
            resumed.load_state_dict(json.loads(text))
            if reference.size_or_none() is None and not taken:
                continue  # an epoch of unknown length that was started is not told from the end of the one before
            assert same(first(resumed, LIMIT - taken), epochs[epoch][taken:])
            if epoch == 0 and len(epochs[0]) < LIMIT:
                assert same(first(resumed, LIMIT), epochs[1])


@pytest.mark.parametrize(
    "build", [case for case in CASES if "Stream" not in case and "lists" not in case], indirect=True
)
def test_the_same_in_workers(build, capsys):
    ds = build()
    if not ds.indexable:
        pytest.skip("cannot be divided among workers")
    expected = first(ds, LIMIT) + first(ds, 5)
    parallel = df.PrefetchData(build(), num_proc=2)
    assert same(first(parallel, LIMIT) + first(parallel, 5), expected)


@pytest.mark.parametrize("build", CASES, indirect=True)
def test_refuses_a_state_that_is_not_its_own(build, capsys):
    with pytest.raises(StateError, match="not a dataflow's state"):
        build().load_state_dict({"epoch": 1})


def test_a_queue_is_read_once():
    q = queue.Queue()
    for item in ([1], [2], None, [3], None):
        q.put(item)
    ds = df.DataFromQueue(q, timeout=5)
    assert list(ds) == [[1], [2]]
    assert list(ds) == [[3]]
    with pytest.raises(DataFlowError, match="another process"):
        cloudpickle.dumps(ds)


def test_a_queue_can_be_explained():
    q = queue.Queue()
    for item in range(9):
        q.put([item])
    assert df.DataFromQueue(q, timeout=5).explain(n=4, quiet=True).stages[0].datapoints == 4


def test_a_silent_queue_is_an_error():
    with pytest.raises(DataFlowError, match="nothing was put into the queue"):
        next(iter(df.DataFromQueue(queue.Queue(), timeout=0.01)))
