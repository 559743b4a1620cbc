"""Walks: errors that are never taken for an end, one iterator in several threads, forks, positions in rows."""

from __future__ import annotations

import itertools
import os
import sys
import threading

import cloudpickle
import pytest

import flowtrain.dataflow as df
from flowtrain.utils.errors import DataFlowError, StateError

from ..helpers_dataflow import Numbers, Stream, first, same

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests


# ---- an exception is never taken for the end


class Finder(df.DataFlow):
    """Looks for a first match in ``get``, and finds none for datapoint 3."""

    def __len__(self):
        return 6

    def get(self, index, epoch=0):
        return [next(iter([]))] if index == 3 else [index]


class Columns(Finder):
    vectorized = True

    def get_batch(self, indices, epoch=0):
        return [[next(iter([]))]]


class Lengthless(Finder):
    def __len__(self):
        return next(iter([]))


class Unopened(Finder):
    def reset_state(self):
        next(iter([]))


class Walked(df.DataFlow):
    """The same in an ``__iter__`` that is a generator."""

    def __iter__(self):
        for index in range(6):
            yield [next(iter([]))] if index == 3 else [index]


class Mapped(df.DataFlow):
    """The same in one that is not: its StopIteration looks like the end."""

    def __len__(self):
        return 6

    def __iter__(self):
        return map(Finder.get.__wrapped__, [self] * 6, range(6))


RUNS = {
    "serial": lambda ds: ds,
    "in batches": lambda ds: df.BatchData(ds, 2),
    "in shuffled order": df.ShuffleData,
    "mapped": lambda ds: df.MapData(ds, lambda dp: dp),
    "cached": df.CacheData,
    "no workers": lambda ds: df.PrefetchData(ds, num_proc=0),
    "workers": lambda ds: df.PrefetchData(ds, num_proc=2),
    "above workers": lambda ds: df.BatchData(df.PrefetchData(ds, num_proc=2), 2),
    "threads": lambda ds: df.MultiThreadRunner(ds, num_thread=2),
    "mapped in threads": lambda ds: df.MultiThreadMapData(ds, 2, lambda dp: dp),
    "repeated": lambda ds: df.RepeatedData(ds, 2),
    "joined": lambda ds: df.JoinData([ds, Numbers(6)]),
    "over one that can only be iterated": lambda ds: df.JoinData([ds, Stream(6)]),
}


@pytest.mark.parametrize("run", RUNS)
def test_stop_iteration_in_get_names_the_datapoint(run):
    ds = RUNS[run](Finder())
    for _ in range(2):
        with pytest.raises(DataFlowError, match=r"StopIteration \[in Finder, epoch 0, datapoint 3\]$"):
            list(ds)
        ds.load_state_dict({**ds.state_dict(), "epoch": 0, "position": None})


def test_a_cache_keeps_no_cut_epoch():
    class Once(Finder):
        fails = True

        def get(self, index, epoch=0):
            return super().get(index, epoch) if self.fails else [index]

    source = Once()
    for flow in (source, df.FilterData(source, lambda dp: True)):
        source.fails = True
        ds = df.CacheData(flow)
        with pytest.raises(DataFlowError, match="datapoint 3"):
            list(ds)
        source.fails = False
        ds.load_state_dict({**ds.state_dict(), "position": None})
        assert list(ds) == list(ds) == [[index] for index in range(6)]


@pytest.mark.parametrize("source", [Walked, Mapped])
@pytest.mark.parametrize("run", ["serial", "in batches", "cached", "no workers"])
def test_an_iterator_that_is_cut_short_is_an_error(source, run):
    with pytest.raises((DataFlowError, RuntimeError), match=rf"{source.__name__}.*(datapoint 3|only 3|length is 6)"):
        list(RUNS[run](source()))


def test_an_iterator_that_inherits_its_length_may_be_shorter():
    class Odd(df.ProxyDataFlow):
        def __iter__(self):
            return (dp for dp in self.ds if dp[1] % 2)

    assert [dp[1] for dp in Odd(Numbers(6))] == [1, 3, 5]


def test_errors_of_all_that_a_user_defines_name_it():
    with pytest.raises(DataFlowError, match=r"StopIteration \[in Columns, get_batch, epoch 0, datapoints 0 to 1\]"):
        list(df.BatchData(Columns(), 2))
    with pytest.raises(DataFlowError, match=r"StopIteration \[in Lengthless, __len__\]"):
        list(Lengthless())
    for ds in (Unopened(), df.MapData(Unopened(), lambda dp: dp), df.PrefetchData(Unopened(), num_proc=1)):
        with pytest.raises(DataFlowError, match=r"StopIteration \[in Unopened, reset_state\]"):
            list(ds)


def test_an_error_in_process_reads_as_one_of_a_worker():
    class Short(df.DataFlow):
        def __len__(self):
            return 3

        def get(self, index, epoch=0):
            return [[1, 2][index]]

    for ds in (Short(), df.PrefetchData(Short(), num_proc=1)):
        with pytest.raises(IndexError, match=r"list index out of range \[in Short, epoch 0, datapoint 2\]$"):
            list(ds)


# ---- what reset_state made is left at home


class Opened(df.DataFlow):
    """Opens a file, as the pages say."""

    def __init__(self, path):
        self.path, self.handle, self.scale = path, None, 1

    def reset_state(self):
        self.close()
        self.handle = open(self.path)  # noqa: SIM115
        self.extra = threading.Lock()  # neither can be pickled

    def close(self):
        if self.handle is not None:
            self.handle.close()

    def __len__(self):
        return 3

    def get(self, index, epoch=0):
        self.handle.seek(index)
        return [self.handle.read(1), self.scale]


@pytest.fixture
def opened(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    flow = Opened(tmp_path / "a.txt")
    yield flow
    flow.close()


def test_a_flow_that_was_looked_at_goes_to_workers(opened, capsys):
    expected = [["a", 1], ["b", 1], ["c", 1]]
    looks = [
        lambda: next(iter(opened)),
        lambda: opened.reset_state(),
        lambda: opened.get(1),
        lambda: list(df.PrintData(opened)),
        lambda: df.TestDataSpeed(opened, size=2).start(),
        lambda: list(df.PrefetchData(opened, num_proc=0)),
        lambda: df.PrefetchData(opened).get(0),
    ]
    for look in looks:
        look()
        assert list(df.PrefetchData(opened, num_proc=2)) == expected
    assert not opened.handle.closed  # and is still open here


def test_what_is_set_after_reset_state_travels(opened):
    next(iter(opened))
    opened.scale = 5
    assert [dp[1] for dp in df.PrefetchData(opened, num_proc=1)] == [5, 5, 5]
    twin = cloudpickle.loads(cloudpickle.dumps(opened))
    assert twin.handle is None and not hasattr(twin, "extra")


def test_get_opens_what_it_needs(opened):
    assert df.MapData(opened, lambda dp: dp).get(2) == ["c", 1]


def test_a_failed_reset_is_tried_again(opened):
    path, opened.path = opened.path, "nowhere"
    with pytest.raises(FileNotFoundError, match=r"\[in Opened, reset_state\]"):
        list(opened)
    opened.path = path
    assert len(list(opened)) == 3


# ---- who iterates


def test_rng_in_get_names_the_stream():
    class Draws(df.RNGDataFlow):
        def __len__(self):
            return 2

        def get(self, index, epoch=0):
            return [self.rng.integers(9)]

    with pytest.raises(AttributeError, match=r"self\.stream\.at\(epoch, index\)"):
        list(Draws())


@pytest.mark.parametrize("build", [lambda ds: ds, lambda ds: df.PrefetchData(ds, num_proc=1), Stream])
def test_one_iterator_in_several_threads_is_one_clear_error(build):
    inside, go_on = threading.Event(), threading.Event()

    class Waits(df.DataFlow):
        def __iter__(self):
            inside.set()
            assert go_on.wait(60)
            yield [1]

    iterator = iter(df.MapData(Waits(), lambda dp: dp))
    seen = []
    other = threading.Thread(target=lambda: seen.append(next(iterator)))
    other.start()
    assert inside.wait(60)
    with pytest.raises(DataFlowError, match="two threads use one iterator"):
        next(iterator)
    go_on.set()
    other.join(60)
    assert seen == [[1]]  # the one that was there first got its datapoint


@pytest.mark.parametrize(
    "build",
    [
        lambda: df.PrefetchData(Numbers(50), num_proc=2),
        lambda: df.PrefetchData(Stream(50), num_proc=1),
        lambda: df.BatchData(df.PrefetchData(Numbers(50), num_proc=2), 2),
        lambda: df.MultiThreadRunner(Numbers(50), num_thread=2),
        lambda: df.MultiThreadMapData(Numbers(50), 2, lambda dp: dp),
    ],
)
def test_the_child_of_a_fork_raises_and_the_parent_goes_on(build):
    ds = build()
    expected = list(ds)
    iterator = iter(ds)
    got = [next(iterator)]
    pid = os.fork()
    if not pid:
        code = 1
        try:
            next(iterator)
        except DataFlowError as error:
            code = 0 if "fork" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    got.extend(iterator)
    assert len(got) == len(expected)


# ---- positions in rows of the source


def test_a_position_holds_for_another_batch_size():
    def build(size):
        return df.PrefetchData(df.BatchData(df.MapData(Numbers(48), lambda dp: [dp[1]]), size), num_proc=1)

    ds = build(4)
    assert ds.rows_per_datapoint() == 4
    first(ds, 6)
    state = ds.state_dict()
    assert (state["rows"], state["rows_per_datapoint"]) == (24, 4)
    for size in (1, 2, 3, 4, 6, 8, 12, 24):
        other = build(size)
        other.load_state_dict(state)
        assert next(iter(other))[0][0] == 24
    with pytest.raises(StateError, match=r"after 24 rows of the source .*no datapoint of 16 rows begins there"):
        build(16).load_state_dict(state)


def test_rows_are_not_told_where_they_are_not_in_order():
    batches = df.BatchData(Numbers(48), 4)
    assert df.ShuffleData(batches).rows_per_datapoint() is None
    assert df.BatchData(df.ShuffleData(Numbers(48)), 4).rows_per_datapoint() == 4
    assert df.FlatMapData(Numbers(9), lambda dp: [dp]).rows_per_datapoint() is None
    assert df.FilterData(Numbers(9), bool).rows_per_datapoint() is None
    assert df.BatchData(batches, 2).rows_per_datapoint() == 8
    assert df.MapData(df.TakeData(batches, 2), lambda dp: dp).rows_per_datapoint() == 4


def test_an_old_position_of_an_iterated_flow_is_refused():
    ds = df.BatchData(Stream(9), 2)
    state = {"version": 1, "epoch": 0, "seeds": []}
    with pytest.raises(StateError, match="earlier version"):
        ds.load_state_dict({**state, "position": {"turn": 0}})
    ds.load_state_dict({**state, "position": None})
    assert same(list(ds), list(df.BatchData(Numbers(9), 2)))


def _finds(number):
    return [number] if number != 3 else next(iter([]))


class _Counter:
    """An iterator of one's own, which ends as those of Python 2 did."""

    def __init__(self):
        self.count = 0

    def __iter__(self):
        return self

    def next(self):
        if self.count == 5:
            raise StopIteration
        self.count += 1
        return self.count

    __next__ = next


@pytest.mark.parametrize(
    "make",
    [
        lambda: map(_finds, range(5)),
        lambda: zip(map(_finds, range(5)), range(9), strict=False),
        lambda: map(_finds, _Counter()),
    ],
)
def test_an_error_in_a_function_that_map_calls_is_not_the_end(make):
    """map passes on a StopIteration of its function, and a for loop takes it for the end."""
    with pytest.raises(DataFlowError, match=r"StopIteration \[in DataFromGenerator\(.*\), epoch 0, datapoint [23]\]$"):
        list(df.DataFromGenerator(make))


@pytest.mark.parametrize(
    "make", [_Counter, lambda: map(int, _Counter()), lambda: itertools.islice(_Counter(), 5), lambda: iter(range(1, 6))]
)
def test_the_end_of_an_iterator_is_the_end(make):
    assert list(df.DataFromGenerator(make)) == [1, 2, 3, 4, 5]
