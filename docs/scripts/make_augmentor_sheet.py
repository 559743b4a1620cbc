"""Draw docs/images/augmentors.png: every augmentor on one photograph.

    python docs/scripts/make_augmentor_sheet.py [--out docs/images/augmentors.png]

The yellow outline is drawn around the bird in the original, and is moved by each transform's apply_coords: it shows
that points go where the picture goes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from flowtrain.dataflow import imgaug

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "examples/colorize/photos/train/perched-osprey.jpg"
HEIGHT, WIDTH = 180, 240
COLUMNS = 7
SEED = 9
OUTLINE = np.array([[0.30, 0.08], [0.66, 0.08], [0.66, 0.95], [0.30, 0.95]])  # of the bird, as fractions of the picture


class Stripes(imgaug.BackgroundFiller):
    """A background of one's own: diagonal stripes."""

    def fill(self, size, img, rng):
        rows, columns = np.mgrid[: size[0], : size[1]]
        stripes = np.where((rows + columns) // 12 % 2 == 0, 90, 160)
        return np.repeat(stripes[:, :, None], img.shape[2], axis=2).astype(img.dtype)


def augmentors():
    """(title, augmentor, whether it moves pixels), in the order of the sheet."""
    turned = [imgaug.Rotation(25, border="constant"), imgaug.Contrast((1.8, 1.8)), imgaug.GaussianNoise(25)]
    return [
        ("Identity", imgaug.Identity(), True),
        ("RandomCrop(120)", imgaug.RandomCrop(120), True),
        ("CenterCrop((120, 160))", imgaug.CenterCrop((120, 160)), True),
        ("RandomCropRandomShape(90)", imgaug.RandomCropRandomShape(90), True),
        ("RandomResizedCrop(150)", imgaug.RandomResizedCrop(150, (0.3, 0.8)), True),
        ("RandomCutout(60, 80)", imgaug.RandomCutout(60, 80, fill=127), True),
        ("Shift(0.2, 0.2)", imgaug.Shift(0.2, 0.2), True),
        ("Rotation(25)", imgaug.Rotation(25), True),
        ("Rotation(25, border='constant')", imgaug.Rotation(25, border="constant"), True),
        ("RotationAndCropValid(25)", imgaug.RotationAndCropValid(25), True),
        ("Affine(scale, rotate, shear)", imgaug.Affine((0.7, 0.9), (0.1, 0.1), 20, 20, border="reflect"), True),
        ("Flip(horiz=True)", imgaug.Flip(horiz=True, prob=1), True),
        ("Flip(vert=True)", imgaug.Flip(vert=True, prob=1), True),
        ("Transpose()", imgaug.Transpose(prob=1), True),
        ("Resize(100)", imgaug.Resize(100), True),
        ("Resize(24, 'nearest')", imgaug.Resize(24, "nearest"), True),
        ("RandomResize((0.5, 1), (0.5, 1))", imgaug.RandomResize((0.5, 1.0), (0.5, 1.0)), True),
        ("ResizeShortestEdge(90)", imgaug.ResizeShortestEdge(90), True),
        ("CenterPaste((260, 300))", imgaug.CenterPaste((260, 300)), True),
        ("RandomPaste(300, own filler)", imgaug.RandomPaste(300, Stripes()), True),
        ("RandomPaste, random colour", imgaug.RandomPaste(300, imgaug.RandomColorBackgroundFiller()), True),
        ("CenterPaste, noise", imgaug.CenterPaste((260, 300), imgaug.NoiseBackgroundFiller()), True),
        ("Brightness(70)", imgaug.Brightness(70), False),
        ("BrightnessScale((1.5, 1.5))", imgaug.BrightnessScale((1.5, 1.5)), False),
        ("Contrast((0.4, 0.4))", imgaug.Contrast((0.4, 0.4)), False),
        ("Contrast((1.8, 1.8))", imgaug.Contrast((1.8, 1.8)), False),
        ("Gamma((0.5, 0.5))", imgaug.Gamma((0.5, 0.5)), False),
        ("Clip(80, 180)", imgaug.Clip(80, 180), False),
        ("Hue((90, 90))", imgaug.Hue((90, 90)), False),
        ("Hue((-120, -120))", imgaug.Hue((-120, -120)), False),
        ("Saturation(1)", imgaug.Saturation(1), False),
        ("Lighting(0.8)", imgaug.Lighting(0.8), False),
        ("Grayscale()", imgaug.Grayscale(), False),
        ("ColorSpace('RGB2LAB')", imgaug.ColorSpace("RGB2LAB"), False),
        ("MinMaxNormalize()", imgaug.MinMaxNormalize(all_channel=False), False),
        ("MeanVarianceNormalize()", imgaug.MeanVarianceNormalize(), False),
        ("ToFloat32(1 / 255)", imgaug.ToFloat32(1 / 255), False),
        ("ToUint8()", imgaug.ToUint8(), False),
        ("GaussianBlur((4, 4))", imgaug.GaussianBlur((4, 4)), False),
        ("JpegNoise((5, 5))", imgaug.JpegNoise((5, 5)), False),
        ("GaussianNoise(30)", imgaug.GaussianNoise(30), False),
        ("PoissonNoise(20)", imgaug.PoissonNoise(20), False),
        ("SaltPepperNoise(0.05, 0.05)", imgaug.SaltPepperNoise(), False),
        ("... per_channel=False", imgaug.SaltPepperNoise(per_channel=False), False),
        ("MapImage(lambda img: 255 - img)", imgaug.MapImage(lambda img: 255 - img), False),
        ("RandomApplyAug(Hue())", imgaug.RandomApplyAug(imgaug.Hue((60, 60)), 1), False),
        ("RandomChooseAug([...])", imgaug.RandomChooseAug(turned), True),
        ("RandomOrderAug([...])", imgaug.RandomOrderAug(turned), True),
        ("AugmentorList([...])", imgaug.AugmentorList([imgaug.RandomCrop(140), *turned]), True),
    ]


def shown(img: np.ndarray) -> np.ndarray:
    """A picture of any dtype and channels as uint8 RGB."""
    if img.dtype != np.uint8:  # of whatever range: stretched for the eye
        img = imgaug.MinMaxNormalize().augment(img)
    return imgaug.ColorSpace("GRAY2RGB").augment(img) if img.shape[2] == 1 else imgaug.ToUint8().augment(img)


def draw(path: Path) -> None:
    """Draw all of them and write the PNG."""
    photo = cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)
    img = cv2.resize(photo, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    outline = OUTLINE * (WIDTH, HEIGHT) - 0.5
    chosen = augmentors()
    rows = -(-len(chosen) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(COLUMNS * 2.15, rows * 1.95), dpi=100, layout="constrained")
    for place, axis in enumerate(axes.flat):
        axis.axis("off")
        if place >= len(chosen):
            continue
        title, augmentor, moves = chosen[place]
        out, transform = augmentor.augment_return_transform(img, np.random.default_rng(SEED))
        axis.imshow(shown(out), aspect="equal", interpolation="nearest")
        if moves:
            ring = transform.apply_coords(np.vstack([outline, outline[:1]]))
            axis.plot(ring[:, 0], ring[:, 1], color="yellow", linewidth=1.2)
        axis.set_xlim(-0.5, out.shape[1] - 0.5)
        axis.set_ylim(out.shape[0] - 0.5, -0.5)
        height, width = out.shape[:2]
        axis.set_title(f"{title}\n{height} x {width}", fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.canvas.draw()
    drawn = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[:, :, :3])
    # 256 colours take a third of the size; they are chosen on every fifth pixel, since choosing is slow.
    palette = Image.fromarray(np.asarray(drawn)[::5, ::5]).quantize(256, kmeans=3)
    drawn.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
    plt.close(figure)


def main() -> None:
    """Read the arguments and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images/augmentors.png")
    args = parser.parse_args()
    draw(args.out)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
