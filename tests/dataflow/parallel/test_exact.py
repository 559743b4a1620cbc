"""The promise of the parallel stages: the datapoints, and their order, of the serial flow; at any position too."""

from __future__ import annotations

import json
import os

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowtrain.dataflow as df
from flowtrain.dataflow import imgaug
from flowtrain.utils.errors import DataFlowError, StateError


class Pictures(df.DataFlow):
    """Small pictures that know where they are from; indexable."""

    def __init__(self, size, as_dict=False):
        self.size, self.as_dict = size, as_dict

    def __len__(self):
        return self.size

    def get(self, index, epoch=0):
        picture = (np.arange(12 * 10 * 3).reshape(12, 10, 3) * 7 + index).astype(np.uint8)
        return {"picture": picture, "index": index} if self.as_dict else [picture, index]


class Noise(df.ProxyDataFlow, df.RNGDataFlow):
    """Random by index."""

    def __init__(self, ds, seed=None):
        df.ProxyDataFlow.__init__(self, ds)
        df.RNGDataFlow.__init__(self, seed)

    def get(self, index, epoch=0):
        dp = self.ds.get(index, epoch)
        return [*dp, self.stream.at(epoch, index).normal(size=3)]


def equal(a, b):
    assert type(a) is type(b), (a, b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b), (len(a), len(b))
        for x, y in zip(a, b, strict=True):
            equal(x, y)
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.dtype == object:
            equal(a.tolist(), b.tolist())
        else:
            np.testing.assert_array_equal(a, b)
    else:
        assert a == b


STAGES = {
    "map": lambda ds: df.MapData(ds, lambda dp: [*dp[:-1], dp[-1]]),
    "crop": lambda ds: df.AugmentImageComponent(ds, [imgaug.RandomCrop((4, 4)), imgaug.Flip(horiz=True)]),
    "noise": Noise,
    "shuffle": lambda ds: df.ShuffleData(ds),
    "take": lambda ds: df.TakeData(ds, max(1, len(ds) - 3)),
    "skip": lambda ds: df.SkipData(ds, 1) if len(ds) > 1 else ds,
    "repeat": lambda ds: df.RepeatedData(ds, 2),
    "concat": lambda ds: df.ConcatData([ds, ds]),
    "join": lambda ds: df.JoinData([ds, ds]),
    "select": lambda ds: df.SelectComponent(ds, list(range(2))),
    "prefetch": lambda ds: df.PrefetchData(ds, num_proc=2),
}
ORDER = list(STAGES)


def sensible(names):
    growing = names.count("concat") + names.count("repeat")
    shuffled_walk = "prefetch" in names and "shuffle" in names[names.index("prefetch") :]
    return growing < 3 and not shuffled_walk


@st.composite
def chains(draw):
    """A recipe: a size and stages, by name, to be built as often as wanted."""
    names = draw(st.lists(st.sampled_from(ORDER), max_size=4).filter(sensible))
    return draw(st.integers(2, 40)), names, draw(st.none() | st.integers(1, 5))


def build(recipe):
    size, names, batch = recipe
    ds = Pictures(size)
    cropped = False
    for name in names:
        if name == "crop" and cropped:
            continue
        cropped = cropped or name == "crop"
        ds = STAGES[name](ds)
    return df.BatchData(ds, batch, remainder=True) if batch else ds


def serial(ds):
    """The definition: ``get`` of 0, 1, 2, ..."""
    return [[ds.get(i, epoch) for i in range(len(ds))] for epoch in range(3)]


@settings(max_examples=12)
@given(chains(), st.sampled_from([0, 1, 2, 3]), st.integers(1, 20), st.data())
def test_any_chain_any_number_of_workers_any_position(recipe, num_proc, num_prefetch, data):
    expected = serial(build(recipe))
    ds = df.PrefetchData(build(recipe), num_prefetch, num_proc)
    assert len(ds) == len(expected[0])
    position = data.draw(st.integers(0, len(expected[0])), label="position")
    it = iter(ds)
    taken = [next(it) for _ in range(position)]
    state = json.loads(json.dumps(ds.state_dict()))
    it.close()
    equal(taken, expected[0][:position])

    again = df.PrefetchData(build(recipe), data.draw(st.integers(1, 9)), data.draw(st.sampled_from([0, 1, 2])))
    again.load_state_dict(state)
    equal(list(again), expected[0][position:])
    equal(list(again), expected[1])
    equal(list(again), expected[2])


@pytest.mark.parametrize("num_proc", [0, 1, 2, 3, 8, 16])
def test_the_same_epochs_for_any_number_of_workers(num_proc):
    def chain():
        ds = df.DataFromList([[np.full((9, 9, 3), i, np.uint8), i] for i in range(150)], shuffle=True)
        ds = df.AugmentImageComponent(ds, [imgaug.RandomCrop((5, 5))])
        return df.BatchData(Noise(ds), 8, remainder=True)

    ds = df.PrefetchData(chain(), 4, num_proc)
    expected = serial(chain())
    for epoch in range(3):
        equal(list(ds), expected[epoch])
    equal(sorted(np.concatenate([b[1] for b in expected[1]]).tolist()), list(range(150)))


def test_the_three_names_are_one_class():
    assert df.PrefetchDataZMQ is df.PrefetchData is df.MultiProcessRunnerZMQ


VALUES = {
    "scalar": lambda i: i,
    "float": lambda i: i / 7,
    "text": lambda i: f"größe {i}",
    "bytes": lambda i: bytes([i]) * 5000,
    "none": lambda i: None,
    "numpy scalar": lambda i: np.float32(i),
    "nested": lambda i: {"a": [i, (i, "x")], "b": {"c": np.arange(i)}},
    "empty": lambda i: np.zeros((0, 3)),
    "zero-dimensional": lambda i: np.array(i),
    "big-endian": lambda i: np.arange(2000, dtype=">i4") + i,
    "fortran": lambda i: np.asfortranarray(np.arange(6000.0).reshape(60, 100) + i),
    "strided": lambda i: np.arange(9000)[:: 2 + i % 3],
    "bool": lambda i: np.arange(9000) % (i + 2) == 0,
    "strings": lambda i: np.array(["a", "bc" * i]),
    "objects": lambda i: np.array([i, None, "x"], object),
    "structured": lambda i: np.zeros(900, [("a", "i4"), ("b", "f8", 3)]),
    "time": lambda i: np.full(900, np.datetime64("2020-01-01") + i),
    "set": lambda i: {i, i + 1},
    "shared": lambda i: [np.full(3000, i)] * 2,
}


@pytest.mark.parametrize("kind", VALUES)
def test_any_value_arrives_as_it_is(kind):
    ds = df.MapData(df.DataFromList([[i] for i in range(12)]), lambda dp, make=VALUES[kind]: [make(dp[0])])
    equal(list(df.PrefetchData(ds, num_proc=1)), list(ds))
    if kind not in ("set", "none"):
        listed = df.BatchData(ds, 3, use_list=True)
        equal(list(df.PrefetchData(listed, num_proc=1)), list(listed))


def test_arrays_can_be_written_to_where_the_serial_ones_can():
    def make(dp):
        fixed = np.full(3000, dp[0])
        fixed.flags.writeable = False
        return [np.full(3000, dp[0]), fixed, np.full(3, dp[0])]

    for dp in df.PrefetchData(df.MapData(Pictures(9), lambda dp: make([dp[1]]))):
        assert [a.flags.writeable for a in dp] == [True, False, True]


def test_batches_are_aligned_for_tensorflow():
    ds = df.BatchData(df.MapData(Pictures(64), lambda dp: [dp[0].astype(np.float32), dp[1]]), 16)
    for picture, _ in df.PrefetchData(ds):
        assert picture.ctypes.data % 64 == 0


# ---- flows that can only be iterated


def stream(size=40):
    return df.DataFromGenerator(lambda: ([i, np.full(1500, i)] for i in range(size)))


CHAINS = {
    "generator": stream,
    "filter": lambda: df.FilterData(Noise(Pictures(60)), lambda dp: dp[1] % 3 != 0),
    "local shuffle": lambda: df.LocallyShuffleData(stream(), 10),
    "batches": lambda: df.BatchData(df.MapData(stream(), lambda dp: [dp[0] * 2]), 3, remainder=True),
    "dropping map": lambda: df.MapData(stream(), lambda dp: dp if dp[0] % 2 else None, may_drop=True),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("num_proc", [0, 1])
def test_one_worker_keeps_the_order_and_resumes_anywhere(name, num_proc):
    reference = CHAINS[name]()
    expected = [list(reference) for _ in range(2)]
    for position in (0, 1, 11, len(expected[0])):
        ds = df.PrefetchData(CHAINS[name](), 3, num_proc)
        it = iter(ds)
        equal([next(it) for _ in range(position)], expected[0][:position])
        state = ds.state_dict()
        it.close()
        again = df.PrefetchData(CHAINS[name](), 5, 1 - num_proc)
        again.load_state_dict(state)
        equal(list(again), expected[0][position:])
        equal(list(again), expected[1])


class Sharded(df.DataFlow):
    """What a user writes for a source that can only be iterated, but in parts."""

    def __init__(self, index=0, count=1):
        self.part = index, count

    def shard(self, index, count):
        return Sharded(index, count)

    def __iter__(self):
        index, count = self.part
        for i in range(index, 31, count):
            yield [i]


def test_parts_of_a_sharded_flow():
    ds = df.MapData(Sharded(), lambda dp: [dp[0] * 2])
    expected = [i * 2 for i in range(31)]
    for num_proc in (1, 2, 3):
        parallel = df.PrefetchData(ds, num_proc=num_proc)
        assert [dp[0] for dp in parallel] == expected  # one of each part in turn: here the serial order
        it = iter(parallel)
        taken = [next(it)[0] for _ in range(13)]
        state = parallel.state_dict()
        it.close()
        again = df.PrefetchData(ds, num_proc=num_proc)
        again.load_state_dict(state)
        assert taken + [dp[0] for dp in again] == expected
    with pytest.raises(StateError, match=r"saved with 3 workers.*num_proc=3"):
        other = df.PrefetchData(ds, num_proc=2)
        other.load_state_dict(state)
        list(other)


def test_duplicates_differ_in_their_random_numbers_only():
    ds = df.PrefetchData(df.FilterData(Noise(Pictures(20)), lambda dp: True), num_proc=2, duplicate=True)
    seen = [tuple(dp[2]) for dp in ds]
    assert len(set(seen)) == len(seen) == 40
    known = df.PrefetchData(Noise(Pictures(21)), num_proc=2, duplicate=True)
    assert len(list(known)) == len(known) == 21
    it = iter(known)
    first = [next(it) for _ in range(5)]
    state = known.state_dict()
    rest = list(it)
    assert len(first) + len(rest) == 21
    again = df.PrefetchData(Noise(Pictures(21)), num_proc=2, duplicate=True)
    again.load_state_dict(state)
    equal(list(again), rest)


# ---- stages above and beneath


def test_stages_above_take_what_the_workers_make():
    ds = df.PrefetchData(df.MapData(Pictures(30), lambda dp: [os.getpid(), dp[1]]), num_proc=2)
    above = df.BatchData(df.MapData(ds, lambda dp: [dp[0], dp[1] + 1]), 4, remainder=True)
    pids = np.concatenate([b[0] for b in above])
    assert os.getpid() not in pids
    equal(np.concatenate([b[1] for b in above]).tolist(), list(range(1, 31)))
    assert above.get(2)[1].tolist() == [9, 10, 11, 12]  # alone, it is made here
    it = iter(above)
    next(it)
    state = msgpack.unpackb(msgpack.packb(above.state_dict()))
    it.close()
    again = df.BatchData(df.MapData(df.PrefetchData(Pictures(30), num_proc=3), lambda dp: [0, dp[1] + 1]), 4)
    again.load_state_dict(state)
    assert next(iter(again))[1].tolist() == [5, 6, 7, 8]


def test_two_iterators_at_once():
    ds = df.PrefetchData(Noise(Pictures(20)))
    expected = serial(Noise(Pictures(20)))
    a, b = iter(ds), iter(ds)
    pairs = [(next(a), next(b)) for _ in range(20)]
    equal([x for x, _ in pairs], expected[0])
    equal([y for _, y in pairs], expected[1])


def test_a_flow_that_changes_between_epochs():
    class Settable(df.DataFlow):
        factor = 1

        def __len__(self):
            return 5

        def get(self, index, epoch=0):
            return [index * self.factor]

    source = Settable()
    ds = df.PrefetchData(source)
    assert [dp[0] for dp in ds] == [0, 1, 2, 3, 4]
    source.factor = 10
    assert [dp[0] for dp in ds] == [0, 10, 20, 30, 40]


class Kept(df.DataFlow):
    """Datapoints [factor, sum of the table's row, the item's value]."""

    def __init__(self, table, items):
        self.factor, self.table, self.items = 1, table, items

    def __len__(self):
        return 4

    def get(self, index, epoch=0):
        return [self.factor, int(self.table[index].sum()), self.items[index]]


# Compared whole; with long lists and large arrays left out: what workers are given may be of any size.
@pytest.mark.parametrize(("width", "more"), [(3, 0), (20_000, 0), (6_000_000, 0), (3, 100_000)])
def test_what_changes_between_epochs_reaches_the_workers(width, more):
    source = Kept(np.ones((4, width), np.uint8), list(range(4 + more)))
    ds = df.PrefetchData(df.MapData(source, lambda dp: [*dp, os.getpid()]), num_proc=1)
    once, again = list(ds), list(ds)
    assert [dp[:3] for dp in once] == [[1, width, i] for i in range(4)]
    assert again == once  # made by the same worker
    source.factor = 10
    assert [dp[:3] for dp in ds] == [[10, width, i] for i in range(4)]
    source.items[2] = 7
    assert [dp[2] for dp in ds] == [0, 1, 7, 3]
    source.table = source.table + 1
    assert [dp[1] for dp in ds] == [2 * width] * 4
    if width < 6_000_000:
        source.table[1] = 5
        assert [dp[1] for dp in ds] == [2 * width, 5 * width, 2 * width, 2 * width]


def test_an_endless_flow():
    ds = df.PrefetchData(df.RepeatedData(Pictures(3), -1), num_proc=2)
    it = iter(ds)
    assert [next(it)[1] for _ in range(10)] == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    it.close()


class Billion:
    def __len__(self):
        return 10**9

    def __getitem__(self, index):
        return [index]


def test_a_billion_datapoints():
    ds = df.PrefetchData(df.BatchData(df.DataFromList(Billion(), shuffle=True), 8))
    ds.load_state_dict({**ds.state_dict(), "position": 9 * 10**7})
    it = iter(ds)
    assert next(it)[0].shape == (8,)
    assert len(json.dumps(ds.state_dict())) < 150
    it.close()


# ---- map stages

MAPS = {
    "processes": lambda ds, f, n, **o: df.MultiProcessMapData(ds, n, f, **o),
    "threads": lambda ds, f, n, **o: df.MultiThreadMapData(ds, n, f, **o),
}


@pytest.mark.parametrize("source", ["indexable", "stream"])
@pytest.mark.parametrize("kind", MAPS)
@settings(max_examples=4)
@given(workers=st.integers(0, 3), buffer=st.integers(0, 300), position=st.integers(0, 40), strict=st.booleans())
def test_maps(kind, source, workers, buffer, position, strict):
    def make():
        ds = Noise(Pictures(40)) if source == "indexable" else stream()
        return MAPS[kind](ds, lambda dp: [dp[0], dp[1] + 0, 1], workers, buffer_size=buffer, strict=strict)

    def sort(dps):
        return dps if strict else sorted(dps, key=lambda dp: (np.sum(dp[0]), np.sum(dp[1])))

    reference = df.MapData(Noise(Pictures(40)) if source == "indexable" else stream(), lambda dp: [dp[0], dp[1] + 0, 1])
    expected = [list(reference) for _ in range(2)]
    ds = make()
    it = iter(ds)
    taken = [next(it) for _ in range(position)]
    state = json.loads(json.dumps(ds.state_dict()))
    it.close()
    again = make()
    again.load_state_dict(state)
    equal(sort(taken + list(again)), sort(expected[0]))
    equal(sort(list(again)), sort(expected[1]))


@pytest.mark.parametrize("source", [lambda: Noise(Pictures(30)), stream])
@pytest.mark.parametrize("workers", [0, 2])
def test_map_and_batch(source, workers):
    def function(dp):
        return [np.float32(np.sum(dp[0])), dp[1]]

    expected = list(df.BatchData(df.MapData(source(), function), 4, remainder=True))
    ds = df.MultiProcessMapAndBatchData(source(), workers, function, 4, remainder=True)
    equal(list(ds), expected)
    equal(len(list(df.MultiProcessMapAndBatchData(source(), workers, function, 4))), len(list(source())) // 4)


@pytest.mark.parametrize("kind", MAPS)
def test_maps_drop_only_when_told(kind):
    ds = MAPS[kind](stream(), lambda dp: dp if dp[0] % 3 else None, 2, may_drop=True, strict=True)
    assert [dp[0] for dp in ds] == [i for i in range(40) if i % 3]
    with pytest.raises(DataFlowError, match=r"None.*may_drop=True"):
        list(MAPS[kind](stream(), lambda dp: None, 2))


def test_an_error_of_the_flow_beneath_comes_after_what_it_gave():
    def generate():
        yield from ([i] for i in range(10))
        raise LookupError("dry")

    seen = []
    with pytest.raises(LookupError, match="dry"):
        for dp in df.MultiProcessMapData(df.DataFromGenerator(generate), 2, lambda dp: dp, strict=True):
            seen.append(dp[0])
    assert seen == list(range(10))


@pytest.mark.parametrize("num_thread", [0, 1, 2, 5])
def test_thread_runner(num_thread):
    expected = serial(Noise(Pictures(50)))
    ds = df.MultiThreadRunner(Noise(Pictures(50)), 3, num_thread)
    for epoch in range(3):
        equal(list(ds), expected[epoch])


def test_thread_runner_over_a_function_that_makes_flows():
    assert sorted(dp[0] for dp in df.MultiThreadRunner(lambda: stream(5), num_thread=2)) == sorted([*range(5)] * 2)


@pytest.mark.parametrize("num_proc", [0, 1, 2])
def test_nuls_at_the_end_of_numpys_texts(num_proc):
    """NumPy's own way to pickle them leaves these out."""
    made = df.MapData(df.DataFromList([[np.bytes_(b"x\0")], [np.bytes_(b"y")]]), lambda dp: [*dp, [np.str_("é\0\0")]])
    found = list(df.PrefetchData(made, num_prefetch=2, num_proc=num_proc))
    assert [(bytes(one), type(one), list(other)) for one, (other,) in found] == [
        (b"x\0", np.bytes_, ["é", "\0", "\0"]),
        (b"y", np.bytes_, ["é", "\0", "\0"]),
    ]
