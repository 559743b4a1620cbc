"""The data in plain Keras, PyTorch and JAX: the flow's own, from any position, and batches that stay what they were."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import warnings

import jax
import keras
import numpy as np
import pytest
import torch

from flowtrain.dataflow import (
    BatchData,
    DataFromArrays,
    DataFromGenerator,
    DataFromList,
    MapData,
    PrefetchData,
    RepeatedData,
)
from flowtrain.feed import to_jax, to_keras, to_torch
from flowtrain.feed.ownership import is_leased
from flowtrain.utils.errors import ConfigError, DataFlowError, StateError

ROWS, BATCH = 48, 4


def rows(kind=list):
    x = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
    n = np.arange(ROWS, dtype=np.int32)
    return DataFromArrays({"x": x, "n": n}, shuffle=True) if kind is dict else DataFromArrays(x, n, shuffle=True)


def batches(kind=list, workers=0):
    ds = BatchData(rows(kind), BATCH)
    return PrefetchData(ds, num_proc=workers) if workers else ds


def pictures(workers, count=30):
    ds = MapData(DataFromList(list(range(count))), lambda n: [np.full((64, 64), n, np.uint8), n])
    return PrefetchData(BatchData(ds, 2), num_proc=workers)


def listed(datapoint):
    values = datapoint.values() if isinstance(datapoint, dict) else datapoint
    return [np.asarray(value) for value in values]


def equal(a, b):
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        for x, y in zip(listed(one), listed(other), strict=True):
            assert x.dtype == y.dtype and x.shape == y.shape and (x == y).all()


WAYS = {"torch": to_torch, "jax": to_jax}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@every_way
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_same_data_as_iterating(way, workers):
    for kind in (list, dict):
        reference = batches(kind)
        data = way(batches(kind, workers))
        assert len(data) == ROWS // BATCH
        for _ in range(2):
            equal(list(data), list(reference))


@every_way
def test_a_position_resumes_in_mid_epoch(way):
    reference = way(batches())
    epochs = [list(reference), list(reference)]
    data = way(batches(workers=1))
    iterator = iter(data)
    for _ in range(5):
        next(iterator)
    state = json.loads(json.dumps(data.state_dict()))
    resumed = way(batches())
    resumed.load_state_dict(state)
    equal(list(resumed), epochs[0][5:])
    equal(list(resumed), epochs[1])


@every_way
def test_a_batch_that_is_kept_never_changes(way):
    options = {"narrow": True} if way is to_jax else {}
    data, again = way(pictures(2), **options), way(pictures(2), **options)
    kept = [datapoint for _ in range(4) for datapoint in data]
    list(again)
    gc.collect()
    for place, (image, number) in enumerate(kept):
        first = 2 * (place % 15)
        assert np.asarray(number).tolist() == [first, first + 1]
        assert (np.asarray(image) == np.array([first, first + 1], np.uint8)[:, None, None]).all()
    del data, kept[1:]
    list(again)
    gc.collect()
    assert (np.asarray(kept[0][0])[1] == 1).all()


def test_torch_takes_a_slots_memory_as_it_is(monkeypatch):
    given, from_numpy = [], torch.from_numpy

    def spy(array):
        given.append((array, from_numpy(array)))
        return given[-1][1]

    monkeypatch.setattr(torch, "from_numpy", spy)
    large = MapData(DataFromList(list(range(8))), lambda n: [np.full((512, 512), n, np.uint8)])
    flow = PrefetchData(BatchData(large, 4), num_proc=1)
    assert [[int(image[0, 0]) for image in batch] for (batch,) in to_torch(flow)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(given) == 2
    assert all(is_leased(array) and tensor.data_ptr() == array.ctypes.data for array, tensor in given)


def test_torch_copies_what_a_function_of_this_process_may_write_again():
    buffer = np.zeros(3, np.float32)

    def fill(dp):
        buffer[:] = dp[0]
        return [buffer]

    kept = list(to_torch(MapData(DataFromList([[1], [2], [3]]), fill)))
    assert [float(dp[0][0]) for dp in kept] == [1, 2, 3]
    first = next(iter(to_torch(DataFromArrays(np.zeros((2, 3))))))[0]
    first += 1  # the array of the source is read-only
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(next(iter(to_torch(DataFromArrays(np.zeros((2, 3))))))[0].sum()) == 0


def test_a_torch_dataloader_takes_it_as_it_is():
    loader = torch.utils.data.DataLoader(to_torch(batches(dict)), batch_size=None, num_workers=0)
    assert len(loader) == ROWS // BATCH
    equal(list(loader), list(batches(dict)))


@every_way
def test_what_no_tensor_is_made_of(way):
    row = ["a", np.float32(1), np.float32([1.5, 2.5]), {"k": np.int32(2)}, b"b", None]
    ((word, number, vector, inner, raw, none),) = way(DataFromList([row]))
    assert (word, raw, none) == ("a", b"b", None) and float(number) == 1 and number.shape == ()
    assert np.asarray(vector).tolist() == [1.5, 2.5] and int(inner["k"]) == 2
    ((column,),) = way(BatchData(DataFromList([["a"], ["b"]]), 2))
    assert column == ["a", "b"]
    with pytest.raises(DataFlowError, match=r"component 0 has the dtype datetime64\[D\].*MapData"):
        list(way(DataFromArrays(np.array(["2020-01-01"], "M8[D]"))))
    with pytest.raises(DataFlowError, match="takes a DataFlow, got list"):
        way([1])
    ((big,),) = way(DataFromList([[np.arange(3, dtype=">i4")]]))
    assert np.asarray(big).tolist() == [0, 1, 2]


def test_jax_never_makes_32_bits_of_64_without_a_word():
    assert not jax.config.jax_enable_x64
    for value, held in ((np.int64(1), "int32"), (1.5, "float32"), (np.uint64(3), "uint32"), (1j, "complex64")):
        flow = DataFromList([[value]])
        with pytest.raises(DataFlowError, match=rf"makes {held} without a word.*narrow=True.*jax_enable_x64"):
            list(to_jax(flow))
        ((array,),) = to_jax(flow, narrow=True)
        assert array.dtype == held and array == value
    for value in (2**31, -(2**31) - 1, 1e300):
        with pytest.raises(DataFlowError, match="does not fit into"):
            list(to_jax(DataFromList([[np.array([0, value])]]), narrow=True))
    with jax.experimental.enable_x64() if hasattr(jax.experimental, "enable_x64") else jax.enable_x64(True):
        ((array,),) = to_jax(DataFromList([[2**40]]))
        assert array.dtype == "int64" and int(array) == 2**40


def run(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-2000:]


def test_torch_and_jax_come_without_tensorflow():
    run(
        "import sys; import numpy as np\n"
        "from flowtrain.dataflow import *; from flowtrain.feed import to_jax, to_torch\n"
        "flow = BatchData(DataFromArrays(np.arange(4, dtype='int32')), 2)\n"
        "assert len(list(to_torch(flow))) == len(list(to_jax(flow))) == 2\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )


def test_workers_of_a_dataloader_are_refused():
    run(  # in a process that may be forked
        "from flowtrain.feed import to_torch; from flowtrain.dataflow import DataFromList; import torch\n"
        "loader = torch.utils.data.DataLoader(to_torch(DataFromList([[1]])), batch_size=None, num_workers=1)\n"
        "try: next(iter(loader))\n"
        "except Exception as error: assert 'write PrefetchData(ds, num_proc' in str(error), error\n"
        "else: raise SystemExit('taken')"
    )


# ---- Keras


def model():
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.01, momentum=0.5), "mse")
    return made


def supervised(workers=0):
    ds = MapData(batches(dict, workers), lambda dp: {**dp, "y": dp["x"].sum(1, keepdims=True)})
    return ds


def same_weights(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.fixture(scope="module")
def reference():
    """What three epochs of single steps over the flow make."""
    made, flow = model(), supervised()
    for _ in range(3):
        for dp in flow:
            made.train_on_batch(dp["x"], dp["y"])
    return made


@pytest.mark.parametrize("shuffle", [True, False])
def test_fit_trains_on_the_flows_batches_in_its_order(reference, shuffle):
    made = model()
    valid = to_keras(supervised(), "x", "y")
    history = made.fit(to_keras(supervised(), "x", "y"), epochs=3, verbose=0, shuffle=shuffle, validation_data=valid)
    assert same_weights(made, reference) and len(history.history["val_loss"]) == 3
    assert made.evaluate(valid, verbose=0) == pytest.approx(history.history["val_loss"][-1])


def test_fit_with_workers(reference):
    made = model()
    made.fit(to_keras(supervised(2), "x", "y"), epochs=3, verbose=0)
    assert same_weights(made, reference)


def test_fit_that_was_interrupted_goes_on_in_mid_epoch(reference):
    class Interrupt(keras.callbacks.Callback):
        batches = 0

        def on_train_batch_end(self, batch, logs=None):
            self.batches += 1
            if self.batches == ROWS // BATCH + 5:
                raise KeyboardInterrupt

    made, data, interrupt = model(), to_keras(supervised(), "x", "y"), Interrupt()
    with pytest.raises(KeyboardInterrupt):
        made.fit(data, epochs=3, verbose=0, callbacks=[interrupt])
    state = json.loads(json.dumps(data.state_dict(interrupt.batches)))

    resumed = to_keras(supervised(), "x", "y")
    resumed.load_state_dict(state)
    made.fit(resumed, initial_epoch=1, epochs=2, verbose=0)
    made.fit(resumed, initial_epoch=2, epochs=3, verbose=0)
    assert same_weights(made, reference)

    resumed.load_state_dict(state)
    with pytest.raises(Exception, match="Let fit end with it"):
        made.fit(resumed, initial_epoch=1, epochs=3, verbose=0)
    for wrong in ({}, {"batches_left": 1}, [1]):
        with pytest.raises(StateError, match="not a state of to_keras"):
            resumed.load_state_dict(wrong)
    with pytest.raises(DataFlowError, match="not after 999"):
        data.state_dict(999)


def test_an_epoch_that_was_left_begins_again():
    def numbers(data, count):
        walk = iter(data)
        return [batch[0].tolist() for _, batch in zip(range(count), walk, strict=False)]

    data, flow = (
        to_keras(batches(dict), "n"),
        [dp["n"].tolist() for ds in [batches(dict)] for _ in range(2) for dp in ds],
    )
    size = ROWS // BATCH
    assert numbers(data, 5) == flow[:5]
    assert numbers(data, size) == flow[:size]
    assert numbers(data, size) == flow[size:]


def test_what_a_batch_is_made_of():
    ds = DataFromList([{"a": np.zeros((2, 1)), "b": np.ones((2, 1)), "y": np.arange(2), "w": np.full(2, 0.5)}])
    ((x, y, w),) = list(to_keras(ds, ["a", "b"], "y", "w"))
    assert [part.sum() for part in x] == [0, 2] and y.tolist() == [0, 1] and w.tolist() == [0.5, 0.5]
    ((x, y),) = list(to_keras(ds, {"first": "b"}, {"out": "y"}))
    assert list(x) == ["first"] and list(y) == ["out"]
    ((x, y),) = list(to_keras(DataFromList([[np.zeros(2), np.ones(2), np.ones(3)]]), 2, 0))
    assert x.shape == (3,) and y.shape == (2,)
    assert [len(batch) for batch in to_keras(batches())] == [2] * (ROWS // BATCH)
    with pytest.raises(DataFlowError, match=r"no component 'z'; it has \['a', 'b', 'y', 'w'\]"):
        list(to_keras(ds, "z"))
    with pytest.raises(DataFlowError, match="say inputs="):
        list(to_keras(ds))
    with pytest.raises(ConfigError, match="inputs="):
        to_keras(ds, targets="y")
    with pytest.raises(DataFlowError, match="FixedSizeData"):
        to_keras(RepeatedData(ds), "a")
    with pytest.raises(DataFlowError, match="no known length"):
        to_keras(DataFromGenerator(lambda: iter([[1]])))
    data = to_keras(ds, "a")
    with pytest.raises(ConfigError, match="flowtrain has the workers"):
        data.workers = 4
    with pytest.raises(DataFlowError, match="takes a DataFlow, got list"):
        to_keras([1])


def test_predict_and_a_model_that_is_built_by_its_first_batch():
    made = keras.Sequential([keras.layers.Dense(1, kernel_initializer="ones")])
    made.compile(keras.optimizers.SGD(0.01), "mse")
    data = to_keras(supervised(), "x", "y")
    made.fit(data, epochs=2, verbose=0)
    other = keras.Sequential([keras.layers.Dense(1, kernel_initializer="ones")])
    other.build((None, 3))
    other.compile(keras.optimizers.SGD(0.01), "mse")
    flow = supervised()
    for _ in range(2):
        for dp in flow:
            other.train_on_batch(dp["x"], dp["y"])
    assert same_weights(made, other)
    predicted = made.predict(to_keras(supervised(), "x"), verbose=0)
    assert np.allclose(predicted, np.concatenate([made(dp["x"]) for dp in supervised()]), atol=1e-6)
