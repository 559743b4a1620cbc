"""Actors give what a serial flow gives: values, order, positions, errors."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

import flowtrain.dataflow as df
from flowtrain.ipc.failures import WorkerTraceback
from flowtrain.ipc.parcel import NotSendable
from flowtrain.utils.errors import ConfigError, DataFlowError, WorkerTimeout

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import the tests
pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("cluster")]  # one for all


class Pictures(df.RNGDataFlow):
    """Random pictures, some large enough for the object store."""

    def __len__(self):
        return 60

    def get(self, index, epoch=0):
        rng = self.stream.at(epoch, index)
        return [index, rng.integers(0, 256, (100, 100, 3), dtype=np.uint8), {"name": f"{index}", "half": index / 2}]


class Parts(df.DataFlow):
    """Can only be iterated, but in parts."""

    def __init__(self, numbers):
        self.numbers = numbers

    def __len__(self):
        return len(self.numbers)

    def __iter__(self):
        for number in self.numbers:
            yield [number, np.full(50_000, number)]

    def shard(self, index, count):
        return Parts(self.numbers[index::count])


def flow(batch_size=8):
    ds = df.ShuffleData(Pictures())
    ds = df.MapData(ds, lambda dp: [*dp, dp[1].mean()])
    return df.BatchData(ds, batch_size, remainder=True)


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("actors", [1, 3])
def test_two_epochs_are_those_of_a_serial_flow(actors):
    serial, ds = flow(), df.PrefetchData(flow(), num_proc=actors, cluster=df.Ray())
    for _ in range(2):
        assert same(list(ds), list(serial))


def test_arrays_are_the_consumers_own():
    ds = df.MapData(df.DataFromList([[0]] * 2), lambda dp: [np.zeros(9000)])
    first, second = df.PrefetchData(ds, num_proc=1, cluster=df.Ray())
    first[0][:] = 7
    assert first[0].flags.writeable and not second[0].any()


def test_a_functions_own_arrays_may_be_written_to_and_those_of_a_source_are_shared():
    scratch = np.zeros(20_000)

    def add(dp):
        scratch[0] += 1
        return [dp[0] + 1, scratch[0] > 0]

    ds = df.MapData(df.DataFromArrays(np.arange(40_000).reshape(4, -1)), add)
    assert same(list(df.PrefetchData(ds, num_proc=2, cluster=df.Ray())), list(ds))


@pytest.mark.parametrize("before, after", [(3, 1), (1, 2), (2, 0)])
def test_a_position_goes_on_with_any_number_of_actors(before, after):
    whole = list(flow(4))
    ds = df.PrefetchData(flow(4), num_proc=before, cluster=df.Ray())
    walk = iter(ds)
    begun = [next(walk) for _ in range(5)]
    state = ds.state_dict()
    walk.close()
    rest = df.PrefetchData(flow(4), num_proc=after, cluster=df.Ray())
    rest.load_state_dict(state)
    assert same([*begun, *rest], whole)


def test_tiny_datapoints_travel_in_groups():
    ds = df.MapData(df.DataFromList([[n] for n in range(3000)]), lambda dp: [dp[0] ** 2])
    assert [dp[0] for dp in df.PrefetchData(ds, num_proc=2, cluster=df.Ray())] == [n * n for n in range(3000)]


def test_a_flow_that_is_walked_keeps_its_order_with_one_actor():
    ds = df.FilterData(df.DataFromList([[n] for n in range(100)]), lambda dp: dp[0] % 3 == 0)
    assert same(list(df.PrefetchData(ds, num_proc=1, cluster=df.Ray())), list(ds))


def test_parts_are_walked_by_as_many_actors_as_processes():
    ds = df.MapData(Parts(list(range(31))), lambda dp: [*dp, -dp[0]])
    local, spread = (df.PrefetchData(ds, num_proc=3, cluster=where) for where in (None, df.Ray(cpus=0.5)))
    assert same(list(spread), list(local))
    walk = iter(spread)
    begun = [next(walk) for _ in range(10)]
    state = spread.state_dict()
    walk.close()
    local.load_state_dict(state)
    assert same([*begun, *local], list(df.PrefetchData(ds, num_proc=3)))


def test_what_cannot_be_shared_is_refused_as_for_processes():
    with pytest.raises(DataFlowError, match="can only be iterated"):
        df.PrefetchData(df.FilterData(Pictures(), bool), num_proc=2, cluster=df.Ray())


def test_functions_run_in_actors_over_flows_of_both_kinds():
    def double(dp):
        return [dp[0] * 2, dp[1] + 1]

    by_index = df.DataFromList([[n, np.full(30_000, n)] for n in range(20)])
    for beneath in (by_index, df.DataFromGenerator(lambda: iter([[n, np.full(30_000, n)] for n in range(20)]))):
        wanted = [double(dp) for dp in beneath]
        ds = df.MultiProcessMapData(beneath, 2, double, strict=True, cluster=df.Ray())
        assert same(list(ds), wanted)
        ds = df.MultiProcessMapAndBatchData(beneath, 2, double, 4, cluster=df.Ray())
        assert same(list(ds), list(df.BatchData(df.DataFromList(wanted), 4)))


def test_without_strict_each_comes_once():
    ds = df.MultiProcessMapData(
        df.DataFromList([[n] for n in range(40)]), 2, lambda dp: dp, strict=False, cluster=df.Ray()
    )
    assert sorted(dp[0] for dp in ds) == list(range(40))


def test_an_error_is_that_of_a_local_worker_and_comes_in_its_turn():
    def explode(dp):
        if dp[0] == 17:
            raise KeyError("no such thing")
        return dp

    ds = df.MapData(df.DataFromList([[n] for n in range(40)]), explode)
    texts = []
    for where in (None, df.Ray()):
        walk = iter(df.PrefetchData(ds, num_proc=2, cluster=where))
        assert [next(walk)[0] for _ in range(17)] == list(range(17))
        with pytest.raises(KeyError) as caught:
            next(walk)
        assert isinstance(caught.value.__cause__, WorkerTraceback) and "in explode" in str(caught.value.__cause__)
        texts.append(str(caught.value))
    assert texts[0] == texts[1] and "datapoint 17" in texts[0]


@pytest.mark.parametrize("stage", ["map", "map and batch"])
def test_an_error_of_a_function_is_that_of_a_local_worker(stage):
    def explode(dp):
        if dp[0] == 17:
            raise KeyError("no such thing")
        return dp

    beneath = df.DataFromList([[n, np.full(5000, n)] for n in range(40)])
    found = []
    for where in (None, df.Ray()):
        if stage == "map":
            ds = df.MultiProcessMapData(beneath, 2, explode, strict=True, cluster=where)
        else:
            ds = df.MultiProcessMapAndBatchData(beneath, 2, explode, 4, cluster=where)
        walk, before = iter(ds), []
        with pytest.raises(KeyError) as caught:
            for dp in walk:
                before.append(dp)
        assert isinstance(caught.value.__cause__, WorkerTraceback) and "in explode" in str(caught.value.__cause__)
        found.append((str(caught.value), getattr(caught.value, "__notes__", []), before))
    assert found[0][:2] == found[1][:2] and "17" in found[0][0]
    assert same(found[0][2], found[1][2]) and len(found[0][2]) == (17 if stage == "map" else 4)


def test_what_was_mapped_goes_on_with_other_numbers_of_actors():
    def make(actors, where):
        beneath = df.ShuffleData(df.DataFromList([[n, np.full(5000, n)] for n in range(60)]))
        return df.MultiProcessMapData(beneath, actors, lambda dp: [-dp[0], dp[1]], strict=True, cluster=where)

    whole, ds = list(make(1, None)), make(1, df.Ray(cpus=0.5))
    walk = iter(ds)
    found = [next(walk) for _ in range(21)]
    state = ds.state_dict()
    walk.close()
    more = make(3, df.Ray(cpus=0.5))
    more.load_state_dict(state)
    walk = iter(more)
    found += [next(walk) for _ in range(20)]
    state = more.state_dict()
    walk.close()
    local = make(2, None)
    local.load_state_dict(state)
    assert same([*found, *local], whole)


def test_what_cannot_be_sent_is_named():
    ds = df.MapData(df.DataFromList([[1]]), lambda dp: [iter([1]), (n for n in dp)])
    with pytest.raises(NotSendable, match="generator"):
        list(df.PrefetchData(ds, num_proc=1, cluster=df.Ray()))


def test_a_datapoint_that_takes_too_long_is_named_after_those_before_it():
    import time

    ds = df.MapData(df.DataFromList([[n] for n in range(20)]), lambda dp: time.sleep(60) if dp[0] == 5 else dp)
    walk = iter(df.PrefetchData(ds, num_proc=2, timeout=5, cluster=df.Ray()))
    assert [next(walk)[0] for _ in range(5)] == list(range(5))
    with pytest.raises(WorkerTimeout, match=r"actor \d \(pid \d+ on .* making datapoint 5 .*timeout="):
        next(walk)


def test_a_parallel_stage_in_an_actor_has_no_workers():
    ds = df.PrefetchData(df.DataFromList([[n] for n in range(9)]), num_proc=2)
    assert same(list(df.PrefetchData(ds, num_proc=1, cluster=df.Ray())), list(ds))


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"address": "ray://head:10001"}, "address='auto'"),
        ({"address": 3}, "host:port"),
        ({"cpus": -1}, "cpus"),
        ({"resources": {"CPU": 2}}, "write cpus="),
        ({"runtime_env": "."}, "dict"),
        ({"start_timeout": 0}, "start_timeout"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, said):
    with pytest.raises(ConfigError, match=said):
        df.Ray(**arguments)


def test_a_cluster_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match=r"PrefetchData: cluster must be flowtrain.dataflow.Ray\(address=...\)"):
        df.PrefetchData(Pictures(), cluster="auto")


def test_another_cluster_than_the_one_that_is_connected_is_refused():
    with pytest.raises(ConfigError, match="is connected to"):
        list(df.PrefetchData(Pictures(), cluster=df.Ray("10.9.8.7:6379")))


def test_the_page_about_it_runs_as_it_stands():
    page = Path(__file__).parents[3] / "docs" / "howto" / "ray.md"
    code = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    names = {}
    exec("\n".join(code), names)
    assert len(code) == 2 and len(names["begun"]) == 3


def test_looking_at_a_flow_works_through_it(capsys):
    import time

    ds = df.MapData(df.DataFromList([[n] for n in range(64)]), lambda dp: time.sleep(0.01) or dp)
    ds = df.PrefetchData(ds, num_proc=2, cluster=df.Ray())
    found = ds.explain(n=20, quiet=True)
    (mapped,) = [stage for stage in found.stages if stage.name.startswith("MapData")]
    assert mapped.where == "2 workers" and mapped.datapoints and mapped.share > 0.5
    assert "cluster=Ray()" in str(found)
    next(iter(df.PrintData(ds, num=1)))
    assert "datapoint" in capsys.readouterr().out
    df.TestDataSpeed(ds, size=20).start()


def test_measurements_come_from_other_machines(tmp_path):
    """The same folder, made on another machine: an actor whose own view of it lacks the caller's file."""
    from flowtrain.dataflow.cluster.actor import Maker

    (tmp_path / "part").write_bytes(b"12")
    assert Maker(0, 1.0).files(str(tmp_path), "of-the-caller") == {"part": b"12"}
    (tmp_path / "of-the-caller").touch()
    assert Maker(0, 1.0).files(str(tmp_path), "of-the-caller") == {}
    assert Maker(0, 1.0).files(str(tmp_path / "absent"), "of-the-caller") == {}
