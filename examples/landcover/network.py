"""A small fully convolutional network for satellite scenes, after the OTBTF tutorials (Cresson, arXiv 1807.06535)."""

from __future__ import annotations

import tensorflow as tf

import flowtrain as ft
from flowtrain import Conv2D, Deconv2D

STRIDE = 16  # four convolutions of stride 2
MARGIN = 64  # pixels; more than the border that padding reaches (ft.valid_crop says how many those are)
CLASSES = 2


class LandCover(ft.ModelDesc):
    """Per-pixel classes from the raw numbers of some bands.

    Args:
        bands: How many bands the input has.
        learning_rate: Of Adam.
    """

    def __init__(self, bands: int = 3, learning_rate: float = 1e-4) -> None:
        self.bands, self.learning_rate = bands, learning_rate

    def inputs(self):
        return [
            tf.TensorSpec((None, None, None, self.bands), tf.float32, "bands"),
            tf.TensorSpec((None, None, None, 1), tf.int32, "label"),
        ]

    def build_graph(self, bands, label):
        with ft.argscope([Conv2D, Deconv2D], kernel_size=3, strides=2, activation=tf.nn.relu):
            conv1 = Conv2D("conv1", bands * 1e-4, 16)
            conv2 = Conv2D("conv2", conv1, 32)
            conv3 = Conv2D("conv3", conv2, 64)
            conv4 = Conv2D("conv4", conv3, 64)
            up3 = Deconv2D("tconv1", conv4, 64) + conv3
            up2 = Deconv2D("tconv2", up3, 32) + conv2
            up1 = Deconv2D("tconv3", up2, 16) + conv1
            logits = Deconv2D("tconv4", up1, CLASSES, activation=None)
        softmax = tf.nn.softmax(logits, name="predictions_softmax_tensor")
        predictions = tf.identity(softmax, name="predictions")
        found = tf.identity(predictions[..., 1:], name="vegetation")

        truth = tf.one_hot(label[..., 0], CLASSES)
        cost = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(truth, logits), name="cross_entropy")
        said, there = tf.cast(found > 0.5, tf.float32), tf.cast(label, tf.float32)
        hits = tf.reduce_sum(said * there)
        ft.add_moving_summary(
            cost,
            tf.math.divide_no_nan(hits, tf.reduce_sum(said), name="precision"),
            tf.math.divide_no_nan(hits, tf.reduce_sum(there), name="recall"),
        )
        return cost

    def optimizer(self):
        return tf.keras.optimizers.Adam(ft.get_scalar_var("learning_rate", self.learning_rate, summary=True))
