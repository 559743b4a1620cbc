"""PrintData, TestDataSpeed, explain and show: how one looks at a flow."""

from __future__ import annotations

import itertools
import sys
import time

import cloudpickle
import cv2
import numpy as np
import pytest

from flowtrain.dataflow import (
    BatchData,
    DataFromGenerator,
    DataFromList,
    FakeData,
    JoinData,
    MapData,
    MultiProcessMapAndBatchData,
    MultiProcessMapData,
    MultiThreadMapData,
    PrefetchData,
    PrintData,
    TestDataSpeed,
    show,
)
from flowtrain.dataflow.inspect.bottleneck import verdict
from flowtrain.dataflow.inspect.explain import StageCost
from flowtrain.utils.errors import DataFlowError

from .helpers_dataflow import Numbers, Stream

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests


def _printed(capsys, *datapoints, **options):
    list(PrintData(DataFromList(list(datapoints)), **options))
    return capsys.readouterr().out.splitlines()


def test_the_lines_of_the_tutorial(capsys):
    luminance, ab = np.zeros((32, 256, 256), np.float32), np.full((32, 256, 256, 2), 7, np.uint8)
    luminance[0, 0, 0] = 100
    lines = _printed(capsys, [luminance, ab], [luminance, ab], [luminance, ab], num=2)
    assert lines == [
        "datapoint 0<2 with 2 components consists of",
        "   dp 0: is ndarray of shape (32, 256, 256) with range [0, 100.0000], dtype float32",
        "   dp 1: is ndarray of shape (32, 256, 256, 2) with range [7, 7], dtype uint8",
        "datapoint 1<2 with 2 components consists of",
        "   dp 0: is ndarray of shape (32, 256, 256) with range [0, 100.0000], dtype float32",
        "   dp 1: is ndarray of shape (32, 256, 256, 2) with range [7, 7], dtype uint8",
    ]


def test_everything_else_that_a_datapoint_may_hold(capsys):
    lines = _printed(
        capsys,
        {
            "i": 3,
            "f": 1.5,
            "b": True,
            "s": "a" * 100,
            "y": b"\0\1",
            "n": None,
            "g": np.float32(2.5),
            "nan": np.array([1.0, np.nan, 3.0]),
            "empty": np.zeros((0, 3)),
            "words": np.array(["x", "y"], object),
            "l": [np.zeros(2), [1, [2]], "c", "d"],
            "d": {"k": 1},
            "o": {1, 2},
        },
        name="after crop",
    )
    assert lines == [
        "after crop: datapoint 0<1 with 13 components consists of",
        "   dp i: is int with value 3",
        "   dp f: is float with value 1.5",
        "   dp b: is bool with value True",
        f"   dp s: is str with value '{'a' * 59}...",
        r"   dp y: is bytes of length 2 with value b'\x00\x01'",
        "   dp n: is None",
        "   dp g: is float32 with value 2.5",
        "   dp nan: is ndarray of shape (3,) with range [1.0000, 3.0000] and 1 values that are NaN or infinite, "
        "dtype float64",
        "   dp empty: is ndarray of shape (0, 3), dtype float64",
        "   dp words: is ndarray of shape (2,), dtype object",
        "   dp l: is list of 4 elements",
        "      0: is ndarray of shape (2,) with range [0, 0], dtype float64",
        "      1: is list of 2 elements",
        "         0: is int with value 1",
        "         1: is list of 1 elements",
        "      2: is str with value 'c'",
        "      ...",
        "   dp d: is dict of 1 elements",
        "      k: is int with value 1",
        "   dp o: is set: {1, 2}",
    ]


def test_printing_changes_nothing_and_comes_once(capsys):
    ds = PrintData(Numbers(5), num=3)
    assert len(list(ds)) == 5 and len(list(ds)) == 5
    assert capsys.readouterr().out.count("datapoint") == 3
    assert ds.indexable


def test_the_speed_of_a_flow(capsys):
    taken = []

    def count(dp):
        taken.append(dp[1])
        return dp

    ds = MapData(FakeData([(10, 10), ()], 8, dtype=["float64", "int64"]), count)
    speed = TestDataSpeed(ds, size=20, warmup=4).start()
    assert speed.datapoints == 20 and speed.bytes == 20 * 808
    assert len(taken) == 24
    assert speed.per_second > 0 and speed.megabytes_per_second > 0 and speed.cpu_ms >= 0
    line = capsys.readouterr().out
    assert line.startswith("TestDataSpeed: ") and "datapoints/s" in line and "MB/s" in line and "ms CPU" in line

    tested = TestDataSpeed(FakeData([(2,)], 8), size=3)
    assert len(list(tested)) == 8
    assert "TestDataSpeed" in capsys.readouterr().out
    with pytest.raises(DataFlowError, match="gave no datapoint"):
        TestDataSpeed(DataFromGenerator(lambda: iter([])), size=3).start()


def _spin(ms):
    end = time.thread_time() + ms / 1e3
    while time.thread_time() < end:
        pass


def _slow(dp):
    _spin(4)
    return dp


def _quick(dp):
    _spin(0.1)
    return dp


def _largest(found):
    return max(found.stages, key=lambda stage: stage.ms_per_output)


def test_a_slow_decode_is_named(capsys):
    ds = BatchData(MapData(Numbers(400), _slow), 4)
    found = ds.explain(n=6)
    out = capsys.readouterr().out
    assert out.rstrip().endswith(found.verdict) and "ms per output" in out
    assert found.verdict.startswith("MapData(_slow) takes ") and "PrefetchData(num_proc=" in found.verdict
    assert _largest(found).name == "MapData(_slow)" and _largest(found).datapoints == 24
    assert 0.9 * 16 < _largest(found).ms_per_output < 100
    assert [stage.name for stage in found.stages] == ["Numbers", "MapData(_slow)", "BatchData(4)"]
    assert abs(sum(stage.share for stage in found.stages) - 1) < 1e-6
    assert ds.state_dict() == BatchData(Numbers(400), 4).state_dict()  # its position was left alone


def test_a_slow_decode_in_workers_is_named():
    ds = PrefetchData(BatchData(MapData(Numbers(4000), _slow), 4), num_proc=1)
    found = ds.explain(n=10, quiet=True)
    assert found.verdict.startswith("MapData(_slow) takes ")
    assert _largest(found).where == "1 worker"
    assert found.stages[-1].queue is not None and found.stages[-1].where == "here"
    assert 0 < found.waited <= 1


def test_a_slow_batch_is_named():
    ds = PrefetchData(MapData(BatchData(MapData(Numbers(4000), _quick), 4), _slow), num_proc=1)
    found = ds.explain(n=10, quiet=True)
    assert found.verdict.startswith("MapData(_slow) takes ") and _largest(found).where == "1 worker"
    here = MapData(PrefetchData(BatchData(Numbers(4000), 4), num_proc=1), _slow)
    found = here.explain(n=10, quiet=True)
    assert "move it beneath the parallel stage" in found.verdict and found.verdict.startswith("MapData(_slow)")


def test_a_slow_consumer_is_named():
    ds = PrefetchData(BatchData(Numbers(4000), 4), num_proc=1)
    found = ds.explain(n=10, consumer=lambda dp: _spin(20), quiet=True)
    assert found.verdict.startswith("The consumer is the limit")
    assert found.stages[-1].name == "(consumer)"
    serial = BatchData(MapData(Numbers(400), _quick), 4).explain(n=5, consumer=lambda dp: _spin(10), quiet=True)
    assert serial.verdict.startswith("The consumer is the limit")


@pytest.mark.parametrize("source", [Numbers, Stream])
@pytest.mark.parametrize(
    "build",
    [
        lambda ds: BatchData(MultiThreadMapData(ds, 2, _slow), 4),
        lambda ds: BatchData(MultiProcessMapData(ds, 1, _slow), 4),
        lambda ds: MultiProcessMapAndBatchData(ds, 1, _slow, 4),
    ],
)
def test_what_workers_apply_is_named(build, source):
    found = build(source(4000)).explain(n=6, quiet=True)
    slowest = _largest(found)
    assert slowest.name == "MapData(_slow)" and "worker" in slowest.where
    assert found.verdict.startswith("MapData(_slow) takes ")
    assert 0.5 * 16 < slowest.ms_per_output < 100


def test_lambdas_are_told_apart():
    ds = MapData(MapData(Numbers(9), lambda dp: dp), _quick)
    line = ds.ds.func.__code__.co_firstlineno
    assert ds.explain(n=3, quiet=True).stages[1].name == f"MapData(lambda in line {line})"


def test_flows_of_all_kinds_can_be_explained():
    two = JoinData([Numbers(6), MapData(Numbers(6), _quick)])
    found = BatchData(two, 2).explain(n=20, quiet=True)  # more than an epoch
    assert len(found.stages) == 5

    class Own(type(Numbers(1)).__mro__[1]):
        def __init__(self, ds):
            self.ds = ds

        def children(self):
            return (self.ds,)

        def __iter__(self):
            yield from self.ds

    found = Own(MapData(Numbers(6), _slow)).explain(n=4, quiet=True)
    assert _largest(found).name == "MapData(_slow)"
    with pytest.raises(DataFlowError, match="gave no datapoint"):
        DataFromGenerator(lambda: iter([])).explain()
    with pytest.raises(DataFlowError, match="explain: n must be a whole number of at least 1, got 0"):
        Numbers(3).explain(n=0)


def _cost(name, where, ms, cpu=1.0):
    return StageCost(name, where, 10, ms, ms, cpu, 0.0, None, 0)


@pytest.mark.parametrize(
    ("costs", "options", "expected"),
    [
        (
            [_cost("decode", "2 workers", 71), _cost("batch", "2 workers", 29)],
            {"workers": 2, "cores": 8},
            "decode takes 71% of the flow's time: more workers help up to 8 (there are 2).",
        ),
        (
            [_cost("decode", "2 workers", 71), _cost("convert", "here", 29)],
            {"workers": 2, "cores": 8},
            "decode takes 71% of the flow's time: more workers help up to 3 (there are 2).",
        ),
        (
            [_cost("read", "2 workers", 100, cpu=0.1)],
            {"workers": 2, "cores": 2},
            "read takes 100% of the flow's time: more workers help up to 8 (there are 2).",
        ),
        (
            [_cost("decode", "2 workers", 100)],
            {"workers": 2, "cores": 2},
            "decode takes 100% of the flow's time, and the 2 workers use the 2 cores that there are: make it cheaper.",
        ),
    ],
)
def test_verdicts(costs, options, expected):
    assert verdict(costs, **options) == expected


@pytest.mark.parametrize("kind", ["png", "html"])
def test_a_contact_sheet(tmp_path, kind):
    ds = FakeData(
        {"rgb": (20, 30, 3), "depth": (20, 30), "label": ()}, 40, dtype={"rgb": "uint8", "depth": "f4", "label": "i8"}
    )
    path = tmp_path / "new" / f"sheet.{kind}"
    before = list(itertools.islice(ds, 2))
    assert show(ds, path, num=7) == str(path)
    if kind == "png":
        sheet = cv2.imread(str(path))
        assert sheet.shape[0] > 160 and sheet.shape[1] > 320
    else:
        assert path.read_text().count("<img") == 14 and "label: int64 with value" in path.read_text()
    assert ds.state_dict()["epoch"] == 0 and len(before) == 2
    assert show(BatchData(ds, 4), tmp_path / "batch.html", num=7)
    assert (tmp_path / "batch.html").read_text().count("<img") == 14


def test_a_sheet_shows_the_colours_it_is_given(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    show(DataFromList([[red]]), tmp_path / "red.png", size=32)
    assert cv2.imread(str(tmp_path / "red.png"))[20, 20].tolist() == [0, 0, 255]  # cv2 reads BGR
    shown = [[index, red, np.ascontiguousarray(red[..., ::-1]), red] for index in range(5)]
    show(
        DataFromList(shown, shuffle=False), tmp_path / "rows.png", size=64, titles=["number", "clean", "noisy", "made"]
    )
    sheet = cv2.imread(str(tmp_path / "rows.png"))
    assert sheet.shape[0] > 5 * 64 and sheet.shape[1] < 4 * 80  # a row for each datapoint
    assert [sheet[-90, x].tolist() for x in (40, 110, 180)] == [[0, 0, 255], [255, 0, 0], [0, 0, 255]]
    assert (sheet[:18, :210] < 200).any()  # the titles
    with pytest.raises(DataFlowError, match="2 titles for datapoints of 4 components"):
        show(DataFromList(shown), tmp_path / "rows.png", titles=["clean", "noisy"])
    with pytest.raises(DataFlowError, match=r"show: titles must be a list of names, got 'clean': write \['clean'\]"):
        show(DataFromList(shown), tmp_path / "rows.png", titles="clean")
    ones = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    show(DataFromList([[ones, np.zeros((8, 8, 2), np.float32)]]), tmp_path / "gray.png", size=32)
    with pytest.raises(DataFlowError, match=r"must end in \.png or \.html"):
        show(DataFromList([[red]]), tmp_path / "red.jpg")
    with pytest.raises(DataFlowError, match="gave no datapoint"):
        show(DataFromGenerator(lambda: iter([])), tmp_path / "none.png")
