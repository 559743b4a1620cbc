"""num_proc="auto": the data are those of any number, and the choice says why."""

from __future__ import annotations

import logging
import os
import time

import numpy as np
import pytest

import flowtrain.dataflow as df
from flowtrain.dataflow.parallel import auto
from flowtrain.utils.errors import ConfigError

from ..helpers_dataflow import Numbers, Stream


def busy(dp):
    until = time.thread_time() + 0.002
    while time.thread_time() < until:
        pass
    return [dp[0], dp[0] * 2]


def waits(dp):
    time.sleep(0.01)
    return [dp[0], dp[0] * 2]


def maps(func, size=12):
    return df.MapData(df.ShuffleData(Numbers(size)), func)


STAGES = {
    "PrefetchData": lambda number, func=busy: df.PrefetchData(maps(func), num_proc=number),
    "PrefetchData over batches": lambda number, func=busy: df.PrefetchData(
        df.BatchData(maps(func), 2), num_proc=number
    ),
    "MultiProcessMapData": lambda number, func=busy: df.MultiProcessMapData(df.ShuffleData(Numbers(12)), number, func),
    "MultiProcessMapData over a stream": lambda number, func=busy: df.MultiProcessMapData(Stream(12), number, func),
    "MultiProcessMapAndBatchData": lambda number, func=busy: df.MultiProcessMapAndBatchData(
        df.ShuffleData(Numbers(12)), number, func, 3
    ),
    "MultiProcessMapAndBatchData over a stream": lambda number, func=busy: df.MultiProcessMapAndBatchData(
        Stream(12), number, func, 3
    ),
    "PrefetchData over a stream": lambda number, func=busy: df.PrefetchData(
        df.MapData(Stream(12), func), num_proc=number
    ),
    "beneath a PrefetchData": lambda number, func=busy: df.PrefetchData(
        df.MultiProcessMapData(Numbers(12), number, func), num_proc=2
    ),
}


def lists(datapoints):
    return [[np.asarray(part).tolist() for part in dp] for dp in datapoints]


@pytest.mark.parametrize("kind", STAGES)
def test_the_data_are_those_of_any_number(kind):
    make = STAGES[kind]
    numbers = [0, 1] if kind == "PrefetchData over a stream" else [0, 1, 2]
    ds = make("auto")
    chosen = [lists(ds), lists(ds)]  # two epochs
    for number in numbers:
        other = make(number)
        assert [lists(other), lists(other)] == chosen, number


@pytest.mark.parametrize(
    "kind", ["PrefetchData over batches", "MultiProcessMapData over a stream", "PrefetchData over a stream"]
)
@pytest.mark.parametrize(("first", "then"), [("auto", 2), (1, "auto")])
def test_another_number_goes_on_where_auto_left(kind, first, then):
    if kind == "PrefetchData over a stream" and then == 2:
        then = 0
    make = STAGES[kind]
    whole = lists(make(0))
    ds = make(first)
    walk = iter(ds)
    begun = lists([next(walk), next(walk)])
    state = ds.state_dict()
    walk.close()
    other = make(then)
    other.load_state_dict(state)
    assert begun + lists(other) == whole


def choice(caplog, ds):
    with caplog.at_level(logging.INFO, "flowtrain.dataflow"):
        list(ds)
        list(ds)
    said = [record.getMessage() for record in caplog.records if "auto" in record.getMessage()]
    assert len(said) == 1  # once for a flow, not for each epoch
    return ds.num_proc, said[0]


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setattr(auto, "available_cores", lambda: 3)
    monkeypatch.setattr("flowtrain.dataflow.parallel.mapped.available_cores", lambda: 3)


def test_what_computes_gets_a_worker_for_each_core(caplog, three):
    number, said = choice(caplog, df.PrefetchData(maps(busy), num_proc="auto"))
    assert number == 3 and said.startswith('PrefetchData: num_proc="auto" is 3 here: a datapoint takes ')
    assert "this process may use 3 cores" in said


def test_what_waits_gets_more_than_there_are_cores(caplog, three):
    number, said = choice(caplog, df.MultiProcessMapData(Numbers(40), "auto", waits))
    assert 6 < number <= 12 and "of that on a core" in said


def test_no_more_workers_than_datapoints(three):
    ds = df.PrefetchData(df.MapData(Numbers(2), busy), num_proc="auto")
    assert len(list(ds)) == ds.num_proc == 2


def test_what_takes_no_time_gets_one(caplog, three):
    number, said = choice(caplog, df.PrefetchData(df.DataFromArrays(np.arange(1000)), num_proc="auto"))
    assert number == 1 and "as fast as they can be handed over" in said


def test_what_cannot_be_divided_gets_one(caplog, three):
    number, said = choice(caplog, df.PrefetchData(Stream(5), num_proc="auto"))
    assert number == 1 and "can only be iterated from its start" in said


def test_what_is_iterated_here_is_not_measured(caplog, three):
    taken = []

    def source():
        for i in range(5):
            taken.append(i)
            yield [i]

    ds = df.MultiProcessMapData(df.DataFromGenerator(source), "auto", busy)
    number, said = choice(caplog, ds)
    assert number == 3 and "not for measuring" in said and taken == 2 * list(range(5))


def test_measuring_leaves_no_trace_here(three):
    made = []

    def noted(dp):
        made.append(os.getpid())
        return [dp[0], float(np.random.random())]

    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    ds = df.PrefetchData(df.MapData(Numbers(4), noted), num_proc="auto")
    assert ds.state_dict()["epoch"] == df.PrefetchData(Numbers(4), num_proc=1).state_dict()["epoch"]
    assert len(list(ds)) == 4
    assert made == [] and np.random.get_state()[1].tolist() == before


def test_an_error_comes_from_the_walk_with_its_place(three):
    def fails(dp):
        if dp == [3]:
            raise ValueError("broken")
        return dp

    got = []
    with pytest.raises(ValueError, match=r"broken.*MapData.*epoch 0, datapoint 3"):
        got.extend(df.PrefetchData(df.MapData(df.DataFromList([[i] for i in range(6)]), fails), num_proc="auto"))


def test_an_empty_flow(three):
    assert list(df.PrefetchData(Numbers(0), num_proc="auto")) == []


def test_explain_shows_the_number_that_was_chosen(three):
    ds = df.PrefetchData(maps(busy), num_proc="auto")
    assert "3 workers" in str(ds.explain(n=5, quiet=True))
    assert ds.num_proc == 3


@pytest.mark.parametrize("make", [
    lambda: df.PrefetchData(Numbers(3), num_proc="atuo"),
    lambda: df.MultiProcessMapData(Numbers(3), "2", busy),
    lambda: df.MultiProcessMapAndBatchData(Numbers(3), "", busy, 2),
])  # fmt: skip
def test_another_word_is_answered_with_auto(make):
    with pytest.raises(ConfigError, match=r'num_proc must be a whole number of at least 0, or "auto" .*, got '):
        make()


def test_where_the_number_is_not_this_machines_affair():
    with pytest.raises(ConfigError, match="cluster= the workers are on others: write the number of actors"):
        df.PrefetchData(Numbers(3), num_proc="auto", cluster=df.Ray())
    with pytest.raises(ConfigError, match="duplicate=True the data depend on the number of workers"):
        df.PrefetchData(Stream(3), num_proc="auto", duplicate=True)
    with pytest.raises(ConfigError, match="num_thread must be a whole number"):
        df.MultiThreadMapData(Numbers(3), "auto", busy)
