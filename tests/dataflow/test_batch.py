"""Batching never changes data: dtypes, shapes, and what does not fit."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrain.dataflow import (
    BatchData,
    BatchDataByShape,
    DataFromArrays,
    DataFromGenerator,
    DataFromList,
    MapData,
    PaddedBatchData,
    PrefetchData,
    SelectComponent,
    UnbatchData,
    WindowData,
)
from flowtrain.ipc import buffers
from flowtrain.utils.errors import ConfigError, DataFlowError

from .helpers_dataflow import same


def _batched(*rows, **options):
    return next(iter(BatchData(DataFromList(list(rows)), len(rows), **options)))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2], np.int64),
        ([1.5, 2.5], np.float64),
        ([True, False], np.bool_),
        ([1j, 2j], np.complex128),
        ([np.float64(1.5), np.float64(2.5)], np.float64),
        ([np.uint8(1), np.uint8(2)], np.uint8),
        ([np.float16(1), np.float16(2)], np.float16),
        ([np.bool_(1), np.bool_(0)], np.bool_),
        (["a", "bc"], object),
        ([b"a\0", b""], object),
        ([None, None], object),
        ([np.str_("a"), np.str_("b")], object),
        ([np.zeros(3, np.uint16), np.ones(3, np.uint16)], np.uint16),
        ([np.zeros(3, ">f8"), np.ones(3, ">f8")], ">f8"),
        ([np.zeros((0, 4), np.int8), np.zeros((0, 4), np.int8)], np.int8),
        ([[1, 2], [3, 4]], np.int64),
        ([[1, 2.5], [3.5, 4.0]], np.float64),
        ([[True], [False]], np.bool_),
        ([[np.float32(1), np.float32(2)], (np.float32(3), np.float32(4))], np.float32),
        ([[np.int8(1)], [np.int8(2)]], np.int8),
        ([[np.arange(2), np.arange(2)], [np.arange(2), np.arange(2)]], np.int64),
        ([[np.int64(1), 2], [3, 4]], np.int64),
        ([np.int64(1), 2], np.int64),
        ([2.5, np.float64(1), np.array(0.5)], np.float64),
        ([1, np.array(2)], np.int64),
        ([1e300, 1700000000.25], np.float64),
        ([2**53 + 1, 2**63 - 1], np.int64),
        ([[], []], np.float64),
        ([[], ["a"]], object),
        ([["a"], []], object),
        ([np.zeros((0,), np.int8), []], np.int8),
        ([[], np.zeros((0,), np.int8)], np.int8),
        ([np.datetime64("2020-01-01"), np.datetime64("2021-01-01")], "datetime64[D]"),
    ],
)
def test_dtype_rules(values, dtype):
    (column,) = _batched(*[[value] for value in values])
    assert column.dtype == np.dtype(dtype)
    assert len(column) == len(values)
    for row, value in zip(column, values, strict=True):
        assert np.array_equal(np.asarray(row), np.asarray(value))


def test_lists_that_are_no_arrays_stay_as_they_are():
    (column,) = _batched([[1, "a"]], [["b"]])
    assert column.dtype == object and column[0] == [1, "a"] and column[1] == ["b"]


def test_dicts_and_nested_dicts():
    batch = _batched(
        {"x": np.zeros(2), "y": {"a": 1, "b": "s"}},
        {"x": np.ones(2), "y": {"a": 2, "b": "t"}},
    )
    assert batch["x"].tolist() == [[0, 0], [1, 1]]
    assert batch["y"]["a"].tolist() == [1, 2]
    assert batch["y"]["b"].tolist() == ["s", "t"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[np.zeros(2)], [np.zeros(3)]], r"component 0 .* row 0 has shape \(2,\), row 1 has shape \(3,\)"),
        ([[np.zeros(2)], [np.zeros(2, np.float32)]], "row 0 has dtype float64, row 1 has dtype float32"),
        ([[1], [2.5]], "row 0 is int, row 1 is float"),
        ([[1], [True]], "row 0 is int, row 1 is bool"),
        ([[1], [2**70]], "does not fit into int64"),
        ([[1], [1, 2]], "row 0 has 1 components, row 1 has 2 components"),
        ([{"a": 1}, {"b": 1}], r"row 0 has the keys \['a'\], row 1 has the keys \['b'\]"),
        ([[1], {"a": 1}], "row 1 has the keys"),
        ([[np.zeros(2)], ["a"]], "row 1 is not an array"),
        ([{"a": {"b": np.zeros(2)}}, {"a": {"b": np.zeros(3)}}], "'a': component 'b'"),
        ([3, 4], "a datapoint is a list, a tuple or a dict of components; got int"),
        ([[[1, 2]], [[1]]], r"row 0 has shape \(2,\), row 1 has shape \(1,\)"),
    ],
)
def test_rows_that_do_not_fit(rows, message):
    with pytest.raises(DataFlowError, match=message):
        _batched(*rows)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (None, 1, "None .dtype object"),
        (None, [1], "None .dtype object"),
        (None, np.zeros(2), "None .dtype object"),
        ("a", 1.5, "str .dtype object"),
        (["a"], [1], "list .dtype object"),
        ([], [1], r"shape \(0,\)"),
        ([], {"a": 1}, "is a.* dict"),
        (None, {"a": 1}, "is a.* dict"),
        (np.float32(1), 1.0, "row 0 is .*float"),
        (np.float32(1), np.array(1.0), "row 0 .*float(32|64)"),
        (np.datetime64("2020-01-01"), np.datetime64("2020-01-01T12"), r"dtype datetime64\[[Dh]\]"),
        ([np.float32(1)], [1.0], "dtype float(32|64)"),
    ],
)
def test_the_order_of_rows_decides_nothing(one, other, message):
    for first, second in ((one, other), (other, one)):
        with pytest.raises(DataFlowError, match=message):
            _batched([first], [second])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1, 2], [3]], r"rows differ in shape \(\(2, ...\), \(1, ...\)\)"),
        ([np.zeros(2), np.zeros(3)], r"rows differ in shape \(\(2,\), \(3,\)\)"),
        ([True, 2], "a list of bool and int"),
        ([np.float32(1), np.float64(2)], "float32 and float64"),
        ([2**53 + 1, 0.5], "float64 does not hold its 9007199254740993"),
        ([2**63], "does not fit into int64"),
    ],
)
def test_lists_of_which_numpy_would_make_something_else(value, message):
    with pytest.raises(DataFlowError, match=message):
        _batched([value], [value])
    several = all(isinstance(row, np.ndarray) for row in value)
    with pytest.raises(DataFlowError, match="takes each array by itself" if several else message):
        DataFromArrays(value)


MASKED = np.ma.masked_equal(np.array([1.0, -9999.0], np.float32), -9999.0)


@pytest.mark.parametrize("value", [MASKED, MASKED[1], [MASKED, MASKED], {"deep": MASKED}])
@pytest.mark.parametrize("stage", [BatchData, PaddedBatchData, WindowData])
def test_a_mask_is_never_lost(stage, value):
    with pytest.raises(DataFlowError, match=r"component .* masked array.*\.filled\(value\).*getmaskarray"):
        next(iter(stage(DataFromList([[value], [value]]), 2)))
    rows = [[np.asarray([1.0, 2.0], np.float32)], [MASKED]]  # in a later row, too
    with pytest.raises(DataFlowError, match="component 0, row 1 is a masked array"):
        next(iter(stage(DataFromList(rows), 2)))


def test_masked_arrays_are_no_source_of_rows():
    for column in (MASKED, [MASKED, MASKED], {"x": MASKED}):
        with pytest.raises(DataFlowError, match=r"DataFromArrays: .* masked array"):
            DataFromArrays(column)
    for num_proc in (0, 1):
        ds = PrefetchData(DataFromList([[MASKED]]), num_proc=num_proc)  # row by row they go along as they are
        (row,) = next(iter(ds))
        assert isinstance(row, np.ma.MaskedArray) and row.mask.tolist() == [False, True] and row.fill_value == -9999


def test_padding_takes_lists():
    tokens = [[101, 7, 102], [], (101, 102), np.array([5])]
    ds = PaddedBatchData(DataFromList([[row, n] for n, row in enumerate(tokens)]), 4)
    (column, numbers), wanted = next(iter(ds)), [[101, 7, 102], [0, 0, 0], [101, 102, 0], [5, 0, 0]]
    assert column.dtype == np.int64 and column.tolist() == wanted and numbers.tolist() == [0, 1, 2, 3]
    ds = DataFromList([{"boxes": []}, {"boxes": [[1.0, 2.0, 3.0, 4.0]]}])
    batch = next(iter(PaddedBatchData(ds, 2, pad_value=-1)))
    assert batch["boxes"].dtype == np.float64 and batch["boxes"].tolist() == [[[-1] * 4], [[1, 2, 3, 4]]]
    batch = next(iter(PaddedBatchData(DataFromList([[["a", "b"]], [[]]]), 2)))
    assert batch[0].dtype == object and batch[0].tolist() == [["a", "b"], []]
    with pytest.raises(DataFlowError, match=r"cannot be stacked: rows before have 1 axes, row 1 has shape \(1, 1\)"):
        next(iter(PaddedBatchData(DataFromList([[[1]], [[[1]]]]), 2)))


def test_the_error_names_the_stage_and_the_mend():
    with pytest.raises(DataFlowError, match=r"BatchData\(2\).*PaddedBatchData, BatchDataByShape or use_list=True"):
        _batched([np.zeros(2)], [np.zeros(3)])


def test_use_list_keeps_ragged_rows():
    batch = _batched([np.zeros(2), "a"], [np.zeros(3), "b"], use_list=True)
    assert [row.shape for row in batch[0]] == [(2,), (3,)] and batch[1] == ["a", "b"]
    assert _batched({"a": 1}, {"a": 2.5}, use_list=True) == {"a": [1, 2.5]}


@pytest.mark.parametrize("name", ["drop_last", "drop_remainder"])
@pytest.mark.parametrize("stage", [BatchData, PaddedBatchData, BatchDataByShape, WindowData])
def test_the_opposite_of_remainder_is_not_answered_with_its_name_alone(stage, name):
    with pytest.raises(TypeError, match=rf"no argument '{name}'. Write remainder=True to keep a last batch"):
        stage(DataFromList([[1]]), 2, **{name: True})


def test_remainder_and_length():
    ds = DataFromList([[n] for n in range(7)])
    assert [len(dp[0]) for dp in BatchData(ds, 3)] == [3, 3]
    assert [len(dp[0]) for dp in BatchData(ds, 3, remainder=True)] == [3, 3, 1]
    assert (len(BatchData(ds, 3)), len(BatchData(ds, 3, remainder=True))) == (2, 3)
    with pytest.raises(DataFlowError, match="7 datapoints do not fill one batch of 8"):
        BatchData(ds, 8)
    stream = DataFromGenerator(lambda: ([n] for n in range(7)))
    assert [dp[0].tolist() for dp in BatchData(stream, 3, remainder=True)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(list(BatchData(stream, 3))) == 2


@pytest.mark.parametrize("size", [0, -1, 2.5, "3", True, None])
def test_a_batch_size_is_a_whole_number(size):
    with pytest.raises(ConfigError, match="batch_size must be a whole number"):
        BatchData(DataFromList([[1]]), size)


def test_rows_are_written_into_the_memory_that_is_provided():
    given_out = []

    def allocate(shape, dtype):
        given_out.append(np.zeros(shape, dtype))
        return given_out[-1]

    ds = BatchData(DataFromList([[np.full(3, n, np.uint8), n] for n in range(4)]), 4)
    buffers.use(allocate)
    try:
        image, number = next(iter(ds))
    finally:
        buffers.use(None)
    assert image is given_out[0] and number is given_out[1]


@given(st.integers(1, 30), st.integers(1, 9), st.booleans())
def test_vectorised_batches_are_the_stacked_rows(n, size, shuffle):
    x, y = np.arange(n * 4, dtype=np.float32).reshape(n, 2, 2), np.arange(n)
    ds = SelectComponent(MapData(DataFromArrays(x, y, shuffle=shuffle), _scaled, batched=True), [1, 0])
    assert ds.vectorized
    batches = list(BatchData(ds, size, remainder=True))
    rows = [row for batch in batches for row in zip(*batch, strict=True)]
    assert same([list(row) for row in rows], [ds.get(i, 0) for i in range(n)])
    assert sorted(int(row[0]) for row in rows) == list(range(n))


def _scaled(columns):
    return [columns[0] * np.float32(0.5), columns[1]]


def test_a_batched_function_must_return_as_many_rows():
    ds = MapData(DataFromArrays(np.zeros((6, 2))), lambda columns: [columns[0].sum()], batched=True)
    with pytest.raises(DataFlowError, match="takes and returns columns"):
        next(iter(BatchData(ds, 3)))


def test_padding():
    ds = DataFromList([{"t": np.array([1, 2, 3]), "n": 3}, {"t": np.array([4]), "n": 1}])
    batch = next(iter(PaddedBatchData(ds, 2)))
    assert batch["t"].tolist() == [[1, 2, 3], [4, 0, 0]] and batch["n"].tolist() == [3, 1]
    batch = next(iter(PaddedBatchData(ds, 2, pad_value={"t": -1})))
    assert batch["t"].tolist() == [[1, 2, 3], [4, -1, -1]]
    two = DataFromList([[np.ones((1, 3), np.float32)], [np.ones((2, 1), np.float32)]])
    (column,) = next(iter(PaddedBatchData(two, 2, pad_value=np.nan)))
    assert column.shape == (2, 2, 3) and np.isnan(column).sum() == 12 - 5
    with pytest.raises(DataFlowError, match="does not fit the uint8"):
        next(iter(PaddedBatchData(DataFromList([[np.zeros(2, np.uint8)], [np.zeros(1, np.uint8)]]), 2, pad_value=-1)))
    with pytest.raises(DataFlowError, match="cannot be stacked"):
        next(iter(PaddedBatchData(DataFromList([[np.zeros(2)], [np.zeros((2, 2))]]), 2)))


def test_batches_by_shape_lose_nothing():
    rows = [[np.full((1 + n % 3,), n)] for n in range(20)]
    batches = list(BatchDataByShape(DataFromList(rows), 4, remainder=True))
    assert all(batch[0].shape[1] == 1 + batch[0][0, 0] % 3 for batch in batches)
    assert sorted(int(value) for batch in batches for value in batch[0][:, 0]) == list(range(20))
    assert len(list(BatchDataByShape(DataFromList(rows), 4))) < len(batches)


def test_unbatch_undoes_batch():
    rows = [{"x": np.full(2, n), "s": str(n), "d": {"k": np.int64(n)}} for n in range(5)]
    assert same(list(UnbatchData(BatchData(DataFromList(rows), 2, remainder=True))), [dict(row) for row in rows])
    with pytest.raises(DataFlowError, match="equally many"):
        list(UnbatchData(DataFromList([[np.zeros(2), np.zeros(3)]])))


@pytest.mark.parametrize("kind", [collections.OrderedDict, lambda items: collections.defaultdict(list, items)])
@pytest.mark.parametrize("stage", [BatchData, PaddedBatchData])
def test_rows_of_classes_that_derive_from_dict(stage, kind):
    rows = [kind({"a": 1, "b": "x"}), {"b": "y", "a": 2}, kind({"b": "z", "a": 3})]
    for data, found in ((rows, lambda batch: batch), ([[row] for row in rows], lambda batch: batch[0])):
        batch = found(next(iter(stage(DataFromList(data), 3))))
        assert type(batch) is dict and list(batch) == ["a", "b"]
        assert batch["a"].tolist() == [1, 2, 3] and batch["b"].tolist() == ["x", "y", "z"]
        with pytest.raises(DataFlowError, match=r"\['a', 'b'\], row 3 has the keys \['a'\].*\{'b': \.\.\., "):
            list(stage(DataFromList([*data, {"a": 1} if found(data) is data else [{"a": 1}]]), 4))


def test_padding_of_axes_without_elements():
    (column,) = next(iter(PaddedBatchData(DataFromList([[np.zeros((0, 3))], [np.zeros((0, 4))]]), 2)))
    assert column.shape == (2, 0, 4)


@pytest.mark.parametrize(
    ("dtype", "pad"), [(np.float32, 1e300), (np.float16, 2049), (np.float32, "1"), (np.float64, None), (np.int8, 0.5)]
)
def test_what_a_dtype_does_not_have_does_not_pad_it(dtype, pad):
    ds = DataFromList([[np.zeros(2, dtype)], [np.zeros(1, dtype)]])
    with pytest.raises(DataFlowError, match=r"pad_value=.* does not fit the .* of component 0"):
        list(PaddedBatchData(ds, 2, pad_value=pad))


def test_padding_is_rounded_as_numpy_rounds():
    for dtype in (np.float16, np.complex64):
        (column,) = next(iter(PaddedBatchData(DataFromList([[np.zeros(2, dtype)], [np.zeros(1, dtype)]]), 2, 0.1)))
        assert column[1, 1] == dtype(0.1)


@pytest.mark.parametrize(
    "dtype", ["?", "u1", ">i4", "i8", "f2", "f4", ">f8", "c16", "M8[ns]", "m8[s]", "S7", "U5", "f4,i8"]
)
@pytest.mark.parametrize("shape", [(3,), (0, 9), (30, 25), (90, 40, 3), (140_000,)])
def test_every_bit_of_a_row_is_kept(dtype, shape):
    """NaNs of any kind and -0.0 too, whatever the size of the rows and however they lie in memory."""
    bits = np.random.default_rng(0).integers(0, 2 if dtype == "?" else 32, (3, *shape, np.dtype(dtype).itemsize))
    if dtype in ("f4", ">f8"):
        bits |= 0xC0  # negative, and NaNs among them
    if dtype == "U5":
        bits[..., 1::2] = 0
        bits[..., 2::4] = 0
    rows = [row.astype(np.uint8).view(dtype)[..., 0] for row in bits]
    for ways in ("ccc", "fff", "cff", "fcc", "crc"):
        laid = [{"c": row, "f": row.copy(order="F"), "r": row[::-1]}[way] for row, way in zip(rows, ways, strict=True)]
        batch, nested = _batched(*([row, {"deep": row}] for row in laid))
        for column in (batch, nested["deep"]):
            assert column.dtype == np.dtype(dtype) and column.shape == (3, *shape) and column.flags.c_contiguous
            assert [row.tobytes() for row in column] == [row.tobytes() for row in laid]


@pytest.mark.parametrize("shape", [(30, 25), (30, 25, 1)])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_source_may_fill_one_buffer_again_and_again(shape, workers):
    def filled():
        buffer = np.empty(shape, np.float32)
        for number in range(8):
            buffer[...] = number
            yield [buffer]

    ds = BatchData(DataFromGenerator(filled), 4)
    (first,), (second,) = PrefetchData(ds, num_proc=1) if workers else ds
    assert [row.min() for row in (*first, *second)] == [row.max() for row in (*first, *second)] == list(range(8))
