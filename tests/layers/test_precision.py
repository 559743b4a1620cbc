"""Named layers under a policy of mixed precision: they cast floats to what it computes in, whatever they are given."""

import pytest
import tensorflow as tf

import flowtrain.layers as layers
from flowtrain.model import ModelDesc, ModelGraph

# Each takes a name and an input (N, 8, 8, 4).
LAYERS = {
    "AvgPooling": lambda name, x: layers.AvgPooling(name, x, 2),
    "BatchNorm": layers.BatchNorm,
    "BNLeakyReLU": lambda name, x: layers.BNLeakyReLU(x, name=name),
    "BNReLU": lambda name, x: layers.BNReLU(x, name=name),
    "ConcatWith": lambda name, x: layers.ConcatWith(name, x, [tf.cast(x, tf.float32), tf.cast(x, tf.bfloat16)], axis=3),
    "Conv2D": lambda name, x: layers.Conv2D(name, x, 4, kernel_size=3),
    "Conv2DTranspose": lambda name, x: layers.Conv2DTranspose(name, x, 4, kernel_size=3),
    "Deconv2D": lambda name, x: layers.Deconv2D(name, x, 4, kernel_size=3),
    "Dense": lambda name, x: layers.Dense(name, x, 4),
    "DepthwiseConv2D": lambda name, x: layers.DepthwiseConv2D(name, x, kernel_size=3),
    "Dropout": lambda name, x: layers.Dropout(name, x, rate=0.5),
    "Embedding": lambda name, x: layers.Embedding(name, tf.cast(x[:, 0, 0, 0], tf.int32), 10, 4),
    "FixedUnPooling": lambda name, x: layers.FixedUnPooling(name, x, 2),
    "FullyConnected": lambda name, x: layers.FullyConnected(name, x, 4),
    "GRU": lambda name, x: layers.GRU(name, tf.reshape(x, [-1, 8, 32]), 3),
    "GlobalAvgPooling": layers.GlobalAvgPooling,
    "GroupNorm": lambda name, x: layers.GroupNorm(name, x, 2),
    "InstanceNorm": layers.InstanceNorm,
    "LSTM": lambda name, x: layers.LSTM(name, tf.reshape(x, [-1, 8, 32]), 3),
    "LayerNorm": layers.LayerNorm,
    "LeakyReLU": layers.LeakyReLU,
    "MaxPooling": lambda name, x: layers.MaxPooling(name, x, 2),
    "Maxout": lambda name, x: layers.Maxout(name, x, 2),
    "PReLU": layers.PReLU,
}
# What makes no layer, or lets one run on its own terms; lab_to_rgb computes in float32 always.
OTHERS = {"LinearWrap", "NamedLayer", "apply_keras_layer", "argscope", "lab_to_rgb", "layer_register", "leaky_relu"}


def test_the_table_has_all_layers():
    assert set(LAYERS) == set(layers.__all__) - OTHERS


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_floats_are_cast_as_the_policy_says(policy):
    found = {}

    class All(ModelDesc):
        def inputs(self):
            return [tf.TensorSpec((None, 8, 8, 4), tf.float32, "x")]

        def build_graph(self, x):
            for dtype in (tf.float16, tf.bfloat16, tf.float32, tf.float64):
                for name, layer in LAYERS.items():
                    found[name, dtype.name] = layer(f"{name}_{dtype.name}", tf.cast(x, dtype)).dtype.name
            return tf.reduce_mean(tf.cast(layers.Dense("cost", x, 1), tf.float32))

    ModelGraph(All(), precision=policy)
    wanted = policy.removeprefix("mixed_")
    assert {case: dtype for case, dtype in found.items() if dtype != wanted} == {}
