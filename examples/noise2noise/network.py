"""The network of Noise2Noise (Lehtinen et al., ICML 2018, arXiv 1803.04189), as its appendix A.1 describes it."""

from __future__ import annotations

import tensorflow as tf

import flowtrain as ft
from flowtrain import ConcatWith, Conv2D, MaxPooling


def leaky(x):
    return tf.nn.leaky_relu(x, alpha=0.1)


def unet(x: tf.Tensor, width: int = 48, residual: bool = False) -> tf.Tensor:
    """A U-Net with five poolings; 991,203 parameters at width 48 with 3 channels.

    Args:
        x: float (B, H, W, C); H and W are multiples of 32.
        width: Channels of the encoder; the decoder has twice as many.
        residual: The network predicts the noise, which is subtracted from ``x``. Its last layer is initialized with
            zeros, so that the first output is ``x`` itself: worth 2 dB after 1,000 steps.

    Returns:
        float (B, H, W, C).
    """
    up = tf.keras.layers.UpSampling2D(2)  # nearest neighbour
    with ft.argscope(Conv2D, kernel_size=3, activation=leaky, kernel_initializer="he_normal"):
        scales = [x]
        y = Conv2D("enc_conv0", x, width)
        for level in range(1, 6):
            y = Conv2D(f"enc_conv{level}", y, width)
            y = MaxPooling(f"pool{level}", y, 2)
            scales.append(y)
        y = Conv2D("enc_conv6", y, width)
        for level in range(5, 0, -1):
            a, b = (2 * width, 2 * width) if level > 1 else (4 * width // 3, 2 * width // 3)
            y = ConcatWith(up(y), scales[level - 1], axis=-1)
            y = Conv2D(f"dec_conv{level}a", y, a)
            y = Conv2D(f"dec_conv{level}b", y, b)
        last = "zeros" if residual else "he_normal"
        y = Conv2D("dec_conv0", y, x.shape[-1], activation=None, kernel_initializer=last)
    y = tf.cast(y, x.dtype)  # in mixed precision the layers compute in 16 bits
    return x - y if residual else y


class Denoise(ft.ModelDesc):
    """A model that learns to map ``noisy`` to ``target``; the target may be as noisy as the input.

    Args:
        width: Channels of the encoder.
        residual: Whether the network predicts the noise.
        channels: 3 for colour, 1 for gray.
        learning_rate: Of Adam, before the ramp-down.
        clip: Greatest norm of all gradients together; None: not clipped.
        average_decay: Decay of the moving average of the weights, for prediction (noisy targets make weights noisy);
            None: no average.
    """

    def __init__(
        self, width=48, residual=False, channels=3, learning_rate=3e-4, clip=None, average_decay=None
    ) -> None:  # fmt: skip
        self.width, self.residual, self.channels, self.learning_rate = width, residual, channels, learning_rate
        self.clip, self.average_decay = clip, average_decay

    def inputs(self):
        shape = (None, None, None, self.channels)
        return [tf.TensorSpec(shape, tf.float32, "noisy"), tf.TensorSpec(shape, tf.float32, "target")]

    def build_graph(self, noisy, target):
        ft.get_scalar_var("residual", float(self.residual))  # so that `load` sees in a checkpoint which kind it is
        denoised = tf.identity(unet(noisy, self.width, self.residual), name="denoised")
        cost = tf.reduce_mean(tf.square(denoised - target), name="square_loss")
        ft.add_moving_summary(cost)
        return cost

    def optimizer(self):
        rate = ft.get_scalar_var("learning_rate", self.learning_rate, summary=True)
        return tf.keras.optimizers.Adam(rate, beta_1=0.9, beta_2=0.99, global_clipnorm=self.clip)
