"""Runs that go on with another number of workers or replicas: python elastic_run.py worker|replicas <folder> ..."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf

from flowtrain.callbacks import Callback, ModelSaver, MovingAverageSummary
from flowtrain.dataflow import BatchData, DataFromArrays
from flowtrain.layers import FullyConnected
from flowtrain.model import ModelDesc
from flowtrain.monitors import JSONLMonitor
from flowtrain.training import Preempted, TrainConfig, train
from flowtrain.utils.errors import ConfigError

ROWS, BATCH = 96, 16


class Tally(ModelDesc):
    """Its weights say how often each row was seen, without rounding; beside it a line that is learnt."""

    def inputs(self):
        return [tf.TensorSpec((None,), tf.int32, "row")]

    def build_graph(self, row):
        seen = FullyConnected("seen", tf.one_hot(row, ROWS), 1, kernel_initializer="zeros", use_bias=False)
        x = tf.cast(row, tf.float32)[:, None] / ROWS
        line = tf.square(FullyConnected("line", x, 1) - tf.sin(5.0 * x))
        return tf.reduce_mean(1e-3 * line - seen, name="total")

    def optimizer(self):
        return tf.keras.optimizers.SGD(float(BATCH))


def get_data(batch=BATCH, rows=ROWS, **options):
    return BatchData(DataFromArrays(np.arange(rows, dtype=np.int32), shuffle=True, seed=5), batch, **options)


class Rows(Callback):
    """Notes the rows that each step of this worker was given."""

    chief_only = False

    def __init__(self, path=None):
        self.path, self.batches = path, []

    def before_run(self):
        return ["row"]

    def after_run(self, values):
        self.batches.append(values["row"].tolist())
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps([self.global_step, self.batches[-1]]) + "\n")


class SaveAndDie(Callback):
    """The chief saves at a step; two steps later, when that checkpoint is there, the last worker is killed."""

    chief_only = False

    def __init__(self, step, last):
        self.step, self.last = step, last

    def trigger_step(self):
        if self.global_step == self.step and self.trainer.is_chief:
            self.trainer.save_checkpoint()
        if self.global_step == self.step + 2 and self.last:
            while not (self.trainer.log_dir / "checkpoints" / f"step-{self.step:08d}").exists():
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGKILL)


class Leave(Callback):
    def __init__(self, step):
        self.step = step

    def trigger_step(self):
        if self.global_step == self.step:
            self.trainer.preempt("leave")


def configured(folder, strategy, *callbacks, flow=None, max_epoch=2):
    return TrainConfig(
        model=Tally(),
        dataflow=flow or get_data(),
        callbacks=[ModelSaver(), *callbacks],
        default_callbacks=[MovingAverageSummary()],
        monitors=[JSONLMonitor()],
        strategy=strategy,
        max_epoch=max_epoch,
        log_dir=folder,
    )


def worker(folder: Path, phase: str, step: str) -> None:
    """One of the processes of a phase, which is killed after `step`; 0: it ends as it should."""
    place = json.loads(os.environ.get("TF_CONFIG", "{}"))
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if place else None
    index, count = (place["task"]["index"], len(place["cluster"]["worker"])) if place else (0, 1)
    callbacks = [Rows(folder / f"rows-{phase}-{index}.jsonl")]
    if int(step):
        callbacks.append(SaveAndDie(int(step), index == count - 1))
    trainer = train(configured(folder / "run", strategy, *callbacks), resume="auto")
    (folder / f"history-{index}.json").write_text(json.dumps(dict(trainer.history)))
    np.savez(folder / f"weights-{index}.npz", **trainer.get_weights())


def replicas(folder: Path) -> None:
    """Where each replica keeps its number of rows, the batch changes with the number of replicas."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
    three = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1", "CPU:2"])

    def go(name, strategy, batch, leave=0, accept=None, **options):
        rows = Rows()
        callbacks = [rows, *([Leave(leave)] if leave else [])]
        config = configured(folder / name, strategy, *callbacks, flow=get_data(batch, **options), max_epoch=1)
        try:
            train(config, resume="auto", resume_changes=accept)
        except Preempted:
            assert leave
        return [row for rows in rows.batches for row in rows]

    due = [row for (rows,) in get_data() for row in rows.tolist()]
    seen = go("rows", three, 24, leave=1) + go("rows", None, 8, leave=4) + go("rows", three, 24)
    assert seen == due, seen
    seen = go("unequal", None, 16, leave=5)
    try:
        go("unequal", three, 24)
    except ConfigError as error:
        assert "1 of the rows that this epoch has left, from row 80 on, cannot be shared" in str(error), error
        assert "divides 16" in str(error), error
    else:
        raise AssertionError("a row was left out without a word")
    assert seen + go("unequal", three, 24, accept="accept") == due[:95]
    # 100 rows are 6 batches of 16: each epoch leaves out 4
    seen = go("short", None, 16, leave=2, rows=100, remainder=False) + go("short", three, 12, rows=100, remainder=False)
    longer = [row for (rows,) in get_data(100, 100) for row in rows.tolist()]
    assert seen == longer[:98], seen  # 68 rows from row 32 on: 5 batches of 12, and 6 of the 8 that are left


if __name__ == "__main__":
    {"worker": worker, "replicas": replicas}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
    print("passed")
