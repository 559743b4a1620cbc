"""Each layer computes what plain Keras computes with the same weights: values and gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowtrain as ft
from flowtrain import ModelDesc
from flowtrain.model import ModelGraph

KL = keras.layers
PICTURES, VECTORS, SERIES = (2, 6, 8, 4), (3, 8), (2, 5, 4)
ONES = np.ones((2, 2))


def unpooled(matrix):
    return lambda: KL.Lambda(lambda x: tf.concat([tf.stack([x * 0 + x * f for f in r], 3) for r in matrix], 3))


LAYERS = {
    "Conv2D": (lambda x: ft.Conv2D("l", x, 3), lambda: KL.Conv2D(3, 3, padding="same"), PICTURES),
    "Conv2D strided": (
        lambda x: ft.Conv2D("l", x, 3, 4, 2, "valid", "relu", use_bias=False),
        lambda: KL.Conv2D(3, 4, 2, activation="relu", use_bias=False),
        PICTURES,
    ),
    "Conv2D dilated groups": (
        lambda x: ft.Conv2D("l", x, 4, dilation_rate=2, groups=2, activation=tf.tanh),
        lambda: KL.Conv2D(4, 3, dilation_rate=2, groups=2, padding="same", activation="tanh"),
        PICTURES,
    ),
    "Deconv2D": (lambda x: ft.Deconv2D("l", x, 3), lambda: KL.Conv2DTranspose(3, 4, 2, padding="same"), PICTURES),
    "DepthwiseConv2D": (
        lambda x: ft.DepthwiseConv2D("l", x, depth_multiplier=2),
        lambda: KL.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        PICTURES,
    ),
    "Dense": (lambda x: ft.Dense("l", x, 3, "gelu"), lambda: KL.Dense(3, "gelu"), SERIES),
    "FullyConnected": (
        lambda x: ft.FullyConnected("l", x, 3),
        lambda: keras.Sequential([KL.Flatten(), KL.Dense(3)]),
        PICTURES,
    ),
    "BatchNorm": (lambda x: ft.BatchNorm("l", x, momentum=0.8), lambda: KL.BatchNormalization(momentum=0.8), PICTURES),
    "LayerNorm": (lambda x: ft.LayerNorm("l", x), lambda: KL.LayerNormalization(), PICTURES),
    "GroupNorm": (lambda x: ft.GroupNorm("l", x, 2), lambda: KL.GroupNormalization(2), PICTURES),
    "InstanceNorm": (lambda x: ft.InstanceNorm("l", x), lambda: KL.GroupNormalization(-1), PICTURES),
    "MaxPooling": (lambda x: ft.MaxPooling("l", x, 3, 2, "same"), lambda: KL.MaxPooling2D(3, 2, "same"), PICTURES),
    "AvgPooling": (lambda x: ft.AvgPooling("l", x, 2), lambda: KL.AveragePooling2D(2), PICTURES),
    "GlobalAvgPooling": (lambda x: ft.GlobalAvgPooling("l", x), lambda: KL.GlobalAveragePooling2D(), PICTURES),
    "FixedUnPooling": (lambda x: ft.FixedUnPooling("l", x, 2, ONES), lambda: KL.UpSampling2D(2), PICTURES),
    "PReLU": (lambda x: ft.PReLU("l", x), lambda: KL.PReLU(shared_axes=[1, 2]), PICTURES),
    "LeakyReLU": (lambda x: ft.LeakyReLU("l", x), lambda: KL.LeakyReLU(negative_slope=0.2), VECTORS),
    "leaky_relu": (lambda x: ft.leaky_relu(x, 0.3), lambda: KL.LeakyReLU(negative_slope=0.3), VECTORS),
    "Maxout": (
        lambda x: ft.Maxout("l", x, 2),
        lambda: keras.Sequential([KL.Reshape((4, 2)), KL.MaxPooling1D(2, data_format="channels_first"), KL.Flatten()]),
        VECTORS,
    ),
    "LSTM": (lambda x: ft.LSTM("l", x, 3), lambda: KL.LSTM(3), SERIES),
    "LSTM sequences": (
        lambda x: ft.LSTM("l", x, 3, return_sequences=True, go_backwards=True),
        lambda: KL.LSTM(3, return_sequences=True, go_backwards=True),
        SERIES,
    ),
    "GRU": (lambda x: ft.GRU("l", x, 3), lambda: KL.GRU(3), SERIES),
    "Dropout": (lambda x: ft.Dropout("l", x, 0.0), lambda: KL.Dropout(0.0), VECTORS),
}


@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_equal_keras(name):
    call, make, shape = LAYERS[name]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)

    class Model(ModelDesc):
        def inputs(self):
            return [tf.TensorSpec((None, *shape[1:]), tf.float32, "x")]

        def build_graph(self, x):
            y = tf.identity(call(x), name="y")
            return tf.reduce_mean(tf.square(y) + y)

    graph = ModelGraph(Model())
    layer = graph.store.layers.get("l")
    theirs = make()
    theirs.build((None, *shape[1:]))
    rng = np.random.default_rng(2)
    weights = [rng.uniform(0.2, 1.0, w.shape).astype(np.float32) for w in layer.weights] if layer else []
    if layer is not None:
        layer.set_weights(weights)
        theirs.set_weights(weights)

    with tf.GradientTape() as tape:
        tape.watch(tensor := tf.constant(x))
        y = theirs(tensor, training=True)
        cost = tf.reduce_mean(tf.square(y) + y)
    sources = [tensor, *(v.value for v in theirs.trainable_variables)]
    expected = tape.gradient(cost, sources)

    @tf.function(autograph=False)
    def ours(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            tower = graph.training_tower([x])
        variables = [v.value for v in layer.trainable_variables] if layer else []
        return tower.tensor("y"), tape.gradient(tower.cost, [x, *variables])

    values, gradients = ours(tf.constant(x))
    assert np.abs(values - y).max() < 1e-6
    assert len(gradients) == len(expected)
    for mine, other in zip(gradients, expected, strict=True):
        assert np.abs(mine - other).max() < 1e-6
    (inferred,) = graph.predictor(["x"], ["y"])(x)
    assert np.abs(inferred - theirs(x, training=False)).max() < 1e-6
    for mine, other in zip(layer.weights if layer else [], theirs.weights, strict=True):
        assert np.allclose(mine.numpy(), other.numpy(), atol=1e-6)


def test_fixed_unpooling_puts_values_in_the_corner():
    class Model(ModelDesc):
        def inputs(self):
            return [tf.TensorSpec((None, None, None, 2), tf.float32, "x")]

        def build_graph(self, x):
            y = ft.FixedUnPooling("up", x, (2, 3))
            assert y.shape.as_list() == [None, None, None, 2]
            return tf.reduce_mean(y)

    x = np.random.default_rng(0).standard_normal((1, 2, 2, 2)).astype(np.float32)
    (y,) = ModelGraph(Model()).predictor(["x"], ["up/output"])(x)
    assert y.shape == (1, 4, 6, 2)
    assert np.array_equal(y[:, ::2, ::3], x)
    assert np.count_nonzero(y) == np.count_nonzero(x)
