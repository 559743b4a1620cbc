"""Timing for the training benchmarks: ways to train take turns, and their rates are compared round by round."""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import flowtrain as ft
from flowtrain.callbacks import Callback
from flowtrain.dataflow import DataFlow
from flowtrain.training import SimpleTrainer, TrainConfig

ROUNDS = 5


class Speed(NamedTuple):
    """Steps per second, and milliseconds of CPU time per step (of this process, without worker processes)."""

    rate: float
    cpu: float


class Ours:
    """A training by flowtrain with default callbacks and monitors; each call trains two epochs and times the second."""

    def __init__(self, model: ft.ModelDesc, flow: DataFlow, steps: int, callbacks: Sequence[Callback] = (), **options):
        self.steps = steps
        self.clock = Clock()
        config = TrainConfig(
            callbacks=[*callbacks, self.clock],
            model=model,
            dataflow=flow,
            steps_per_epoch=steps,
            max_epoch=10**6,
            log_dir=Path(tempfile.mkdtemp()) / "run",
            **options,
        )
        self.trainer = SimpleTrainer(config)

    def __call__(self) -> Speed:
        self.trainer.train(max_epoch=self.trainer.epoch_num + 2)  # the first of the two fills the prefetch queue
        return Speed(self.steps / self.clock.seconds, self.clock.cpu / self.steps * 1000)


class Clock(Callback):
    def before_epoch(self):
        self.began = time.perf_counter(), time.process_time()

    def after_epoch(self):
        self.seconds, self.cpu = time.perf_counter() - self.began[0], time.process_time() - self.began[1]


def rate(steps: int, run: Callable[[], object]) -> Speed:
    began, cpu = time.perf_counter(), time.process_time()
    run()
    return Speed(steps / (time.perf_counter() - began), (time.process_time() - cpu) / steps * 1000)


def compare(title: str, ways: dict[str, Callable[[], Speed]], targets: dict[str, float], rounds: int = ROUNDS) -> None:
    """Run all ways in turn for several rounds; print median rates, and the median ratio of the first way to each."""
    speeds: dict[str, list[Speed]] = {name: [] for name in ways}
    order = list(ways)
    for name in order:
        ways[name]()  # warm up
    for _ in range(rounds):
        random.shuffle(order)  # else one way would always run after the same other, with what that left in caches
        for name in order:
            speeds[name].append(ways[name]())
    first = next(iter(ways))
    print(f"\n{title}")
    for name, values in speeds.items():
        ratio = statistics.median(a.rate / b.rate for a, b in zip(speeds[first], values, strict=True))
        rate, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        target = f"  (target {targets[name]})" if name in targets else ""
        print(f"  {name:47} {rate:9.1f} /s {cpu:8.3f} ms CPU   {first} is x {ratio:5.2f}{target}", flush=True)


def generator(flow: DataFlow):
    while True:
        yield from (tuple(datapoint) for datapoint in flow)
