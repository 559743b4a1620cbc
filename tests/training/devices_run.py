"""Trainings on several devices, run by test_devices.py: python devices_run.py mirrored|ahead|worker|setters FOLDER."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

from flowtrain.callbacks import (
    Callback,
    HumanHyperParamSetter,
    ModelSaver,
    MovingAverageSummary,
    StatMonitorParamSetter,
)
from flowtrain.feed.placement import Placement
from flowtrain.layers import Dropout
from flowtrain.model import GlobalNormClip, get_scalar_var
from flowtrain.model.checkpoint_io import list_checkpoints
from flowtrain.model.internals import all_operations
from flowtrain.monitors import JSONLMonitor
from flowtrain.training import TrainConfig, devices, train
from flowtrain.training import feeding as feeding_module
from flowtrain.training import trainer as trainer_module
from flowtrain.training.program import Program

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.training.helpers import PlainClassifier, Points


class Clipped(PlainClassifier):
    def gradient_processors(self):
        return [GlobalNormClip(0.3)]


class Masked(PlainClassifier):
    """Drops out of ones, so that one sees which."""

    def build_graph(self, x, side):
        mask = Dropout("mask", tf.ones_like(x), rate=0.5)
        noise = tf.identity(keras.random.normal(tf.shape(x)), name="noise")
        return super().build_graph(x * mask + 0.01 * noise, side)


class Steered(PlainClassifier):
    """Its rate is known to the optimizer alone."""

    def build_graph(self, x, side):
        return super().build_graph(x * get_scalar_var("strength", 1.0), side)

    def optimizer(self):
        return tf.keras.optimizers.SGD(0.01)


class Fetch(Callback):
    chief_only = False

    def __init__(self, names):
        self.names = names

    def next_step(self):
        return 5 if self.global_step < 5 else float("inf")

    def before_run(self):
        return self.names

    def after_run(self, values):
        self.values = values


def configured(folder, strategy, names=("x", "entropy"), **options):
    fetch = Fetch(names)
    options = {"model": Clipped(), "dataflow": Points(rows=16), "max_epoch": 2, **options}
    return fetch, TrainConfig(
        callbacks=[ModelSaver(), fetch],
        default_callbacks=[MovingAverageSummary()],
        monitors=[JSONLMonitor()],
        log_dir=folder,
        strategy=strategy,
        **options,
    )


def difference(one, other):
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


class Watched(Program):
    """Notes what the steps are handed, and their graphs."""

    blocks: ClassVar[list] = []
    graphs: ClassVar[list] = []

    def _trace(self, block, fetches):
        made = super()._trace(block, fetches)
        self.graphs.append(made.graph)
        return made

    def _function(self, block, fetches):
        self.blocks.append(block)
        return super()._function(block, fetches)


class WatchedPlacement(Placement):
    """Notes which thread copies to a device."""

    threads: ClassVar[set] = set()

    def put(self, tensors):
        self.threads.add(threading.current_thread().name)
        return super().put(tensors)


def short(device):
    return device.rsplit("device:", 1)[-1]


def check_parts(rows, devices):
    """Each replica was handed its rows alone, where it computes; no operation of one reads what another was handed."""
    for block in Watched.blocks:
        inputs = len(block.tensors) // len(devices)
        for place, tensor in enumerate(block.tensors):
            assert short(tensor.device) == devices[place // inputs], (place, tensor.device)
            assert tensor.shape[int(block.stacked)] == rows // len(devices), tensor.shape
        first, second = block.tensors[:inputs], block.tensors[inputs:]
        assert sum(map(nbytes, second)) == sum(map(nbytes, first)) == block.nbytes // len(devices)
    for graph in Watched.graphs:
        for op in all_operations(graph):
            for tensor in op.inputs:
                replica = re.search(r"_replica(\d)", tensor.name)
                assert replica is None or not op.device or short(op.device) == devices[int(replica[1])], op
    assert Watched.blocks and Watched.graphs


def nbytes(tensor):
    return tensor.dtype.size * tensor.shape.num_elements()


def mirrored(folder: Path) -> None:
    trainer_module.Program = Watched
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 7)
    values = np.random.default_rng(0).normal(size=1000)
    seven = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(7)])
    assert np.array_equal(devices._summed(seven, values), values)  # one worker, whatever its replicas
    fetch_one, alone = configured(folder / "alone", None)
    one = train(alone)
    Watched.blocks.clear(), Watched.graphs.clear()
    for name, options in {
        "plain": {},
        "jit": {"jit": True},
        "unfused": {"steps_per_call": 1},
    }.items():
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        fetch, config = configured(folder / name, strategy, **options)
        many = train(config)
        assert difference(one.get_weights(), many.get_weights()) < 1e-5, name
        check_parts(16, ["CPU:0", "CPU:1"])
        assert {block.stacked for block in Watched.blocks} == {name != "unfused"}
        Watched.blocks.clear(), Watched.graphs.clear()
        costs = [np.array(trainer.history["cost"])[:, 1] for trainer in (one, many)]
        assert np.abs(costs[0] - costs[1]).max() < 1e-5, name
        assert np.array_equal(fetch.values["x"], fetch_one.values["x"]), name
        assert abs(fetch.values["entropy"] - fetch_one.values["entropy"]) < 1e-5, name

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    names = ["mask/output", "noise"]
    for name, jit in {"masked": False, "masked_jit": True}.items():
        fetch, config = configured(folder / name, strategy, names, model=Masked(), max_epoch=1, jit=jit)
        train(config)
        for drawn in fetch.values.values():
            assert not np.array_equal(*np.split(drawn, 2)), "both replicas drew the same numbers"

    _, config = configured(folder / "plain", strategy, max_epoch=3)
    resumed = train(config, resume="auto")
    longer = train(configured(folder / "longer", None, max_epoch=3)[1])
    assert difference(longer.get_weights(), resumed.get_weights()) < 1e-5

    accumulated = configured(folder / "acc", strategy, accumulate=2, steps_per_epoch=12)[1]
    accumulated_alone = configured(folder / "acc_alone", None, accumulate=2, steps_per_epoch=12)[1]
    assert difference(train(accumulated).get_weights(), train(accumulated_alone).get_weights()) < 1e-5
    half = configured(folder / "half", strategy, precision="mixed_float16")[1]
    assert np.isfinite(train(half).history["cost"][-1][1])

    try:
        train(configured(folder / "odd", strategy, dataflow=Points(rows=15))[1])
    except ValueError as error:
        assert "15 rows cannot be shared equally among 2 replicas" in str(error), error
    else:
        raise AssertionError("15 rows were shared between 2 replicas")


class DiesOnce(Callback):
    """Kills worker 1 at the end of the third epoch of its first start, when a checkpoint is there."""

    chief_only = False

    def __init__(self, folder: Path, index: int) -> None:
        self.mark, self.checkpoints, self.index = folder / "died", folder / "workers" / "checkpoints", index

    def trigger_epoch(self):
        if self.index == 1 and self.epoch_num == 3 and not self.mark.exists():
            while not list_checkpoints(self.checkpoints):
                time.sleep(0.05)
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def ahead(folder: Path) -> None:
    """A second logical CPU stands in for a GPU: another device, which a batch has to be copied to."""
    trainer_module.Program = Watched
    feeding_module.Placement = WatchedPlacement
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one = train(configured(folder / "host", None)[1])
    assert all(short(tensor.device) == "CPU:0" for block in Watched.blocks for tensor in block.tensors)
    for name, options in {"blocks": {}, "single": {"steps_per_call": 1}}.items():
        Watched.blocks.clear(), WatchedPlacement.threads.clear()
        strategy = tf.distribute.OneDeviceStrategy("CPU:1")
        other = train(configured(folder / name, strategy, **options)[1])
        assert {block.stacked for block in Watched.blocks} == {name == "blocks"}
        assert all(short(tensor.device) == "CPU:1" for block in Watched.blocks for tensor in block.tensors)
        assert WatchedPlacement.threads == {"flowtrain-feeder"}
        assert difference(one.get_weights(), other.get_weights()) == 0.0


def worker(folder: Path) -> None:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    _, config = configured(folder / "workers", strategy, max_epoch=int(os.environ["EPOCHS"]))
    if "DIES" in os.environ:
        config.callbacks.append(DiesOnce(folder, strategy.cluster_resolver.task_id))
    trainer = train(config, resume="auto")
    index = strategy.cluster_resolver.task_id
    np.savez(folder / f"worker{index}.npz", chief=trainer.is_chief, **trainer.get_weights())


def steered(folder: Path, strategy):
    """The chief alone reads a file and watches the cost."""
    folder.mkdir(exist_ok=True)
    (folder / "hyper.txt").write_text("strength: 0.5")
    trainer = train(
        TrainConfig(
            model=Steered(),
            dataflow=Points(rows=16),
            callbacks=[
                HumanHyperParamSetter("strength"),
                StatMonitorParamSetter("learning_rate", "cost", lambda rate: rate * 3, mode="max", patience=1),
            ],
            default_callbacks=[MovingAverageSummary()],
            monitors=[JSONLMonitor()],
            max_epoch=4,
            log_dir=folder,
            strategy=strategy,
        )
    )
    assert trainer.get_variable("strength") == 0.5 and trainer.get_variable("learning_rate") > 0.01
    return trainer


def setters(folder: Path) -> None:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    trainer = steered(folder / "workers", strategy)
    history = {f"history/{name}": np.array(values) for name, values in trainer.history.items()}
    np.savez(folder / f"worker{strategy.cluster_resolver.task_id}.npz", **trainer.get_weights(), **history)


if __name__ == "__main__":
    {"mirrored": mirrored, "ahead": ahead, "worker": worker, "setters": setters}[sys.argv[1]](Path(sys.argv[2]))
    print("passed")
