import gc
import logging
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from flowtrain.dataflow import (
    BatchData,
    DataFlow,
    DataFromList,
    MapData,
    PrefetchData,
    PrintData,
    RepeatedData,
    SelectComponent,
)
from flowtrain.feed import from_tf_dataset, to_tensor, to_tf_dataset
from flowtrain.feed.cast import host_cast
from flowtrain.feed.feeder import Feeder
from flowtrain.feed.inputs import Inputs
from flowtrain.feed.ownership import hands_over, is_leased
from flowtrain.feed.tensors import aligned_empty, can_alias
from flowtrain.utils.errors import ConfigError, DataFlowError, StateError

SPECS = [tf.TensorSpec((None, 3), tf.float32, "x"), tf.TensorSpec((None,), tf.int32, "y")]


class Numbers(DataFlow):
    def __init__(self, size=10, rows=4):
        self.size, self.rows = size, rows

    def __len__(self):
        return self.size

    def get(self, index, epoch=0):
        number = index + self.size * epoch
        return [np.full((self.rows, 3), number % 251, np.uint8), np.full(self.rows, number)]


def consume(feeder, count):
    """The numbers of the next `count` batches."""
    numbers = []
    while len(numbers) < count:
        block = feeder.get(100)
        tensor = block.tensors[1].numpy()
        for row in range(block.rows):
            numbers.append(int(tensor[row, 0] if block.stacked else tensor[0]))
            feeder.consumed(1)
            if len(numbers) == count:
                break
    return numbers


class Gated(Numbers):
    """Its first and second datapoints wait to be let through; `asked` says that the second one is being made."""

    def __init__(self):
        super().__init__()
        self.gates, self.asked = [threading.Event(), threading.Event()], threading.Event()

    def get(self, index, epoch=0):
        if index == 1:
            self.asked.set()
        if index < 2:
            self.gates[index].wait(60)
        return super().get(index, epoch)


def test_what_is_made_before_the_first_block_is_not_consumed():
    flow = Gated()
    with Feeder(flow, Inputs(SPECS), capacity=4) as feeder:
        assert feeder.get(0.01) is None
        flow.gates[0].set()
        assert flow.asked.wait(60)  # a batch is made, and not handed out
        position = feeder.state_dict()
        flow.gates[1].set()
    with Feeder(Numbers(), Inputs(SPECS), capacity=4) as feeder:
        feeder.load_state_dict(position)
        assert consume(feeder, 3) == [0, 1, 2]


@pytest.mark.parametrize("capacity", [0, 1, 4, 32])
def test_batches_come_in_order_for_ever(capacity):
    with Feeder(Numbers(), Inputs(SPECS), capacity) as feeder:
        assert consume(feeder, 35) == list(range(35))


@given(
    before=st.integers(0, 25),
    between=st.integers(0, 25),
    first=st.sampled_from([0, 1, 3, 8]),
    second=st.sampled_from([0, 1, 3, 8]),
    third=st.sampled_from([0, 4]),
)
def test_the_position_is_that_of_the_consumer(before, between, first, second, third):
    expected, position, seen = 0, None, []
    for capacity, count in ((first, before), (second, between), (third, 5)):
        with Feeder(Numbers(7), Inputs(SPECS), capacity) as feeder:
            if position is not None:
                feeder.load_state_dict(position)
            seen += consume(feeder, count)
            position = feeder.state_dict()
        expected += count
    assert seen == list(range(expected))


def test_a_prefetched_flow_goes_on_exactly():
    def flow():
        return PrefetchData(BatchData(DataFromList([[np.full(3, i, np.uint8), i] for i in range(24)]), 2), num_proc=2)

    with Feeder(flow(), Inputs(SPECS), 0) as feeder:
        first = consume(feeder, 7)
        position = feeder.state_dict()
    with Feeder(flow(), Inputs(SPECS), 0) as feeder:
        feeder.load_state_dict(position)
        assert first + consume(feeder, 8) == [2 * i % 24 for i in range(15)]
        with pytest.raises(StateError):
            feeder.load_state_dict(position)


def test_batches_of_changing_shape_break_the_stack():
    class Short(DataFlow):
        def __len__(self):
            return 7

        def get(self, index, epoch=0):
            return Numbers(7, rows=2 if index % 3 == 2 else 4).get(index, epoch)

    with Feeder(Short(), Inputs(SPECS), 4) as feeder:
        assert consume(feeder, 14) == list(range(14))


def test_an_error_comes_after_the_batches_before_it():
    class Broken(DataFlow):
        def __len__(self):
            return 9

        def get(self, index, epoch=0):
            if index == 5:
                raise ZeroDivisionError("five")
            return Numbers().get(index, epoch)

    with Feeder(Broken(), Inputs(SPECS), 4) as feeder:
        assert consume(feeder, 5) == list(range(5))
        for _ in range(2):
            with pytest.raises(ZeroDivisionError, match="five"):
                feeder.get(100)


def test_get_gives_up_after_its_time_and_close_does_not_wait_for_ever(caplog):
    released = threading.Event()

    class Stuck(DataFlow):
        def __iter__(self):
            released.wait(300)
            yield Numbers().get(0)

    feeder = Feeder(Stuck(), Inputs(SPECS))
    assert feeder.get(0.05) is None
    feeder.close(timeout=0.05)
    assert "still busy" in caplog.text
    released.set()
    feeder._thread.join(100)
    assert not feeder._thread.is_alive()


def test_the_feeder_runs_ahead_but_not_without_bound():
    class Counting(Numbers):
        made = 0

        def get(self, index, epoch=0):
            self.made += 1
            return super().get(index, epoch)

    flow = Counting(1000)
    with Feeder(flow, Inputs(SPECS), 0, depth=3) as feeder:
        for consumed in range(1, 8):
            feeder.get(100)
            deadline = time.monotonic() + 100
            while flow.made < consumed + 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert consumed + 3 <= flow.made <= consumed + 4  # two or three ready, one waiting for room


def test_a_reused_buffer_is_copied_before_it_is_overwritten():
    class Reusing(DataFlow):
        def __iter__(self):
            buffer, labels = aligned_empty((4, 3), np.float32), np.zeros(4, np.int32)
            for i in range(40):
                buffer[:], labels[:] = i, i
                yield [buffer, labels]

    for capacity in (0, 8):
        with Feeder(Reusing(), Inputs(SPECS), capacity, depth=20) as feeder:
            assert consume(feeder, 40) == list(range(40))


# ---------------------------------------------------------------- arrays as tensors


def arrays():
    aligned = aligned_empty((8, 16), np.float32)
    aligned[:] = np.arange(128).reshape(8, 16)
    unaligned = aligned_empty((129,), np.float32)[1:].reshape(8, 16)
    unaligned[:] = aligned
    read_only = aligned.copy()
    read_only.flags.writeable = False
    return {
        "aligned": aligned,
        "unaligned": unaligned,
        "read only": read_only,
        "transposed": aligned.T,
        "strided": aligned[::2],
        "reversed": aligned[::-1],
        "empty": aligned[:0],
        "scalar": np.float32(3.0),
        "zero-dimensional": np.array(3.0, np.float32),
        "bool": aligned > 3,
        "big endian": aligned.astype(">f4"),
        "complex": aligned.astype(np.complex64),
        "strings": np.array([["a", "bc"]], object),
    }


@pytest.mark.parametrize("kind", list(arrays()))
def test_every_array_becomes_a_tensor_safely(kind):
    array = arrays()[kind]
    for _ in range(20):
        tensor = to_tensor(np.asarray(array))
        value = tensor.numpy()
        if kind == "strings":
            value = np.vectorize(bytes.decode)(value)
        assert np.array_equal(value, array)


def test_an_aligned_array_is_shared_and_kept_alive():
    array = aligned_empty((1000,), np.float32)
    array[:] = 1.0
    tensor = to_tensor(array)
    array[0] = 7.0
    assert tensor.numpy()[0] == 7.0
    copied = to_tensor(array, alias=False)
    array[0] = 8.0
    assert copied.numpy()[0] == 7.0
    watched = weakref.ref(array)
    del array
    gc.collect()
    assert watched() is not None and float(tf.reduce_sum(tensor)) == 1007.0
    del tensor
    gc.collect()
    assert watched() is None


def from_walk(size=12):
    """A flow that can only be iterated, so that stages above its worker run in this process."""

    class Walked(DataFlow):
        def __iter__(self):
            for i in range(size):
                yield [np.full((20_000, 3), i, np.float32), np.full(20_000, i)]

    return PrefetchData(Walked(), num_proc=1)


def test_who_owns_an_array():
    array = np.zeros(100, np.float32)
    assert not is_leased(array) and not is_leased(array[:50])
    for (x, _), _ in zip(from_walk(), range(2), strict=False):
        assert is_leased(x) and is_leased(x[:5]) and is_leased(memoryview(x[:5]).obj)
        assert not is_leased(x.copy()) and not is_leased(x * 2)


def test_what_comes_from_workers_is_handed_over_unless_a_function_saw_it():
    ds = from_walk()
    assert hands_over(ds) and hands_over(SelectComponent(PrintData(ds), [0]))
    assert not hands_over(MapData(ds, lambda dp: dp)) and not hands_over(DataFromList([[1]]))
    assert not hands_over(RepeatedData(MapData(ds, lambda dp: dp), 2))

    class Mine(PrefetchData):
        pass

    assert not hands_over(Mine(DataFromList([[1]]), num_proc=1))


def lies_in_a_slot(tensor):
    address = np.from_dlpack(tensor).__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, stop = (int(number, 16) for number in line.split()[0].split("-"))
        if start <= address < stop:
            return "flowtrain" in line
    raise AssertionError("memory that is mapped nowhere")


@pytest.mark.skipif(sys.platform != "linux", reason="slots lie in named memory on Linux alone")
def test_a_workers_batch_becomes_a_tensor_where_it_lies():
    with Feeder(from_walk(), Inputs(SPECS), 0) as feeder:
        assert lies_in_a_slot(feeder.get(10).tensors[0])
    with Feeder(MapData(from_walk(), lambda dp: dp), Inputs(SPECS), 0) as feeder:
        assert not lies_in_a_slot(feeder.get(10).tensors[0])


def test_a_function_may_write_into_an_array_that_it_kept():
    class Total:
        sums = None

        def __call__(self, datapoint):
            if self.sums is None:
                self.sums = datapoint
            else:
                for total, more in zip(self.sums, datapoint, strict=True):
                    total += more
            return list(self.sums)

    with Feeder(MapData(from_walk(), Total()), Inputs(SPECS), 0, depth=20) as feeder:
        blocks = [feeder.get(10) for _ in range(12)]
    assert [int(block.tensors[0][0, 0]) for block in blocks] == list(np.cumsum(np.arange(12)))


@given(st.sampled_from([np.uint8, np.float32, np.int64, np.float64]), st.lists(st.integers(0, 5), max_size=4))
def test_aligned_arrays_of_any_shape(dtype, shape):
    array = aligned_empty(tuple(shape), dtype)
    assert array.shape == tuple(shape) and array.dtype == dtype
    assert array.size == 0 or can_alias(array)


# ---------------------------------------------------------------- casts


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("uint8", "float32"), ("uint8", "bfloat16"), ("uint8", "float16"), ("bool", "float32"), ("bool", "int32"),
        ("int16", "float32"), ("uint16", "int32"), ("float16", "float32"), ("float32", "float64"), ("int32", "int64"),
        ("int32", "float64"), ("float32", "complex64"),
    ],
)  # fmt: skip
def test_casts_that_keep_every_value_are_the_devices(given_, wanted):
    assert host_cast("x", np.dtype(given_), tf.as_dtype(wanted)) is None


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("float32", "int32"), ("float32", "float16"), ("float64", "float16"), ("complex64", "float32"),
        ("float32", "bool"), ("int32", "bool"), ("float32", "uint8"), ("object", "float32"), ("float32", "string"),
        ("datetime64[s]", "int64"), ("float32", "bfloat16"),
    ],
)  # fmt: skip
def test_casts_that_lose_values_are_refused(given_, wanted):
    with pytest.raises(DataFlowError, match=r"input 'x'.*would lose values"):
        host_cast("x", np.dtype(given_), tf.as_dtype(wanted))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.sampled_from(["int32", "uint8", "float32", "int8"]))
def test_whole_numbers_are_cast_when_they_fit(values, wanted):
    array = np.array(values, np.int64)
    cast = host_cast("x", array.dtype, tf.as_dtype(wanted))
    limits = (-(2**24), 2**24) if wanted == "float32" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
    if limits[0] <= array.min() and array.max() <= limits[1]:
        result = cast(array)
        assert result.dtype == wanted and np.array_equal(result.astype(np.int64), array)
    else:
        with pytest.raises(DataFlowError, match="do not fit"):
            cast(array)


def test_float64_is_narrowed_with_one_line(caplog):
    inputs = Inputs([tf.TensorSpec((None,), tf.float32, "only here")])
    with caplog.at_level(logging.INFO, logger="flowtrain"):
        for rows in (3, 4, 3):
            assert inputs.arrays([np.zeros(rows)])[0].dtype == np.float32
    assert caplog.text.count("only here") == 1


def test_a_number_that_would_become_infinite_is_an_error():
    inputs = Inputs([tf.TensorSpec((None,), tf.float32, "x"), tf.TensorSpec((None,), tf.complex64, "z")])
    kept = [1.5, -np.inf, np.nan, 3e38]
    x, z = inputs.arrays([np.array(kept), np.array([1 + 2j] * 4)])
    assert (x.dtype, z.dtype) == (np.float32, np.complex64)
    assert np.array_equal(x, np.array(kept, np.float32), equal_nan=True)
    for bad in ([np.array([1.0, 1e300]), np.zeros(2)], [np.zeros(2), np.array([1e300j, 0])]):
        with pytest.raises(DataFlowError, match=r"input '[xz]': values up to 1e\+300 .* do not fit its dtype"):
            inputs.arrays(bad)


def test_python_floats_reach_an_input_of_float64_exactly():
    stamps = [1700000000.25, 1e300]
    ds = BatchData(DataFromList([[stamp] for stamp in stamps]), 2)
    (batch,) = to_tf_dataset(ds, [tf.TensorSpec((None,), tf.float64, "t")])
    assert batch[0].numpy().tolist() == stamps


def test_what_is_no_array_of_numbers_is_named():
    inputs = Inputs([tf.TensorSpec((None, 2), tf.float32, "box")])
    masked = np.ma.masked_equal(np.zeros((3, 2)), 0)
    for bad, message in [
        (masked, r"input 'box' is a masked array.*\.filled"),
        ([masked[0], masked[1]], "input 'box' is a masked array"),
        (np.array([[1.0, 2.0], None], object), "input 'box': .* dtype object, which holds NoneType, list"),
        ([[1.0, 2.0], [3.0]], "input 'box' is a list whose rows differ in shape"),
        ([None, 1], "input 'box': .* dtype object, which holds NoneType, int"),
    ]:
        with pytest.raises(DataFlowError, match=message):
            inputs.arrays([bad])
    rows = [list(np.float32([n, n])) for n in range(3)]  # lists of NumPy's numbers
    assert inputs.arrays([rows])[0].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert inputs.arrays([np.zeros((0, 2), np.int64)])[0].dtype in (np.int64, np.float32)
    tokens = Inputs([tf.TensorSpec((None, None), tf.int32, "tokens")])
    assert tokens.arrays([np.zeros((3, 0))])[0].dtype == np.int32  # empty lists alone: nothing to lose


def test_components_of_a_dict_are_found_by_name(caplog):
    datapoint = {"y": np.arange(2), "path": ["a", "b"], "x": np.zeros((2, 3), np.uint8)}
    with caplog.at_level(logging.INFO, logger="flowtrain"):
        x, y = Inputs(SPECS).tensors(datapoint)
    assert (x.dtype, y.dtype) == (tf.float32, tf.int32) and "path" in caplog.text


def test_parts_of_a_batch():
    datapoint = [np.arange(24, dtype=np.float32).reshape(8, 3), np.arange(8)]
    parts = [Inputs(SPECS, part=(index, 4)).arrays(datapoint)[1].tolist() for index in range(4)]
    assert parts == [[0, 1], [2, 3], [4, 5], [6, 7]]
    with pytest.raises(DataFlowError, match="8 rows cannot be shared equally among 3 replicas"):
        Inputs(SPECS, divide=3).arrays(datapoint)


# ---------------------------------------------------------------- tf.data


def test_from_and_to_tf_data():
    dataset = to_tf_dataset(Numbers(5), SPECS)
    assert int(dataset.cardinality()) == 5
    assert [int(y[0]) for _, y in dataset] == [0, 1, 2, 3, 4]
    assert next(iter(dataset))[0].dtype == tf.float32
    back = from_tf_dataset(dataset)
    assert len(back) == 5 and [int(dp[1][0]) for dp in back] == [10, 11, 12, 13, 14]
    named = from_tf_dataset(tf.data.Dataset.from_tensor_slices({"a": [1, 2]}))
    assert [dp["a"] for dp in named] == [1, 2]
    assert from_tf_dataset(tf.data.Dataset.range(3).repeat()).size_or_none() is None
    with pytest.raises(ConfigError, match=r"tf\.data\.Dataset"):
        from_tf_dataset([1])
    with pytest.raises(DataFlowError, match="DataFlow"):
        to_tf_dataset([1], SPECS)
    with pytest.raises(ConfigError, match="TensorSpec"):
        to_tf_dataset(Numbers(), [tf.float32])


def test_going_on_in_a_tf_data_dataset():
    def flow():
        return from_tf_dataset(tf.data.Dataset.range(10).map(lambda i: (tf.fill((2, 3), tf.cast(i, tf.uint8)), [i, i])))

    with Feeder(flow(), Inputs(SPECS), 3) as feeder:
        assert consume(feeder, 14)[-1] == 3
        position = feeder.state_dict()
    with Feeder(flow(), Inputs(SPECS), 3) as feeder:
        feeder.load_state_dict(position)
        assert consume(feeder, 3) == [4, 5, 6]
