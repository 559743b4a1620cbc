"""How fast training steps are, beside Keras and hand-written loops, in one run: python bench/train.py [case ...]

Cases: mlp, unet, xla, fetch, feed, save, replicas, import. Each ratio is the median of several alternating rounds, so
that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from models import MLP, Digits, Pictures, UNet, keras_mlp, keras_unet

import flowtrain as ft
from flowtrain.callbacks import Callback, ModelSaver
from flowtrain.dataflow import DataFlow
from flowtrain.training import SimpleTrainer, TrainConfig

ROUNDS = 5


class Speed(NamedTuple):
    """Steps per second, and milliseconds of CPU time a step (of this process: without the workers)."""

    rate: float
    cpu: float


class Ours:
    """flowtrain with its default callbacks and monitors; each call trains one more epoch."""

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
        self.trainer.train(max_epoch=self.trainer.epoch_num + 2)  # the first of the two fills the prefetch
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


def compare(title: str, ways: dict[str, Callable[[], Speed]], targets: dict[str, float]) -> None:
    """Run all ways in turn, several rounds, and print rates and the median of the first one's ratio to the others."""
    speeds: dict[str, list[Speed]] = {name: [] for name in ways}
    order = list(ways)
    for name in order:
        ways[name]()  # warm up
    for _ in range(ROUNDS):
        random.shuffle(order)  # what one way leaves behind in caches and queues meets all others
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


def mlp() -> None:
    steps = 1000
    flow = Digits()
    compiled = {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    by_generator, from_memory = keras_mlp(), keras_mlp()
    by_generator.compile(keras.optimizers.Adam(1e-3), **compiled)
    from_memory.compile(keras.optimizers.Adam(1e-3), steps_per_execution=32, **compiled)
    source = generator(flow)
    x, y = np.tile(flow.x, (5, 1, 1)), np.tile(flow.y, 5)

    hand, optimizer = keras_mlp(), keras.optimizers.Adam(1e-3)
    optimizer.build(hand.trainable_variables)

    @tf.function
    def one(x, y):
        with tf.GradientTape() as tape:
            logits = hand(x, training=True)
            cost = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        optimizer.apply(tape.gradient(cost, hand.trainable_variables), hand.trainable_variables)
        return cost

    specs = (tf.TensorSpec((None, 28, 28), tf.float32), tf.TensorSpec((None,), tf.int32))
    dataset = tf.data.Dataset.from_generator(lambda: generator(flow), output_signature=specs).prefetch(4)
    batches = iter(dataset)

    def loop():
        for _ in range(steps):
            one(*next(batches))

    compare(
        "small MLP, batches of 32 NumPy pictures of 28x28 from a dataflow, default callbacks on",
        {
            "flowtrain": Ours(MLP(), flow, steps),
            "Keras fit, the same data as a generator": lambda: rate(
                steps, lambda: by_generator.fit(source, steps_per_epoch=steps, verbose=0)
            ),
            "Keras fit, steps_per_execution=32, from memory": lambda: rate(
                steps, lambda: from_memory.fit(x, y, batch_size=32, shuffle=False, verbose=0)
            ),
            "hand-written tf.function over from_generator": lambda: rate(steps, loop),
            "flowtrain, steps_per_call=1": Ours(MLP(), flow, steps, steps_per_call=1),
        },
        {
            "Keras fit, the same data as a generator": 4.0,
            "Keras fit, steps_per_execution=32, from memory": 1.2,
            "hand-written tf.function over from_generator": 2.0,
        },
    )


class _PyDataset(keras.utils.PyDataset):
    def __init__(self, flow, **options):
        super().__init__(**options)
        self.flow = flow

    def __len__(self):
        return len(self.flow)

    def __getitem__(self, index):
        return tuple(self.flow.get(index))


def resident(ours: Ours, steps: int, ahead: bool = False) -> Callable[[], Speed]:
    """The same compiled step again and again on one batch that is there already; `ahead`: started as flowtrain does."""
    program = ours.trainer._loop._program

    def one_by_one(block) -> None:
        float([program.run(block, 0, 1) for _ in range(steps)][-1])

    def started_ahead(block) -> None:
        for _ in range(steps):
            program.start(block, 0, 1)
            program.throttle()
        program.finish()

    def run() -> Speed:
        feeding = ours.trainer._state.feeding
        feeding.start()
        block, _ = feeding.next_block(1, lambda: None)
        feeding.stop()  # nothing else shall run beside
        return rate(steps, lambda: (started_ahead if ahead else one_by_one)(block))

    return run


PICTURES_FOR_NOBODY = """
import sys, time
import numpy as np
gap, due, index = float(sys.argv[1]), time.monotonic(), 0
while True:
    rng = np.random.default_rng(index)
    rng.random((8, 64, 64, 1), np.float32), rng.random((8, 64, 64, 2), np.float32)
    index, due = index + 1, due + gap
    time.sleep(max(0.0, due - time.monotonic()))
"""


def beside_two_workers(run: Callable[[], Speed]) -> Callable[[], Speed]:
    """What is run, while two processes make as many batches as it uses, and throw them away."""

    def beside() -> Speed:
        gap = 2 / run().rate
        workers = [subprocess.Popen([sys.executable, "-c", PICTURES_FOR_NOBODY, str(gap)]) for _ in range(2)]
        try:
            run()  # meanwhile they have started
            return run()
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()

    return beside


def unet() -> None:
    steps = 200
    fed = ft.PrefetchData(Pictures(), num_proc=2)
    ours = Ours(UNet(), fed, steps)
    model = keras_unet()
    model.compile(keras.optimizers.Adam(2e-4), loss="mse")
    dataset = _PyDataset(Pictures(), workers=2, use_multiprocessing=False)
    compare(
        "small U-Net, 64x64, batches of 8 from 2 worker processes, default callbacks on",
        {
            "flowtrain": ours,
            "the same step repeated on one resident batch": resident(ours, steps),
            "the same, started ahead as flowtrain does": resident(ours, steps, ahead=True),
            "one resident batch, while two processes make such batches": beside_two_workers(resident(ours, steps)),
            "Keras fit, PyDataset with 2 workers": lambda: rate(
                steps, lambda: model.fit(dataset, steps_per_epoch=steps, epochs=1, verbose=0)
            ),
        },
        {"the same step repeated on one resident batch": 0.97, "Keras fit, PyDataset with 2 workers": 1.15},
    )
    making = rate(200, lambda: [Pictures().get(index) for index in range(200)])
    print(f"  making a batch takes {making.cpu:.3f} ms of CPU")


def xla() -> None:
    steps = 100
    flow = Pictures()
    model, optimizer = keras_unet(), keras.optimizers.Adam(2e-4)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=True)
    def one(x, y):
        with tf.GradientTape() as tape:
            cost = tf.reduce_mean(tf.square(model(x, training=True) - y))
        optimizer.apply(tape.gradient(cost, model.trainable_variables), model.trainable_variables)
        return cost

    def loop():
        for i in range(steps):
            cost = one(*map(tf.constant, flow.get(i % len(flow))))
        float(cost)

    compare(
        "the same U-Net with XLA",
        {
            "flowtrain, jit=True": Ours(UNet(), ft.PrefetchData(Pictures(), num_proc=2), steps, jit=True),
            "hand-written jit_compile loop": lambda: rate(steps, loop),
        },
        {"hand-written jit_compile loop": 1.0},
    )


class FetchEvery100(Callback):
    """Fetches in every other epoch, so that both ways run in one training, moments apart."""

    def __init__(self, fetched: str):
        self.fetched = fetched

    @property
    def on(self) -> bool:
        return self.epoch_num % 4 in (1, 2)  # on, on, off, off: what slows down or speeds up hits both alike

    def next_step(self):
        return (self.global_step // 100 + 1) * 100 if self.on else math.inf

    def before_run(self):
        return [self.fetched]


class Epochs(Callback):
    """The seconds and CPU seconds of each epoch, by whether there was fetching in it."""

    def __init__(self, fetching: FetchEvery100):
        self.fetching = fetching
        self.seen: dict[bool, list[tuple[float, float]]] = {True: [], False: []}

    def before_epoch(self):
        self.began = time.perf_counter(), time.process_time()

    def after_epoch(self):
        passed = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
        if self.epoch_num > 4:
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


def start() -> None:
    code = "import time; t = time.perf_counter(); import flowtrain; print(time.perf_counter() - t)"
    seconds = [float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(ROUNDS)]
    print(f"\nimport flowtrain: {statistics.median(seconds) * 1000:.1f} ms  (target 100)")


def replicas() -> None:
    """In a process of its own: logical devices must be set before TensorFlow computes."""
    code = "import train; train.two_replicas()"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True)


def two_replicas() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy, steps, flow = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 100, Digits()
    with strategy.scope():
        fitted = keras_mlp()
        fitted.compile(keras.optimizers.Adam(1e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    specs = (tf.TensorSpec((None, 28, 28), tf.float32), tf.TensorSpec((None,), tf.int32))
    dataset = tf.data.Dataset.from_generator(lambda: generator(flow), output_signature=specs).prefetch(4)
    compare(
        "small MLP on two logical CPUs, MirroredStrategy",
        {
            "flowtrain": Ours(MLP(), flow, steps, strategy=strategy),
            "flowtrain, steps_per_call=1": Ours(MLP(), flow, steps, strategy=strategy, steps_per_call=1),
            "Keras fit": lambda: rate(steps, lambda: fitted.fit(dataset, steps_per_epoch=steps, verbose=0)),
        },
        {"Keras fit": 3.0},
    )


CASES = {
    "mlp": mlp, "unet": unet, "xla": xla, "fetch": fetch, "feed": feed, "save": save, "replicas": replicas,
    "import": start,
}  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    for case in parser.parse_args().cases or list(CASES):
        CASES[case]()
