"""Benchmarks of training steps of a small MLP and a small U-Net, beside Keras and hand-written loops."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from models import MLP, Digits, Pictures, UNet, keras_mlp, keras_unet
from train_timing import Ours, Speed, compare, generator, rate

import flowtrain as ft


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
    """The same compiled step repeated on one batch that is on the device: the limit without any feeding.

    Args:
        ours: The training whose step it is.
        steps: Steps of a turn.
        ahead: Start steps before the ones before have ended, as the training loop does; else one after the other.
    """
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
        feeding.stop()  # no worker and no feeder may run beside the measurement
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
    """Run beside two processes that make as many batches as it uses and throw them away: the limit on shared cores."""

    def beside() -> Speed:
        gap = 2 / run().rate
        workers = [subprocess.Popen([sys.executable, "-c", PICTURES_FOR_NOBODY, str(gap)]) for _ in range(2)]
        try:
            run()  # uncounted: the processes start meanwhile
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
