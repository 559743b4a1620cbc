"""Flows in general: a user's own classes, positions, seeds, errors and old spellings."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import flowtrain.dataflow as df
from flowtrain.dataflow import imgaug
from flowtrain.utils import set_seed
from flowtrain.utils.errors import DataFlowError, FlowtrainError, StateError

from .helpers_dataflow import Numbers, Stream, first, same


def test_importing_it_never_imports_tensorflow():
    code = (
        "import sys, flowtrain.dataflow, flowtrain.dataflow.formats, flowtrain.dataflow.datasets, flowtrain.cli;"
        "import flowtrain.cli.data; import flowtrain as ft; ft.BatchData; ft.show;"
        "bad = {'tensorflow', 'keras', 'torch', 'matplotlib', 'pandas'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=800)


class Own(df.RNGDataFlow):
    """As a user writes it: a generator with random numbers."""

    def __init__(self, seed=None):
        super().__init__(seed)

    def __iter__(self):
        for index in range(5):
            yield [index, self.rng.random()]


def test_a_users_generator_is_seeded_and_goes_on():
    epochs = [list(Own()), list(Own())]
    assert same(*epochs)
    ds = Own()
    assert same(list(ds), epochs[0])
    second = list(ds)
    assert not same(second, epochs[0])
    ds = Own()
    list(ds)
    first(ds, 2)
    resumed = Own()
    resumed.load_state_dict(ds.state_dict())
    assert same(list(resumed), second[2:])


def test_the_default_seed():
    try:
        set_seed(5)
        five = first(df.ShuffleData(Numbers(30)), 30)
        set_seed(6)
        assert not same(first(df.ShuffleData(Numbers(30)), 30), five)
    finally:
        set_seed(0)
    assert same(first(df.ShuffleData(Numbers(30), seed=5), 30), five)


def test_a_state_holds_the_seeds():
    def build(seed):
        return df.AugmentImageComponent(df.ShuffleData(Numbers(9), seed=seed), [imgaug.RandomCrop(3)], seed=seed)

    ds = build(1)
    whole = list(ds)
    ds = build(1)
    first(ds, 4)
    other = build(2)
    other.load_state_dict(ds.state_dict())
    assert same(list(other), whole[4:])
    with pytest.raises(StateError, match="2 random stages"):
        Numbers(9).load_state_dict(ds.state_dict())
    with pytest.raises(StateError, match="only 9 datapoints"):
        other.load_state_dict({**ds.state_dict(), "position": 10})
        iter(other).__next__()


def test_stages_of_one_seed_draw_their_own_numbers():
    def draw(dp, rng):
        return [*dp, rng.random()]

    ds = df.RandomMapData(df.RandomMapData(df.DataFromList([[]] * 4), draw), draw)
    assert all(a != b for a, b in ds)


def test_an_error_in_a_function_says_where():
    class Odd(Exception):
        def __init__(self, code, detail):
            super().__init__(code, detail)

    def broken(dp):
        if dp[1] == 3:
            raise Odd(1, "bad picture")
        return dp

    for source in (Numbers(5), Stream(5)):
        with pytest.raises(Odd, match=r"bad picture.*MapData\(broken\), epoch 0, datapoint 3"):
            list(df.BatchData(df.MapData(source, broken), 2))

    def stops(dp):
        raise StopIteration

    with pytest.raises(DataFlowError, match="raised StopIteration"):
        list(df.MapData(Numbers(3), stops))


def test_a_forgotten_return_is_an_error():
    def forgetful(dp):
        dp[1] + 1

    for ds in (df.MapData(Numbers(3), forgetful), df.MapDataComponent(Numbers(3), lambda x: None)):
        with pytest.raises(DataFlowError, match=r"returned None for datapoint 0 of epoch 0.*may_drop=True"):
            list(ds)
    assert next(iter(df.MapDataComponent(Numbers(3), lambda x: x if x else None, 1, may_drop=True)))[1] == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: df.MapDataComponent(Numbers(3), str, 9), "component 9 was asked for, but the datapoint has only 6"),
        (lambda: df.MapDataComponent(Numbers(3), str, "image"), "give a position from 0 to 5"),
        (lambda: df.MapDataComponent(Numbers(3, "dict"), str, "imge"), "no component 'imge'. Did you mean 'image'"),
        (lambda: df.SelectComponent(Numbers(3, "dict"), ["image", "x"]), "no component 'x'"),
        (lambda: df.AugmentImageComponent(df.DataFromList([3, 4]), [imgaug.Flip(horiz=True)]), "got int"),
        (lambda: df.JoinData([Numbers(3, "dict"), Numbers(3, "dict")]), "gives the keys"),
        (lambda: df.JoinData([Numbers(3), Numbers(3, "dict")]), "flow 1 gives dict"),
        (lambda: df.FlatMapData(Numbers(3), lambda dp: 5), "must return a list of datapoints"),
        (lambda: df.RepeatedData(df.DataFromGenerator(lambda: iter([]))), "an epoch of .* is empty"),
        (lambda: df.FixedSizeData(df.DataFromGenerator(lambda: iter([])), 3), "an epoch of .* is empty"),
        (lambda: df.RepeatedData(Numbers(0)), "an epoch of .* is empty"),
        (lambda: df.FixedSizeData(Numbers(0), 3), "an epoch of .* is empty"),
        (lambda: df.RandomChooseData([Numbers(3), Numbers(0)], size=9), "an epoch of .* is empty"),
        (lambda: df.RandomChooseData([Stream(3), Stream(0)], size=9), "an epoch of .* is empty"),
    ],
)
def test_data_that_does_not_fit(build, message):
    with pytest.raises(DataFlowError, match=message):
        list(build())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: df.MapData([1], str), "Wrap a list with DataFromList"),
        (lambda: df.MapData(Numbers(3), 5), "expected a function of a datapoint, got 5"),
        (lambda: df.MapDataComponent(Numbers(3), str, 1.5), "a component is named by"),
        (lambda: df.FilterData(Numbers(3), None), "expected a function"),
        (lambda: list(df.FilterData(Numbers(3), lambda dp: None)), r"returned None.*in FilterData.*datapoint 0"),
        (lambda: df.RandomChooseData([Numbers(3)] * 2, [float("nan"), 1]), "add up to 1"),
        (lambda: df.DataFromList("photos/*.jpg"), "a list or another sequence, got str"),
        (lambda: df.RepeatedData(df.RepeatedData(Numbers(3))), "never ends by itself"),
        (lambda: df.RepeatedData(Numbers(3), 0), "num"),
        (lambda: df.ShuffleData(df.RepeatedData(Numbers(3))), "never ends"),
        (lambda: df.ConcatData([Numbers(3), df.RepeatedData(Numbers(3))]), "never ends"),
        (lambda: df.ConcatData(Numbers(3)), r"takes a list of flows, ConcatData\(\[a, b\]\)"),
        (lambda: df.ConcatData([]), "empty list of flows"),
        (lambda: df.JoinData([Numbers(3), 4]), "entry 1 is no DataFlow but int"),
        (
            lambda: df.RandomChooseData([(Numbers(3), 0.5), (Numbers(3), 0.5)]),
            r"Write RandomChooseData\(\[a, b\], probs=",
        ),
        (lambda: df.RandomChooseData([Numbers(3)], probs=[0.5]), "add up to 1"),
        (lambda: df.RandomChooseData([Numbers(3)], probs=[0.5, 0.5]), "must be 1 numbers"),
        (lambda: df.RandomMixData([Stream(3, known=False)]), "is not known"),
        (lambda: df.TakeData(Numbers(3), 0), "num must be a whole number of at least 1"),
        (lambda: df.SkipData(Numbers(3), 3), "leaves nothing"),
        (lambda: df.ShardData(Numbers(3), 2, 2), "index is from 0 to num_shards - 1 = 1"),
        (lambda: df.ShardData(Numbers(3), 5, 4), "is empty"),
        (lambda: df.LocallyShuffleData(Numbers(3), 1), "buffer_size"),
        (lambda: df.WindowData(Numbers(3), 5), "a window spans 5"),
        (lambda: df.MapData(Numbers(3), str, may_drop=True, batched=True), "use FilterData"),
        (lambda: df.AugmentImageComponents(Numbers(3), [], index=[]), "at least one picture"),
        (lambda: df.AugmentImageComponents(Numbers(3), [], index=1.5), "AugmentImageComponents: a component is named"),
        (lambda: df.AugmentImageCoordinates(Numbers(3), [], 1.5), "AugmentImageCoordinates: a component is named"),
        (lambda: df.DataFromList([1], shuffle="yes"), "shuffle is True or False"),
        (lambda: df.DataFromList([1], seed=-1), "a seed is a whole number"),
    ],
)
def test_stages_that_make_no_sense(build, message):
    with pytest.raises(FlowtrainError, match=message):
        build()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: df.RepeatedData(Numbers(3), nb=2), "Write num="),
        (lambda: df.ConcatData(df_lists=[Numbers(3)]), "Write flows="),
        (lambda: df.LocallyShuffleData(Numbers(3), 5, num_reuse=2), "RepeatedDataPoint"),
        (lambda: df.AugmentImageComponent(Numbers(3), [], catch_exceptions=True), "may_drop=True"),
        (lambda: Numbers(3).size(), r"write len\(ds\)"),
        (lambda: Numbers(3).get_data(), "iterate over the flow itself"),
        (lambda: df.ThreadedMapData, "Write MultiThreadMapData instead"),
        (lambda: df.BatchDate, "Did you mean 'BatchData'"),
    ],
)
def test_old_spellings_name_todays(build, message):
    with pytest.raises((FlowtrainError, AttributeError), match=message):
        build()


def test_augmented_components_move_together():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    source = df.DataFromList([{"a": image, "b": image, "mask": image, "points": np.array([[3.0, 4.0]]), "name": "x"}])
    crops = [imgaug.RandomCrop(5), imgaug.Flip(horiz=True, prob=0.5)]
    ds = df.AugmentImageComponents(source, crops, index=["a", "b"], mask_index=["mask"], coords_index=["points"])
    for epoch in range(20):
        dp = ds.get(0, epoch)
        assert np.array_equal(dp["a"], dp["b"]) and np.array_equal(dp["a"], dp["mask"]) and dp["name"] == "x"
        alone = df.AugmentImageCoordinates(source, crops, "a", "points").get(0, epoch)
        assert np.array_equal(alone["a"], dp["a"]) and np.array_equal(alone["points"], dp["points"])
    assert len({ds.get(0, epoch)["a"].tobytes() for epoch in range(20)}) > 3


def test_lengths_that_differ_are_mentioned(caplog):
    ds = df.JoinData([Numbers(3), Numbers(5)])
    assert len(ds) == len(list(ds)) == 3
    assert "different lengths" in caplog.text
    assert len(df.JoinData([Numbers(3), df.RepeatedData(Numbers(2))])) == 3


def test_proportions_hold_and_nothing_is_left_out():
    ds = df.RandomChooseData([Numbers(50), Numbers(10, first=100)], probs=[0.75, 0.25], size=100)
    numbers = [dp[1] for _ in range(50) for dp in ds]
    high = [number for number in numbers if number >= 100]
    assert 1150 <= len(high) <= 1350
    assert set(numbers) == {*range(50), *range(100, 110)}
    assert [number for number in numbers if number < 100][:100] == [*range(50), *range(50)]


def test_epochs_of_a_fixed_size_go_on():
    for source in (Numbers(5), Stream(5), Stream(5, known=False)):
        ds = df.FixedSizeData(source, 3)
        assert [[dp[1] for dp in ds] for _ in range(4)] == [[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1]]
        iterator = iter(ds)
        next(iterator)
        state = ds.state_dict()
        resumed = df.FixedSizeData(source, 3)
        resumed.load_state_dict(state)
        assert [dp[1] for dp in resumed] == [3, 4]


def test_an_epoch_of_a_fixed_size_goes_on_with_loaded_seeds():
    def build(seed):
        return df.FixedSizeData(df.LocallyShuffleData(Stream(12), 6, seed=seed), 6)

    saved, ds = build(1), build(2)
    list(saved), list(ds)
    ds.load_state_dict(saved.state_dict())
    assert same(list(ds), list(saved))


@pytest.mark.parametrize("stage", [df.BatchData, df.PaddedBatchData, df.WindowData])
def test_an_index_below_0_is_an_error_over_endless_flows_too(stage):
    with pytest.raises(IndexError, match="there is no number -1"):
        stage(df.RepeatedData(Numbers(3)), 2).get(-1)


def test_two_walks_at_once():
    own = list(Own())
    ds = Own()
    one, other = iter(ds), iter(ds)
    pairs = [(next(one), next(other)) for _ in range(5)]
    assert same([a for a, _ in pairs], own) and not same([b for _, b in pairs], own)
    ds = df.MapData(Numbers(4), lambda dp: [dp[1]])
    assert list(zip(ds, ds, strict=True)) == [([n], [n]) for n in range(4)]
    stream = df.MapData(Stream(4), lambda dp: [dp[1]])
    assert list(zip(stream, stream, strict=True)) == [([n], [n]) for n in range(4)]


FAILING = {
    "map": lambda ds, f: df.MapData(ds, f),
    "map under batches": lambda ds, f: df.BatchData(df.MapData(ds, f), 4, remainder=True),
    "dropping map": lambda ds, f: df.MapData(df.MapData(ds, lambda dp: dp if dp[1] % 5 else None, may_drop=True), f),
    "map above a shuffle": lambda ds, f: df.MapData(df.LocallyShuffleData(ds, 8), f),
    "joined, the second fails": lambda ds, f: df.JoinData([ds, df.MapData(Stream(40), f)]),
    "repeated": lambda ds, f: df.RepeatedData(df.MapData(ds, f), 2),
    "each twice": lambda ds, f: df.RepeatedDataPoint(df.MapData(ds, f), 2),
    "indexable": lambda ds, f: df.BatchData(df.MapData(Numbers(40), f), 4),
    "one worker": lambda ds, f: df.PrefetchData(df.MapData(ds, f), num_proc=1),
    "above a worker": lambda ds, f: df.MapData(df.PrefetchData(ds, num_proc=1), f),
    "no worker": lambda ds, f: df.PrefetchData(df.MapData(ds, f), num_proc=0),
    "threads": lambda ds, f: df.MultiThreadMapData(ds, 2, f, strict=True),
}


@pytest.mark.parametrize("name", FAILING)
def test_after_an_error_the_position_is_that_of_the_datapoint_which_failed(name):
    def fails(dp):
        if dp[1] in broken:
            raise LookupError("not yet")
        return dp

    broken = {23, 31}
    expected = first(FAILING[name](Stream(40), lambda dp: dp), 1000)
    ds, found = FAILING[name](Stream(40), fails), []
    for _ in range(2):  # the second time after passing over some
        with pytest.raises(LookupError):
            found.extend(ds)
        state = ds.state_dict()
        ds = FAILING[name](Stream(40), fails)
        ds.load_state_dict(state)
        assert ds.state_dict() == state
        iter(ds)
        assert ds.state_dict() == state
        broken.discard(min(broken))
        ds.load_state_dict(state)
    assert same([*found, *ds], expected)


class Raises(df.DataFlow):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 5

    def get(self, index, epoch=0):
        if index == 3:
            raise self.error
        return [index]


class RaisesWalked(df.DataFlow):
    def __init__(self, error):
        self.error = error

    def __iter__(self):
        yield from ([0], [1], [2])
        raise self.error


def raising(error):
    def function(dp):
        if dp == [3]:
            raise error
        return dp

    return df.DataFromList([[i] for i in range(5)]), function


LEAVES = {
    "get": lambda error: Raises(error),
    "__iter__": lambda error: RaisesWalked(error),
    "MapData": lambda error: df.MapData(*raising(error)),
    "FilterData": lambda error: df.FilterData(*raising(error)),
    "FlatMapData": lambda error: df.FlatMapData(*raising(error)),
    "MultiThreadMapData": lambda error: df.MultiThreadMapData(raising(error)[0], 2, raising(error)[1]),
    "MultiProcessMapData": lambda error: df.MultiProcessMapData(raising(error)[0], 2, raising(error)[1]),
    "PrefetchData": lambda error: df.PrefetchData(df.MapData(*raising(error)), num_proc=2),
    "PrefetchData of a walk": lambda error: df.PrefetchData(df.FilterData(*raising(error)), num_proc=1),
    "BatchData over get": lambda error: df.BatchData(Raises(error), 2),
    "BatchData": lambda error: df.BatchData(df.MapData(*raising(error)), 2),
}


@pytest.mark.parametrize("kind", LEAVES)
@pytest.mark.parametrize("error", [SystemExit(7), GeneratorExit("gone")], ids=["SystemExit", "GeneratorExit"])
def test_what_ends_programs_and_generators_names_its_place_too(kind, error, caplog):
    error = type(error)(*error.args)
    with pytest.raises(type(error)) as caught:
        list(LEAVES[kind](error))
    assert caught.value.args == error.args  # a SystemExit's is the exit code
    (note,) = caught.value.__notes__
    assert "epoch 0, datapoint 3" in note
    if kind in ("get", "MapData") and isinstance(error, SystemExit):
        assert f"SystemExit(7) {note}" in caplog.text


def test_a_walk_that_is_left_is_not_noted():
    walk = iter(df.FlatMapData(df.DataFromList([[1], [2]]), lambda dp: [dp, dp]))
    next(walk)
    walk.close()
    walk = iter(RaisesWalked(ValueError("late")))
    next(walk)
    walk.close()


def test_a_filter_that_has_no_truth_value_is_named():
    ds = df.FilterData(Numbers(3), lambda dp: np.array([1, 0]))
    with pytest.raises(ValueError, match=r"ambiguous.*\[in FilterData\(<lambda>\), epoch 0, datapoint 0\]"):
        list(ds)
