"""What of a model can be saved, and how it comes back: whole, its architecture, its weights, a run with checkpoints.

FLOWTRAIN_DATA=FOLDER python examples/tf_summary/saving.py TARGET     # does all of it, in the folder TARGET
"""

from __future__ import annotations

from pathlib import Path

import click
import keras
import numpy as np
from models import ResBlock, ResNet, functional, trainable
from train import get_data

import flowtrain as ft
from flowtrain.cli.options import FOLDER, Command


def whole(model: keras.Model, path: Path) -> keras.Model:
    """Architecture, weights and optimizer in one .keras file; custom layers are passed when it is read."""
    model.save(path)
    return keras.models.load_model(path, custom_objects={"ResBlock": ResBlock, "ResNet": ResNet})


def architecture(model: keras.Model, path: Path) -> keras.Model:
    """The architecture as JSON; the weights are initialized anew."""
    path.write_text(model.to_json())
    return keras.models.model_from_json(path.read_text())


def weights(model: keras.Model, path: Path, other: keras.Model) -> keras.Model:
    """The weights alone, for a model that is built by the same code."""
    model.save_weights(path)
    other.load_weights(path)
    return other


def run(model: keras.Model, data: ft.DataFlow, log_dir: Path, epochs: int, every: int = 2):
    """Train with a checkpoint of the whole run every two epochs, keeping the newest three.

    Called again with more epochs it resumes: weights, optimizer, order of the data and curves continue.
    """
    config = ft.TrainConfig(
        model=trainable(model),
        dataflow=data,
        callbacks=[ft.ModelSaver(every=every, keep=3)],
        max_epoch=epochs,
        log_dir=log_dir,
    )
    return ft.train(config, resume="auto")


def latest(log_dir: Path):
    """A predictor from a run's newest whole checkpoint; damaged ones are skipped."""
    return ft.OfflinePredictor(ft.PredictConfig(trainable(functional()), log_dir, ["image"], ["prediction"]))


@click.command(cls=Command, help=__doc__)
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--data",
    type=FOLDER,
    help="Folder of the four MNIST .gz files; default: $FLOWTRAIN_DATA/mnist.",
)
def main(target, data):
    train, test = get_data("train", 100, data), get_data("test", 100, data)
    target.mkdir(parents=True, exist_ok=True)
    model = functional()
    trainer = run(model, train, target / "run", epochs=2)
    trainer = run(model, train, target / "run", epochs=4)
    click.echo(f"resumed after epoch 2, now at step {trainer.global_step}")
    click.echo("checkpoints: " + ", ".join(sorted(path.name for path in (target / "run/checkpoints").iterdir())))

    images, _ = next(iter(test))
    expected = model.predict_on_batch(images)
    (from_run,) = latest(target / "run")(images)
    found = {
        "whole": whole(model, target / "whole.keras").predict_on_batch(images),
        "weights": weights(model, target / "only.weights.h5", functional()).predict_on_batch(images),
        "latest checkpoint": np.asarray(from_run),
    }
    for name, outputs in found.items():
        click.echo(f"{name}: differs by {np.abs(outputs - expected).max():.1e} at most")
    fresh = architecture(model, target / "architecture.json")
    click.echo(f"architecture: {fresh.count_params():,} parameters, as the model has ({model.count_params():,})")


if __name__ == "__main__":
    main()
