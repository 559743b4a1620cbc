"""Colour one photograph of any size with a trained checkpoint.

python examples/colorize/predict.py CHECKPOINT IN.jpg OUT.jpg

The network sees the picture at the size that it was trained on; the colours it gives are enlarged to the picture's own
size and put under the picture's own lightness, which stays as it is. CHECKPOINT is a checkpoint's folder, or the folder
of a run, whose newest checkpoint is then taken.
"""

from __future__ import annotations

import click
import cv2
import numpy as np
from train import Colorize

import flowtrain as ft
from flowtrain.cli.options import PICTURES, Command, NewPath, write_picture


def within_gamut(luminance: np.ndarray, ab: np.ndarray, rounds: int = 6) -> np.ndarray:
    """Reduce the chroma of colours that sRGB lacks at a pixel's lightness, by as little as keeps that lightness."""
    low, high = np.zeros_like(luminance), np.ones_like(luminance)
    for _ in range(rounds):  # bisection, for all pixels at once
        middle = (low + high) / 2
        back, _ = ft.rgb_to_lab(np.clip(ft.lab_to_rgb(luminance, middle * ab).numpy(), 0, 1))
        fits = np.abs(back - luminance) < 0.006  # luminance spans 2; OpenCV's own round trip is off by up to 0.004
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return low * ab


def colorize(picture: np.ndarray, predictor, size: int) -> np.ndarray:
    """Colour a picture: uint8 (H, W, 3) RGB in, its colours unused, and the same out."""
    luminance = ft.rgb_to_luminance(picture)
    # linear, as the augmentors resize: the network has learnt what texture looks like after that, not after averaging
    small = cv2.resize(luminance, (size, size), interpolation=cv2.INTER_LINEAR)[None, ..., None]
    (ab,) = predictor(small)
    smooth = cv2.GaussianBlur(np.asarray(ab)[0], (0, 0), 1)  # what is enlarged four times leaves a faint grid
    ab = cv2.resize(smooth, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    rgb = ft.lab_to_rgb(luminance, within_gamut(luminance, ab)).numpy()
    return np.rint(rgb * 255).astype(np.uint8)


def load(checkpoint: str):
    """The predictor of a checkpoint, and the picture size that it was trained on; both follow from the weights."""
    weights = ft.read_checkpoint(checkpoint)
    levels = sum(name.startswith("conv") and name.endswith("/kernel") for name in weights)
    size, nf = (256 if levels == 8 else 128), weights["conv1/kernel"].shape[-1]
    config = ft.PredictConfig(Colorize(size, nf, levels), checkpoint, ["luminance"], ["prediction/output"])
    return ft.OfflinePredictor(config), size


@click.command(cls=Command, help=__doc__)
@click.argument("checkpoint", type=click.Path(exists=True))
@click.argument("source", type=click.Path(exists=True, dir_okay=False))
@click.argument("target", type=NewPath(*PICTURES))
def main(checkpoint, source, target):
    picture = cv2.imread(source, cv2.IMREAD_COLOR)
    if picture is None:
        raise click.BadParameter(f"{source} is not a picture that OpenCV can read")
    predictor, size = load(checkpoint)
    rgb = colorize(np.ascontiguousarray(picture[..., ::-1]), predictor, size)
    write_picture(target, rgb)
    click.echo(f"wrote {target}")


if __name__ == "__main__":
    main()
