"""Colour grayscale photographs: a U-Net that sees L of Lab and says how likely each colour (a, b) is at each pixel.

python examples/colorize/train.py --demo          # the photographs in this folder, about 2 minutes on 2 cores
python examples/colorize/train.py --data FOLDER   # any folder of images; --full is the U-Net of NF=64 at 256x256
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import cv2
import numpy as np
import tensorflow as tf

import flowtrain as ft
from flowtrain import BatchData, BNLeakyReLU, BNReLU, Conv2D, Deconv2D, imgaug, leaky_relu
from flowtrain.cli.options import FOLDER, POSITIVE, Command

HERE = Path(__file__).parent
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
LAB = 110  # the network's a and b are those of Lab divided by this, so that they lie in [-1, 1]


def files_in(folder: str | Path) -> list[Path]:
    """All pictures in a folder and its subfolders, sorted by name."""
    found = [path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda path: (path.name, path))


def demo_files() -> tuple[list[Path], list[Path]]:
    """The photographs of this folder to train on, and the held-out ones: ``valid`` folders and ``train``'s lake."""
    files = files_in(HERE / "photos")
    held_out = [path for path in files if path.parent.name == "valid" or path.stem == "lake-sherburne"]
    return [path for path in files if path not in held_out], held_out


def get_data(files: Sequence[Path], size: int, batch: int, training: bool, workers: int = 2) -> ft.DataFlow:
    """Batches of luminance (B, size, size, 1) and ab (B, size, size, 2), float32 in [-1, 1]."""
    ds = ft.ImageFromFile(files, channel=3, shuffle=training, on_error="skip")
    if training:
        ds = ft.RepeatedData(ds, -(-20 * batch // len(ds)))  # an epoch has at least 20 batches, each of other crops
        crop = [
            imgaug.RandomResizedCrop(size, area_range=(0.3, 1.0)),
            imgaug.Flip(horiz=True),
            imgaug.BrightnessScale((0.7, 1.3)),
            imgaug.Brightness(20),
        ]
    else:
        crop = [imgaug.Resize((size, size))]
    ds = ft.AugmentImageComponent(ds, crop)
    ds = ft.MapData(ds, lambda dp: ft.rgb_to_lab(dp[0]))
    ds = BatchData(ds, batch, remainder=not training)
    return ft.PrefetchData(ds, num_prefetch=4, num_proc=workers) if training else ds


def color_classes(step: float = 20.0) -> np.ndarray:
    """The classes: points (a, b) of a grid that sRGB colours lie near, float32 (classes, 2), in the network's units.

    Args:
        step: Distance between neighbours, in units of Lab.
    """
    levels = np.linspace(0, 255, 40).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(40, -1, 3)
    points = np.rint(ft.rgb_to_ab(cube) * LAB / step).reshape(-1, 2)
    return (np.unique(points, axis=0) * step / LAB).astype(np.float32)


def soft_classes(ab: np.ndarray | tf.Tensor, classes: np.ndarray, spread: float = 10.0) -> tf.Tensor:
    """Soft labels: a Gaussian around each colour over the classes, float32 (..., classes) with sum 1.

    Args:
        ab: Colours, (..., 2).
        classes: float32 (classes, 2).
        spread: Standard deviation of the Gaussian, in units of Lab.
    """
    distance = tf.reduce_sum(tf.square(ab[..., None, :] - classes), axis=-1)
    return tf.nn.softmax(-distance * (LAB / spread) ** 2 / 2)


def color_statistics(files: Sequence[Path], uniform: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour and class weights of photographs, from at most 500 of them.

    Args:
        files: The photographs.
        uniform: 1: all classes have the same weight; 0: each has the inverse of its share of the pixels.

    Returns:
        The mean colour, float32 (2,), and the weights of the classes, float32 (classes,). Rare colours weigh more
        (Zhang et al., equation 4): else the network would learn that almost everything is almost gray.
    """
    ds = ft.ImageFromFile(files[:: -(-len(files) // 500)], channel=3, min_size=64, on_error="skip")
    ds = ft.AugmentImageComponent(ds, [imgaug.Resize((32, 32), interpolation="area")])
    ab, classes = np.stack([ft.rgb_to_ab(picture) for (picture,) in ds]), color_classes()
    shares = np.mean([np.mean(soft_classes(one, classes), axis=(0, 1)) for one in ab], axis=0)
    weights = 1 / ((1 - uniform) * shares + uniform / len(classes))
    return ab.mean(axis=(0, 1, 2)), (weights / np.sum(weights * shares)).astype(np.float32)


class Colorize(ft.ModelDesc):
    """A U-Net from L to a distribution over colour classes for each pixel, at a quarter of the resolution.

    The network is that of pix2pix (Isola et al., CVPR 2017, arXiv 1611.07004); the cost is that of Zhang et al.,
    "Colorful Image Colorization" (ECCV 2016, arXiv 1603.08511). A network that minimized the squared error would learn
    the mean of all colours that a thing may have, which is nearly gray; a distribution keeps them apart.

    Args:
        size: Height and width of the inputs, a multiple of 2**levels.
        nf: Channels of the first level; doubled at each of the next three.
        levels: How many times the resolution is halved; 8 lead from 256x256 down to 1x1.
        learning_rate: The initial one, of Adam.
        weights: Weight of each class in the cost, see `color_statistics`; None: all equal. Used in training only.
    """

    def __init__(
        self,
        size: int = 256,
        nf: int = 64,
        levels: int = 8,
        learning_rate: float = 2e-4,
        weights: np.ndarray | None = None,
    ) -> None:
        self.size, self.nf, self.levels, self.learning_rate = size, nf, levels, learning_rate
        self.classes = color_classes()
        self.weights = np.ones(len(self.classes), np.float32) if weights is None else weights

    def inputs(self):
        return [
            tf.TensorSpec((None, self.size, self.size, 1), tf.float32, "luminance"),
            tf.TensorSpec((None, self.size, self.size, 2), tf.float32, "ab"),
        ]

    def build_graph(self, luminance, ab):
        widths = [self.nf * min(2**level, 8) for level in range(self.levels)]
        x, skips = luminance, []
        with ft.argscope([Conv2D, Deconv2D], kernel_size=4, strides=2):
            for level, width in enumerate(widths, 1):
                plain = level in (1, self.levels)  # no batch norm on the input, nor on single pixels
                x = Conv2D(f"conv{level}", x, width, activation=leaky_relu if plain else BNLeakyReLU)
                skips.append(x)
            for level in range(self.levels - 1, 1, -1):
                x = Deconv2D(f"deconv{level}", x, widths[level - 1], activation=BNReLU)
                x = ft.Dropout(f"dropout{level}", x, rate=0.3)
                x = ft.ConcatWith(x, skips[level - 1], axis=-1)
        logits = Conv2D("logits", x, len(self.classes), kernel_size=1)

        mean = tf.tensordot(tf.nn.softmax(logits), self.classes, 1)
        prediction = tf.identity(tf.image.resize(mean, (self.size, self.size)), name="prediction/output")

        target = soft_classes(tf.nn.avg_pool2d(ab, 4, 4, "VALID"), self.classes)
        entropy = tf.nn.softmax_cross_entropy_with_logits(target, logits)
        cost = tf.reduce_mean(tf.tensordot(target, self.weights, 1) * entropy, name="color_loss")
        ft.add_moving_summary(cost, tf.reduce_mean(tf.square(prediction - ab), name="l2_loss"))
        ft.add_image_summary("colorized", ft.lab_to_rgb(luminance, prediction), max_outputs=10)
        return cost

    def optimizer(self):
        return tf.keras.optimizers.Adam(ft.get_scalar_var("learning_rate", self.learning_rate, summary=True))


class OnlineExport(ft.Callback):
    """Writes a picture after each epoch, with a row for each photograph: gray input, prediction, true colours."""

    def __init__(self, ds: ft.DataFlow) -> None:
        self.luminance, self.ab = next(iter(ds))

    def setup_graph(self):
        self.predictor = self.trainer.get_predictor(["luminance"], ["prediction/output"])

    def trigger_epoch(self):
        (ab,) = self.predictor(self.luminance)
        shown = [np.concatenate(ft.lab_to_rgb(self.luminance, c), axis=0) for c in (0 * self.ab, np.array(ab), self.ab)]
        picture = np.rint(np.concatenate(shown, axis=1) * 255).astype(np.uint8)
        cv2.imwrite(str(self.trainer.log_dir / f"export{self.epoch_num:04d}.jpg"), picture[..., ::-1])  # BGR


def scores(truth: np.ndarray, guess: np.ndarray) -> dict[str, float]:
    """Measures of how near colours are to the true ones.

    Args:
        truth: True colours, float32 (..., 2), in the network's units.
        guess: Predicted colours, of a shape that broadcasts to that of `truth`.

    Returns:
        ``ab-RMSE``: root mean square error of a and b, in units of Lab. ``PSNR``: the same in dB, for a peak of 220.
        ``AuC``: area under the curve of the share of pixels whose distance in the plane of a and b is at most t, for t
        from 0 to 150, in percent (Zhang et al., section 3.1). ``chroma``: mean chroma in percent of the true one; 0 is
        gray.
    """
    error = LAB * np.sqrt(np.sum((guess - truth) ** 2, axis=-1))
    rmse = float(np.sqrt(np.mean(error**2) / 2))
    chroma = np.linalg.norm(np.broadcast_to(guess, truth.shape), axis=-1).mean() / np.linalg.norm(truth, axis=-1).mean()
    within = np.mean([np.mean(error <= t) for t in range(151)])
    return {"ab-RMSE": rmse, "PSNR": 20 * np.log10(220 / rmse), "AuC": 100 * within, "chroma": 100 * chroma}


@click.command(cls=Command, help=__doc__)
@click.option("--data", type=FOLDER, help="Folder of images to train on.")
@click.option("--valid", type=FOLDER, help="Folder of held-out images.")
@click.option("--demo", is_flag=True, help="Train on the photographs in this folder.")
@click.option("--full", is_flag=True, help="The U-Net with NF=64 at 256x256, 8 levels.")
@click.option("--epochs", default=None, type=POSITIVE, help="Default: 20 for --demo, else 100.")
@click.option("--batch", type=POSITIVE, default=16, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Processes that prepare data.")
@click.option("--log-dir", default=None, help="Default: train_log/colorize, or the next free name beside it.")
@click.option("--resume", is_flag=True, help="Go on with the newest run, or with the one in --log-dir.")
def main(data, valid, demo, full, epochs, batch, workers, log_dir, resume):
    if not (demo or data):
        raise click.UsageError("say what to train on: --data FOLDER, or --demo for the photographs in this folder")
    size, nf, levels, rate = (256, 64, 8, 2e-4) if full else (128, 16, 5, 1e-3)
    epochs = epochs or (100 if data else 20)
    files, held_out = demo_files()
    files, held_out = files_in(data) if data else files, files_in(valid) if valid else held_out
    train_data, valid_data = get_data(files, size, batch, True, workers), get_data(held_out, size, batch, False)
    mean, weights = color_statistics(files)

    trainer = ft.train(
        ft.TrainConfig(
            model=Colorize(size, nf, levels, rate, weights),
            dataflow=train_data,
            callbacks=[
                ft.ModelSaver(),
                OnlineExport(valid_data),
                ft.InferenceRunner(valid_data, [ft.ScalarStats("l2_loss")]),
                ft.MinSaver("validation_l2_loss", name="best"),
                ft.ScheduledHyperParamSetter("learning_rate", ft.schedules.cosine(rate, epochs)),
            ],
            max_epoch=epochs,
            log_dir=log_dir or ft.auto_set_dir("colorize", resume),
        ),
        resume="auto" if resume else None,
    )

    predictor = trainer.get_predictor(["luminance"], ["prediction/output"])
    batches = [(ab, np.asarray(predictor(luminance)[0])) for luminance, ab in valid_data]
    truth, predicted = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    print(f"\n{len(truth)} held-out photographs    ab-RMSE      PSNR      AuC   chroma")
    for name, guess in (("all gray", 0), ("the mean colour", mean), ("this network", predicted)):
        rmse, psnr, area, chroma = scores(truth, guess).values()
        print(f"{name:24} {rmse:9.2f} {psnr:6.2f} dB {area:6.2f} % {chroma:6.0f} %")
    print(f"pictures     {trainer.log_dir}/export*.jpg")
    print(f"curves       {trainer.log_dir}/curves.png")
    print(f"TensorBoard  tensorboard --logdir {trainer.log_dir}")


if __name__ == "__main__":
    main()
