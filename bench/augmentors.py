"""Microseconds per call of every augmentor on a 256 x 256 x 3 uint8 picture, beside Tensorpack's and albumentations'.

    python bench/augmentors.py [--rounds 61] [--only Hue,Gamma] [--write FILE]

Each row is one change of the picture, set up alike in the libraries that have it. The libraries take turns within each
round, and the median over the rounds is shown, so that a busy moment of the machine hits all alike. OpenCV runs on one
thread, and freed memory stays with the process, as it does in flowtrain's workers: otherwise one row or another, of any
library, pays for pages that are given back and fault in again. A library that is not installed is a column of
"not installed".

Gamma, Contrast, BrightnessScale and MinMaxNormalize look values up with stringzilla where it is installed (it comes
with albumentations), and with OpenCV, to the same result in five times the time, where it is not.

The ratio is our time over that of the fastest peer. What is compared is a new, contiguous picture. Tensorpack's
RandomCutout and SaltPepperNoise write into the picture that they are given, and its Flip returns a reversed view: with
these a copy is counted, and marked *. The rows "into a batch" count what a user pays for a flip in the end, with
nothing made contiguous: the flip as the library returns it, and its copy into a place of a batch.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
from measuring import Run
from tabulate import tabulate

from flowtrain.dataflow import imgaug as F
from flowtrain.utils.malloc import keep_freed_memory

PHOTO = Path(__file__).parent.parent / "examples/colorize/photos/valid/casa-mila.jpg"
PLACES = itertools.cycle(np.ones((32, 256, 256, 3), np.uint8))  # of one batch for all libraries
EIGVAL = np.array([55.4625, 4.7940, 1.1475])
EIGVEC = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def import_tensorpack():
    import multiprocessing.util  # noqa: F401  (tensorpack hangs at exit without it)

    np.float, np.object, np.int = float, object, int  # it predates NumPy 2
    try:
        from tensorpack.dataflow import imgaug
    except ImportError:
        return None
    return imgaug


def import_albumentations():
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        import albumentations
    except ImportError:
        return None
    return albumentations


def rows():
    """(name, flowtrain's augmentor, Tensorpack's, albumentations'): a peer's is a function of its module, or None."""
    return [
        (
            "Affine",
            F.Affine((0.8, 1.2), (0.1, 0.1), 10),
            lambda T: T.Affine((0.8, 1.2), (0.1, 0.1), 10.0, shear=0.0),
            lambda A: A.Affine(
                scale=(0.8, 1.2), translate_percent=(-0.1, 0.1), rotate=(-10, 10), border_mode=cv2.BORDER_REPLICATE, p=1
            ),
        ),
        (
            "Brightness",
            F.Brightness(30),
            lambda T: T.Brightness(30),
            lambda A: A.RandomBrightnessContrast((-0.12, 0.12), (0, 0), p=1),
        ),
        (
            "BrightnessScale",
            F.BrightnessScale((0.7, 1.3)),
            lambda T: T.BrightnessScale((0.7, 1.3)),
            lambda A: A.RandomBrightnessContrast((0, 0), (-0.3, 0.3), p=1),
        ),
        ("CenterCrop", F.CenterCrop(224), lambda T: T.CenterCrop(224), lambda A: A.CenterCrop(224, 224, p=1)),
        (
            "CenterPaste",
            F.CenterPaste(300),
            lambda T: T.CenterPaste((300, 300)),
            lambda A: A.PadIfNeeded(300, 300, border_mode=cv2.BORDER_CONSTANT, p=1),
        ),
        ("Clip", F.Clip(20, 200), lambda T: T.Clip(20, 200), None),
        ("ColorSpace", F.ColorSpace("RGB2HSV"), lambda T: T.ColorSpace(cv2.COLOR_RGB2HSV), None),
        (
            "Contrast",
            F.Contrast((0.7, 1.3)),
            lambda T: T.Contrast((0.7, 1.3), rgb=True),
            lambda A: A.ColorJitter((1, 1), (0.7, 1.3), (1, 1), (0, 0), p=1),
        ),
        ("Contrast per channel", F.Contrast((0.7, 1.3), per_channel=True), lambda T: T.Contrast((0.7, 1.3)), None),
        (
            "Flip horiz",
            F.Flip(horiz=True, prob=1),
            lambda T: Copied(T.Flip(horiz=True, prob=1.0)),
            lambda A: A.HorizontalFlip(p=1),
        ),
        (
            "Flip vert",
            F.Flip(vert=True, prob=1),
            lambda T: Copied(T.Flip(vert=True, prob=1.0)),
            lambda A: A.VerticalFlip(p=1),
        ),
        (
            "Flip horiz into a batch",
            IntoBatch(F.Flip(horiz=True, prob=1)),
            lambda T: IntoBatch(T.Flip(horiz=True, prob=1.0)),
            lambda A: IntoBatch(A.HorizontalFlip(p=1)),
        ),
        (
            "Flip vert into a batch",
            IntoBatch(F.Flip(vert=True, prob=1)),
            lambda T: IntoBatch(T.Flip(vert=True, prob=1.0)),
            lambda A: IntoBatch(A.VerticalFlip(p=1)),
        ),
        ("Gamma", F.Gamma((0.5, 1.5)), lambda T: T.Gamma((-0.5, 0.5)), lambda A: A.RandomGamma((50, 150), p=1)),
        (
            "GaussianBlur",
            F.GaussianBlur((2, 2), (1, 1)),
            lambda T: T.GaussianBlur((2, 3), (1, 1.0001)),
            lambda A: A.GaussianBlur(blur_limit=(5, 5), sigma_limit=(1, 1), p=1),
        ),
        (
            "GaussianNoise",
            F.GaussianNoise(10),
            lambda T: T.GaussianNoise(10),
            lambda A: A.GaussNoise((0.04, 0.04), p=1),
        ),
        ("Grayscale", F.Grayscale(), lambda T: T.Grayscale(rgb=True), lambda A: A.ToGray(1, p=1)),
        ("Grayscale to 3", F.Grayscale(3), lambda T: T.Grayscale(rgb=True, keepshape=True), lambda A: A.ToGray(3, p=1)),
        ("Hue", F.Hue((-18, 18)), lambda T: T.Hue((0, 18)), lambda A: A.HueSaturationValue(18, 0, 0, p=1)),
        ("Identity", F.Identity(), lambda T: T.Identity(), lambda A: A.NoOp(p=1)),
        (
            "JpegNoise",
            F.JpegNoise((60, 60)),
            lambda T: T.JpegNoise((60, 61)),
            lambda A: A.ImageCompression(quality_range=(60, 60), p=1),
        ),
        ("Lighting", F.Lighting(0.1), lambda T: T.Lighting(0.1, EIGVAL, EIGVEC), lambda A: A.FancyPCA(0.1, p=1)),
        ("MapImage", F.MapImage(same), lambda T: T.MapImage(same), lambda A: A.Lambda(image=same_of_many, p=1)),
        (
            "MeanVarianceNormalize",
            F.MeanVarianceNormalize(),
            lambda T: T.MeanVarianceNormalize(),
            lambda A: A.Normalize(normalization="image", p=1),
        ),
        (
            "... per channel",
            F.MeanVarianceNormalize(False),
            lambda T: T.MeanVarianceNormalize(all_channel=False),
            lambda A: A.Normalize(normalization="image_per_channel", p=1),
        ),
        (
            "MinMaxNormalize",
            F.MinMaxNormalize(),
            lambda T: T.MinMaxNormalize(),
            lambda A: A.Normalize(normalization="min_max", p=1),
        ),
        (
            "... per channel",
            F.MinMaxNormalize(all_channel=False),
            lambda T: T.MinMaxNormalize(all_channel=False),
            lambda A: A.Normalize(normalization="min_max_per_channel", p=1),
        ),
        ("PoissonNoise", F.PoissonNoise(255), None, lambda A: A.ShotNoise((0.1, 0.1), p=1)),
        ("RandomApplyAug", F.RandomApplyAug(F.Identity(), 0.5), lambda T: T.RandomApplyAug(T.Identity(), 0.5), None),
        (
            "RandomChooseAug",
            F.RandomChooseAug([F.Identity(), F.Identity()]),
            lambda T: T.RandomChooseAug([T.Identity(), T.Identity()]),
            lambda A: A.OneOf([A.NoOp(p=1), A.NoOp(p=1)], p=1),
        ),
        ("RandomCrop", F.RandomCrop(224), lambda T: T.RandomCrop(224), lambda A: A.RandomCrop(224, 224, p=1)),
        (
            "RandomCropRandomShape",
            F.RandomCropRandomShape(100, max_size=200),
            lambda T: T.RandomCropRandomShape(100, 100, 200, 200),
            None,
        ),
        (
            "RandomCutout",
            F.RandomCutout(50, 50),
            lambda T: Copied(T.RandomCutout(50, 50)),
            lambda A: A.CoarseDropout((1, 1), (50, 50), (50, 50), p=1),
        ),
        (
            "RandomOrderAug",
            F.RandomOrderAug([F.Identity(), F.Identity()]),
            lambda T: T.RandomOrderAug([T.Identity(), T.Identity()]),
            lambda A: A.RandomOrder([A.NoOp(p=1), A.NoOp(p=1)], n=2, p=1),
        ),
        (
            "RandomPaste",
            F.RandomPaste(300),
            lambda T: T.RandomPaste((300, 300)),
            lambda A: A.PadIfNeeded(300, 300, position="random", border_mode=cv2.BORDER_CONSTANT, p=1),
        ),
        (
            "RandomResize",
            F.RandomResize((224, 224), (224, 224)),
            lambda T: T.RandomResize((0.875, 0.8751), (0.875, 0.8751)),
            lambda A: A.RandomScale((-0.125, -0.125), p=1),
        ),
        (
            "RandomResizedCrop",
            F.RandomResizedCrop(224, (0.5, 0.5)),
            lambda T: T.GoogleNetRandomCropAndResize((0.5, 0.5001)),
            lambda A: A.RandomResizedCrop((224, 224), (0.5, 0.5), p=1),
        ),
        ("Resize", F.Resize(224), lambda T: T.Resize(224), lambda A: A.Resize(224, 224, p=1)),
        (
            "ResizeShortestEdge",
            F.ResizeShortestEdge(224),
            lambda T: T.ResizeShortestEdge(224),
            lambda A: A.SmallestMaxSize(224, p=1),
        ),
        (
            "Rotation",
            F.Rotation(20),
            lambda T: T.Rotation(20),
            lambda A: A.Rotate(20, border_mode=cv2.BORDER_REPLICATE, p=1),
        ),
        (
            "RotationAndCropValid",
            F.RotationAndCropValid(20),
            lambda T: T.RotationAndCropValid(20),
            lambda A: A.Rotate(20, crop_border=True, p=1),
        ),
        (
            "SaltPepperNoise",
            F.SaltPepperNoise(0.01, 0.01),
            lambda T: Copied(T.SaltPepperNoise(0.01, 0.01)),
            lambda A: A.SaltAndPepper((0.02, 0.02), p=1),
        ),
        (
            "Saturation",
            F.Saturation(0.4),
            lambda T: T.Saturation(0.4),
            lambda A: A.ColorJitter((1, 1), (1, 1), (0.6, 1.4), (0, 0), p=1),
        ),
        (
            "Shift",
            F.Shift(0.1, 0.1),
            lambda T: T.Shift(0.1, 0.1),
            lambda A: A.Affine(translate_percent=(-0.1, 0.1), border_mode=cv2.BORDER_REPLICATE, p=1),
        ),
        ("ToFloat32", F.ToFloat32(), lambda T: T.ToFloat32(), None),
        ("ToFloat32 scaled", F.ToFloat32(1 / 255), None, lambda A: A.ToFloat(255, p=1)),
        ("ToUint8", F.ToUint8(), lambda T: T.ToUint8(), None),
        ("ToUint8 of floats", Floats(F.ToUint8(), 1.0), lambda T: Floats(T.ToUint8(), 1.0), None),
        (
            "ToUint8 of floats to 1",
            Floats(F.ToUint8(255), 1 / 255),
            None,
            lambda A: Floats(A.FromFloat("uint8", p=1), 1 / 255),
        ),
        ("Transpose", F.Transpose(prob=1), lambda T: T.Transpose(prob=1.0), lambda A: A.Transpose(p=1)),
    ]


class Floats:
    """An augmentor to be measured on the picture as float32, multiplied by ``scale``."""

    def __init__(self, augmentor, scale):
        self.augmentor, self.scale = augmentor, scale


class IntoBatch:
    """An augmentor to be measured with the copy of its result into the next place of a batch of 32."""

    def __init__(self, augmentor):
        self.augmentor = augmentor


class Copied:
    """An augmentor of Tensorpack that writes into its input or returns a view, measured with the copy that it needs."""

    def __init__(self, augmentor):
        self.augmentor = augmentor

    def augment(self, img):
        out = self.augmentor.augment(img)
        return out.copy()


def same(img):
    return img


def same_of_many(img, **kwargs):
    return img


def caller(made, img, rng):
    """A function without arguments that applies an augmentor of any of the libraries to the picture once."""
    if isinstance(made, Floats):
        made, img = made.augmentor, img.astype(np.float32) * np.float32(made.scale)
    if isinstance(made, IntoBatch):
        call = caller(made.augmentor, img, rng)
        return lambda: np.copyto(next(PLACES), call())
    if isinstance(made, F.Augmentor):
        return lambda: made.augment(img, rng)
    if hasattr(made, "augment"):
        return lambda: made.augment(img)
    return lambda: made(image=img)["image"]


def measure(calls, rounds):
    """Median seconds per call of each function; they take turns."""
    # As many calls in a turn as take about half a millisecond, so that the clock's own cost does not count.
    counts, times = [], [[] for _ in calls]
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        counts.append(max(3, int(5e-4 / max(time.perf_counter() - start, 1e-7))))
    for _ in range(rounds):
        for call, count, taken in zip(calls, counts, times, strict=True):
            start = time.perf_counter()
            for _ in range(count):
                call()
            taken.append((time.perf_counter() - start) / count)
    return [statistics.median(taken) for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=61)
    parser.add_argument("--only", default="", help="names, with commas between them")
    parser.add_argument("--write", type=Path, help="write the table into this Markdown file")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    keep_freed_memory()
    libraries = [import_tensorpack(), import_albumentations()]
    img = cv2.cvtColor(cv2.resize(cv2.imread(str(PHOTO)), (256, 256), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    rng = np.random.Generator(np.random.Philox(0))
    chosen = {name.strip() for name in args.only.split(",") if name.strip()}
    table, slower = [], []
    run = Run()
    for name, ours, *peers in rows():
        if chosen and name.split()[0] not in chosen:
            continue
        calls, places, cells, copied = [caller(ours, img, rng)], [], ["-", "-"], set()
        for place, (library, make) in enumerate(zip(libraries, peers, strict=True)):
            if library is None:
                cells[place] = "not installed" if make else "-"
                continue
            try:
                made = make and make(library)
                call = made and caller(made, img.copy(), rng)
                if call:
                    call()
            except Exception as error:  # a peer that does not work here is a row that says so
                cells[place] = type(error).__name__
                continue
            if call:
                calls.append(call)
                places.append(place)
                copied |= {place} if isinstance(made, Copied) else set()
        ours_took, *others = measure(calls, args.rounds)
        for place, took in zip(places, others, strict=True):
            cells[place] = f"{took * 1e6:.1f}{'*' if place in copied else ''}"
        ratio = ours_took / min(others) if others else None
        if ratio is not None and ratio > 1.1:
            slower.append(name)
        table.append([name, f"{ours_took * 1e6:.1f}", *cells, "" if ratio is None else f"{ratio:.2f}"])
    headers = ["us per call", "flowtrain", "Tensorpack", "albumentations", "ratio"]
    align = ("left", "right", "right", "right", "right")
    text = tabulate(table, headers, tablefmt="pipe", colalign=align, disable_numparse=True)
    text += f"\n\nSlower than 1.1 times the fastest peer: {', '.join(slower) or 'none'}."
    run.publish(f"{args.rounds} rounds", text, args.write)


if __name__ == "__main__":
    main()
