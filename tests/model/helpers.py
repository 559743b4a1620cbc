"""Small models that the tests of models and layers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flowtrain import ModelDesc, get_scalar_var


def desc(build: Callable[..., Any], *specs: tf.TensorSpec, optimizer: Any = "sgd", **attributes: Any) -> ModelDesc:
    """A model made of one function; its inputs are x (N, 4) float32 unless told otherwise."""
    declared = list(specs) or [tf.TensorSpec((None, 4), tf.float32, "x")]

    class Model(ModelDesc):
        def inputs(self):
            return declared

        def build_graph(self, *inputs):
            return build(*inputs)

        def optimizer(self):
            if optimizer == "sgd":
                return keras.optimizers.SGD(get_scalar_var("learning_rate", 0.1))
            return optimizer() if callable(optimizer) else optimizer

    for name, value in attributes.items():
        setattr(Model, name, value)
    return Model()


def array(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def train(graph: Any, *inputs: np.ndarray, steps: int = 1) -> list[float]:
    """Train on one batch with the plainest step there can be; returns the costs."""
    from flowtrain.model.gradient import process_gradients

    @tf.function(autograph=False)
    def step(*tensors):
        with tf.GradientTape(persistent=True) as tape:
            tower = graph.training_tower(tensors)
        for objective in graph.objectives.values():
            pairs = zip(objective.gradients(tape, tower), objective.variables.values(), strict=True)
            pairs = process_gradients(objective.processors, list(pairs))
            objective.optimizer.apply([g for g, _ in pairs], [v for _, v in pairs])
        if graph.average is not None:
            graph.average.update()
        return tower.cost, tower.scalars, tower.histograms

    results = []
    for _ in range(steps):
        graph.metrics.reset()
        results.append(step(*map(tf.constant, inputs)))
    graph.last_scalars = {name: float(value) for name, value in results[-1][1].items()} | graph.metrics.results()
    graph.last_histograms = {name: value.numpy() for name, value in results[-1][2].items()}
    return [float(cost) for cost, _, _ in results]
