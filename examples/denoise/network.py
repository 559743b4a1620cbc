"""DnCNN (Zhang et al., "Beyond a Gaussian denoiser", IEEE TIP 2017, arXiv 1608.03981)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

import flowtrain as ft
from flowtrain import BNReLU, Conv2D


def dncnn(x: tf.Tensor, depth: int = 17, filters: int = 64, kernel_size: int = 3) -> tf.Tensor:
    """The picture minus the noise that the network finds in it; 556,096 trainable parameters by default, in gray.

    Args:
        x: float (B, H, W, C) in [0, 1]; C is 1 or 3.
        depth: Convolutions in all.
        filters: Channels between them.
        kernel_size: Of each.
    """
    with ft.argscope(Conv2D, kernel_size=kernel_size):
        y = Conv2D("conv0", x, filters, activation=tf.nn.relu)
        for layer in range(1, depth - 1):
            y = Conv2D(f"conv{layer}", y, filters, use_bias=False, activation=BNReLU)
        noise = Conv2D(f"conv{depth - 1}", y, x.shape[-1], use_bias=False)
    return x - noise


class DnCNN:
    """`dncnn` of a given size, e.g. DnCNN(depth=5, filters=32), which trains in minutes without a GPU."""

    def __init__(self, depth: int = 17, filters: int = 64, kernel_size: int = 3) -> None:
        self.size = {"depth": depth, "filters": filters, "kernel_size": kernel_size}

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return dncnn(x, **self.size)

    @classmethod
    def like(cls, weights: Mapping[str, np.ndarray]) -> tuple[DnCNN, int]:
        """The network that a checkpoint's weights belong to, and its channels."""
        kernel = weights["conv0/kernel"]
        depth = sum(re.fullmatch(r"conv\d+/kernel", name) is not None for name in weights)
        return cls(depth, kernel.shape[3], kernel.shape[0]), kernel.shape[2]


LOSSES = {
    "mse": lambda clean, denoised: tf.reduce_mean(tf.square(denoised - clean)),
    "mae": lambda clean, denoised: tf.reduce_mean(tf.abs(denoised - clean)),
}


class DenoiseModel(ft.ModelDesc):
    """Any network from a noisy picture to a clean one.

    Args:
        network: A function of the tensor float (B, H, W, C) to one of the same shape.
        channels: 1 or 3.
        loss: A name of LOSSES.
        optimizer: The name of a Keras optimizer, e.g. "adam".
        learning_rate: At the start.
    """

    def __init__(self, network=dncnn, channels=1, loss="mse", optimizer="adam", learning_rate=1e-3) -> None:
        if loss not in LOSSES:
            raise ft.FlowtrainError(f"no loss is named {loss!r}; there are {', '.join(LOSSES)}")
        self.network, self.channels, self.loss = network, channels, LOSSES[loss]
        self.optimizer_name, self.learning_rate = optimizer, learning_rate

    def inputs(self):
        shape = (None, None, None, self.channels)
        return [tf.TensorSpec(shape, tf.float32, "noisy"), tf.TensorSpec(shape, tf.float32, "clean")]

    def build_graph(self, noisy, clean):
        denoised = tf.identity(self.network(noisy), name="denoised")
        cost = tf.identity(self.loss(clean, denoised), name="loss")
        shown = tf.clip_by_value(denoised, 0.0, 1.0)
        ft.add_moving_summary(cost, tf.identity(ft.psnr(clean, shown, data_range=1.0), name="PSNR"))
        tf.identity(ft.ssim(clean, shown, data_range=1.0), name="SSIM")  # for validation: a step has no use for them,
        tf.identity(ft.mse(clean, shown), name="MSE")  # so they are not computed then
        sides = [tf.clip_by_value(noisy, 0.0, 1.0), clean, shown]
        ft.add_image_summary("noisy_clean_denoised", tf.concat(sides, axis=2), max_outputs=3)
        return cost

    def optimizer(self):
        rate = ft.get_scalar_var("learning_rate", self.learning_rate, summary=True)
        optimizer = tf.keras.optimizers.get(self.optimizer_name)
        return type(optimizer).from_config({**optimizer.get_config(), "learning_rate": rate})
