"""The order of an epoch is computed by index: a good shuffle, of any size, at once."""

from __future__ import annotations

import itertools
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrain.dataflow import (
    BatchData,
    DataFlow,
    DataFromArrays,
    DataFromList,
    JoinData,
    MapData,
    SelectComponent,
    ShardData,
    ShuffleData,
    SkipData,
    TakeData,
)
from flowtrain.dataflow.core.rng import RandomStream
from flowtrain.utils.errors import DataFlowError

BILLION = 10**9


def _order(size, seed=0, epoch=0):
    return RandomStream(seed, 0).permutation(size, epoch)


@given(st.integers(1, 30_000), st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_every_entry_once(size, seed, epoch):
    order = _order(size, seed, epoch)
    taken = order.take(np.arange(size))
    assert np.array_equal(np.sort(taken), np.arange(size))
    places = np.random.default_rng(0).integers(0, size, 20)
    assert [order[int(place)] for place in places] == taken[places].tolist()
    assert np.array_equal(_order(size, seed, epoch).take(places), taken[places])
    assert np.array_equal(order.take(places.astype(np.uint64)), taken[places])  # a block is there already


@pytest.mark.parametrize("size", [5, 5000, 20_000, 2**24])
def test_a_place_that_is_not_there(size):
    order = _order(size)
    for places in (
        [size],
        [0, size],
        [-1],
        [0, -1],
        [-1, 0],
        [size + 10**6],
        [2**40],
    ) * 2:  # before and after there is a block
        with pytest.raises(IndexError):
            order.take(np.array(places))
        order.take(np.array([0]))
    with pytest.raises(IndexError):
        order[size + 10**6]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "above",
    [
        lambda ds: ds,
        lambda ds: MapData(ds, lambda columns: columns, batched=True),
        lambda ds: TakeData(SkipData(ds, 1), 6),
        lambda ds: ShardData(ds, 3, 0),
        lambda ds: SelectComponent(JoinData([ds, ds]), [1]),
        ShuffleData,
    ],
)
def test_many_at_once_are_those_that_are_there(above, shuffle):
    flow = above(DataFromArrays(np.arange(20), shuffle=shuffle))
    size, one_by_one = len(flow), [flow.get(index)[0] for index in range(len(flow))]
    assert flow.get_batch(np.arange(size))[0].tolist() == one_by_one
    assert not len(flow.get_batch(np.arange(0))[0])
    for indices in ([size], [0, size], [-1], [0, -1], [size - 1, 2**40]):
        with pytest.raises(IndexError):
            flow.get_batch(np.array(indices))


@pytest.mark.parametrize("size", [1500, 4096, 10_000, 70_001])
def test_as_good_as_a_stored_shuffle(size):
    """Means over many orders lie where those of uniform permutations lie, by five standard errors."""
    orders = [_order(size, seed).take(np.arange(size)) for seed in range(60)]

    # fixed points: Poisson of mean 1
    fixed = [np.count_nonzero(order == np.arange(size)) for order in orders]
    assert abs(np.mean(fixed) - 1) < 5 / 60**0.5

    # entries that follow each other: Poisson of mean 1 upward
    neighbours = [np.count_nonzero(np.diff(order) == 1) for order in orders]
    assert abs(np.mean(neighbours) - 1) < 5 / 60**0.5

    # ascents: mean (n - 1) / 2, variance (n + 1) / 12
    ascents = [np.count_nonzero(np.diff(order) > 0) for order in orders]
    assert abs(np.mean(ascents) - (size - 1) / 2) < 5 * ((size + 1) / 12 / 60) ** 0.5

    # where the entries of each sixteenth go: chi-square of 15 * 15 degrees of freedom
    def chi_square(order):
        table = np.zeros((16, 16))
        np.add.at(table, (np.arange(size) * 16 // size, order * 16 // size), 1)
        return ((table - size / 256) ** 2 / (size / 256)).sum()

    squares = [chi_square(order) for order in orders]
    assert abs(np.mean(squares) - 225) < 5 * (450 / 60) ** 0.5 + 2

    # places and entries are not correlated
    correlations = [np.corrcoef(np.arange(size), order)[0, 1] for order in orders]
    assert abs(np.mean(correlations)) < 5 / (60 * size) ** 0.5


def test_each_epoch_and_each_seed_has_its_own_order():
    orders = [_order(5000, seed, epoch).take(np.arange(5000)) for seed, epoch in itertools.product(range(5), range(5))]
    same = [np.count_nonzero(a == b) for a, b in itertools.combinations(orders, 2)]
    assert max(same) < 12 and 0.5 < np.mean(same) < 1.5


class Computed(DataFlow):
    """A billion datapoints that nobody stores."""

    def __len__(self):
        return BILLION

    def get(self, index, epoch=0):
        return [np.full(4, index, np.int64), index]


@pytest.mark.parametrize(
    "source", [lambda: ShuffleData(Computed()), lambda: DataFromList(range(BILLION), shuffle=True)]
)
def test_a_billion_datapoints(source):
    def build():
        return BatchData(MapData(source(), lambda dp: dp if isinstance(dp, list) else [dp]), 32)

    tracemalloc.start()
    try:
        ds = build()
        iterator = iter(ds)
        batch = next(iterator)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert len(batch[-1]) == 32 and len(ds) == BILLION // 32
    assert len(json.dumps(ds.state_dict())) < 200

    # far inside, at once
    place = 9 * 10**8 // 32
    resumed = build()
    resumed.load_state_dict({**ds.state_dict(), "position": place})
    far = next(iter(resumed))
    assert np.array_equal(far[-1], ds.get(place)[-1])
    assert resumed.state_dict()["position"] == place + 1


def test_a_full_shuffle_needs_a_flow_that_can_be_reached():
    class Stream(DataFlow):
        def __iter__(self):
            yield [1]

    with pytest.raises(DataFlowError, match="LocallyShuffleData"):
        ShuffleData(Stream())


def test_a_generator_lasts_for_its_datapoint_only():
    stream = RandomStream(7, 1)
    numbers = [stream.at(2, index).random(3).tolist() for index in range(5)]
    assert [stream.at(2, index).random(3).tolist() for index in (4, 0)] == [numbers[4], numbers[0]]
    assert len({tuple(row) for row in numbers}) == 5
    assert RandomStream(7, 2).at(2, 0).random(3).tolist() != numbers[0]
    assert stream.at(3, 0).random(3).tolist() != numbers[0]
    stream.at(0, 0).random(dtype=np.float32)  # half a word is left over
    assert stream.at(2, 0).random(3).tolist() == numbers[0]
