"""Noise2Noise: learn to denoise from noisy pictures alone (Lehtinen et al., ICML 2018, arXiv 1803.04189).

\b
python n2n.py make-tfrecords FOLDER train.tfrecords
python n2n.py train --train-tfrecords train.tfrecords --noise gaussian --noise2noise     # --quick: ten minutes on a CPU
python n2n.py validate RUN --dataset-dir FOLDER --noise gaussian
python n2n.py infer-image RUN NOISY.png OUT.png
python n2n.py freeze RUN denoise.pb
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import cv2
import numpy as np
import tensorflow as tf
from network import Denoise
from noise import NOISES, noise_pair, to_float, to_uint8
from options import quick_option
from records import make_tfrecords, pictures, read

import flowtrain as ft
from flowtrain import imgaug, schedules

INPUT, OUTPUT = "noisy", "denoised"
AVERAGE_DECAY = 0.999
IN_MEMORY = 1 << 30  # bytes of TFRecords up to which the pictures are kept in memory
QUICK = {
    "width": 16,
    "residual": True,
    "crop": 64,
    "batch": 8,
    "smallest_scale": 0.33,
    "learning_rate": 2e-3,
    "average": True,
    "steps": 16_000,
}


def crops(size: int, smallest_scale: float = 1.0) -> list[imgaug.Augmentor]:
    """Random squares of a picture; with a `smallest_scale` below 1 seen from farther away too, mirrored and turned.

    Shrunk pictures are sharper. They make more of few photographs, and noise is added only afterwards.
    """
    if smallest_scale == 1:
        return [imgaug.RandomCrop(size)]
    return [
        imgaug.RandomCropRandomShape(size, max_size=round(size / smallest_scale), max_aspect_ratio=1.0),
        imgaug.Resize(size, "area"),
        imgaug.Flip(horiz=True),
        imgaug.Flip(vert=True),
        imgaug.Transpose(),
    ]


def training_data(
    tfrecords, noise, noise2noise: bool, crop: int = 256, batch: int = 4, steps: int = 1000,
    smallest_scale: float = 1.0, workers: int = 2,
):  # fmt: skip
    """Batches of [noisy, target], float32 (batch, crop, crop, 3) in [-0.5, 0.5]; an epoch is `steps` batches."""
    if Path(tfrecords).stat().st_size < IN_MEMORY:
        ds = ft.CacheData(ft.Noise2NoiseData(tfrecords), shuffle=True)
    else:
        ds = ft.Noise2NoiseData(tfrecords, shuffle=True)
    ds = ft.RepeatedData(ds, -(-steps * batch // len(ds)))
    ds = ft.AugmentImageComponent(ds, crops(crop, smallest_scale))
    ds = ft.MapData(ds, lambda dp: [to_float(dp[0])])
    ds = ft.RandomMapData(ds, partial(noise_pair, noise=noise, noise2noise=noise2noise))
    ds = ft.BatchData(ds, batch)
    return ft.PrefetchData(ds, num_prefetch=8, num_proc=workers)


def denoise(predictor, picture: np.ndarray, multiple: int = 32) -> np.ndarray:
    """Denoise one float picture (H, W, C) of any size: continued by reflection to a multiple of 32, and cut back."""
    height, width = picture.shape[:2]
    pad = [(0, -height % multiple), (0, -width % multiple), (0, 0)]
    (result,) = predictor(np.pad(picture, pad, "reflect")[None])
    return np.asarray(result)[0, :height, :width]


def non_local_means(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """scikit-image's non-local means (Buades et al., CVPR 2005), told sigma, with the strength that its guide advises.

    Args:
        noisy: float (H, W, 3) in about [-0.5, 0.5].
        sigma: The noise's standard deviation, in units of 1/255.
    """
    from skimage.restoration import denoise_nl_means

    sigma = sigma / 255
    return denoise_nl_means(noisy, patch_size=5, patch_distance=6, h=0.6 * sigma, sigma=sigma, channel_axis=-1)


def validate_folder(predictor, folder, noise, baseline: bool = False, seed: int = 0) -> dict[str, float]:
    """Mean PSNR in dB over a folder's pictures, before and after; both sides rounded to uint8.

    Args:
        predictor: Denoises a batch.
        folder: Of clean pictures; none is smaller than 32 pixels.
        noise: Added to them, the same for each picture in every call.
        baseline: Denoise by non-local means too (for Gaussian noise, whose sigma it is told).
        seed: Of the noise.
    """
    found = pictures(folder)
    if not found:
        raise ft.FlowtrainError(f"no picture in {folder}")
    scores: dict[str, list[float]] = {}
    for index, path in enumerate(found):
        clean = to_float(read(path))
        noisy = noise(clean, np.random.default_rng((seed, index)), training=False)
        made = {"noisy": noisy, "denoised": denoise(predictor, noisy)}
        if baseline:
            made["non-local means"] = non_local_means(noisy, noise.valid)
        for name, picture in made.items():
            scores.setdefault(name, []).append(ft.psnr_uint8(clean, picture, low=-0.5, high=0.5))
        click.echo(f"{path.name:40s} " + "  ".join(f"{name} {values[-1]:.2f}" for name, values in scores.items()))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def load(run: str):
    """The predictor of a run's newest checkpoint; the width and kind of the network are read off its weights."""
    weights = ft.read_checkpoint(run)
    kernel = weights["enc_conv0/kernel"]
    residual, averaged = bool(weights["residual"]), "average/steps" in weights
    model = Denoise(kernel.shape[-1], residual, kernel.shape[2], average_decay=AVERAGE_DECAY if averaged else None)
    return ft.OfflinePredictor(ft.PredictConfig(model, run, [INPUT], [OUTPUT], averaged=averaged))


@click.group(help=__doc__)
def main():
    pass


noise_option = click.option("--noise", type=click.Choice(sorted(NOISES)), default="gaussian", show_default=True)


@main.command("make-tfrecords")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.argument("target", type=click.Path(dir_okay=False))
def make_tfrecords_command(folder, target):
    """Write all pictures of FOLDER to the TFRecord file TARGET."""
    click.echo(f"{make_tfrecords(folder, target)} pictures in {target}")


@main.command()
@quick_option(QUICK, "A small network, trained in ten minutes on two CPU cores")
@click.option("--train-tfrecords", required=True, type=click.Path(exists=True), help="Made by make-tfrecords.")
@noise_option
@click.option("--noise2noise/--noise2clean", default=True, show_default=True, help="What the targets are.")
@click.option("--long-train", is_flag=True, help="500,000 steps instead of --steps.")
@click.option("--steps", default=100_000, show_default=True)
@click.option("--epoch-steps", default=500, show_default=True, help="Steps between two checkpoints.")
@click.option("--width", default=48, show_default=True)
@click.option("--residual", is_flag=True, help="Predict the noise, and subtract it.")
@click.option("--crop", default=256, show_default=True)
@click.option("--batch", default=4, show_default=True)
@click.option(
    "--smallest-scale",
    type=click.FloatRange(0.1, 1),
    default=1.0,
    show_default=True,
    help="Below 1: crops of pictures shrunk by a factor from there to 1, mirrored and turned.",
)
@click.option("--learning-rate", default=3e-4, show_default=True)
@click.option("--average", is_flag=True, help="Average the weights over some 1,000 steps, for prediction.")
@click.option("--precision", type=click.Choice(["float32", "mixed"]), default="float32", show_default=True)
@click.option("--loss-scale", is_flag=True, help="With --precision mixed: float16 with loss scaling, not bfloat16.")
@click.option("--distributed", is_flag=True, help="Train on all GPUs of this machine.")
@click.option("--log-dir", default=None)
@click.option("--resume", is_flag=True, help="Go on with the newest run, or with the one in --log-dir.")
def train(
    train_tfrecords, noise, noise2noise, long_train, steps, epoch_steps, width, residual, crop, batch, smallest_scale,
    learning_rate, average, precision, loss_scale, distributed, log_dir, resume,
):  # fmt: skip
    """Train a network."""
    steps = 500_000 if long_train else steps
    epochs = -(-steps // epoch_steps)
    epoch_steps = -(-steps // epochs)  # so that the last epoch is no longer than what is left
    half = "mixed_float16" if loss_scale else "mixed_bfloat16"
    made = NOISES[noise]()
    rate = schedules.cosine_squared_ramp_down(learning_rate, steps, fraction=0.3)
    trainer = ft.train(
        ft.TrainConfig(
            model=Denoise(width, residual, 3, learning_rate, made.clip, AVERAGE_DECAY if average else None),
            dataflow=training_data(train_tfrecords, made, noise2noise, crop, batch, epoch_steps, smallest_scale),
            callbacks=[ft.ModelSaver(), ft.ScheduledHyperParamSetter("learning_rate", rate, step_based=True)],
            steps_per_epoch=epoch_steps,
            max_epoch=epochs,
            precision=half if precision == "mixed" else "float32",
            strategy=tf.distribute.MirroredStrategy() if distributed else None,
            log_dir=log_dir or ft.auto_set_dir("noise2noise", resume),
        ),
        resume="auto" if resume else None,
    )
    click.echo(f"checkpoints in {trainer.log_dir}")


def validated(predictor, dataset_dir, noise, baseline):
    if baseline and noise != "gaussian":
        raise click.UsageError("--baseline needs --noise gaussian: non-local means is told the noise's sigma")
    result = validate_folder(predictor, dataset_dir, NOISES[noise](), baseline)
    click.echo("mean, dB: " + ", ".join(f"{name} {value:.2f}" for name, value in result.items()))


dataset_option = click.option("--dataset-dir", required=True, type=click.Path(exists=True, file_okay=False))
baseline_option = click.option("--baseline", is_flag=True, help="Beside scikit-image's non-local means.")


@main.command()
@click.argument("run", type=click.Path(exists=True))
@dataset_option
@noise_option
@baseline_option
def validate(run, dataset_dir, noise, baseline):
    """Add noise to the pictures of a folder, denoise them, print PSNRs."""
    validated(load(run), dataset_dir, noise, baseline)


@main.command("validate-pb")
@click.argument("pb", type=click.Path(exists=True, dir_okay=False))
@dataset_option
@noise_option
@baseline_option
def validate_pb(pb, dataset_dir, noise, baseline):
    """The same with a frozen graph."""
    validated(ft.load_predictor(pb, [INPUT], [OUTPUT]), dataset_dir, noise, baseline)


def infer(predictor, source, target):
    result = to_uint8(denoise(predictor, to_float(read(source))))
    if not cv2.imwrite(target, result[..., ::-1]):
        raise click.BadParameter(f"cannot write {target}")
    click.echo(f"wrote {target}")


source = click.argument("source", type=click.Path(exists=True, dir_okay=False))
target = click.argument("target", type=click.Path(dir_okay=False))


@main.command("infer-image")
@click.argument("run", type=click.Path(exists=True))
@source
@target
def infer_image(run, source, target):
    """Denoise one picture."""
    infer(load(run), source, target)


@main.command("infer-image-pb")
@click.argument("pb", type=click.Path(exists=True, dir_okay=False))
@source
@target
def infer_image_pb(pb, source, target):
    """Denoise one picture with a frozen graph."""
    infer(ft.load_predictor(pb, [INPUT], [OUTPUT]), source, target)


@main.command()
@click.argument("run", type=click.Path(exists=True))
@target
@click.option("--width", type=int, default=None, help="Fix the width of the input, in pixels.")
@click.option("--height", type=int, default=None, help="Fix the height of the input, in pixels.")
def freeze(run, target, width, height):
    """Write one file that holds graph and weights (node names: noisy, denoised)."""
    ft.export(load(run), target, [INPUT], [OUTPUT], format="frozen", height=height, width=width)
    click.echo(f"wrote {target} ({Path(target).stat().st_size / 1e6:.1f} MB): {INPUT}:0 -> {OUTPUT}:0")


if __name__ == "__main__":
    main()
