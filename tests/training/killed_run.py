"""The training that test_kill.py kills: python killed_run.py <log_dir> <epochs>. Everything that can be random is."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf

from flowtrain.callbacks import (
    Callback,
    InferenceRunner,
    MinSaver,
    ModelSaver,
    MovingAverageSummary,
    PeriodicTrigger,
    ScalarStats,
)
from flowtrain.dataflow import BatchData, DataFlow, DataFromList, MapData, PrefetchData, RNGDataFlow
from flowtrain.layers import BatchNorm, Dropout, FullyConnected
from flowtrain.model import ModelDesc, add_moving_summary, get_scalar_var
from flowtrain.monitors import CSVMonitor, JSONLMonitor
from flowtrain.training import TrainConfig, Trainer, train


class Noise(RNGDataFlow):
    """Augmentation: noise that depends on the place in the data, and a little time for the killer to strike."""

    def __init__(self, ds: DataFlow, pause: float):
        super().__init__()
        self.ds, self.pause = ds, pause

    def children(self):
        return (self.ds,)

    def __len__(self):
        return len(self.ds)

    def get(self, index, epoch=0):
        x, side = self.ds.get(index, epoch)
        time.sleep(self.pause)
        return [x + self.stream.at(epoch, index).normal(0.0, 0.1, x.shape).astype(np.float32), side]


class Ready(Callback):
    """Tells the killer that the first step is done, or that there is none left to do."""

    said = False

    def next_step(self):
        return float("inf") if self.said else self.global_step + 1

    def trigger_step(self):
        if not self.said:
            self.said = True
            print("ready", flush=True)

    after_train = trigger_step


class Model(ModelDesc):
    def inputs(self):
        return [tf.TensorSpec((None, 8), tf.float32, "x"), tf.TensorSpec((None,), tf.int32, "side")]

    def build_graph(self, x, side):
        hidden = BatchNorm("bn", FullyConnected("hidden", x, 32, activation=tf.nn.relu))
        logits = FullyConnected("logits", Dropout("dropout", hidden, rate=0.4), 2)
        cost = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=side, logits=logits)
        cost = tf.reduce_mean(cost, name="entropy")
        add_moving_summary(cost)
        return cost

    def optimizer(self):
        return tf.keras.optimizers.Adam(get_scalar_var("learning_rate", 0.01))


def points(seed: int, count: int) -> list:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 8)).astype(np.float32)
    return [[row, int(row.sum() > 0)] for row in x]


def run(log_dir: str | Path, epochs: int, pause: float = 0.0, workers: int = 2) -> Trainer:
    flow: DataFlow = Noise(DataFromList(points(0, 160), shuffle=True), pause)
    flow = BatchData(MapData(flow, lambda dp: [dp[0] * 2.0, dp[1]]), 8)
    flow = PrefetchData(flow, num_proc=workers)
    validation = BatchData(DataFromList(points(1, 64), shuffle=False), 16)
    return train(
        TrainConfig(
            model=Model(),
            dataflow=flow,
            default_callbacks=[MovingAverageSummary()],
            callbacks=[
                Ready(),
                MinSaver("validation_entropy"),
                InferenceRunner(validation, [ScalarStats("entropy")]),
                PeriodicTrigger(ModelSaver(keep=3), every_k_steps=10),
                PeriodicTrigger(MovingAverageSummary(), every_k_steps=7),
            ],
            monitors=[JSONLMonitor(), CSVMonitor()],
            max_epoch=epochs,
            deterministic=True,
            log_dir=log_dir,
        ),
        resume="auto",
    )


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), pause=0.004)
