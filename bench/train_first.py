"""Benchmarks of a U-Net's first step, and of predictions of one picture."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from models import Pictures, UNet, keras_unet
from train_timing import Speed, compare, rate

from flowtrain.predict import OfflinePredictor, PredictConfig
from flowtrain.training import SimpleTrainer, TrainConfig

_FIRST_STEPS = 3  # processes for each of the two ways


def first_step() -> None:
    """Seconds from a model's definition to the end of its first step, without imports, each time in a new process."""
    seconds: dict[str, list[float]] = {"flowtrain": [], "keras": []}
    for _ in range(_FIRST_STEPS):
        for way, taken in seconds.items():
            shown = subprocess.check_output([sys.executable, __file__, way], text=True, stderr=subprocess.DEVNULL)
            taken.append(float(shown.split()[-1]))
    ratio = statistics.median(a / b for a, b in zip(*seconds.values(), strict=True))
    ours, theirs = (statistics.median(taken) for taken in seconds.values())
    print("\nfirst step of the small U-Net, from the model's definition on, in a fresh process")
    print(f"  flowtrain {ours:.2f} s, Keras fit {theirs:.2f} s, median ratio {ratio:.2f}  (target 1.0)", flush=True)


def _first_step(way: str) -> float:
    start = time.perf_counter()
    if way == "keras":
        model = keras_unet()
        model.compile(keras.optimizers.Adam(2e-4), loss="mse")
        model.fit(*Pictures().get(0), batch_size=8, epochs=1, verbose=0)
    else:
        folder = Path(tempfile.mkdtemp()) / "run"
        config = TrainConfig(model=UNet(), dataflow=Pictures(), steps_per_epoch=1, max_epoch=1, log_dir=folder)
        SimpleTrainer(config).train()
    return time.perf_counter() - start


def predict() -> None:
    """One picture, from an array to an array."""
    config = PredictConfig(UNet(), inputs=["luminance"], outputs=["prediction/output"])
    predictor, model = OfflinePredictor(config), keras_unet()
    bare = tf.function(
        lambda batch: model(batch, training=False), input_signature=[tf.TensorSpec((None, 64, 64, 1), tf.float32)]
    )
    one = np.random.default_rng(0).random((1, 64, 64, 1), np.float32)

    def times(call) -> Speed:
        return rate(100, lambda: [call() for _ in range(100)])

    compare(
        "predictions of one picture of 64x64 by the small U-Net",
        {
            "flowtrain": lambda: times(lambda: predictor(one)),
            "bare tf.function": lambda: times(lambda: bare(tf.constant(one)).numpy()),
            "Keras predict_on_batch": lambda: times(lambda: model.predict_on_batch(one)),
        },
        {"bare tf.function": 0.95},
    )


if __name__ == "__main__":
    print(_first_step(sys.argv[1]))
