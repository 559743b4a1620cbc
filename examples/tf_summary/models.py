"""Three ways to write the same kind of model in Keras, each trained by flowtrain alike.

Sequential: layers in a row. Functional: layers called on tensors, so branches may join. Subclass: any Python in
`call`; such a model does not know its inputs, so it is called once on a `keras.Input`.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

import flowtrain as ft


def sequential() -> keras.Model:
    """Layers in a row."""
    return keras.Sequential(
        [
            keras.Input((28, 28), name="image"),
            layers.Rescaling(1 / 255),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(16, 3, strides=2, activation="relu"),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def functional() -> keras.Model:
    """The same with a shortcut connection: two paths are added."""
    image = keras.Input((28, 28), name="image")
    x = layers.Reshape((28, 28, 1))(layers.Rescaling(1 / 255)(image))
    x = layers.Conv2D(16, 3, strides=2, activation="relu")(x)
    shortcut = layers.Conv2D(32, 1, strides=2)(x)
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Flatten()(layers.add([x, shortcut]))
    return keras.Model(image, layers.Dense(10)(x))


class ResBlock(layers.Layer):
    """A residual block: two convolutions with batch normalization, plus a shortcut (He et al., arXiv 1512.03385).

    Args:
        filters: Number of output channels.
        strides: Strides of the first convolution; above 1, the shortcut is a convolution too.
    """

    def __init__(self, filters: int, strides: int = 1, **options) -> None:
        super().__init__(**options)
        self.filters, self.strides = filters, strides
        self.conv0 = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)
        self.conv1 = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        self.norm0, self.norm1 = layers.BatchNormalization(), layers.BatchNormalization()
        self.shortcut = layers.Conv2D(filters, 1, strides) if strides > 1 else layers.Identity()

    def build(self, shape):
        out = self.conv0.compute_output_shape(shape)
        for layer, its_shape in (
            (self.conv0, shape), (self.norm0, out), (self.conv1, out), (self.norm1, out), (self.shortcut, shape)
        ):  # fmt: skip
            layer.build(its_shape)

    def call(self, x, training=False):
        y = tf.nn.relu(self.norm0(self.conv0(x), training=training))
        y = self.norm1(self.conv1(y), training=training)
        return tf.nn.relu(y + self.shortcut(x))

    def compute_output_shape(self, shape):
        return self.conv0.compute_output_shape(shape)

    def get_config(self):
        return super().get_config() | {"filters": self.filters, "strides": self.strides}


class ResNet(keras.Model):
    """A small residual network."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.stem = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")
        self.blocks = [ResBlock(16), ResBlock(32, strides=2)]
        self.head = layers.Dense(10)

    def call(self, image, training=False):
        x = self.stem(image[..., None] / 255)
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(tf.reduce_mean(x, axis=(1, 2)))


def subclass() -> keras.Model:
    """ResNet called on a `keras.Input`, so that its inputs are known."""
    image = keras.Input((28, 28), name="image")
    return keras.Model(image, ResNet()(image))


MODELS = {"sequential": sequential, "functional": functional, "subclass": subclass}


def trainable(model: keras.Model) -> ft.ModelDesc:
    """The model as a ModelDesc, with a loss, a metric and an optimizer."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return ft.KerasModelDesc(model, loss, metrics=["accuracy"], optimizer="adam")
