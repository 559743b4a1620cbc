"""What a flow hands out is the consumer's own: nested containers changed in place, over epochs and workers."""

from __future__ import annotations

import collections
import copy
import sys
import types

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowtrain.dataflow import (
    BatchData,
    CacheData,
    ConcatData,
    DataFromArrays,
    DataFromIterable,
    DataFromList,
    DataFromPandas,
    JoinData,
    LocallyShuffleData,
    MapData,
    PrefetchData,
    RepeatedData,
    RepeatedDataPoint,
    ShuffleData,
    UnbatchData,
    WindowData,
)

from .tries import tries

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests


class Boxes:
    """A user's own class, as detectors have them."""

    def __init__(self, rows):
        self.rows = rows


arrays = hnp.arrays(
    st.sampled_from(["u1", "f4", "f8", "i8", "?", "M8[s]", "U3"]), hnp.array_shapes(min_dims=0, max_dims=2, max_side=3)
)
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3), st.binary())
leaves = st.one_of(plain, arrays, arrays.map(lambda array: np.ma.MaskedArray(array, copy=True)))


def containers(inner):
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.sets(st.integers(), max_size=3),
        st.lists(inner, max_size=2).map(collections.deque),
        st.dictionaries(st.text(max_size=2), inner, max_size=2).map(lambda d: collections.defaultdict(list, d)),
        st.binary(max_size=3).map(bytearray),
        st.lists(inner, max_size=2).map(Boxes),
        st.lists(inner, min_size=1, max_size=2).map(objects),
    )


def objects(items):
    array = np.empty(len(items), object)
    for place, item in enumerate(items):
        array[place] = item
    return array


values = st.recursive(leaves, containers, max_leaves=6)
datapoints = st.one_of(
    st.lists(values, min_size=2, max_size=2), st.fixed_dictionaries({"id": st.integers(), "value": values})
)


def spoil(value):
    """Change everything that can be changed, in place."""
    if isinstance(value, np.ndarray):
        items = value.ravel().tolist() if value.dtype == object else []
        try:
            if isinstance(value, np.ma.MaskedArray):
                value[...] = np.ma.masked
            value[...] = np.zeros((), value.dtype)
        except ValueError as error:
            assert "read-only" in str(error)
    else:
        items = list(value.values()) if isinstance(value, dict) else list(value) if _is_container(value) else []
        items += [value.rows] if isinstance(value, Boxes) else []
    for item in items:
        spoil(item)
    if isinstance(value, (list, collections.deque, bytearray)):
        value.append(7)
    elif isinstance(value, dict):
        value["spoilt"] = 7
    elif isinstance(value, set):
        value.add(-77)
    elif isinstance(value, Boxes):
        value.rows = None


def _is_container(value):
    return isinstance(value, (list, tuple, set, collections.deque, bytearray))


def plain_form(value):
    """A value as something that == compares, with all types and bytes in it."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        held = [plain_form(item) for item in value.ravel().tolist()] if value.dtype == object else value.tobytes()
        return kind, str(value.dtype), value.shape, held, np.ma.getmaskarray(value).tobytes()
    if isinstance(value, dict):
        return kind, [(key, plain_form(item)) for key, item in value.items()]
    if isinstance(value, set):
        return kind, sorted(value)
    if _is_container(value):
        return kind, [plain_form(item) for item in value]
    return (kind, plain_form(value.rows)) if isinstance(value, Boxes) else (kind, value)


def noted(datapoint):
    """What came in, as a component that nothing changes, and everything else spoilt."""
    form = repr(plain_form(datapoint))
    spoil(datapoint)
    return [form]


def column(rows):
    return DataFromArrays(objects(rows))


def frame(rows):
    import pandas as pd

    return DataFromPandas(pd.DataFrame({"x": pd.Series(rows, dtype=object)}))


# each makes a flow over rows that it keeps; their values are in it row by row
KEEPING = {
    "DataFromList": DataFromList,
    "DataFromList shuffled": lambda rows: DataFromList(rows, shuffle=True),
    "DataFromIterable": lambda rows: DataFromIterable(collections.deque(rows)),
    "DataFromArrays": column,
    "DataFromPandas": frame,
    "DataFromArrays in batches": lambda rows: UnbatchData(BatchData(column(rows), 2, remainder=True)),
    "CacheData": lambda rows: CacheData(MapData(DataFromList(rows), copy.deepcopy)),
    "CacheData of a stream": lambda rows: CacheData(DataFromIterable(rows)),
    "CacheData above RepeatedDataPoint": lambda rows: CacheData(RepeatedDataPoint(DataFromList(rows), 2)),
    "RepeatedDataPoint": lambda rows: RepeatedDataPoint(MapData(DataFromList(rows), copy.deepcopy), 3),
    "RepeatedDataPoint of a stream": lambda rows: RepeatedDataPoint(DataFromIterable(rows), 3),
    "RepeatedData": lambda rows: RepeatedData(DataFromList(rows), 2),
    "ConcatData of one flow twice": lambda rows: ConcatData([DataFromList(rows)] * 2),
    "JoinData of one list twice": lambda rows: JoinData(
        [DataFromList([[row] for row in rows]), DataFromList([[row] for row in rows])]
    ),
    "ShuffleData": lambda rows: ShuffleData(DataFromList(rows)),
    "LocallyShuffleData": lambda rows: LocallyShuffleData(DataFromIterable(rows), 3),
    "WindowData": lambda rows: WindowData(column(rows), 2, shift=1, remainder=True),
    "WindowData of a stream": lambda rows: WindowData(DataFromIterable([[row] for row in rows]), 2, shift=1),
}


@pytest.mark.parametrize("name", KEEPING)
@tries(25)
@given(rows=st.lists(datapoints, min_size=2, max_size=4))
def test_nothing_above_can_change_what_a_flow_keeps(name, rows):
    build = KEEPING[name]
    wrap = (lambda row: [["text", row]]) if "Window" in name else (lambda row: row)  # rows of objects
    given_rows = [wrap(row) for row in rows]
    before = repr(plain_form(given_rows))
    clean, spoilt = build(copy.deepcopy(given_rows)), MapData(build(given_rows), noted)
    for _ in range(3):  # epochs
        expected = [repr(plain_form(copy.deepcopy(datapoint))) for datapoint in clean]
        assert [row[0] for row in spoilt] == expected
    assert repr(plain_form(given_rows)) == before


ROWS = [[{"id": n}, [n, [n]], {n}, np.full(2, n), Boxes([n])] for n in range(5)]


@pytest.mark.parametrize("name", [name for name in KEEPING if "stream" not in name and "Locally" not in name])
def test_the_same_for_any_number_of_workers(name):
    build = KEEPING[name]
    rows = [["text", row] for row in ROWS] if "Window" in name else ROWS
    clean = build(copy.deepcopy(rows))
    if not clean.indexable:
        pytest.skip("cannot be divided among workers")
    expected = [[repr(plain_form(copy.deepcopy(datapoint))) for datapoint in clean] for _ in range(3)]
    for num_proc in (0, 1, 2):
        ds = PrefetchData(MapData(build(copy.deepcopy(rows)), noted), num_proc=num_proc)
        assert [[row[0] for row in ds] for _ in range(3)] == expected


@pytest.mark.parametrize("num_proc", [0, 1])
def test_what_a_mapping_proxy_holds_is_the_consumers_own(num_proc):
    def spoilt(datapoint):
        form = repr(datapoint)
        datapoint["a"][0]["b"].append(7)
        return [form]

    ds = DataFromList([{"a": (types.MappingProxyType({"b": [1]}),)}] * 2)
    ds = PrefetchData(MapData(ds, spoilt), 1, num_proc)
    assert [next(iter(ds)) for _ in range(3)] == [["{'a': (mappingproxy({'b': [1]}),)}"]] * 3
