"""DnCNN (Zhang et al., "Beyond a Gaussian denoiser", IEEE TIP 2017, arXiv 1608.03981)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf
from sources import check_channels

import flowtrain as ft
from flowtrain import BNReLU, Conv2D


def dncnn(x: tf.Tensor, depth: int = 17, filters: int = 64, kernel_size: int = 3, from_zero: bool = False) -> tf.Tensor:
    """DnCNN: predicts the noise and subtracts it; 556,096 trainable parameters by default, in gray.

    Args:
        x: The noisy pictures, float (B, H, W, C) in [0, 1]; C is 1 or 3.
        depth: Number of convolutions.
        filters: Number of channels between them.
        kernel_size: Kernel size of each.
        from_zero: Initialize the last layer with zeros: the first output is the noisy picture itself.
    """
    with ft.argscope(Conv2D, kernel_size=kernel_size):
        y = Conv2D("conv0", x, filters, activation=tf.nn.relu)
        for layer in range(1, depth - 1):
            y = Conv2D(f"conv{layer}", y, filters, use_bias=False, activation=BNReLU)
        first = {"kernel_initializer": "zeros"} if from_zero else {}
        noise = Conv2D(f"conv{depth - 1}", y, x.shape[-1], use_bias=False, **first)
    return x - noise


class DnCNN:
    """`dncnn` of a given size, e.g. DnCNN(depth=5, filters=32), which trains in minutes without a GPU.

    Args:
        depth: Number of convolutions.
        filters: Number of channels between them.
        kernel_size: Kernel size of each.
        from_zero: Initialize the last layer with zeros.
        data_format: "channels_last": TensorFlow has no convolutions with channels first on CPUs, so pictures with
            channels first are transposed before (`np.moveaxis(batch, 1, -1)`).
    """

    def __init__(
        self,
        depth: int = 17,
        filters: int = 64,
        kernel_size: int = 3,
        from_zero: bool = False,
        data_format: str = "channels_last",
    ) -> None:
        if data_format != "channels_last":
            raise ft.FlowtrainError(
                f"data_format is {data_format!r}; the network takes channels_last, since TensorFlow has no convolution "
                "with channels first on CPUs: transpose the pictures, np.moveaxis(batch, 1, -1)"
            )
        if depth < 2:
            raise ft.FlowtrainError(f"depth is {depth}; there are at least 2 convolutions")
        self.size = {"depth": depth, "filters": filters, "kernel_size": kernel_size, "from_zero": from_zero}

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return dncnn(x, **self.size)

    def __str__(self) -> str:
        return f"DnCNN(depth={self.size['depth']}, filters={self.size['filters']})"

    @classmethod
    def like(cls, weights: Mapping[str, np.ndarray]) -> tuple[DnCNN, int]:
        """The network with the size of a checkpoint's weights, and its number of channels."""
        if "conv0/kernel" not in weights:
            raise ft.FlowtrainError(f"these are no weights of a DnCNN; there are {', '.join(list(weights)[:5])}, ...")
        kernel = weights["conv0/kernel"]
        depth = sum(re.fullmatch(r"conv\d+/kernel", name) is not None for name in weights)
        return cls(depth, kernel.shape[3], kernel.shape[0]), kernel.shape[2]


Metric = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

LOSSES: dict[str, Metric] = {
    "mse": lambda clean, denoised: tf.reduce_mean(tf.square(denoised - clean)),
    "mae": lambda clean, denoised: tf.reduce_mean(tf.abs(denoised - clean)),
}
METRICS: dict[str, Metric] = {
    "PSNR": lambda clean, shown: tf.reduce_mean(ft.psnr(clean, shown, data_range=1.0, per_image=True)),
    "SSIM": lambda clean, shown: tf.reduce_mean(ft.ssim(clean, shown, data_range=1.0, per_image=True)),
    "MSE": lambda clean, shown: ft.mse(clean, shown),
}


def named(given, known: Mapping[str, Metric], what: str) -> tuple[str, Metric]:
    """(name, function) for a name in `known`, or for a function of (clean, denoised)."""
    if callable(given):
        return getattr(given, "__name__", type(given).__name__), given
    if given not in known:
        raise ft.FlowtrainError(f"no {what} is named {given!r}; there are {', '.join(known)}, or give a function")
    return given, known[given]


def optimizer_of(given, rate) -> keras.optimizers.Optimizer:
    """A Keras optimizer with the given learning rate, from a name, an optimizer (its other settings) or a class."""
    if isinstance(given, str):
        known = sorted(
            name
            for name, value in vars(keras.optimizers).items()
            if isinstance(value, type) and issubclass(value, keras.optimizers.Optimizer) and name != "Optimizer"
        )
        by_lower = {name.lower(): name for name in known}
        key = given.lower()
        if key not in by_lower and by_lower.get(key.removesuffix("optimizer")):
            raise ft.FlowtrainError(f"optimizer {given!r} is called {key.removesuffix('optimizer')!r} in Keras")
        if key not in by_lower:
            raise ft.FlowtrainError(f"no optimizer is named {given!r}; Keras has {', '.join(sorted(by_lower))}")
        given = getattr(keras.optimizers, by_lower[key])
    if isinstance(given, type):
        return given(rate)
    if not isinstance(given, keras.optimizers.Optimizer):
        raise ft.FlowtrainError(f"optimizer is {given!r}; it is a name, an optimizer of Keras or its class")
    return type(given).from_config({**given.get_config(), "learning_rate": rate})


class DenoiseModel(ft.ModelDesc):
    """A model that trains any network to map noisy pictures to clean ones.

    Args:
        network: A function from a tensor float (B, H, W, C) to one of the same shape.
        channels: 1 or 3.
        loss: A name in LOSSES, or a function of (clean, denoised).
        optimizer: The name of a Keras optimizer, e.g. "adam", an optimizer or its class.
        learning_rate: The initial one.
        metrics: Names in METRICS, or functions of (clean, denoised clipped to [0, 1]); each is a tensor of that name.
        average_decay: Decay of the moving average of the weights, for prediction; None: no average.
    """

    def __init__(
        self,
        network=dncnn,
        channels=1,
        loss="mse",
        optimizer="adam",
        learning_rate=1e-3,
        metrics=tuple(METRICS),
        average_decay=None,
    ) -> None:
        check_channels(channels)
        self.network, self.channels, self.learning_rate = network, channels, learning_rate
        self.loss = named(loss, LOSSES, "loss")[1]
        self.metrics = dict(named(metric, METRICS, "metric") for metric in metrics)
        self.average_decay = average_decay
        optimizer_of(optimizer, 1e-3)  # so that a wrong one is refused here and not when the graph is built
        self.optimizer_given = optimizer

    def inputs(self):
        shape = (None, None, None, self.channels)
        return [tf.TensorSpec(shape, tf.float32, "noisy"), tf.TensorSpec(shape, tf.float32, "clean")]

    def build_graph(self, noisy, clean):
        denoised = tf.identity(self.network(noisy), name="denoised")
        cost = tf.identity(self.loss(clean, denoised), name="loss")
        shown = tf.clip_by_value(denoised, 0.0, 1.0)
        found = {name: tf.identity(metric(clean, shown), name=name) for name, metric in self.metrics.items()}
        # Only this metric is averaged in training; a step does not compute tensors that nothing fetches.
        ft.add_moving_summary(cost, *(tensor for name, tensor in found.items() if name == "PSNR"))
        sides = [tf.clip_by_value(noisy, 0.0, 1.0), clean, shown]
        ft.add_image_summary("noisy_clean_denoised", tf.concat(sides, axis=2), max_outputs=3)
        return cost

    def optimizer(self):
        return optimizer_of(self.optimizer_given, ft.get_scalar_var("learning_rate", self.learning_rate, summary=True))
