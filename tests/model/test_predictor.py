"""Predictors: names, inputs, what runs of the graph, threads."""

from __future__ import annotations

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowtrain as ft
from flowtrain.model import ModelGraph
from flowtrain.utils.errors import ModelError, TensorNameError

from .helpers import array, desc, train

X = tf.TensorSpec((None, 4), tf.float32, "x")
Y = tf.TensorSpec((None, 2), tf.float32, "y")


def two_branches(x, y):
    hidden = ft.Dense("hidden", x, 6, activation=ft.BNReLU)
    prediction = ft.Dense("prediction", ft.Dropout("drop", hidden), 2)
    with ft.freeze_variables():
        ft.Dense("other", hidden, 100)
    error = tf.reduce_mean(tf.square(prediction - y), name="l2_loss")
    ft.add_moving_summary(error)
    return error


@pytest.fixture(scope="module")
def graph():
    return ModelGraph(desc(two_branches, X, Y))


def test_inputs_by_position_by_name_and_as_a_dict(graph):
    predictor = graph.predictor(["x", "y"], ["l2_loss", "prediction/output"])
    x, y = array(5, 4), array(5, 2)
    loss, prediction = predictor(x, y)
    assert isinstance(loss, np.ndarray)
    assert loss == pytest.approx(((prediction - y) ** 2).mean(), rel=1e-5)
    for again in (predictor(y=y, x=x), predictor({"x": x, "y": y}), predictor(x, y=y)):
        assert np.array_equal(again[1], prediction)
    assert repr(predictor) == "Predictor(x, y -> l2_loss, prediction/output)"


def test_tensors_in_tensors_out_also_in_a_function(graph):
    predictor = graph.predictor(["x"], ["prediction/output"])
    x = array(5, 4)
    (as_array,) = predictor(x)
    (as_tensor,) = predictor(tf.constant(x))
    (in_function,) = tf.function(lambda x: predictor(x))(tf.constant(x))
    assert tf.is_tensor(as_tensor)
    assert np.array_equal(as_tensor, as_array)
    assert np.array_equal(in_function, as_array)


def test_only_the_needed_part_of_the_graph_runs(graph):
    whole = graph.predictor(["x", "y"], ["l2_loss"])
    part = graph.predictor(["x"], ["hidden/output"])
    kinds = [op.type for op in part.function.graph.get_operations()]
    assert kinds.count("MatMul") == 1
    assert len(kinds) < len(whole.function.graph.get_operations())
    assert kinds.count("ReadVariableOp") <= 6


def test_a_tensor_in_the_middle_can_be_given(graph):
    x = array(3, 4)
    (hidden,) = graph.predictor(["x"], ["hidden/output"])(x)
    (direct,) = graph.predictor(["x"], ["prediction/output"])(x)
    (from_hidden,) = graph.predictor(["hidden/output"], ["prediction/output"])(hidden)
    assert np.array_equal(direct, from_hidden)


def test_an_unknown_output_lists_the_nearest(graph):
    with pytest.raises(TensorNameError, match=r"no tensor named 'predicton/output'.*'prediction/output'"):
        graph.predictor(["x"], ["predicton/output"])


def test_an_unknown_input_lists_the_nearest(graph):
    with pytest.raises(TensorNameError, match="no input or tensor named 'X'"):
        graph.predictor(["X"], ["prediction/output"])


def test_a_missing_input_is_named(graph):
    with pytest.raises(ModelError, match=r"\['l2_loss'\] depend on the input\(s\) \['y'\]"):
        graph.predictor(["x"], ["l2_loss"])


def test_an_input_that_is_not_needed_may_be_given(graph):
    x, y = array(3, 4), array(3, 2)
    (given,) = graph.predictor(["x", "y"], ["prediction/output"])(x, y)
    assert np.array_equal(given, graph.predictor(["x"], ["prediction/output"])(x)[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p(), r"\['x'\] not given"),
        (lambda p: p(array(1, 4), array(1, 4)), "got 2"),
        (lambda p: p(array(1, 4), x=array(1, 4)), "given twice"),
        (lambda p: p(luminance=array(1, 4)), "'luminance' is not one"),
        (lambda p: p(array(1, 5)), r"'x' expects shape \(None, 4\), got \(1, 5\)"),
        (lambda p: p(np.array([["a"] * 4])), "'x' expects float32"),
        (lambda p: p(np.ones((1, 4), complex)), "'x' expects float32, got complex128"),
    ],
)
def test_wrong_calls_are_refused(graph, call, message):
    with pytest.raises(ModelError, match=message):
        call(graph.predictor(["x"], ["prediction/output"]))


@pytest.mark.parametrize("names", ["x", [], [1], None, iter(["prediction/output"])])
def test_wrong_lists_of_names_are_refused(graph, names):
    with pytest.raises(ModelError):
        graph.predictor(["x"], names)


def test_integers_become_floats_and_float64_float32(graph):
    predictor = graph.predictor(["x"], ["prediction/output"])
    x = np.arange(8).reshape(2, 4)
    expected = predictor(x.astype(np.float32))[0]
    for dtype in (np.uint8, np.int64, np.float64):
        assert np.array_equal(predictor(x.astype(dtype))[0], expected)
    assert np.array_equal(predictor(x.tolist())[0], expected)


def test_integers_that_do_not_fit_are_refused():
    spec = tf.TensorSpec((None,), tf.int32, "i")
    graph = ModelGraph(desc(lambda i: tf.reduce_mean(ft.Embedding("e", i, 5, 2)), spec))
    predictor = graph.predictor(["i"], ["e/output"])
    assert predictor(np.array([1, 2]))[0].shape == (2, 2)
    with pytest.raises(ModelError, match="'i' expects int32, got int64"):
        predictor(np.array([2**40]))
    with pytest.raises(ModelError, match="'i' expects int32, got float64"):
        predictor(np.array([0.5]))


def test_many_threads_at_once(graph):
    predictor = graph.predictor(["x"], ["prediction/output"])
    inputs = [array(4, 4, seed=i) for i in range(8)]
    expected = [predictor(x)[0] for x in inputs]
    wrong = []

    def work(i):
        other = graph.predictor(["x"], ["prediction/output"])
        for _ in range(20):
            if not (predictor(inputs[i])[0] == expected[i]).all() or not (other(inputs[i])[0] == expected[i]).all():
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_equal_to_keras_in_evaluation():
    net = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
        ]
    )
    spec = tf.TensorSpec((None, 8, 8, 3), tf.float32, "x")
    graph = ModelGraph(desc(lambda x: tf.reduce_mean(tf.square(tf.identity(net(x), name="end"))), spec))
    x = array(2, 8, 8, 3)
    train(graph, x, steps=2)
    assert np.abs(graph.predictor(["x"], ["end"])(x)[0] - net(x, training=False).numpy()).max() < 1e-6


def test_averaged_weights_serve_beside_the_live_ones():
    graph = ModelGraph(desc(two_branches, X, Y, average_decay=0.5))
    x, y = array(8, 4), array(8, 2)
    train(graph, x, y, steps=1)
    first = graph.store.get_weights()["prediction/kernel"]
    assert np.array_equal(graph.average.weights()["prediction/kernel"], first)
    train(graph, x, y, steps=1)
    live = graph.store.get_weights()
    expected = 0.1 * first + 0.9 * live["prediction/kernel"]
    averages = graph.average.weights()
    assert np.allclose(averages["prediction/kernel"], expected, atol=1e-6)
    assert np.array_equal(live["average/prediction/kernel"], averages["prediction/kernel"])
    (of_live,) = graph.predictor(["x"], ["prediction/output"])(x)
    (of_average,) = graph.predictor(["x"], ["prediction/output"], averaged=True)(x)
    assert np.abs(of_live - of_average).max() > 1e-5
    graph.store.set_weights(averages)
    assert np.allclose(graph.predictor(["x"], ["prediction/output"])(x)[0], of_average, atol=1e-6)


def test_averages_must_be_asked_for(graph):
    with pytest.raises(ModelError, match="average_decay"):
        graph.predictor(["x"], ["prediction/output"], averaged=True)
    with pytest.raises(ModelError, match="between 0 and 1"):
        ModelGraph(desc(two_branches, X, Y, average_decay=1.0))


def test_what_the_model_cannot_compute_is_said_with_its_shapes():
    def hourglass(x):
        return tf.reduce_mean(ft.ConcatWith("skip", ft.Deconv2D("up", ft.MaxPooling("down", x, 2), 3), x))

    graph = ModelGraph(desc(hourglass, tf.TensorSpec((None, None, None, 3), tf.float32, "picture")))
    predictor = graph.predictor(["picture"], ["skip/output"])
    assert predictor(array(1, 4, 4, 3))[0].shape == (1, 4, 4, 6)
    with pytest.raises(ModelError, match=r"of picture \(1, 5, 5, 3\): the operation 'skip/concat' failed: Conc"):
        predictor(array(1, 5, 5, 3))
    with pytest.raises(ModelError, match="'picture' cannot be made an array"):
        predictor([[1, 2], [1]])
