"""A small model over a flow that is random by index, and the configuration of a quiet run."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from flowtrain.callbacks import Callback, ModelSaver, MovingAverageSummary
from flowtrain.dataflow import DataFlow
from flowtrain.layers import Dropout, FullyConnected
from flowtrain.model import ModelDesc, add_moving_summary, get_scalar_var
from flowtrain.monitors import JSONLMonitor
from flowtrain.training import TrainConfig


class Points(DataFlow):
    """Batches of points in R^6 and on which side of a plane they lie."""

    def __init__(self, batches=12, rows=8, wrong_at=None):
        self.batches, self.rows, self.wrong_at = batches, rows, wrong_at

    def __len__(self):
        return self.batches

    def get(self, index, epoch=0):
        rng = np.random.default_rng((epoch, index))
        x = rng.normal(size=(self.rows, 6)).astype(np.float32)
        if self.wrong_at == (epoch, index):
            x[0, 0] = np.nan
        return [x, (x.sum(axis=1) > 0).astype(np.int64)]


class Classifier(ModelDesc):
    dropout = 0.3
    optimizer_class = tf.keras.optimizers.Adam

    def inputs(self):
        return [tf.TensorSpec((None, 6), tf.float32, "x"), tf.TensorSpec((None,), tf.int32, "side")]

    def build_graph(self, x, side):
        hidden = FullyConnected("hidden", x, 16, activation=tf.nn.relu)
        if self.dropout:
            hidden = Dropout("dropout", hidden, rate=self.dropout)
        logits = FullyConnected("logits", hidden, 2)
        cost = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=side, logits=logits)
        cost = tf.reduce_mean(cost, name="entropy")
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), side)
        add_moving_summary(cost, tf.reduce_mean(tf.cast(right, tf.float32), name="accuracy"))
        return cost

    def optimizer(self):
        return self.optimizer_class(get_scalar_var("learning_rate", 0.01, summary=True))


class PlainClassifier(Classifier):
    dropout = 0.0
    optimizer_class = tf.keras.optimizers.SGD


class Count(Callback):
    """Counts steps and epochs, and sums up what it fetches; its state goes into the checkpoint."""

    def __init__(self, every=5):
        self.every, self.steps, self.total = every, 0, 0.0

    def next_step(self):
        return (self.global_step // self.every + 1) * self.every

    def before_run(self):
        return ["hidden/output"]

    def after_run(self, values):
        self.steps += 1
        self.total += float(values["hidden/output"].sum())

    def trigger_epoch(self):
        self.trainer.monitors.put_scalar("total", self.total, self.global_step)

    def state_dict(self):
        return {"steps": self.steps, "total": self.total}

    def load_state_dict(self, state):
        self.steps, self.total = state["steps"], state["total"]


def config(log_dir, *, callbacks=None, model=None, dataflow=None, max_epoch=2, **options):
    options.setdefault("default_callbacks", [MovingAverageSummary()])
    options.setdefault("monitors", [JSONLMonitor()])
    return TrainConfig(
        model=model or Classifier(),
        dataflow=Points() if dataflow is None else dataflow,
        callbacks=[ModelSaver()] if callbacks is None else callbacks,
        max_epoch=max_epoch,
        log_dir=log_dir,
        **options,
    )


def same_weights(one, other):
    a, b = one.get_weights(), other.get_weights()
    assert a.keys() == b.keys()
    return all(np.array_equal(a[name], b[name]) for name in a)


def close_weights(one, other, tolerance=1e-5):
    a, b = one.get_weights(), other.get_weights()
    return max(np.abs(a[name] - b[name]).max() for name in a if a[name].dtype == np.float32) < tolerance


class Die(Callback):
    """Ends the run as a kill would, as far as one process can show it: nothing is told, nothing is saved."""

    def __init__(self, at):
        self.at = at

    def next_step(self):
        return self.at if self.global_step < self.at else float("inf")

    def trigger_step(self):
        if self.global_step == self.at:
            raise RuntimeError("died")


class Leave(Callback):
    """Saves the run and ends it at a step, as SIGTERM would."""

    def __init__(self, step):
        self.step = step

    def trigger_step(self):
        if self.global_step == self.step:
            self.trainer.preempt("leave")
