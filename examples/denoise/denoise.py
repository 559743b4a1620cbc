"""DnCNN and other denoisers: train, evaluate, apply.

\b
python denoise.py train PHOTOS --valid OTHER_PHOTOS --noise gaussian --level 25 --shallow
python denoise.py train FOLDER --dataset full      # FOLDER/in holds noisy pictures, FOLDER/ref the same names, clean
python denoise.py evaluate RUN OTHER_PHOTOS --noise gaussian --level 25
python denoise.py apply RUN NOISY_PHOTOS TARGET    # blind: there is no truth
python denoise.py export RUN saved_model

Where RUN is asked for, a SavedModel, a frozen .pb, a .keras file or a TensorFlow 1 .meta checkpoint will do as well.
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import datasets
import numpy as np
from denoiser import Denoiser
from network import LOSSES, DenoiseModel, DnCNN
from noise import NOISES

import flowtrain as ft


def load(model: str, inputs: str = "noisy", outputs: str = "denoised") -> Denoiser:
    """A denoiser from a run of this script (or one of its checkpoints), or from a model of another kind."""
    if not Path(model, "checkpoints").is_dir() and Path(model).absolute().parent.name != "checkpoints":
        return Denoiser.load(model, inputs, outputs)
    network, channels = DnCNN.like(ft.read_checkpoint(model))  # the size is read off the weights
    return Denoiser.load(model, network=network, channels=channels)


def evaluate(denoiser: Denoiser, data: ft.DataFlow) -> dict[str, float]:
    """Means over the pictures of a flow of [noisy, clean] batches: PSNR in dB, before and after, and SSIM."""
    rows = []
    for noisy, clean in data:
        denoised = denoiser(noisy)
        rows.append(
            {
                "noisy PSNR": ft.psnr(clean, noisy, data_range=1.0),
                "noisy PSNR, uint8": ft.psnr_uint8(clean, noisy),
                "PSNR": ft.psnr(clean, denoised, data_range=1.0),
                "PSNR, uint8": ft.psnr_uint8(clean, denoised),
                "SSIM": ft.ssim(clean, denoised, data_range=1.0),
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def data_of(dataset, folder, noise, channels, training, batch=128):
    if dataset == "full":
        make = datasets.full_patches if training else datasets.full_pictures
        first = Path(folder, "in"), Path(folder, "ref")
    else:
        make = datasets.clean_patches if training else datasets.clean_pictures
        first = folder, noise
    return make(*first, channels=channels, **({"batch": batch} if training else {}))


def noise_options(command):
    for option in (
        click.option("--dataset", type=click.Choice(["clean", "full"]), default="clean", show_default=True),
        click.option("--noise", type=click.Choice(sorted(NOISES)), default="gaussian", show_default=True),
        click.option("--level", type=float, default=None, help="Sigma, peak, share or quality; default: the noise's."),
    ):
        command = option(command)
    return command


def made_noise(noise, level):
    if level is None:
        return NOISES[noise]()
    return NOISES[noise](0, level) if noise == "blind" else NOISES[noise](level)


SHALLOW = {"depth": 5, "filters": 32, "epochs": 10, "stages": 100, "batch": 32}


def use_shallow_defaults(context: click.Context, parameter: click.Parameter, chosen: bool) -> bool:
    """Other defaults; what is given as well comes before them."""
    if chosen:
        context.default_map = {**(context.default_map or {}), **SHALLOW}
    return chosen


@click.group(help=__doc__)
def main():
    pass


folder = click.argument("folder", type=click.Path(exists=True, file_okay=False))
model = click.argument("model", type=click.Path())


@main.command()
@folder
@noise_options
@click.option("--valid", type=click.Path(exists=True, file_okay=False), help="Held-out pictures, of the same layout.")
@click.option("--color", is_flag=True, help="Three channels instead of one.")
@click.option("--depth", default=17, show_default=True)
@click.option("--filters", default=64, show_default=True)
@click.option(
    "--shallow",
    is_flag=True,
    is_eager=True,
    callback=use_shallow_defaults,
    help="5 layers of 32 filters, 10 epochs of 100 steps of 32 patches, unless other options say otherwise.",
)
@click.option("--epochs", default=100, show_default=True)
@click.option("--stages", default=500, show_default=True, help="Steps of an epoch.")
@click.option("--batch", default=128, show_default=True)
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option("--optimizer", default="adam", show_default=True, help="Of Keras.")
@click.option("--loss", type=click.Choice(sorted(LOSSES)), default="mse", show_default=True)
@click.option("--valid-steps", type=int, default=None, help="Pictures to validate on; default: all.")
@click.option("--log-dir", default=None)
@click.option("--resume", is_flag=True, help="Go on with the run in --log-dir.")
def train(
    folder, dataset, noise, level, valid, color, depth, filters, shallow, epochs, stages, batch, learning_rate,
    optimizer, loss, valid_steps, log_dir, resume,
):  # fmt: skip
    """Train on the pictures of FOLDER; the best checkpoint by validation_PSNR is kept as `best`."""
    milestones = (max(1, round(0.7 * epochs)), max(2, round(0.9 * epochs))) if shallow else (30, 60)
    channels, spoil = (3 if color else 1), made_noise(noise, level)
    trainer = Denoiser(DnCNN(depth, filters), channels).train(
        data_of(dataset, folder, spoil, channels, True, batch),
        data_of(dataset, valid, spoil, channels, False) if valid else None,
        n_epochs=epochs,
        n_stages=stages,
        learning_rate=learning_rate,
        optimizer=optimizer,
        loss=loss,
        valid_steps=valid_steps,
        log_dir=log_dir,
        resume="auto" if resume else None,
        milestones=milestones,
    )
    click.echo(f"checkpoints in {trainer.log_dir}")


@main.command("evaluate")
@model
@folder
@noise_options
@click.option("--color", is_flag=True, help="Three channels instead of one.")
def evaluate_command(model, folder, dataset, noise, level, color):
    """Print PSNR and SSIM on the pictures of FOLDER."""
    data = data_of(dataset, folder, made_noise(noise, level), 3 if color else 1, False)
    for name, value in evaluate(load(model), data).items():
        click.echo(f"{name:20s} {value:.4f}")


@main.command()
@model
@folder
@click.argument("target", type=click.Path(file_okay=False))
@click.option("--color", is_flag=True, help="Three channels instead of one.")
def apply(model, folder, target, color):
    """Denoise the pictures of FOLDER into the folder TARGET."""
    denoiser, channels = load(model), 3 if color else 1
    Path(target).mkdir(parents=True, exist_ok=True)
    for path, (noisy,) in zip(datasets.files(folder), datasets.blind_pictures(folder, channels), strict=True):
        made = Path(target, path.stem + ".png")
        cv2.imwrite(str(made), ft.to_uint8(denoiser(noisy)[0])[..., ::-1])
        click.echo(f"wrote {made}")


@main.command()
@click.argument("run", type=click.Path(exists=True))
@click.argument("target", type=click.Path())
def export(run, target):
    """Write a SavedModel (or, by the name's ending, .pb, .onnx, ...) with the input noisy and the output denoised."""
    network, channels = DnCNN.like(ft.read_checkpoint(run))
    config = ft.PredictConfig(DenoiseModel(network, channels), run, ["noisy"], ["denoised"])
    ft.export(
        ft.OfflinePredictor(config), target, ["noisy"], ["denoised"], None if Path(target).suffix else "saved_model"
    )
    click.echo(f"wrote {target}")


if __name__ == "__main__":
    main()
