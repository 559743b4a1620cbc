"""Stacking beside np.stack: a batch is what NumPy makes of its rows, whichever comes first, or an error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowtrain.dataflow import (
    AugmentImageComponent,
    AugmentImageComponents,
    BatchData,
    DataFromArrays,
    DataFromList,
    imgaug,
)
from flowtrain.utils.errors import DataFlowError

from .tries import tries

DTYPES = ["?", "i1", "u1", "i8", "u8", "f2", "f4", "f8", "c8", ">i4", ">f8", "M8[s]", "m8[ms]"]
small = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
whole, real = st.integers(-(2**63), 2**63 - 1), st.floats()
plain = st.one_of(st.booleans(), whole, real, st.complex_numbers())
arrays = hnp.arrays(st.sampled_from(DTYPES), small)
generics = hnp.arrays(st.sampled_from(DTYPES), ()).map(lambda array: array[()])
lists = st.one_of(st.lists(whole, max_size=3), st.lists(real, max_size=3), st.lists(plain, max_size=3))
nested = st.lists(st.lists(whole, min_size=2, max_size=2), max_size=3)
masked = arrays.map(lambda array: np.ma.MaskedArray(array, copy=True))
others = st.one_of(st.none(), st.text(max_size=2), st.binary(max_size=2), st.just(2**70), st.just(["a", 1]))
values = st.one_of(plain, arrays, generics, lists, nested, masked, others, generics.map(lambda x: [x, x]))
forms = st.one_of(
    st.tuples(st.sampled_from(DTYPES), small).map(lambda form: hnp.arrays(*form)),
    st.sampled_from([whole, real, st.booleans()]),
    st.integers(0, 3).map(lambda length: st.lists(real, min_size=length, max_size=length)),
)
alike = forms.flatmap(lambda rows: st.lists(rows, min_size=1, max_size=4))


def stacked(rows):
    (batch,) = BatchData(DataFromList([[row] for row in rows]), len(rows))
    return batch[0]


def exact(value):
    """dtype, shape and bytes, of native order as np.stack makes it; a nan is as good as another."""
    value = value.astype(value.dtype.newbyteorder("="))
    if value.dtype.kind in "fc":
        return value.dtype, value.shape, repr(value.tolist())
    return value.dtype, value.shape, value.tobytes()


@tries(300)
@given(alike)
def test_rows_that_are_alike(rows):
    found = stacked(rows)
    expected = np.stack([np.asarray(row) for row in rows])
    assert exact(found) == exact(expected)


@tries(400)
@given(st.lists(values, min_size=2, max_size=3))
def test_rows_of_any_kind(rows):
    try:
        found = stacked(rows)
    except DataFlowError:
        found = None
    try:
        reverse = stacked(rows[::-1])
    except DataFlowError:
        reverse = None
    assert (found is None) == (reverse is None), "the order of rows decides"
    if found is None:
        return
    assert not any(isinstance(row, np.ma.MaskedArray) for row in rows)
    if found.dtype == object:
        assert all(one is row or one == row for one, row in zip(found, rows, strict=True))
        return
    each = [np.asarray(row) for row in rows]
    kept = [array for array in each if array.size or array.dtype != np.float64]  # an empty list has no dtype of its own
    for array in kept:
        assert array.dtype == found.dtype, (rows, found)
    assert exact(found) == exact(np.stack([array.astype(found.dtype) for array in each]))


@tries(100)
@given(hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6)))
def test_rows_of_an_array_make_it_again(array):
    (batch,) = BatchData(DataFromArrays(array), len(array))
    assert exact(np.asarray(batch[0])) == exact(array)


@pytest.mark.parametrize("rows", [[[None], [1]], [[1], [None]], [None, 1], [1, None], [1.5, "a"], ["a", 1.5]])
def test_found_before(rows):
    if isinstance(rows[0], list):
        rows = [row[0] for row in rows]
    with pytest.raises(DataFlowError, match="object"):
        stacked(rows)


def _arrow():
    return pytest.importorskip("pyarrow")


WHOLE = [2**53 + 1, None]
TABLES = {
    "pandas Int64": lambda: pd.array(WHOLE, dtype="Int64"),
    "pandas boolean": lambda: pd.array([True, None], dtype="boolean"),
    "pandas category": lambda: pd.Categorical(WHOLE),
    "pandas over Arrow": lambda: pd.array(WHOLE, dtype="int64[pyarrow]"),
    "Arrow": lambda: _arrow().array(WHOLE),
    "Arrow in pieces": lambda: _arrow().chunked_array([WHOLE[:1], WHOLE[1:]]),
    "Arrow by a dictionary": lambda: _arrow().array(WHOLE).dictionary_encode(),
}


@pytest.mark.parametrize("name", TABLES)
def test_whole_numbers_some_of_which_are_missing(name):
    if "Arrow" in name:
        _arrow()
    with pytest.raises(DataFlowError, match="with values missing"):
        DataFromArrays(TABLES[name]())


def test_columns_of_tables_whose_names_begin_like_those_of_whole_numbers():
    intervals = pd.interval_range(0, 2)
    assert [row for (row,) in DataFromArrays(intervals)] == list(intervals)
    found = [row for (row,) in DataFromArrays(pd.array([1.5, None], dtype="Float32"))]
    assert found[0] == 1.5 and np.isnan(found[1]) and found[1].dtype == np.float32


@pytest.mark.parametrize("unit", ["s", "ms", "generic"])
def test_units_of_time_are_not_mixed(unit):
    """NumPy's scalars of all units are of one type; as rows of one column they would be rounded to the first one's."""
    rows = [np.timedelta64(1, "us"), np.timedelta64(1, unit)]
    for mixed in (rows, rows[::-1], [[row] for row in rows], [np.array(row) for row in rows]):
        with pytest.raises(DataFlowError, match="timedelta64"):
            stacked(mixed)
    assert exact(stacked(rows[:1] * 2)) == exact(np.array(rows[:1] * 2))


def test_augmentation_refuses_what_would_lose_its_mask():
    pictures = [[np.ma.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)]]
    for augment in (AugmentImageComponent, AugmentImageComponents):
        with pytest.raises(DataFlowError, match=r"component 0 is a masked array.*filled"):
            list(augment(DataFromList(pictures), [imgaug.Flip(horiz=True)]))
