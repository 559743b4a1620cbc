"""What moving summaries cost in a small model's step: python bench/summaries.py

An MLP (784-256-256-256-10, batch 64) is trained 32 steps a call with 0, 2, 10 and 20 scalars averaged in the step.
The variants take turns; the smallest CPU time of each counts, so that what else the machine does matters little.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tabulate import tabulate

import flowtrain as ft
from flowtrain.model import ModelGraph
from flowtrain.training.variables import StepVariables

STEPS, ROUNDS = 32, 100


class MLP(ft.ModelDesc):
    def __init__(self, scalars: int):
        self.scalars = scalars

    def inputs(self):
        return [tf.TensorSpec((None, 784), tf.float32, "x"), tf.TensorSpec((None,), tf.int32, "y")]

    def build_graph(self, x, y):
        for i in range(3):
            x = ft.Dense(f"fc{i}", x, 256, activation="relu")
        logits = ft.Dense("logits", x, 10)
        cost = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits), name="cross_entropy")
        hits = tf.equal(tf.argmax(logits, 1, tf.int32), y)
        shown = [cost, tf.reduce_mean(tf.cast(hits, tf.float32), name="accuracy")]
        shown += [tf.reduce_mean(logits[:, i % 10], name=f"mean{i}") for i in range(18)]
        ft.add_moving_summary(*shown[: self.scalars])
        return cost

    def optimizer(self):
        return tf.keras.optimizers.Adam(1e-3)


def compiled(scalars: int) -> Callable[[], None]:
    """Run STEPS steps of the model."""
    graph = ModelGraph(MLP(scalars))
    averaged = list(graph.build_tower.scalars)
    variables = StepVariables(averaged, graph.objectives, accumulate=1, loss_scaling=False)
    (objective,) = graph.objectives.values()

    @tf.function(autograph=False)
    def run(x, y):
        def step(i, _):
            with tf.GradientTape() as tape:
                tower = graph.training_tower([x, y])
            objective.optimizer.apply(objective.gradients(tape, tower), list(objective.variables.values()))
            variables.finish_step(tower.costs, tower.scalars)
            return i + 1, tower.cost

        return tf.while_loop(lambda i, _: i < STEPS, step, (0, 0.0), parallel_iterations=1)[1]

    x, y = tf.zeros([64, 784]), tf.zeros([64], tf.int32)
    run(x, y)
    return lambda: run(x, y).numpy()


def main() -> None:
    variants = {scalars: compiled(scalars) for scalars in (0, 2, 10, 20)}
    best = dict.fromkeys(variants, float("inf"))
    for _ in range(ROUNDS):
        for scalars, run in variants.items():
            start = time.process_time()
            run()
            best[scalars] = min(best[scalars], (time.process_time() - start) / STEPS * 1e6)
    rows = [[n, f"{us:.0f}", f"{100 * (us / best[0] - 1):+.1f} %"] for n, us in best.items()]
    print(tabulate(rows, ["scalars", "CPU us a step", "more than without"]))


if __name__ == "__main__":
    main()
