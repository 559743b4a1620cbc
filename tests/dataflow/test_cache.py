"""CacheData: made once, whole or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flowtrain.dataflow import (
    CacheData,
    DataFlow,
    DataFromGenerator,
    DataFromList,
    MapData,
    RandomMapData,
    RepeatedData,
)
from flowtrain.utils.errors import DataFlowError

from .helpers_dataflow import Numbers, Stream, first, same


class Counting:
    """A slow function that counts its calls, and breaks when told to."""

    def __init__(self, breaks_at=None):
        self.calls, self.breaks_at = 0, breaks_at

    def __call__(self, dp):
        self.calls += 1
        if self.calls == self.breaks_at:
            raise RuntimeError("the disk is full")
        return dp


SOURCES = [Numbers, Stream, lambda n: Stream(n, known=False)]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("on_disk", [False, True])
def test_each_datapoint_is_made_once(source, on_disk, tmp_path):
    slow = Counting()
    ds = CacheData(MapData(source(9), slow), tmp_path / "cache" if on_disk else None, shuffle=True)
    epochs = [list(ds) for _ in range(3)]
    assert slow.calls == 9 and len(ds) == 9
    assert [sorted(dp[1] for dp in epoch) for epoch in epochs] == [list(range(9))] * 3
    assert [dp[1] for dp in epochs[1]] != [dp[1] for dp in epochs[2]]
    by_number = sorted(epochs[1], key=lambda dp: dp[1])
    assert same(by_number, [Numbers(9).get(i) for i in range(9)])


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("on_disk", [False, True])
def test_a_first_epoch_that_breaks_off_is_no_cache(source, on_disk, tmp_path):
    slow = Counting(breaks_at=5)
    ds = CacheData(MapData(source(9), slow), tmp_path / "cache" if on_disk else None)
    with pytest.raises(RuntimeError, match="the disk is full"):
        list(ds)
    assert [dp[1] for dp in ds] == list(range(9))
    assert [dp[1] for dp in ds] == list(range(9))
    iterator = iter(CacheData(MapData(source(9), Counting())))
    next(iterator)
    iterator.close()
    assert len(list(ds)) == 9


@pytest.mark.parametrize("source", SOURCES)
def test_the_next_run_reads_the_folder(source, tmp_path):
    def build(slow):
        return CacheData(MapData(source(7), slow), tmp_path / "cache")

    whole = list(build(Counting()))
    slow = Counting()
    again = build(slow)
    assert same(list(again), whole) and slow.calls == 0


def test_a_damaged_file_is_made_anew(tmp_path):
    slow = Counting()
    ds = CacheData(MapData(Numbers(5), slow), tmp_path / "cache")
    whole = list(ds)
    files = sorted((tmp_path / "cache").glob("*/*.msgpack"))
    files[1].write_bytes(files[1].read_bytes()[:-3])
    files[2].write_bytes(b"")
    data = bytearray(files[3].read_bytes())
    data[-1] ^= 1
    files[3].write_bytes(data)
    assert same(list(ds), whole) and slow.calls == 8
    assert not list((tmp_path / "cache").rglob(".*"))


def test_the_folder_of_another_flow_is_refused(tmp_path):
    list(CacheData(MapData(Numbers(5), Counting()), tmp_path / "cache"))
    with pytest.raises(DataFlowError, match="was filled by another flow"):
        CacheData(Numbers(5), tmp_path / "cache")
    with pytest.raises(DataFlowError, match="was filled by another flow"):
        CacheData(MapData(Numbers(6), Counting()), tmp_path / "cache")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("important")
    with pytest.raises(DataFlowError, match="holds other files"):
        CacheData(Numbers(5), tmp_path / "other")
    with pytest.raises(DataFlowError, match="is a file"):
        CacheData(Numbers(5), tmp_path / "other" / "thesis.txt")


def test_a_flow_that_has_changed_is_told_from_the_one_that_was_kept(tmp_path, caplog):
    def build(factor=2, seed=0, spare=0, walked=False):
        ds = DataFromGenerator(lambda: ([i] for i in range(5))) if walked else DataFromList([[i] for i in range(5)])
        ds = RandomMapData(ds, lambda dp, rng: [dp[0] * factor, rng.random()], seed=seed)
        return CacheData(MapData(ds, lambda dp: [*dp, spare][:2]), tmp_path / str(walked))

    kept = {walked: list(build(walked=walked)) for walked in (True, False)}
    assert all(list(build(walked=walked)) == kept[walked] for walked in kept)
    assert not caplog.text
    with pytest.raises(DataFlowError, match=r"datapoint 4 .*func of RandomMapData was changed. Delete the folder"):
        build(factor=3)  # 0 * 3 is 0 * 2: the last datapoint tells
    assert not caplog.text
    for told, ds in {
        "func of MapData was changed": build(spare=1),
        "seed of RandomMapData was changed": build(seed=1),
        "func of RandomMapData was changed": build(factor=3, walked=True),
    }.items():
        assert list(ds) in kept.values() and told in caplog.text


def test_what_cannot_be_kept(tmp_path):
    with pytest.raises(DataFlowError, match="never ends"):
        CacheData(RepeatedData(Numbers(3)))
    with pytest.raises(DataFlowError, match="cannot be kept on disk"):
        list(CacheData(DataFromList([[{1, 2}]]), tmp_path / "cache"))


def test_going_on_where_the_cache_is_not(tmp_path):
    def build():
        return CacheData(Stream(9), shuffle=True)

    ds = build()
    list(ds)
    expected = list(ds)
    going = build()
    list(going)
    first(going, 4)
    state = json.loads(json.dumps(going.state_dict()))
    resumed = build()
    resumed.load_state_dict(state)
    assert same(list(resumed), expected[4:])


def test_kept_datapoints_cannot_be_changed():
    ds = CacheData(MapData(DataFromGenerator(lambda: iter([[np.zeros(2), 1]])), lambda dp: dp))
    for _ in range(2):
        (dp,) = list(ds)
        dp[1] = 5
        with pytest.raises(ValueError, match="read-only"):
            dp[0] += 1
    assert next(iter(ds))[1] == 1


def test_an_empty_flow_is_whole():
    class Nothing(DataFlow):
        def __iter__(self):
            yield from ()

    ds = CacheData(Nothing())
    assert list(ds) == list(ds) == []
