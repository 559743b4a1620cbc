"""Plain Keras models, trained in one line."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowtrain as ft
from flowtrain.model import ModelGraph
from flowtrain.utils.errors import ModelError

from .helpers import array, train


def net(units=3, activation=None):
    return keras.Sequential(
        [keras.Input((4,), name="x"), keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.0),
         keras.layers.Dense(units, activation)], name="net"
    )  # fmt: skip


def test_a_classifier():
    model = net(activation="softmax")
    desc = ft.KerasModelDesc(model, "sparse_categorical_crossentropy", ["accuracy"], keras.optimizers.Adam(0.01))
    assert [(s.name, s.dtype, tuple(s.shape)) for s in desc.inputs()] == [
        ("x", tf.float32, (None, 4)),
        ("target", tf.int32, (None,)),
    ]
    graph = ModelGraph(desc)
    x = array(64, 4)
    target = x[:, :3].argmax(1).astype(np.int32)
    expected = keras.losses.sparse_categorical_crossentropy(target, model(x)).numpy().mean()
    costs = train(graph, x, target, steps=150)
    assert costs[0] == pytest.approx(expected, rel=1e-5)
    assert costs[-1] < costs[0] / 2
    assert graph.last_scalars["accuracy"] > 0.8
    (prediction,) = graph.predictor(["x"], ["prediction"])(x)
    assert np.abs(prediction - model(x, training=False)).max() < 1e-6
    assert {"net/dense/kernel", "net/dense_1/bias"} <= set(graph.store.trainable)
    assert "net/dense_1  Dense    (?, 3)" in graph.summary()


def test_a_regression_with_metrics_and_an_optimizer_by_name():
    desc = ft.KerasModelDesc(net(2), keras.losses.Huber(), ["mae", keras.metrics.mean_squared_error], "rmsprop")
    graph = ModelGraph(desc)
    x, y = array(16, 4), array(16, 2)
    graph.store.variables["learning_rate"].assign(0.0)
    cost = train(graph, x, y)[0]
    assert cost == pytest.approx(float(keras.losses.Huber()(y, desc.keras_model(x))), rel=1e-5)
    assert {"mae", "mean_squared_error", "loss", "learning_rate"} <= set(graph.last_scalars)


def test_several_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    joined = keras.layers.Concatenate()([a, b])
    model = keras.Model([a, b], [keras.layers.Dense(1)(joined), keras.layers.Dense(2)(joined)])
    graph = ModelGraph(ft.KerasModelDesc(model, ["mse", "mae"]))
    inputs = array(4, 4), array(4, 2), array(4, 1), array(4, 2)
    train(graph, *inputs)
    assert [s.name for s in graph.input_specs] == ["a", "b", "target_0", "target_1"]
    assert graph.predictor(["a", "b"], ["prediction_1"])(*inputs[:2])[0].shape == (4, 2)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner, self.drop, self.out = keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.Dense(2)

    def call(self, x, training=False):
        return self.out(self.drop(tf.nn.relu(self.inner(x)), training=training))


@pytest.mark.parametrize("built", [False, True])
def test_a_model_without_declared_inputs_is_given_them(built):
    model = Subclassed()
    if built:
        model(np.zeros((3, 4), np.float32))
    for undeclared in (model, keras.Sequential([keras.layers.Dense(1)])):
        with pytest.raises(ModelError, match=r"does not declare its inputs.*inputs=\[tf.TensorSpec\("):
            ft.KerasModelDesc(undeclared, "mse")
    rate = keras.optimizers.Adam(0.02)
    desc = ft.KerasModelDesc(model, "mse", optimizer=rate, inputs=[tf.TensorSpec((None, 4), tf.float32, "x")])
    assert [(s.name, tuple(s.shape)) for s in desc.inputs()] == [("x", (None, 4)), ("target", (None, 2))]
    graph = ModelGraph(desc)
    x = array(16, 4)
    costs = train(graph, x, np.tanh(x[:, :2]), steps=40)
    assert costs[-1] < costs[0]
    (prediction,) = graph.predictor(["x"], ["prediction"])(x)
    assert np.abs(prediction - model(x, training=False)).max() < 1e-6
    assert "prediction" in graph.tensor_names()


def test_inputs_are_dicts_too():
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    model = keras.Model({"b": b, "a": a}, {"p": keras.layers.Dense(1)(a), "o": keras.layers.Dense(2)(b)})
    graph = ModelGraph(ft.KerasModelDesc(model, ["mse", "mse"]))
    found = graph.predictor(["a", "b"], ["prediction_0", "prediction_1"])(x := array(3, 4), y := array(3, 2))
    expected = model({"a": x, "b": y})
    assert np.allclose(found[0], expected["o"]) and np.allclose(found[1], expected["p"])


def test_names_and_sizes_do_not_depend_on_what_was_made_before():
    model = keras.Sequential([keras.layers.Dense(3)])
    model(np.zeros((2, 4), np.float32))
    unnamed = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    for desc in (ft.KerasModelDesc(model, "mse"), ft.KerasModelDesc(unnamed, "mse")):
        assert [(s.name, tuple(s.shape)) for s in desc.inputs()] == [("input", (None, 4)), ("target", (None, 3))]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ft.KerasModelDesc(keras.layers.Dense(1), "mse"), "takes a keras.Model"),
        (lambda: ft.KerasModelDesc(net(), "mse", inputs=[(None, 4)]), r"inputs=...\)\[0\] is"),
        (lambda: ft.KerasModelDesc(net(), "mse", inputs=tf.TensorSpec((None, 4))), "must be a list"),
        (
            lambda: ft.KerasModelDesc(net(), "mse", inputs=[tf.TensorSpec((None, 5), tf.float32, "x")]),
            r"cannot be called on its inputs \(x: float32 \(None, 5\)\)",
        ),
        (lambda: ft.KerasModelDesc(net(), ["mse", "mse"]), "1 output"),
        (lambda: ft.KerasModelDesc(net(), "msee"), "no loss 'msee'"),
        (lambda: ModelGraph(ft.KerasModelDesc(net(), "mse", ["maee"])), "maee"),
    ],
)
def test_what_cannot_be_trained_is_refused(make, message):
    with pytest.raises(ModelError, match=message):
        make()
