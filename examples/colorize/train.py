"""Colour grayscale photographs: a U-Net that predicts the ab channels of Lab from L.

python examples/colorize/train.py --demo          # the photographs in this folder, about 2 minutes on 2 cores
python examples/colorize/train.py --data FOLDER   # any folder of images; --full is the U-Net of NF=64 at 256x256
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
import tensorflow as tf

import flowtrain as ft
from flowtrain import BatchData, BNLeakyReLU, BNReLU, Conv2D, Deconv2D, imgaug, leaky_relu
from flowtrain.cli.options import Command

HERE = Path(__file__).parent
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def get_data(folder: str | Path, size: int, batch: int, training: bool, workers: int = 2) -> ft.DataFlow:
    """Batches of luminance (B, size, size, 1) and ab (B, size, size, 2), float32 in [-1, 1]."""
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    ds = ft.ImageFromFile(files, channel=3, shuffle=training, on_error="skip")
    if training:
        ds = ft.RepeatedData(ds, -(-20 * batch // len(ds)))  # an epoch is at least 20 batches of other crops
        crop = [
            imgaug.RandomResizedCrop(size, area_range=(0.1, 1.0)),
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


class Colorize(ft.ModelDesc):
    """The U-Net of pix2pix (Isola et al., CVPR 2017, arXiv 1611.07004), from L to ab.

    Args:
        size: Height and width of its inputs, a multiple of 2**levels.
        nf: Channels of the first level; doubled at each of the next three.
        levels: How many times the resolution is halved; 8 lead from 256x256 down to 1x1.
        learning_rate: Of Adam, at the start.
    """

    def __init__(self, size: int = 256, nf: int = 64, levels: int = 8, learning_rate: float = 2e-4) -> None:
        self.size, self.nf, self.levels, self.learning_rate = size, nf, levels, learning_rate

    def inputs(self):
        return [
            tf.TensorSpec((None, self.size, self.size, 1), tf.float32, "luminance"),
            tf.TensorSpec((None, self.size, self.size, 2), tf.float32, "ab"),
        ]

    def build_graph(self, luminance, ab):
        widths = [self.nf * min(2**level, 8) for level in range(self.levels)]
        with ft.argscope([Conv2D, Deconv2D], kernel_size=4, strides=2):
            x, skips = luminance, []
            for level, width in enumerate(widths, 1):
                plain = level in (1, self.levels)  # no batch norm on the input, nor on single pixels
                x = Conv2D(f"conv{level}", x, width, activation=leaky_relu if plain else BNLeakyReLU)
                skips.append(x)
            for level in range(self.levels - 1, 0, -1):
                x = Deconv2D(f"deconv{level}", x, widths[level - 1], activation=BNReLU)
                x = ft.Dropout(f"dropout{level}", x, rate=0.5)
                x = ft.ConcatWith(x, skips[level - 1], axis=-1)
            prediction = Deconv2D("prediction", x, 2, activation=tf.tanh)

        cost = tf.reduce_mean(tf.square(prediction - ab), name="l2_loss")
        ft.add_moving_summary(cost)
        ft.add_image_summary("colorized", ft.lab_to_rgb(luminance, prediction), max_outputs=10)
        return cost

    def optimizer(self):
        rate = ft.get_scalar_var("learning_rate", self.learning_rate, summary=True)
        return tf.keras.optimizers.Adam(rate, beta_1=0.5)


class OnlineExport(ft.Callback):
    """After each epoch, a picture: what the model sees, what it makes of it, and the truth, a row a photograph."""

    def __init__(self, ds: ft.DataFlow) -> None:
        self.luminance, self.ab = next(iter(ds))

    def setup_graph(self):
        self.predictor = self.trainer.get_predictor(["luminance"], ["prediction/output"])

    def trigger_epoch(self):
        (ab,) = self.predictor(self.luminance)
        shown = [np.concatenate(ft.lab_to_rgb(self.luminance, c), axis=0) for c in (0 * self.ab, np.array(ab), self.ab)]
        picture = np.rint(np.concatenate(shown, axis=1) * 255).astype(np.uint8)
        cv2.imwrite(str(self.trainer.log_dir / f"export{self.epoch_num:04d}.jpg"), picture[..., ::-1])  # BGR


def baselines(train_data: ft.DataFlow, valid_data: ft.DataFlow) -> dict[str, float]:
    """The ab-RMSE (in Lab units) on held-out pictures of two models that do not look at the picture."""
    mean = np.mean([ab.mean(axis=(0, 1, 2)) for _, ab in train_data], axis=0)
    truth = np.concatenate([ab for _, ab in valid_data])
    return {
        name: 110 * float(np.sqrt(np.mean((truth - guess) ** 2))) for name, guess in (("gray", 0), ("mean ab", mean))
    }


@click.command(cls=Command, help=__doc__)
@click.option("--data", type=click.Path(exists=True, file_okay=False), help="Folder of images to train on.")
@click.option("--valid", type=click.Path(exists=True, file_okay=False), help="Folder of held-out images.")
@click.option("--demo", is_flag=True, help="Train on the photographs in this folder.")
@click.option("--full", is_flag=True, help="The U-Net with NF=64 at 256x256, 8 levels.")
@click.option("--epochs", default=None, type=click.IntRange(1), help="Default: 40 for --demo, else 100.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Processes that prepare data.")
@click.option("--log-dir", default=None, help="Default: train_log/colorize, or the next free name beside it.")
@click.option("--resume", is_flag=True, help="Go on with the newest run, or with the one in --log-dir.")
def main(data, valid, demo, full, epochs, batch, workers, log_dir, resume):
    if not (demo or data):
        raise click.UsageError("say what to train on: --data FOLDER, or --demo for the photographs in this folder")
    size, nf, levels, rate = (256, 64, 8, 2e-4) if full else (128, 16, 5, 1e-3)
    epochs = epochs or (100 if data else 40)
    data, valid = data or HERE / "photos/train", valid or HERE / "photos/valid"
    train_data, valid_data = get_data(data, size, batch, True, workers), get_data(valid, size, batch, False)

    trainer = ft.train(
        ft.TrainConfig(
            model=Colorize(size, nf, levels, rate),
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

    rmse = [110 * loss**0.5 for _, loss in trainer.history["validation_l2_loss"]]
    print(f"\nvalidation ab-RMSE: {rmse[-1]:.2f} (at the best epoch {min(rmse):.2f})", end="")
    for name, value in baselines(train_data, valid_data).items():
        print(f", {name} {value:.2f}", end="")
    print()
    print(f"pictures     {trainer.log_dir}/export*.jpg")
    print(f"curves       {trainer.log_dir}/curves.png")
    print(f"TensorBoard  tensorboard --logdir {trainer.log_dir}")


if __name__ == "__main__":
    main()
