"""Noise2Noise on MRI slices: from spectra of which nine tenths are missing (section 3.4 of arXiv 1803.04189).

\b
python mri.py train brain_t1_slices.npz --hold-out 5      # every fifth slice is left for validation
python mri.py validate RUN brain_t1_slices.npz --hold-out 5 --fspec
python mri.py export RUN mri.pb                           # the known spectrum is put back inside the graph
python mri.py validate mri.pb brain_t1_slices.npz --hold-out 5
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import numpy as np
import tensorflow as tf
from folders import FINAL, part_of_name, run_folder, write_final
from network import unet
from noise import to_float
from options import quick_option
from slices import SIZE, part, read_slices

import flowtrain as ft
from flowtrain import schedules
from flowtrain.cli.options import POSITIVE, RATE, Group, NewPath, write_picture

PADDED = 256  # the network halves five times
AVERAGE_DECAY = 0.98  # over some 50 steps
QUICK = {"width": 16, "residual": True, "batch": 16, "learning_rate": 2e-3, "average": True, "steps": 400}


# ---------------------------------------------------------------- sampling of the spectrum


def keep_probability(p: float = 0.025) -> np.ndarray:
    """Probability (255, 255) that a frequency is measured: p^(r / 127), r being its distance from 0 in the middle."""
    middle = SIZE // 2
    y, x = np.mgrid[-middle : middle + 1, -middle : middle + 1]
    return p ** (np.hypot(x, y) / middle)


def sampling_mask(rng: np.random.Generator, p: float = 0.025) -> np.ndarray:
    """Draw which frequencies are measured: bool (255, 255), the zero frequency in the middle.

    A frequency and its opposite are kept or left out together, since the spectrum of a real picture is symmetric; the
    probability is that of `keep_probability`.
    """
    kept = (rng.random((SIZE, SIZE)) < keep_probability(p)).ravel()
    half = kept.size // 2
    kept[half + 1 :] = kept[:half][::-1]  # opposite frequencies mirror around the middle one
    return kept.reshape(SIZE, SIZE)


def undersample(picture: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure a random part of a picture's spectrum.

    Args:
        picture: float32 (255, 255) in [-0.5, 0.5].
        rng: Draws the mask.

    Returns:
        The zero-filled picture, float32 (255, 255), its frequencies divided by their probability, so that its
        expectation is `picture`; the measured spectrum, complex64 (255, 255), in the order of FFT; the mask, float32.
    """
    spectrum = np.fft.fft2(picture)
    mask = np.fft.ifftshift(sampling_mask(rng))
    weights = mask / np.fft.ifftshift(keep_probability())
    filled = np.fft.ifft2(spectrum * weights).real
    return filled.astype(np.float32), (spectrum * mask).astype(np.complex64), mask.astype(np.float32)


def shifted(picture: np.ndarray, rng: np.random.Generator, most: int = 64) -> np.ndarray:
    """Translate by up to `most` pixels in each direction, filling with black."""
    dy, dx = rng.integers(-most, most + 1, 2)
    result = np.full_like(picture, -0.5)
    height, width = picture.shape
    result[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = picture[
        max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    return result


def training_pair(dp: list, rng: np.random.Generator, noise2noise: bool = True) -> dict[str, np.ndarray]:
    """Map [uint8 slice] to the model's inputs; input and target have different frequencies of the same slice."""
    picture = shifted(to_float(dp[0]), rng)
    filled, spectrum, mask = undersample(picture, rng)
    target = undersample(picture, rng)[0] if noise2noise else picture
    return model_inputs(filled, spectrum, mask, target)


def model_inputs(filled, spectrum, mask, target) -> dict[str, np.ndarray]:
    """A datapoint as a dict with the names of the model's inputs."""
    parts = np.stack([spectrum.real, spectrum.imag], axis=-1)
    return {"noisy": filled[..., None], "spectrum": parts, "mask": mask, "target": target[..., None]}


# ---------------------------------------------------------------- the model


def known_spectrum_restored(denoised: tf.Tensor, spectrum: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The `fspec` post-op: replace a picture's measured frequencies by their measured values.

    Args:
        denoised: float32 (B, 255, 255, 1).
        spectrum: float32 (B, 255, 255, 2), real and imaginary parts of the measured values, in the order of FFT.
        mask: float32 (B, 255, 255), 1 where a frequency was measured.
    """
    guessed = tf.signal.fft2d(as_complex(denoised[..., 0]))
    known = tf.complex(spectrum[..., 0], spectrum[..., 1])
    mask = as_complex(mask)
    mixed = known * mask + guessed * (1 - mask)
    return tf.math.real(tf.signal.ifft2d(mixed))[..., None]


def as_complex(values: tf.Tensor) -> tf.Tensor:
    """Convert real numbers to complex64; the gradient of tf.cast would warn that it drops the imaginary part."""
    values = tf.cast(values, tf.float32)
    return tf.complex(values, tf.zeros_like(values))


def zero_filled(noisy: tf.Tensor) -> tf.Tensor:
    """The picture of the measured frequencies, not divided by their probabilities.

    Args:
        noisy: float32 (B, 255, 255, 1), from divided frequencies.
    """
    probability = tf.constant(np.fft.ifftshift(keep_probability()), tf.complex64)
    spectrum = tf.signal.fft2d(as_complex(noisy[..., 0]))
    return tf.math.real(tf.signal.ifft2d(spectrum * probability))[..., None]


class DenoiseSpectrum(ft.ModelDesc):
    """The U-Net on undersampled pictures, with the `fspec` post-op as an output and, unless turned off, in the loss.

    A `residual` network sees the zero-filled picture with black as 0 (about 5 dB nearer to the truth than the picture
    of divided frequencies) and predicts what to subtract from it.
    """

    def __init__(self, width=48, residual=False, learning_rate=1e-3, average_decay=None, fspec=True) -> None:
        self.width, self.residual, self.learning_rate, self.fspec = width, residual, learning_rate, fspec
        self.average_decay = average_decay

    def inputs(self):
        return [
            tf.TensorSpec((None, SIZE, SIZE, 1), tf.float32, "noisy"),
            tf.TensorSpec((None, SIZE, SIZE, 2), tf.float32, "spectrum"),
            tf.TensorSpec((None, SIZE, SIZE), tf.float32, "mask"),
            tf.TensorSpec((None, SIZE, SIZE, 1), tf.float32, "target"),
        ]

    def build_graph(self, noisy, spectrum, mask, target):
        ft.get_scalar_var("residual", float(self.residual))
        seen, black = (zero_filled(noisy), -0.5) if self.residual else (noisy, 0.0)
        padded = tf.pad(seen - black, [[0, 0], [0, PADDED - SIZE], [0, PADDED - SIZE], [0, 0]], "REFLECT")
        plain = unet(padded, self.width, self.residual)[:, :SIZE, :SIZE] + black
        plain = tf.identity(plain, name="denoised")
        restored = tf.identity(known_spectrum_restored(plain, spectrum, mask), name="denoised_fspec")
        cost = tf.reduce_mean(tf.square((restored if self.fspec else plain) - target), name="square_loss")
        ft.add_moving_summary(cost)
        return cost

    def optimizer(self):
        rate = ft.get_scalar_var("learning_rate", self.learning_rate, summary=True)
        beta_1 = ft.get_scalar_var("beta_1", 0.9)
        return tf.keras.optimizers.Adam(rate, beta_1=beta_1, beta_2=0.99)


# ---------------------------------------------------------------- commands


def ramps(epochs: int):
    """Two factors of the learning rate: a ramp-up over the first 10 epochs, a ramp-down over the last 30.

    In short trainings the same curves take a fifth and a third of the epochs.
    """
    up, down = min(10, epochs / 5), min(30, epochs / 3)
    falling = schedules.gaussian_ramp_down(1.0, 30 * epochs / down)
    return schedules.gaussian_ramp_up(1.0, up), lambda epoch: falling(30 * epoch / down)


def training_data(slices, noise2noise, batch, workers=2):
    """Batches of the model's inputs; an epoch has each slice once, without those that do not fill a last batch."""
    ds = ft.DataFromArrays(slices, shuffle=True)
    ds = ft.RandomMapData(ds, partial(training_pair, noise2noise=noise2noise))
    ds = ft.BatchData(ds, batch)
    return ft.PrefetchData(ds, num_prefetch=8, num_proc=workers)


def validation_data(slices, seed: int = 1):
    """One batch per slice, without translation; a slice has the same mask in every run."""

    def sample(dp, rng):
        picture = to_float(dp[0])
        return model_inputs(*undersample(picture, rng), picture)

    return ft.BatchData(ft.RandomMapData(ft.DataFromArrays(slices), sample, seed=seed), 1)


def mean_psnr(predictor, slices, fspec: bool) -> dict[str, float]:
    """Mean PSNR in dB over slices, after rounding to uint8.

    "input" is the picture of measured frequencies divided by their probability, "zero-filled" that of the measured
    frequencies as they are, "denoised" the network's output.
    """
    scores: dict[str, list[float]] = {"input": [], "zero-filled": [], "denoised": []}
    for dp in validation_data(slices):
        (result,) = predictor(*([dp["noisy"], dp["spectrum"], dp["mask"]] if fspec else [dp["noisy"]]))
        spectrum = dp["spectrum"][..., 0] + 1j * dp["spectrum"][..., 1]
        pictures = dp["noisy"], np.fft.ifft2(spectrum).real[..., None], np.asarray(result)
        for values, picture in zip(scores.values(), pictures, strict=True):
            values.append(ft.psnr_uint8(dp["target"], picture, low=-0.5, high=0.5))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def names(fspec: bool) -> tuple[list[str], list[str]]:
    """Names of the predictor's inputs and outputs."""
    return (["noisy", "spectrum", "mask"], ["denoised_fspec"]) if fspec else (["noisy"], ["denoised"])


def load(run: str, fspec: bool):
    """The predictor of a run's newest checkpoint, of its network_final.npz, or of what `export` wrote."""
    if Path(run).suffix == ".pb" or Path(run, "saved_model.pb").exists():
        return ft.load_predictor(run, *names(fspec))
    weights = ft.read_weights(run)
    if "enc_conv0/kernel" not in weights:
        raise ft.FlowtrainError(f"{run} holds no network of this script")
    width, averaged = weights["enc_conv0/kernel"].shape[-1], "average/steps" in weights
    model = DenoiseSpectrum(width, bool(weights["residual"]), average_decay=AVERAGE_DECAY if averaged else None)
    return ft.OfflinePredictor(ft.PredictConfig(model, run, *names(fspec), averaged=averaged))


class ValidateSlices(ft.Callback):
    """Logs the PSNR on held-out slices, rounded to uint8, as `test_db_clamped` after each epoch.

    Args:
        slices: uint8 (N, 255, 255).
        fspec: Whether measured frequencies are put back.
    """

    def __init__(self, slices: np.ndarray, fspec: bool) -> None:
        self.slices, self.fspec = slices, fspec
        super().__init__()

    def setup_graph(self):
        self.predictor = self.trainer.get_predictor(*names(self.fspec))

    def trigger_epoch(self):
        found = mean_psnr(self.predictor, self.slices, self.fspec)["denoised"]
        self.trainer.monitors.put_scalar("test_db_clamped", found, self.global_step)


def write_examples(predictor, slices: np.ndarray, fspec: bool, folder: Path, most: int = 5) -> list[Path]:
    """Write pictures of some slices, side by side: zero-filled, denoised, true."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, dp in enumerate(ft.TakeData(validation_data(slices[:: -(-len(slices) // most)]), most)):
        (result,) = predictor(*([dp["noisy"], dp["spectrum"], dp["mask"]] if fspec else [dp["noisy"]]))
        spectrum = dp["spectrum"][..., 0] + 1j * dp["spectrum"][..., 1]
        sides = [np.fft.ifft2(spectrum).real[0], np.asarray(result)[0, ..., 0], dp["target"][0, ..., 0]]
        written.append(folder / f"slice{number}.png")
        write_picture(written[-1], ft.to_uint8(np.concatenate(sides, axis=1), low=-0.5, high=0.5))
    return written


@click.group(cls=Group, help=__doc__)
def main():
    pass


hold_out_option = click.option("--hold-out", type=click.IntRange(2), default=None, help="Keep each k-th slice.")


@main.command()
@click.argument("slices", type=click.Path(exists=True, dir_okay=False))
@quick_option(QUICK, "A small network, trained in ten minutes on two CPU cores")
@click.option("--epochs", type=POSITIVE, default=300, show_default=True)
@click.option("--steps", type=POSITIVE, default=None, help="As many epochs as it takes to have so many steps.")
@click.option("--batch", type=POSITIVE, default=16, show_default=True)
@click.option("--width", type=POSITIVE, default=48, show_default=True)
@click.option("--residual", is_flag=True)
@click.option("--noise2noise/--noise2clean", default=True, show_default=True)
@click.option(
    "--fspec/--no-fspec", default=True, show_default=True, help="Put the known spectrum back before the loss."
)
@click.option("--learning-rate", type=RATE, default=1e-3, show_default=True)
@click.option("--average", is_flag=True, help="Average the weights over some 50 steps, for prediction.")
@click.option("--valid", type=click.Path(exists=True, dir_okay=False), help="Slices to validate on after each epoch.")
@click.option("--desc", callback=part_of_name, help="Number the run's folder: results/00000-DESC.")
@click.option("--log-dir", default=None)
@click.option("--resume", is_flag=True, help="Go on with the newest run, or with that of --desc or --log-dir.")
@hold_out_option
def train(
    slices, epochs, steps, batch, width, residual, noise2noise, fspec, learning_rate, average, valid, desc, log_dir,
    resume, hold_out,
):  # fmt: skip
    """Train on the SLICES of an npz or pkl file; held-out slices (--hold-out, --valid) are validated on.

    At the end the run's folder has network_final.npz, and pictures of held-out slices in examples/.
    """
    known = part(read_slices(slices), hold_out, training=True)
    held_out = read_slices(valid) if valid else part(read_slices(slices), hold_out, training=False)
    data = training_data(known, noise2noise, batch)
    if not len(data):
        raise ft.FlowtrainError(f"{slices} has {len(known)} slices to train on, too few for a batch of {batch}")
    epochs = -(-steps // len(data)) if steps else epochs
    up, down = ramps(epochs)
    callbacks = [
        ft.ModelSaver(),
        ft.HyperParamSetterWithFunc("learning_rate", lambda e: learning_rate * up(e) * down(e)),
        ft.HyperParamSetterWithFunc("beta_1", lambda e: 0.5 + 0.4 * down(e)),
    ]
    if valid or hold_out:
        callbacks.append(ValidateSlices(held_out, fspec))
    trainer = ft.train(
        ft.TrainConfig(
            model=DenoiseSpectrum(width, residual, learning_rate, AVERAGE_DECAY if average else None, fspec),
            dataflow=data,
            callbacks=callbacks,
            max_epoch=epochs,
            log_dir=run_folder(log_dir, desc, "noise2noise-mri", resume),
        ),
        resume="auto" if resume else None,
    )
    write_final(trainer, average)
    final = load(str(Path(trainer.log_dir, FINAL)), fspec)
    write_examples(final, held_out, fspec, Path(trainer.log_dir, "examples"))
    click.echo(f"checkpoints in {trainer.log_dir}")


@main.command()
@click.argument("run", type=click.Path(exists=True))
@click.argument("slices", type=click.Path(exists=True, dir_okay=False))
@click.option("--fspec/--no-fspec", default=True, show_default=True, help="Put the known spectrum back.")
@click.option("--pictures", type=NewPath(), help="Write pictures of some slices into this folder.")
@hold_out_option
def validate(run, slices, fspec, pictures, hold_out):
    """Print the mean PSNR on the SLICES of an npz or pkl file, before and after.

    RUN is a run, its network_final.npz, or what `export` wrote.
    """
    predictor, held_out = load(run, fspec), part(read_slices(slices), hold_out, training=False)
    found = mean_psnr(predictor, held_out, fspec)
    click.echo(", ".join(f"{name} {value:.2f} dB" for name, value in found.items()) + f", fspec {fspec}")
    if pictures:
        click.echo(f"wrote {len(write_examples(predictor, held_out, fspec, pictures))} pictures in {pictures}")


@main.command()
@click.argument("run", type=click.Path(exists=True))
@click.argument("target", type=NewPath(replace=False))
@click.option("--fspec/--no-fspec", default=True, show_default=True, help="Put the known spectrum back.")
def export(run, target, fspec):
    """Write a SavedModel, or a frozen graph (.pb), from noisy (and spectrum and mask) to the denoised picture."""
    ft.export(load(run, fspec), target, *names(fspec), format=None if target.suffix else "saved_model")
    click.echo(f"wrote {target}")


if __name__ == "__main__":
    main()
