"""A small MLP on two logical CPUs under MirroredStrategy: python bench/train_replicas.py, or train.py replicas.

In a process of its own: logical devices must be set before TensorFlow computes.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from models import MLP, Digits, keras_mlp
from train_timing import Ours, compare, generator, rate


def two_replicas() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy, steps, flow = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 100, Digits()
    with strategy.scope():
        fitted = keras_mlp()
        fitted.compile(keras.optimizers.Adam(1e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    specs = (tf.TensorSpec((None, 28, 28), tf.float32), tf.TensorSpec((None,), tf.int32))
    dataset = tf.data.Dataset.from_generator(lambda: generator(flow), output_signature=specs).prefetch(4)
    compare(
        "small MLP on two logical CPUs, MirroredStrategy",
        {
            "flowtrain": Ours(MLP(), flow, steps, strategy=strategy),
            "flowtrain, steps_per_call=1": Ours(MLP(), flow, steps, strategy=strategy, steps_per_call=1),
            "Keras fit": lambda: rate(steps, lambda: fitted.fit(dataset, steps_per_epoch=steps, verbose=0)),
        },
        {"Keras fit": 3.0},
        rounds=3,  # of fit each takes seconds, and tracing it for two devices a quarter of a minute
    )


if __name__ == "__main__":
    two_replicas()
