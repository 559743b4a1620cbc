"""LeNet on handwritten digits (LeCun et al., "Gradient-based learning applied to document recognition", 1998).

FLOWTRAIN_DATA=FOLDER python examples/mnist/train.py     # reads FOLDER/mnist/*.gz, or downloads them there
"""

from __future__ import annotations

import click
import tensorflow as tf

import flowtrain as ft
from flowtrain import BatchData, Conv2D, Dropout, FullyConnected, MaxPooling
from flowtrain.cli.options import FOLDER, POSITIVE, Command


def get_data(split: str, batch: int, folder: str | None = None) -> ft.DataFlow:
    """Batches of [uint8 (B, 28, 28), int label (B,)]."""
    training = split == "train"
    return BatchData(ft.Mnist(split, shuffle=training, folder=folder), batch, remainder=not training)


class LeNet(ft.ModelDesc):
    """LeNet: two convolutions and two fully connected layers."""

    def inputs(self):
        return [tf.TensorSpec((None, 28, 28), tf.float32, "image"), tf.TensorSpec((None,), tf.int32, "label")]

    def build_graph(self, image, label):
        x = image[..., None] / 127.5 - 1
        with ft.argscope(Conv2D, kernel_size=5, activation=tf.nn.relu):
            x = MaxPooling("pool0", Conv2D("conv0", x, 32), 2)
            x = MaxPooling("pool1", Conv2D("conv1", x, 64), 2)
        x = FullyConnected("fc0", tf.reshape(x, [-1, 7 * 7 * 64]), 512, activation=tf.nn.relu)
        logits = FullyConnected("logits", Dropout("dropout", x, rate=0.5), 10)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)
        cost = tf.reduce_mean(losses, name="cross_entropy")
        wrong = tf.cast(tf.not_equal(tf.argmax(logits, 1, tf.int32), label), tf.float32, name="wrong")
        ft.add_moving_summary(cost, tf.reduce_mean(wrong, name="train_error"))
        return cost

    def optimizer(self):
        return tf.keras.optimizers.Adam(ft.get_scalar_var("learning_rate", 1e-3, summary=True))


@click.command(cls=Command, help=__doc__)
@click.option("--data", type=FOLDER, help="Folder of the four .gz files; default: $FLOWTRAIN_DATA/mnist.")
@click.option("--epochs", type=POSITIVE, default=6, show_default=True)
@click.option("--batch", type=POSITIVE, default=128, show_default=True)
@click.option("--log-dir", default=None)
@click.option("--resume", is_flag=True, help="Go on with the newest run, or with the one in --log-dir.")
def main(data, epochs, batch, log_dir, resume):
    trainer = ft.train(
        ft.TrainConfig(
            model=LeNet(),
            dataflow=get_data("train", batch, data),
            callbacks=[
                ft.ModelSaver(),
                ft.InferenceRunner(
                    get_data("test", 500, data), [ft.ScalarStats("cross_entropy"), ft.ClassificationError("wrong")]
                ),
                ft.MinSaver("validation_error", name="best"),
                ft.ScheduledHyperParamSetter("learning_rate", ft.schedules.cosine(1e-3, epochs)),
            ],
            max_epoch=epochs,
            log_dir=log_dir or ft.auto_set_dir("mnist", resume),
        ),
        resume="auto" if resume else None,
    )
    error = trainer.history["validation_error"][-1][1]
    click.echo(f"test accuracy {100 * (1 - error):.2f} %")


if __name__ == "__main__":
    main()
