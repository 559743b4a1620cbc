"""Noise2Noise: learn to denoise from noisy pictures alone (Lehtinen et al., ICML 2018, arXiv 1803.04189).

\b
python n2n.py make-tfrecords FOLDER train.tfrecords
python n2n.py train --train-tfrecords train.tfrecords --noise gaussian --noise2noise     # --quick: ten minutes on a CPU
python n2n.py validate RUN --dataset-dir FOLDER --noise gaussian
python n2n.py infer-image RUN NOISY.png OUT.png
python n2n.py freeze RUN denoise.pb                     # --input-node-name, --output-node-name, --width, --height
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import numpy as np
from devices import strategy_of
from folders import part_of_name, run_folder, write_final
from network import Denoise
from noise import NOISES, noise_pair, to_float, to_uint8
from options import quick_option
from records import make_tfrecords, read

import flowtrain as ft
from flowtrain import imgaug, schedules
from flowtrain.cli.options import FOLDER, PICTURES, POSITIVE, RATE, Group, NewPath, pictures_beneath, write_picture

INPUT, OUTPUT = "noisy", "denoised"
AVERAGE_DECAY = 0.999
IN_MEMORY = 1 << 30  # size in bytes of a TFRecord file up to which its pictures are kept in memory
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
    """Augmentors for random square crops; with a `smallest_scale` below 1 of shrunk pictures too, mirrored and turned.

    Shrunk pictures are sharper, and there are more of them from few photographs. Noise is added afterwards.
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
    ds = ft.Noise2NoiseData(tfrecords)
    if Path(tfrecords).stat().st_size < IN_MEMORY:
        ds = ft.CacheData(ds, shuffle=True)
        for number, (picture,) in enumerate(ds):
            if min(picture.shape[:2]) < crop:
                raise ft.FlowtrainError(
                    f"a picture of {tfrecords} (of {len(ds)} the {number + 1}.) has {picture.shape[0]} x "
                    f"{picture.shape[1]} pixels, less than a crop of {crop}: pass a smaller --crop, or leave it out "
                    f"with make-tfrecords --smallest {crop}"
                )
    else:
        ds = ft.Noise2NoiseData(tfrecords, shuffle=True)
    ds = ft.RepeatedData(ds, -(-steps * batch // len(ds)))
    ds = ft.AugmentImageComponent(ds, crops(crop, smallest_scale))
    ds = ft.MapData(ds, lambda dp: [to_float(dp[0])])
    ds = ft.RandomMapData(ds, partial(noise_pair, noise=noise, noise2noise=noise2noise))
    ds = ft.BatchData(ds, batch)
    return ft.PrefetchData(ds, num_prefetch=8, num_proc=workers)


def denoise(predictor, picture: np.ndarray, multiple: int = 32) -> np.ndarray:
    """Denoise one float picture (H, W, C) of any size.

    It is padded by reflection to a multiple of 32, or to the fixed size of a graph, and cropped back. If it fits a
    fixed size only when it is transposed, it is transposed.
    """
    fixed = predictor.specs[0].shape[1:3] if hasattr(predictor, "specs") else (None, None)
    height, width = picture.shape[:2]
    size = [known or n + -n % multiple for known, n in zip(fixed, (height, width), strict=True)]
    if (height > size[0] or width > size[1]) and width <= size[0] and height <= size[1]:
        return denoise(predictor, picture.swapaxes(0, 1), multiple).swapaxes(0, 1)
    if height > size[0] or width > size[1]:
        raise ft.FlowtrainError(
            f"the picture has {height} x {width} pixels, the graph is fixed to {fixed[0]} x {fixed[1]}: freeze it "
            "larger, or without --width and --height"
        )
    (result,) = predictor(np.pad(picture, [(0, size[0] - height), (0, size[1] - width), (0, 0)], "reflect")[None])
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


def validate_folder(
    predictor, folder, noise, baseline: bool = False, seed: int = 0, report: bool = True
) -> dict[str, float]:
    """Mean PSNR in dB over a folder's pictures, noisy and denoised, after rounding to uint8.

    Args:
        predictor: Denoises a batch.
        folder: A folder of clean pictures of at least 32 pixels.
        noise: Applied to them; a picture gets the same noise in every call.
        baseline: Also denoise with non-local means (for Gaussian noise, whose sigma it is given).
        seed: Seed of the noise.
        report: Whether to print each picture's figures.
    """
    scores: dict[str, list[float]] = {}
    for index, path in enumerate(pictures_beneath(folder)):
        clean = to_float(read(path))
        noisy = noise(clean, np.random.default_rng((seed, index)), training=False)
        made = {"noisy": noisy, "denoised": denoise(predictor, noisy)}
        if baseline:
            made["non-local means"] = non_local_means(noisy, noise.valid)
        for name, picture in made.items():
            scores.setdefault(name, []).append(ft.psnr_uint8(clean, picture, low=-0.5, high=0.5))
        if report:
            click.echo(f"{path.name:40s} " + "  ".join(f"{name} {values[-1]:.2f}" for name, values in scores.items()))
    return {name: float(np.mean(values)) for name, values in scores.items()}


class Validate(ft.Callback):
    """Logs the PSNR of a folder's denoised pictures as `validation_psnr`, when triggered (see PeriodicTrigger).

    Args:
        folder: A folder of clean pictures.
        noise: Applied to them, always the same.
    """

    def __init__(self, folder, noise) -> None:
        pictures_beneath(folder)  # so that a wrong folder is refused here and not after the first steps
        self.folder, self.noise = folder, noise
        super().__init__()

    def setup_graph(self):
        self.predictor = self.trainer.get_predictor([INPUT], [OUTPUT])

    def trigger(self):
        found = validate_folder(self.predictor, self.folder, self.noise, report=False)
        self.trainer.monitors.put_scalar("validation_psnr", found["denoised"], self.global_step)


def load(run: str):
    """The predictor of a run's newest checkpoint or of its network_final.npz; the network follows from the weights."""
    weights = ft.read_weights(run)
    if "enc_conv0/kernel" not in weights:
        raise ft.FlowtrainError(f"{run} holds no network of this script")
    kernel = weights["enc_conv0/kernel"]
    residual, averaged = bool(weights["residual"]), "average/steps" in weights
    model = Denoise(kernel.shape[-1], residual, kernel.shape[2], average_decay=AVERAGE_DECAY if averaged else None)
    return ft.OfflinePredictor(ft.PredictConfig(model, run, [INPUT], [OUTPUT], averaged=averaged))


def check_crop(context: click.Context, parameter: click.Parameter, crop: int) -> int:
    """Callback of --crop: a multiple of 32, since the network halves its pictures five times."""
    if crop < 32 or crop % 32:
        raise click.BadParameter(f"{crop} is no multiple of 32: the network halves its pictures five times")
    return crop


@click.group(cls=Group, help=__doc__)
def main():
    pass


noise_option = click.option("--noise", type=click.Choice(sorted(NOISES)), default="gaussian", show_default=True)


@main.command("make-tfrecords")
@click.argument("folder", type=FOLDER)
@click.argument("target", type=NewPath())
@click.option(
    "--smallest", type=POSITIVE, default=256, show_default=True, help="Leave out pictures with a smaller side."
)
def make_tfrecords_command(folder, target, smallest):
    """Write all pictures of FOLDER to the TFRecord file TARGET."""
    count, small = make_tfrecords(folder, target, smallest)
    click.echo(f"{count} pictures in {target}")
    if small:
        names = ", ".join(path.name for path in small[:5])
        click.echo(f"{len(small)} left out, with a side below {smallest} pixels: {names}{', ...' if small[5:] else ''}")


@main.command()
@quick_option(QUICK, "A small network, trained in ten minutes on two CPU cores")
@click.option("--train-tfrecords", required=True, type=click.Path(exists=True), help="Made by make-tfrecords.")
@noise_option
@click.option("--noise2noise/--noise2clean", default=True, show_default=True, help="What the targets are.")
@click.option("--long-train", is_flag=True, help="500,000 steps instead of --steps.")
@click.option("--steps", type=POSITIVE, default=100_000, show_default=True)
@click.option("--epoch-steps", type=POSITIVE, default=500, show_default=True, help="Steps between two checkpoints.")
@click.option("--dataset-dir", type=FOLDER, help="Pictures to validate on meanwhile.")
@click.option("--eval-interval", type=POSITIVE, default=1000, show_default=True, help="Steps between two validations.")
@click.option("--width", type=POSITIVE, default=48, show_default=True)
@click.option("--residual", is_flag=True, help="Predict the noise, and subtract it.")
@click.option("--crop", type=int, default=256, show_default=True, callback=check_crop)
@click.option("--batch", type=POSITIVE, default=None, help="Default: 4, or one picture for each of more --devices.")
@click.option(
    "--smallest-scale",
    type=click.FloatRange(0.1, 1),
    default=1.0,
    show_default=True,
    help="Below 1: crops of pictures shrunk by a factor from there to 1, mirrored and turned.",
)
@click.option("--learning-rate", type=RATE, default=3e-4, show_default=True)
@click.option(
    "--ramp-down-perc", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Share of the steps."
)
@click.option("--average", is_flag=True, help="Average the weights over some 1,000 steps, for prediction.")
@click.option("--precision", type=click.Choice(["float32", "mixed"]), default="float32", show_default=True)
@click.option("--loss-scale", is_flag=True, help="With --precision mixed: float16 with loss scaling, not bfloat16.")
@click.option(
    "--devices", type=POSITIVE, default=None, help="How many: GPUs, or parts of the CPU where there are none."
)
@click.option("--distributed", is_flag=True, help="Train on all GPUs of this machine.")
@click.option("--desc", callback=part_of_name, help="Number the run's folder: results/00000-DESC.")
@click.option("--log-dir", default=None)
@click.option("--resume", is_flag=True, help="Go on with the newest run, or with that of --desc or --log-dir.")
def train(
    train_tfrecords, noise, noise2noise, long_train, steps, epoch_steps, dataset_dir, eval_interval, width, residual,
    crop, batch, smallest_scale, learning_rate, ramp_down_perc, average, precision, loss_scale, devices, distributed,
    desc, log_dir, resume,
):  # fmt: skip
    """Train a network; its last weights are network_final.npz in the run's folder."""
    batch = batch or max(4, devices or 1)
    if loss_scale and precision != "mixed":
        raise click.UsageError("--loss-scale is for --precision mixed: float32 needs none.")
    steps = 500_000 if long_train else steps
    epochs = -(-steps // epoch_steps)
    epoch_steps = -(-steps // epochs)  # so that the last epoch is no longer than what is left
    half = "mixed_float16" if loss_scale else "mixed_bfloat16"
    made = NOISES[noise]()
    rate = schedules.cosine_squared_ramp_down(learning_rate, steps, fraction=ramp_down_perc)
    callbacks = [ft.ModelSaver(), ft.ScheduledHyperParamSetter("learning_rate", rate, step_based=True)]
    if dataset_dir:
        callbacks.append(ft.PeriodicTrigger(Validate(dataset_dir, made), every_k_steps=eval_interval))
    trainer = ft.train(
        ft.TrainConfig(
            model=Denoise(width, residual, 3, learning_rate, made.clip, AVERAGE_DECAY if average else None),
            dataflow=training_data(train_tfrecords, made, noise2noise, crop, batch, epoch_steps, smallest_scale),
            callbacks=callbacks,
            steps_per_epoch=epoch_steps,
            max_epoch=epochs,
            precision=half if precision == "mixed" else "float32",
            strategy=strategy_of(devices, distributed),
            log_dir=run_folder(log_dir, desc, "noise2noise", resume),
        ),
        resume="auto" if resume else None,
    )
    write_final(trainer, average)
    click.echo(f"checkpoints in {trainer.log_dir}")


def validated(predictor, dataset_dir, noise, baseline):
    if baseline and noise != "gaussian":
        raise click.UsageError("--baseline needs --noise gaussian: non-local means is told the noise's sigma")
    result = validate_folder(predictor, dataset_dir, NOISES[noise](), baseline)
    click.echo("mean, dB: " + ", ".join(f"{name} {value:.2f}" for name, value in result.items()))


def tensor_names(command):
    for option in (
        click.option("--output-tensor-name", default=OUTPUT, show_default=True, help="Of a graph from elsewhere."),
        click.option("--input-tensor-name", default=INPUT, show_default=True, help="Of a graph from elsewhere."),
    ):
        command = option(command)
    return command


dataset_option = click.option("--dataset-dir", required=True, type=FOLDER)
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
@click.argument("pb", type=click.Path(exists=True))
@dataset_option
@noise_option
@baseline_option
@tensor_names
def validate_pb(pb, dataset_dir, noise, baseline, input_tensor_name, output_tensor_name):
    """The same with a frozen graph, this script's or any other of pictures in [-0.5, 0.5]."""
    validated(ft.load_predictor(pb, [input_tensor_name], [output_tensor_name]), dataset_dir, noise, baseline)


def infer(predictor, source, target):
    write_picture(target, to_uint8(denoise(predictor, to_float(read(source)))))
    click.echo(f"wrote {target}")


source = click.argument("source", type=click.Path(exists=True, dir_okay=False))
picture = click.argument("target", type=NewPath(*PICTURES))


@main.command("infer-image")
@click.argument("run", type=click.Path(exists=True))
@source
@picture
def infer_image(run, source, target):
    """Denoise one picture."""
    infer(load(run), source, target)


@main.command("infer-image-pb")
@click.argument("pb", type=click.Path(exists=True))
@source
@picture
@tensor_names
def infer_image_pb(pb, source, target, input_tensor_name, output_tensor_name):
    """Denoise one picture with a frozen graph."""
    infer(ft.load_predictor(pb, [input_tensor_name], [output_tensor_name]), source, target)


@main.command()
@click.argument("run", type=click.Path(exists=True))
@click.argument("target", type=NewPath(".pb", replace=False))
@click.option("--width", type=POSITIVE, default=None, help="Fix the width of the input, in pixels.")
@click.option("--height", type=POSITIVE, default=None, help="Fix the height of the input, in pixels.")
@click.option("--input-node-name", default=INPUT, show_default=True)
@click.option("--output-node-name", default=OUTPUT, show_default=True)
def freeze(run, target, width, height, input_node_name, output_node_name):
    """Write one file that holds graph and weights."""
    for name, value in (("--width", width), ("--height", height)):
        if value is not None and value % 32:
            raise click.UsageError(f"{name} is {value}, no multiple of 32: the network halves its pictures five times")
    inputs, outputs = {input_node_name: INPUT}, {output_node_name: OUTPUT}
    ft.export(load(run), target, inputs, outputs, format="pb", height=height, width=width)
    size = target.stat().st_size / 1e6
    click.echo(f"wrote {target} ({size:.1f} MB): {input_node_name}:0 -> {output_node_name}:0")


if __name__ == "__main__":
    main()
