"""Benchmarks of what happens beside the steps: fetching, feeding, saving, importing."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from models import MLP, Digits, Pictures, UNet
from train_timing import ROUNDS, Ours, Speed, compare, rate

import flowtrain as ft
from flowtrain.callbacks import Callback, ModelSaver
from flowtrain.dataflow import DataFlow


class FetchEvery100(Callback):
    """Fetches a tensor every 100 steps in half of the epochs, so that both variants run in one training."""

    def __init__(self, fetched: str):
        self.fetched = fetched

    @property
    def on(self) -> bool:
        return self.epoch_num % 4 in (1, 2)  # on, on, off, off, ...: a machine that slowly changes its speed hits both

    def next_step(self):
        return (self.global_step // 100 + 1) * 100 if self.on else math.inf

    def before_run(self):
        return [self.fetched]


class Epochs(Callback):
    """Collects time and CPU time of each epoch, separately for epochs with and without fetching."""

    def __init__(self, fetching: FetchEvery100):
        self.fetching = fetching
        self.seen: dict[bool, list[tuple[float, float]]] = {True: [], False: []}

    def before_epoch(self):
        self.began = time.perf_counter(), time.process_time()

    def after_epoch(self):
        passed = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
        if self.epoch_num > 4:  # the first four are warm-up: they trace and compile
            self.seen[self.fetching.on].append(passed)


def fetch() -> None:
    fetched("small U-Net", UNet(), ft.PrefetchData(Pictures(), num_proc=2), "down0/output", steps=200, epochs=160)
    fetched("small MLP", MLP(), Digits(), "hidden/output", steps=1000, epochs=400)


def fetched(title: str, model: ft.ModelDesc, flow: DataFlow, name: str, steps: int, epochs: int) -> None:
    fetching = FetchEvery100(name)
    clock = Epochs(fetching)
    Ours(model, flow, steps, callbacks=[fetching, clock]).trainer.train(max_epoch=epochs + 4)
    print(f"\na callback that fetches a tensor every 100 steps ({title}), {epochs} epochs of {steps} steps in turn")
    for place, what in enumerate(("time", "CPU time")):
        on, off = ([epoch[place] / steps * 1e6 for epoch in clock.seen[key]] for key in (True, False))
        ratio = statistics.median(a / b for a, b in zip(on, off, strict=True))
        with_it, without = statistics.median(on), statistics.median(off)
        print(
            f"  {what:9} with {with_it:7.1f} us a step, without {without:7.1f}; median ratio {ratio:.4f}  (target 1.01)"
        )


def feed() -> None:
    array = ft.to_tensor.__globals__["aligned_empty"]((25_000_000 // 4,), np.float32)
    array[:] = 1.0
    compare(
        "NumPy -> tensor, 25 MB",
        {
            "flowtrain.to_tensor": lambda: rate(20, lambda: [ft.to_tensor(array) for _ in range(20)]),
            "tf.constant": lambda: rate(20, lambda: [tf.constant(array) for _ in range(20)]),
        },
        {"tf.constant": 10.0},
    )


class Large(MLP):
    def build_graph(self, image, label):
        for i in range(10):
            ft.get_variable(f"large{i}", (2_500_000,), initializer="zeros", trainable=False)
        return super().build_graph(image, label)


def save() -> None:
    folder = Path(tempfile.mkdtemp())
    ours = Ours(Large(), Digits(), 1, callbacks=[ModelSaver()])
    trainer = ours.trainer
    ours()
    array = np.random.default_rng(0).random(25_000_000, np.float32)

    def into_a_new_file() -> Speed:  # as a checkpoint is
        path = folder / "array.npy"
        path.unlink(missing_ok=True)
        return rate(1, lambda: np.save(path, array))

    def stopped(background: bool) -> Callable[[], Speed]:
        def run() -> Speed:
            trainer._checkpoints.wait()
            trainer.save_checkpoint(name="bench", background=background)
            result = rate(1, trainer._loop.settle)
            trainer._checkpoints.wait()
            return result

        return run

    compare(
        "a checkpoint of 100 MB: how often a second the loop could stop for it (ratio: how long, in np.saves)",
        {
            "np.save": into_a_new_file,
            "flowtrain": stopped(False),
            "flowtrain, background=True": stopped(True),
            "np.copy": lambda: rate(1, array.copy),
        },
        {"flowtrain": 1.2},
    )


def importing() -> None:
    code = "import time; t = time.perf_counter(); import flowtrain; print(time.perf_counter() - t)"
    seconds = [float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(ROUNDS)]
    print(f"\nimport flowtrain: {statistics.median(seconds) * 1000:.1f} ms  (target 100)")
