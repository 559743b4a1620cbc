"""Run in a process of its own by test_mirrored.py, since logical devices must be set before TensorFlow starts."""

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import flowtrain as ft  # noqa: E402
from flowtrain.model import ModelGraph  # noqa: E402


class Model(ft.ModelDesc):
    average_decay = 0.9

    def inputs(self):
        return [tf.TensorSpec((None, 4), tf.float32, "x")]

    def build_graph(self, x):
        x = ft.BatchNorm("bn", keras.layers.Dense(5)(x), synchronized=True)
        y = ft.Dense("fc", ft.Dropout("drop", x, 0.2), 2)
        ft.add_activation_summary(y)
        return tf.reduce_mean(tf.square(y * tf.Variable([1.0, 2.0], name="raw")), name="l2")

    def optimizer(self):
        return keras.optimizers.SGD(ft.get_scalar_var("learning_rate", 0.1))


strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
graph, single = ModelGraph(Model(), strategy=strategy), ModelGraph(Model())
for name, value in single.store.get_weights().items():
    assert np.array_equal(value, graph.store.get_weights()[name]), name

prefixes, scalars = [], []


@tf.function(autograph=False)
def step(x):
    def replica(x):
        with tf.GradientTape() as tape:
            tower = graph.training_tower([x])
        objective = graph.objectives["cost"]
        objective.optimizer.apply(objective.gradients(tape, tower), list(objective.variables.values()))
        graph.average.update()
        prefixes.append((tower.prefix, tower.tensor("fc/output").name))
        scalars.append(sorted(tower.scalars))
        return tower.cost

    return strategy.run(replica, (x,))


x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
ours, theirs = (g.predictor(["x"], ["fc/output"]) for g in (graph, single))
assert np.array_equal(ours(x)[0], theirs(x)[0])
for _ in range(3):
    step(tf.constant(x))
assert prefixes == [("", "fc/output:0"), ("tower1/", "tower1/fc/output:0")], prefixes
assert scalars[0] == scalars[1] == ["fc/output/rms", "fc/output/sparsity"], scalars
assert np.abs(ours(x)[0] - theirs(x)[0]).max() > 1e-3
single.store.set_weights(graph.store.get_weights())
assert np.abs(ours(x)[0] - theirs(x)[0]).max() < 1e-6
averaged = graph.predictor(["x"], ["fc/output"], averaged=True)
assert np.abs(averaged(x)[0] - ours(x)[0]).max() > 1e-5
print("all well")
