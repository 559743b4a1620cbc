"""Random chains of indexable stages: exact by index, of true length, resumable anywhere."""

from __future__ import annotations

import functools
import json
import operator

import cloudpickle
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import flowtrain.dataflow as df
from flowtrain.dataflow import imgaug

from .helpers_dataflow import Numbers, Stream, first, same

# each takes a flow of [picture, number, ...] and gives one, so that they go together in any order
EACH = {
    "map": lambda ds: df.MapData(ds, lambda dp: [dp[0], dp[1] + 1, *dp[2:]]),
    "component": lambda ds: df.MapDataComponent(ds, lambda x: x * 3, 1),
    "augment": lambda ds: df.AugmentImageComponent(ds, [imgaug.RandomCrop(3), imgaug.Flip(vert=True)]),
    "draw": lambda ds: df.RandomMapData(ds, lambda dp, rng: [*dp, rng.integers(1000)]),
    "shuffle": lambda ds: df.ShuffleData(ds),
    "shuffle a little": lambda ds: df.LocallyShuffleData(ds, 6),
    "repeat": lambda ds: df.RepeatedData(ds, 2),
    "repeat points": lambda ds: df.RepeatedDataPoint(ds, 2),
    "fixed": lambda ds: df.FixedSizeData(ds, 13),
    "fixed anew": lambda ds: df.FixedSizeData(ds, 7, keep_state=False),
    "take": lambda ds: df.TakeData(ds, 11),
    "skip": lambda ds: df.SkipData(ds, 1),
    "shard": lambda ds: df.ShardData(ds, 2, 0),
    "cache": lambda ds: df.CacheData(ds, shuffle=True),
    "concat": lambda ds: df.ConcatData([ds, ds]),
    "interleave": lambda ds: df.InterleaveData([ds, ds], block=3),
    "choose": lambda ds: df.RandomChooseData([ds, ds], probs=[0.2, 0.8], size=17),
    "mix": lambda ds: df.RandomMixData([ds, ds]),
    "batch and back": lambda ds: df.MapData(df.BatchData(ds, 2, remainder=True), lambda dp: [c[0] for c in dp]),
}
LIMIT = 40


def _chain(names, source):
    ds = source
    for name in names:
        if name in ("skip",) and ds.size_or_none() == 1:
            continue
        ds = EACH[name](ds)
    return ds


names = st.lists(st.sampled_from(sorted(EACH)), max_size=6)


@settings(max_examples=150)
@given(names, st.integers(2, 9), st.data())
def test_indexable_chains(chosen, n, data):
    ds = _chain(chosen, Numbers(n))
    assert ds.indexable
    epochs = [first(ds, LIMIT), first(ds, LIMIT)]
    assert len(epochs[0]) == min(len(ds), LIMIT)

    # any datapoint alone, in a copy, in any order
    twin = cloudpickle.loads(cloudpickle.dumps(_chain(chosen, Numbers(n))))
    twin._ensure_reset()
    for epoch in (1, 0):
        for index in np.random.default_rng(n).permutation(len(epochs[epoch])):
            assert same(twin.get(int(index), epoch), epochs[epoch][index])

    # from any position
    taken = data.draw(st.integers(0, len(epochs[0])))
    going = _chain(chosen, Numbers(n))
    first(going, LIMIT)
    iterator = iter(going)
    for _ in range(taken):
        next(iterator)
    state = json.loads(json.dumps(going.state_dict()))
    resumed = _chain(chosen, Numbers(n))
    resumed.load_state_dict(state)
    assert same(first(resumed, LIMIT - taken), epochs[1][taken:])


@settings(max_examples=60)
@given(names.map(lambda chosen: [name for name in chosen if name != "shuffle"]), st.integers(2, 9), st.data())
def test_chains_that_can_only_be_iterated(chosen, n, data):
    def build():
        return _chain(chosen, Stream(n))

    ds = build()
    epochs = [first(ds, LIMIT), first(ds, LIMIT)]
    assert len(epochs[0]) == len(epochs[1]) == min(len(ds), LIMIT)
    assert same(first(build(), LIMIT), epochs[0])
    taken = data.draw(st.integers(0, len(epochs[0])))
    going = build()
    iterator = iter(going)
    for _ in range(taken):
        next(iterator)
    resumed = build()
    resumed.load_state_dict(json.loads(json.dumps(going.state_dict())))
    assert same(first(resumed, LIMIT - taken), epochs[0][taken:])


@settings(max_examples=80)
@given(
    st.lists(st.sampled_from(["shuffle", "shuffle a little", "cache", "mix", "map"]), max_size=4), st.integers(1, 30)
)
def test_each_datapoint_once_an_epoch(chosen, n):
    ds = _chain([name for name in chosen if name != "mix"], Numbers(n))
    for _ in range(2):
        numbers = sorted(dp[1] for dp in ds)
        assert numbers == list(range(numbers[0], numbers[0] + n))


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 6))
def test_shards_are_the_whole(n, count):
    count = min(count, n)
    parts = [list(df.ShardData(df.DataFromList(range(n), shuffle=True), count, k)) for k in range(count)]
    assert sorted(functools.reduce(operator.iadd, parts, [])) == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@settings(max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 4))
def test_turns_by_index_are_those_of_a_walk(sizes, block):
    by_index = df.InterleaveData([Numbers(n, first=100 * k) for k, n in enumerate(sizes)], block)
    walked = df.InterleaveData([Stream(n, first=100 * k) for k, n in enumerate(sizes)], block)
    assert by_index.indexable and not walked.indexable
    assert [dp[1] for dp in by_index] == [dp[1] for dp in walked]


@settings(max_examples=60)
@given(st.integers(0, 60), st.integers(2, 20), st.integers(0, 3))
def test_local_shuffle_by_index_is_that_of_a_walk(n, buffer_size, seed):
    by_index = df.LocallyShuffleData(Numbers(n), buffer_size, seed=seed)
    walked = df.LocallyShuffleData(Stream(n), buffer_size, seed=seed)
    order = [dp[1] for dp in by_index]
    assert order == [dp[1] for dp in walked]
    assert sorted(order) == list(range(n))
    assert all(abs(place - number) <= buffer_size for place, number in enumerate(order))


@settings(max_examples=40)
@given(st.integers(3, 30), st.integers(1, 5), st.integers(1, 6), st.integers(1, 3), st.booleans())
def test_windows_by_index_are_those_of_a_walk(n, size, shift, stride, remainder):
    if n < (size - 1) * stride + 1:
        remainder = True

    def build(source):
        return df.WindowData(df.SelectComponent(source, 1), size, shift, stride, remainder)

    by_index, walked = build(Numbers(n)), build(Stream(n))
    windows = [dp[0].tolist() for dp in by_index]
    assert windows == [dp[0].tolist() for dp in walked]
    assert len(windows) == len(by_index)


def test_stages_that_repeat_go_into_each_other():
    for source in (Numbers(2), Stream(2)):

        def build(source=source):
            ds = df.AugmentImageComponent(source, [imgaug.RandomCrop(3)])
            for _ in range(6):
                ds = df.TakeData(df.RepeatedData(df.FixedSizeData(ds, 2, keep_state=False)), 2)
                ds = df.RandomChooseData([ds], size=2)
            return ds

        ds = build()
        epochs = [first(ds, 2) for _ in range(3)]
        resumed = build()
        resumed.load_state_dict({**ds.state_dict(), "epoch": 1, "position": None})
        assert same(first(resumed, 2), epochs[1])
