"""DnCNN and other denoisers: train, evaluate, apply.

\b
python denoise.py train PHOTOS --valid OTHER_PHOTOS --noise gaussian --level 25 --quick
python denoise.py train FOLDER --dataset full      # FOLDER/in holds noisy pictures, FOLDER/ref the same names, clean
python denoise.py evaluate RUN OTHER_PHOTOS --noise gaussian --level 25 --baseline
python denoise.py apply RUN NOISY_PHOTOS TARGET    # blind: there is no truth
python denoise.py show RUN OTHER_PHOTOS sheet.png  # rows of clean, noisy, restored
python denoise.py export RUN saved_model
python denoise.py bsds TARGET                      # BSDS500 as folders of gray pictures, Train and Valid

Where RUN is asked for, a SavedModel, a frozen .pb, a .keras file or a TensorFlow 1 .meta checkpoint will do as well,
with --input-name, --output-name and --fixed is_training=0 where its names are others than noisy and denoised.
"""

from __future__ import annotations

import ast
from pathlib import Path

import click
import numpy as np
import sources
from denoiser import Denoiser
from network import LOSSES, METRICS, DenoiseModel, DnCNN
from noise import NOISES, made_noise

import flowtrain as ft
from flowtrain.cli.options import (
    FOLDER,
    POSITIVE,
    RATE,
    FiniteRange,
    Group,
    NewPath,
    distinct,
    pictures_beneath,
    write_picture,
)  # fmt: skip


def load(model: str, inputs: str = "noisy", outputs: str = "denoised", **fixed) -> Denoiser:
    """A denoiser from a run of this script (or one of its checkpoints), or from a model of another kind."""
    if Path(model, "checkpoints").is_dir() or Path(model).absolute().parent.name == "checkpoints":
        return Denoiser.of_run(model)
    return Denoiser.load(model, inputs, outputs, **fixed)


def non_local_means(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """scikit-image's non-local means (Buades et al., CVPR 2005), told sigma, with the strength that its guide advises.

    Args:
        noisy: float (H, W, C) in about [0, 1].
        sigma: The noise's standard deviation, in units of 1/255.
    """
    from skimage.restoration import denoise_nl_means

    sigma = sigma / 255
    made = denoise_nl_means(noisy, patch_size=5, patch_distance=6, h=0.6 * sigma, sigma=sigma, channel_axis=-1)
    return made.reshape(noisy.shape)  # scikit-image drops a last axis of 1


def evaluate(denoiser: Denoiser, data: ft.DataFlow, sigma: float | None = None) -> dict[str, float]:
    """Means over the pictures of a flow of [noisy, clean] batches: PSNR in dB, before and after, and SSIM.

    Args:
        denoiser: What is judged.
        data: Batches of pictures.
        sigma: Of the noise: then non-local means, told it, is judged as well.
    """
    rows = []
    for batch in data:
        for noisy, clean, denoised in zip(*batch, denoiser(batch[0]), strict=True):
            made = {"noisy": noisy, "": denoised}
            if sigma is not None:
                made["non-local means"] = np.clip(non_local_means(noisy, sigma), 0, 1)
            row = {}
            for name, picture in made.items():
                label = f"{name} PSNR".strip()
                row[label] = ft.psnr(clean, picture, data_range=1.0)
                row[f"{label}, uint8"] = ft.psnr_uint8(clean, picture)
            rows.append({**row, "SSIM": ft.ssim(clean, denoised, data_range=1.0)})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def data_of(dataset, folder, noise, channels, training, **options):
    """Batches of patches to train on, or of whole pictures, [noisy, clean]."""
    if dataset == "full":
        options.pop("scales", None)  # noise that is there cannot be shrunk with the picture
        make = sources.full_patches if training else sources.full_pictures
        return make(Path(folder, "in"), Path(folder, "ref"), channels, **options)
    return (sources.clean_patches if training else sources.clean_pictures)(folder, noise, channels, **options)


def noise_options(command):
    for option in (
        click.option("--dataset", type=click.Choice(["clean", "full"]), default="clean", show_default=True),
        click.option("--one-of", is_flag=True, help="One of several noises for each picture, not all in turn."),
        click.option(
            "--level", "levels", type=FiniteRange(0), multiple=True,
            help="Sigma, peak, share or quality, one for each noise; default: the noise's.",
        ),
        click.option("--noise", "noises", type=click.Choice(sorted(NOISES)), multiple=True, default=["gaussian"],
                     show_default=True, help="Repeatable."),
    ):  # fmt: skip
        command = option(command)
    return command


def model_options(command):
    for option in (
        click.option("--fixed", multiple=True, metavar="NAME=VALUE", help="A further input, e.g. is_training=0."),
        click.option("--output-name", default="denoised", show_default=True, help="Of a model from elsewhere."),
        click.option("--input-name", default="noisy", show_default=True, help="Of a model from elsewhere."),
    ):
        command = option(command)
    return command


def opened(model, input_name, output_name, fixed) -> Denoiser:
    """The model that the options mean."""
    values = {}
    for text in fixed:
        name, _, value = text.partition("=")
        try:
            values[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise click.BadParameter(f"expected NAME=NUMBER, got {text!r}", param_hint="--fixed") from None
    return load(model, input_name, output_name, **values)


QUICK = {
    "depth": 7, "filters": 32, "epochs": 7, "stages": 500, "batch": 8, "learning_rate": 2e-3, "from_zero": True,
    "scales": "1,0.7,0.5,0.35", "stride": 20, "average": True, "cosine": True,
}  # fmt: skip


def use_quick_defaults(context: click.Context, parameter: click.Parameter, chosen: bool) -> bool:
    """Other defaults; what is given as well comes before them."""
    if chosen:
        context.default_map = {**(context.default_map or {}), **QUICK}
    return chosen


def numbers(context: click.Context, parameter: click.Parameter, text: str) -> tuple[float, ...]:
    """``1,0.7`` as numbers above 0, to 1."""
    try:
        found = tuple(float(each) for each in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < each <= 1 for each in found):
        raise click.BadParameter(f"expected numbers above 0, to 1, with commas between; got {text!r}")
    return found


@click.group(cls=Group, help=__doc__)
def main():
    pass


folder = click.argument("folder", type=FOLDER)
model = click.argument("model", type=click.Path())


@main.command()
@folder
@noise_options
@click.option("--valid", type=FOLDER, help="Held-out pictures, of the same layout.")
@click.option("--color", is_flag=True, help="Three channels instead of one.")
@click.option("--depth", type=click.IntRange(2), default=17, show_default=True)
@click.option("--filters", type=POSITIVE, default=64, show_default=True)
@click.option(
    "--quick", "--shallow", is_flag=True, is_eager=True, callback=use_quick_defaults,
    help="A small network, trained in ten minutes on two CPU cores; "
    + " ".join(f"--{name.replace('_', '-')} {value}" for name, value in QUICK.items()),
)  # fmt: skip
@click.option(
    "--from-zero", is_flag=True, help="The last layer begins at zero: training begins with the noisy picture."
)
@click.option("--scales", default="1", callback=numbers, show_default=True, help="Sizes at which each picture is cut.")
@click.option("--stride", type=POSITIVE, default=None, help="From patch to patch; default: no overlap.")
@click.option("--aug-times", type=click.IntRange(0), default=1, show_default=True,
              help="How often an epoch shows each patch, turned and mirrored; 0: as it is.")  # fmt: skip
@click.option("--average", is_flag=True, help="Average the weights over some 1,000 steps, for prediction.")
@click.option("--cosine", is_flag=True, help="A learning rate that falls to 0 as a cosine, not in steps.")
@click.option("--epochs", type=POSITIVE, default=100, show_default=True)
@click.option("--stages", type=POSITIVE, default=500, show_default=True, help="Steps of an epoch.")
@click.option("--batch", type=POSITIVE, default=128, show_default=True)
@click.option("--learning-rate", type=RATE, default=1e-3, show_default=True)
@click.option("--optimizer", default="adam", show_default=True, help="Of Keras.")
@click.option("--loss", type=click.Choice(sorted(LOSSES)), default="mse", show_default=True)
@click.option("--metric", "metrics", type=click.Choice(list(METRICS)), multiple=True, default=list(METRICS),
              help="What validation reports; the first says which checkpoint is best.")  # fmt: skip
@click.option(
    "--valid-batch", type=POSITIVE, default=1, show_default=True, help="Validation pictures at once, of one size."
)
@click.option("--valid-steps", type=POSITIVE, default=None, help="Validation batches; default: all.")
@click.option("--log-dir", default=None)
@click.option("--resume", is_flag=True, help="Go on with the run in --log-dir.")
def train(
    folder, dataset, noises, levels, one_of, valid, color, depth, filters, quick, from_zero, scales, stride, aug_times,
    average, cosine, epochs, stages, batch, learning_rate, optimizer, loss, metrics, valid_batch, valid_steps, log_dir,
    resume,
):  # fmt: skip
    """Train on the pictures of FOLDER; the best checkpoint by the first metric is kept as `best`."""
    channels, spoil = (3 if color else 1), made_noise(noises, levels, one_of)
    cut = {"batch": batch, "scales": scales, "stride": stride, "aug_times": aug_times}
    data = data_of(dataset, folder, spoil, channels, True, **cut)
    trainer = Denoiser(DnCNN(depth, filters, from_zero=from_zero), channels).train(
        data,
        data_of(dataset, valid, spoil, channels, False, batch=valid_batch) if valid else None,
        n_epochs=epochs,
        n_stages=stages,
        learning_rate=learning_rate,
        optimizer=optimizer,
        loss=loss,
        metrics=metrics,
        valid_steps=valid_steps,
        log_dir=log_dir,
        resume="auto" if resume else None,
        schedule=ft.schedules.cosine(learning_rate, epochs) if cosine else None,
        average=average,
    )
    click.echo(f"checkpoints in {trainer.log_dir}")


@main.command("evaluate")
@model
@folder
@noise_options
@model_options
@click.option("--baseline", is_flag=True, help="Non-local means too, for Gaussian noise.")
def evaluate_command(model, folder, dataset, noises, levels, one_of, input_name, output_name, fixed, baseline):
    """Print PSNR and SSIM on the pictures of FOLDER."""
    if baseline and (dataset != "clean" or noises != ("gaussian",)):
        raise click.UsageError("--baseline is for Gaussian noise that is added: non-local means is told its sigma.")
    denoiser = opened(model, input_name, output_name, fixed)
    data = data_of(dataset, folder, made_noise(noises, levels, one_of), denoiser.channels, False)
    for name, value in evaluate(denoiser, data, (levels or (25.0,))[0] if baseline else None).items():
        click.echo(f"{name:28s} {value:.4f}")


@main.command()
@model
@folder
@click.argument("target", type=NewPath())
@model_options
def apply(model, folder, target, input_name, output_name, fixed):
    """Denoise the pictures of FOLDER into the folder TARGET."""
    denoiser = opened(model, input_name, output_name, fixed)
    pictures = sources.blind_pictures(folder, denoiser.channels)
    paths = pictures_beneath(folder)
    names = distinct(paths, [path.relative_to(folder).with_suffix(".png") for path in paths])
    for name, (noisy,) in zip(names, pictures, strict=True):
        made = target / name
        made.parent.mkdir(parents=True, exist_ok=True)
        write_picture(made, ft.to_uint8(denoiser(noisy)[0]))
        click.echo(f"wrote {made}")


@main.command()
@model
@folder
@click.argument("target", type=NewPath(".png", ".html"))
@noise_options
@model_options
@click.option("--rows", type=POSITIVE, default=5, show_default=True)
def show(model, folder, target, dataset, noises, levels, one_of, input_name, output_name, fixed, rows):
    """Draw rows of clean, noisy and restored pictures."""
    denoiser = opened(model, input_name, output_name, fixed)
    data = data_of(dataset, folder, made_noise(noises, levels, one_of), denoiser.channels, False)
    sides = ft.MapData(data, lambda dp: [dp[1][0], np.clip(dp[0][0], 0, 1), denoiser(dp[0][0])])
    ft.show(sides, target, num=rows, size=320, titles=["clean", "noisy", "restored"])
    click.echo(f"wrote {target}")


@main.command()
@click.argument("run", type=click.Path(exists=True))
@click.argument("target", type=NewPath(replace=False))
def export(run, target):
    """Write a SavedModel (or, by the name's ending, .pb, .onnx, ...) with the input noisy and the output denoised."""
    weights = ft.read_checkpoint(run)
    network, channels = DnCNN.like(weights)
    averaged = "average/steps" in weights
    model = DenoiseModel(network, channels, average_decay=0.999 if averaged else None)
    config = ft.PredictConfig(model, run, ["noisy"], ["denoised"], averaged=averaged)
    ft.export(ft.OfflinePredictor(config), target, ["noisy"], ["denoised"], None if target.suffix else "saved_model")
    click.echo(f"wrote {target}")


@main.command()
@click.argument("target", type=NewPath())
@click.option("--data", default=None, type=FOLDER, help="Where BSDS500 is already.")
def bsds(target, data):
    """Write BSDS500, which is downloaded, as the folders of gray pictures TARGET/Train and TARGET/Valid."""
    counts = sources.bsds_grayscale(target, data)
    click.echo(f"{counts['Train']} pictures in {target}/Train, {counts['Valid']} in {target}/Valid")


if __name__ == "__main__":
    main()
