"""The cost of moving summaries in a small model's step: python bench/summaries.py

An MLP (784-256-256-256-10, batch 64) is trained, 32 steps a call, with 0, 2, 10 and 20 scalars averaged in the step,
and with as many that are computed but not averaged, since most of a scalar's cost is its computation. The variants take
turns in random order, and the median of the rounds' ratios is shown, so that other load on the machine matters little.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tabulate import tabulate

import flowtrain as ft
from flowtrain.model import ModelGraph
from flowtrain.training.run_variables import StepVariables

STEPS, ROUNDS = 32, 300


class MLP(ft.ModelDesc):
    def __init__(self, scalars: int, averaged: bool):
        self.scalars, self.averaged = scalars, averaged

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
        if self.averaged:
            ft.add_moving_summary(*shown[: self.scalars])
        elif self.scalars:
            cost += tf.stop_gradient(0.0 * tf.add_n(shown[: self.scalars]))
        return cost

    def optimizer(self):
        return tf.keras.optimizers.Adam(1e-3)


def compiled(scalars: int, averaged: bool) -> Callable[[], None]:
    """A compiled function that runs STEPS training steps of the model."""
    graph = ModelGraph(MLP(scalars, averaged))
    variables = StepVariables(list(graph.build_tower.scalars), graph.objectives, accumulate=1, loss_scaling=False)
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
    variants = [(scalars, averaged) for scalars in (0, 2, 10, 20) for averaged in (False, True)]
    runs = {variant: compiled(*variant) for variant in variants}
    spent: dict[tuple[int, bool], list[float]] = {variant: [] for variant in variants}
    for _ in range(ROUNDS):
        random.shuffle(variants)
        for variant in variants:
            start = time.process_time()
            runs[variant]()
            spent[variant].append((time.process_time() - start) / STEPS * 1e6)

    def more(variant: tuple[int, bool], than: tuple[int, bool]) -> str:
        ratios = [a / b for a, b in zip(spent[variant], spent[than], strict=True)]
        return f"{100 * (statistics.median(ratios) - 1):+.1f} %"

    rows = [
        [scalars, f"{statistics.median(spent[key]):.0f}", more(key, (scalars, False)), more(key, (0, True))]
        for key in sorted(spent)
        if (scalars := key[0]) and key[1]
    ]
    print(tabulate(rows, ["scalars", "CPU us a step", "more than computed, not averaged", "more than none"]))


if __name__ == "__main__":
    main()
