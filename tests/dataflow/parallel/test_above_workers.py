"""What stands above a stage with workers: the datapoints of the serial flow, made by the workers, at any position."""

from __future__ import annotations

import json
import sys

import cloudpickle
import pytest

import flowtrain.dataflow as df
from flowtrain.ipc.worker import in_worker
from flowtrain.utils.errors import DataFlowError

from ..helpers_dataflow import Numbers, Stream, first, same
from ..test_contract import STAGES

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests

LIMIT = 40
N = 23


class MadeByWorkers(Numbers):
    """Fails where a datapoint is made in the consumer's process."""

    def get(self, index, epoch=0):
        assert in_worker()
        return super().get(index, epoch)


class Own(df.ProxyDataFlow):
    """A user's stage with a get of its own, of which nobody knows what it needs."""

    def get(self, index, epoch=0):
        return [*self.ds.get(len(self) - 1 - index, epoch), index]


ABOVE = {name: lambda ds, build=build: build(ds, "list") for name, build in STAGES.items()}
ABOVE |= {
    "a get of one's own": Own,
    "a shuffle of batches": lambda ds: df.ShuffleData(df.BatchData(ds, 4)),
    "a shuffle of mapped ones": lambda ds: df.ShuffleData(df.MapData(ds, lambda dp: [dp[1]])),
    "overlapping windows": lambda ds: df.WindowData(ds, 5, shift=1),
    "several times the same": lambda ds: df.JoinData([ds, ds, df.ShuffleData(ds)]),
    "epochs without a gap": lambda ds: df.FixedSizeData(df.RepeatedData(df.BatchData(ds, 5)), 7),
    "a get of one's own between": lambda ds: df.BatchData(df.MapData(Own(ds), lambda dp: dp[1:2]), 3),
    "a cache that repeats": lambda ds: df.RepeatedData(df.CacheData(ds, shuffle=True), 3),
    "many that do not ask": lambda ds: df.ConcatData([Numbers(5000), ds]),
    "the same twice, side by side": lambda ds: df.JoinData([df.JoinData([ds, ds]), df.SkipData(ds, 3)]),
    "parts one after the other": lambda ds: df.ConcatData([df.TakeData(ds, 7), df.ShardData(ds, 3, 1), ds]),
    "in turns, again and again": lambda ds: df.FixedSizeData(df.InterleaveData([ds, df.SkipData(ds, 20)], 3), 31),
}


@pytest.mark.parametrize("name", ABOVE)
def test_the_same_datapoints_made_by_the_workers(name, capsys):
    build = ABOVE[name]
    serial, parallel = build(Numbers(N)), build(df.PrefetchData(MadeByWorkers(N), 3, 2))
    assert parallel.indexable == serial.indexable
    assert parallel.vectorized == serial.vectorized
    assert parallel.size_or_none() == serial.size_or_none()
    for _ in range(2):
        expected = first(serial, LIMIT)
        assert same(first(parallel, LIMIT), expected)

    # the position is that of the serial flow, and does not depend on the workers
    taken = len(expected) // 2
    going = iter(parallel)
    for _ in range(taken):
        next(going)
    state = json.loads(json.dumps(parallel.state_dict()))
    going.close()
    rest = first(serial, LIMIT)[taken:]
    if serial.indexable:
        assert state["position"] == taken
    for workers in (2, 0):
        resumed = build(df.PrefetchData(Numbers(N), 3, workers))
        resumed.load_state_dict(state)
        assert same(first(resumed, len(rest)), rest)


@pytest.mark.parametrize("build", [lambda ds: df.ShuffleData(ds), lambda ds: df.BatchData(ds, 4)])
def test_above_threads(build):
    flows = {
        "runner": df.MultiThreadRunner(Numbers(N), num_thread=2),
        "map": df.MultiThreadMapData(Numbers(N), 2, lambda dp: dp),
        "map of what workers make": df.MultiThreadMapData(df.PrefetchData(MadeByWorkers(N)), 2, lambda dp: dp),
        "process map": df.MultiProcessMapData(MadeByWorkers(N), 2, lambda dp: dp),
    }
    expected = [list(flow) for flow in [build(Numbers(N))] for _ in range(2)]
    for name, flow in flows.items():
        ds = build(flow)
        assert ds.indexable, name
        assert same([list(ds), list(ds)], expected), name


def test_what_is_indexable_does_not_depend_on_the_place():
    def indexable(ds):
        return [flow.indexable for flow in (ds, *ds.children())]

    ds = df.BatchData(df.PrefetchData(df.MapData(Numbers(9), lambda dp: [dp[1]])), 2)
    here = indexable(ds)
    seen = df.PrefetchData(df.MapData(Numbers(2), lambda dp: [indexable(ds)]), num_proc=1)
    assert here == [True, True]
    assert [dp[0] for dp in seen] == [here, here]


def test_datapoints_alone_without_the_workers():
    ds = df.ShuffleData(df.PrefetchData(Numbers(9)))
    expected = list(df.ShuffleData(Numbers(9)))
    assert same([ds.get(index) for index in range(9)], expected)


def test_a_get_of_ones_own_says_to_put_it_beneath_threads_that_cannot_help():
    ds = Own(df.MultiThreadMapData(Numbers(N), 2, lambda dp: dp))
    with pytest.raises(DataFlowError, match="put Own beneath MultiThreadMapData"):
        list(ds)


def test_an_error_of_a_worker_comes_where_its_datapoint_is_due():
    def fail(dp):
        if dp[1] == 11:
            raise KeyError("eleven")
        return [dp[1]]

    ds = df.BatchData(df.PrefetchData(df.MapData(Numbers(N), fail), num_proc=2), 4)
    seen = []
    with pytest.raises(KeyError, match=r"eleven.*datapoint 11"):
        seen.extend(dp[0].tolist() for dp in ds)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]] or not seen  # extend may lose what came before the error
    assert ds.state_dict()["position"] == 2


def test_unordered_stages_are_walked():
    ds = df.MultiProcessMapData(Numbers(N), 2, lambda dp: [dp[1]], strict=False)
    assert not ds.indexable
    with pytest.raises(DataFlowError, match="alone"):
        ds.get(0)
    assert sorted(dp[0] for dp in df.MapData(ds, lambda dp: dp)) == list(range(N))
    with pytest.raises(DataFlowError, match="can only be iterated"):
        df.ShuffleData(ds)


def test_a_flow_that_can_only_be_iterated_beneath_workers():
    ds = df.BatchData(df.PrefetchData(Stream(N), num_proc=1), 4)
    assert not ds.indexable
    assert same(list(ds), list(df.BatchData(Numbers(N), 4)))


def test_threads_that_are_asked_for_more_than_is_planned_at_once_go_on():
    size = 9000
    threads = df.MultiThreadMapData(df.PrefetchData(Numbers(size), num_proc=2), 2, lambda dp: dp)
    assert same(list(df.MapData(threads, lambda dp: dp)), list(Numbers(size)))
