"""Three ways to train a Keras model on MNIST: by one call, by batch, by a step of one's own.

FLOWTRAIN_DATA=FOLDER python examples/tf_summary/train.py --model subclass --way fit --epochs 3
"""

from __future__ import annotations

import click
import keras
import numpy as np
import tensorflow as tf
from models import MODELS, trainable

import flowtrain as ft
from flowtrain.cli.options import FOLDER, POSITIVE, Command


def get_data(split: str, batch: int, folder: str | None = None) -> ft.DataFlow:
    """Batches of [uint8 (B, 28, 28), int64 (B,)]."""
    return ft.BatchData(ft.Mnist(split, shuffle=split == "train", folder=folder), batch, remainder=True)


def fit(model: keras.Model, train: ft.DataFlow, test: ft.DataFlow, epochs: int, log_dir: str) -> float:
    """One call, as `model.fit`: checkpoints, curves, validation and resuming come with it."""
    trainer = ft.train(
        ft.TrainConfig(
            model=trainable(model),
            dataflow=train,
            callbacks=[ft.ModelSaver(), ft.InferenceRunner(test, [ft.ScalarStats(["loss", "accuracy"])])],
            max_epoch=epochs,
            log_dir=log_dir,
        ),
        resume="auto",
    )
    return trainer.history["validation_accuracy"][-1][1]


def by_batch(model: keras.Model, train: ft.DataFlow, test: ft.DataFlow, epochs: int, log_dir: str) -> float:
    """Keras's own `train_on_batch`, fed by a dataflow: each batch is yours, and so is all the rest."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    for epoch in range(1, epochs + 1):
        model.reset_metrics()
        for image, label in train:
            found = model.train_on_batch(image, label, return_dict=True)
        click.echo(f"epoch {epoch}: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    return accuracy(model, test)


def by_step(model: keras.Model, train: ft.DataFlow, test: ft.DataFlow, epochs: int, log_dir: str) -> float:
    """A custom training step with a GradientTape, compiled once.

    To keep what `ft.train` does around a step, override `Trainer.run_step(step)` instead.
    """
    optimizer = keras.optimizers.Adam()

    @tf.function(reduce_retracing=True)
    def step(image, label):
        with tf.GradientTape() as tape:
            logits = model(image, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    optimizer.build(model.trainable_variables)  # here, since a tf.function may create variables at its first call only
    for epoch in range(1, epochs + 1):
        losses = [step(tf.cast(image, tf.float32), tf.convert_to_tensor(label)) for image, label in train]
        click.echo(f"epoch {epoch}: loss {np.mean(losses):.4f}")
    return accuracy(model, test)


def accuracy(model: keras.Model, test: ft.DataFlow) -> float:
    """The share of correct classifications."""
    right = [np.argmax(model.predict_on_batch(image), axis=1) == label for image, label in test]
    return float(np.mean(np.concatenate(right)))


WAYS = {"fit": fit, "batch": by_batch, "step": by_step}


@click.command(cls=Command, help=__doc__)
@click.option("--model", type=click.Choice(list(MODELS)), default="sequential", show_default=True)
@click.option("--way", type=click.Choice(list(WAYS)), default="fit", show_default=True)
@click.option("--data", type=FOLDER, help="Folder of the four .gz files; default: $FLOWTRAIN_DATA/mnist.")
@click.option("--epochs", type=POSITIVE, default=3, show_default=True)
@click.option("--batch", type=POSITIVE, default=128, show_default=True)
@click.option("--log-dir", default=None, help="Where --way fit goes on, or starts a run.")
def main(model, way, data, epochs, batch, log_dir):
    train, test = get_data("train", batch, data), get_data("test", 500, data)
    result = WAYS[way](MODELS[model](), train, test, epochs, log_dir or ft.auto_set_dir("tf-summary"))
    click.echo(f"{model}, {way}: test accuracy {100 * result:.2f} %")


if __name__ == "__main__":
    main()
