"""A DCGAN on handwritten digits (Radford et al., ICLR 2016, arXiv 1511.06434): two costs, two optimizers.

FLOWTRAIN_DATA=FOLDER python examples/gan/train.py
"""

from __future__ import annotations

import click
import numpy as np
import tensorflow as tf

import flowtrain as ft
from flowtrain import BNLeakyReLU, BNReLU, Conv2D, Deconv2D, FullyConnected, leaky_relu
from flowtrain.cli.options import FOLDER, POSITIVE, Command, write_picture

NOISE = 64


def get_data(batch: int, folder: str | None = None) -> ft.DataFlow:
    """Batches of [noise (B, 64), picture (B, 28, 28, 1) in [-1, 1]], both float32."""

    def prepare(dp, rng):
        picture, _ = dp
        return [rng.standard_normal(NOISE, np.float32), picture[..., None].astype(np.float32) / 127.5 - 1]

    ds = ft.RandomMapData(ft.Mnist("train", shuffle=True, folder=folder), prepare)
    return ft.BatchData(ds, batch)


class DCGAN(ft.ModelDesc):
    """A generator of pictures, and a discriminator that is applied to real and to generated ones."""

    def inputs(self):
        return [
            tf.TensorSpec((None, NOISE), tf.float32, "noise"),
            tf.TensorSpec((None, 28, 28, 1), tf.float32, "picture"),
        ]

    def generator(self, noise):
        x = FullyConnected("fc", noise, 7 * 7 * 64, activation=BNReLU)
        x = Deconv2D("deconv0", tf.reshape(x, [-1, 7, 7, 64]), 32, kernel_size=4, strides=2, activation=BNReLU)
        return Deconv2D("deconv1", x, 1, kernel_size=4, strides=2, activation=tf.tanh)

    def discriminator(self, picture):
        x = Conv2D("conv0", picture, 32, kernel_size=4, strides=2, activation=leaky_relu)
        x = Conv2D("conv1", x, 64, kernel_size=4, strides=2, activation=BNLeakyReLU)
        return FullyConnected("logit", tf.reshape(x, [-1, 7 * 7 * 64]), 1)

    def build_graph(self, noise, picture):
        with ft.variable_scope("gen"):
            made = tf.identity(self.generator(noise), name="made")
        with ft.variable_scope("discrim"):
            real_logit = self.discriminator(picture)
        with ft.variable_scope("discrim", reuse=True):
            made_logit = self.discriminator(made)

        def cross_entropy(logit, truth):
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(tf.shape(logit), truth), logit))

        d_loss = tf.identity((cross_entropy(real_logit, 0.9) + cross_entropy(made_logit, 0.0)) / 2, name="d_loss")
        g_loss = tf.identity(cross_entropy(made_logit, 1.0), name="g_loss")
        ft.add_moving_summary(d_loss, g_loss)
        return {"d_loss": d_loss, "g_loss": g_loss}

    def optimizer(self):
        return {
            "d_loss": (tf.keras.optimizers.Adam(2e-4, beta_1=0.5), "discrim/.*"),
            "g_loss": (tf.keras.optimizers.Adam(2e-4, beta_1=0.5), "gen/.*"),
        }


class ShowDigits(ft.Callback):
    """Writes a picture of 64 generated digits after each epoch, always from the same noise."""

    def setup_graph(self):
        self.noise = np.random.default_rng(0).standard_normal((64, NOISE), np.float32)
        self.predictor = self.trainer.get_predictor(["noise"], ["gen/made"])

    def trigger_epoch(self):
        (made,) = self.predictor(self.noise)
        sheet = np.asarray(made).reshape(8, 8, 28, 28).swapaxes(1, 2).reshape(224, 224)
        levels = np.rint((sheet + 1) * 127.5).astype(np.uint8)
        write_picture(self.trainer.log_dir / f"digits{self.epoch_num:04d}.png", levels)


@click.command(cls=Command, help=__doc__)
@click.option("--data", type=FOLDER, help="Folder of the four .gz files; default: $FLOWTRAIN_DATA/mnist.")
@click.option("--epochs", type=POSITIVE, default=10, show_default=True)
@click.option("--batch", type=POSITIVE, default=128, show_default=True)
@click.option("--log-dir", default=None)
def main(data, epochs, batch, log_dir):
    trainer = ft.train(
        ft.TrainConfig(
            model=DCGAN(),
            dataflow=get_data(batch, data),
            callbacks=[ft.ModelSaver(), ShowDigits()],
            max_epoch=epochs,
            log_dir=log_dir or ft.auto_set_dir("gan"),
        )
    )
    click.echo(f"digits in {trainer.log_dir}")


if __name__ == "__main__":
    main()
