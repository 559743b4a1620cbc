"""The models of bench/train.py, for flowtrain and for Keras, and their data."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

import flowtrain as ft
from flowtrain.dataflow import DataFlow
from flowtrain.layers import BatchNorm, Conv2D, Deconv2D, FullyConnected


class Digits(DataFlow):
    """Batches of random pictures of MNIST's shape, sliced from an array in memory."""

    def __init__(self, batch: int = 32):
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(6400, 28, 28)).astype(np.float32)
        self.y = rng.integers(0, 10, 6400).astype(np.int32)
        self.batch = batch

    def __len__(self):
        return len(self.x) // self.batch

    def get(self, index, epoch=0):
        rows = slice(index * self.batch, (index + 1) * self.batch)
        return [self.x[rows], self.y[rows]]


class MLP(ft.ModelDesc):
    def inputs(self):
        return [tf.TensorSpec((None, 28, 28), tf.float32, "image"), tf.TensorSpec((None,), tf.int32, "label")]

    def build_graph(self, image, label):
        hidden = FullyConnected("hidden", tf.reshape(image, (-1, 784)), 64, activation=tf.nn.relu)
        logits = FullyConnected("logits", hidden, 10)
        cost = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits)
        cost = tf.reduce_mean(cost, name="entropy")
        ft.add_moving_summary(cost)
        return cost

    def optimizer(self):
        return tf.keras.optimizers.Adam(1e-3)


def keras_mlp() -> keras.Model:
    layers = [keras.layers.Flatten(), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input((28, 28)), *layers])


class Pictures(DataFlow):
    """Batches of 8 random pairs of pictures, (64, 64, 1) and (64, 64, 2), made anew for each batch."""

    def __len__(self):
        return 200

    def get(self, index, epoch=0):
        rng = np.random.default_rng(index)
        return [rng.random((8, 64, 64, 1), np.float32), rng.random((8, 64, 64, 2), np.float32)]


class UNet(ft.ModelDesc):
    def inputs(self):
        return [
            tf.TensorSpec((None, 64, 64, 1), tf.float32, "luminance"),
            tf.TensorSpec((None, 64, 64, 2), tf.float32, "ab"),
        ]

    def build_graph(self, luminance, ab):
        skips, x = [], luminance
        for i, filters in enumerate((16, 32, 64)):
            x = Conv2D(f"down{i}", x, filters, kernel_size=4, strides=2)
            x = tf.nn.leaky_relu(BatchNorm(f"down{i}_bn", x), 0.2)
            skips.append(x)
        for i, (filters, skip) in enumerate(((32, skips[1]), (16, skips[0]))):
            x = Deconv2D(f"up{i}", x, filters, kernel_size=4, strides=2)
            x = tf.concat([tf.nn.relu(BatchNorm(f"up{i}_bn", x)), skip], axis=-1)
        prediction = Deconv2D("prediction", x, 2, kernel_size=4, strides=2, activation=tf.tanh)
        cost = tf.reduce_mean(tf.square(prediction - ab), name="l2_loss")
        ft.add_moving_summary(cost)
        return cost

    def optimizer(self):
        return tf.keras.optimizers.Adam(2e-4)


def keras_unet() -> keras.Model:
    layers = keras.layers
    inputs = keras.Input((64, 64, 1))
    skips, x = [], inputs
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 4, strides=2, padding="same")(x)
        x = layers.LeakyReLU(0.2)(layers.BatchNormalization()(x))
        skips.append(x)
    for filters, skip in ((32, skips[1]), (16, skips[0])):
        x = layers.Conv2DTranspose(filters, 4, strides=2, padding="same")(x)
        x = layers.Concatenate()([layers.ReLU()(layers.BatchNormalization()(x)), skip])
    return keras.Model(inputs, layers.Conv2DTranspose(2, 4, strides=2, padding="same", activation="tanh")(x))
