"""Find vegetation in a satellite scene from its blue, green and red bands, with a fully convolutional network.

\b
python landcover.py train sentinel2.npz              # rows < 1000 to train, the others to test
python landcover.py evaluate RUN sentinel2.npz       # beside logistic regression and boosted trees
python landcover.py map RUN sentinel2.npz map.png    # the whole scene, tile by tile
python landcover.py export RUN saved_model           # with cropped outputs predictions_crop16 ... 128
"""

from __future__ import annotations

import click
import cv2
import numpy as np
import tensorflow as tf
from data import TRAIN_ROWS, read_scene, training_data, vegetation
from network import STRIDE, LandCover

import flowtrain as ft

OUTPUT = "predictions_softmax_tensor"


def iou(truth: np.ndarray, found: np.ndarray) -> float:
    """Intersection over union (Jaccard, 1912) of the pixels of class 1."""
    truth, found = truth.astype(bool), found.astype(bool)
    return float((truth & found).sum() / max((truth | found).sum(), 1))


def load(run: str):
    """The predictor of a run's newest checkpoint."""
    bands = ft.read_checkpoint(run)["conv1/kernel"].shape[2]
    return ft.OfflinePredictor(ft.PredictConfig(LandCover(bands), run, ["bands"], [OUTPUT]))


def probabilities(predictor, bands: np.ndarray) -> np.ndarray:
    """float32 (H, W, classes) of a whole scene, whatever its size."""
    (result,) = ft.tiled(predictor, bands.astype(np.float32), expression=512, margin=64, align=STRIDE)
    return result


def pixelwise(train_bands, train_labels, test_bands, pixels: int = 200_000) -> dict[str, np.ndarray]:
    """What classifiers that see one pixel at a time find; each name with its labels of the test part."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = train_bands.reshape(-1, train_bands.shape[-1]).astype(np.float32), train_labels.ravel()
    chosen = np.random.default_rng(0).choice(len(x), min(pixels, len(x)), replace=False)
    models = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
        "gradient-boosted trees": HistGradientBoostingClassifier(max_iter=200),
    }
    flat = test_bands.reshape(-1, test_bands.shape[-1]).astype(np.float32)
    return {
        name: model.fit(x[chosen], y[chosen]).predict(flat).reshape(test_bands.shape[:2])
        for name, model in models.items()
    }


@click.group(help=__doc__)
def main():
    pass


@main.command()
@click.argument("scene", type=click.Path(exists=True))
@click.option("--epochs", default=20, show_default=True)
@click.option("--steps", default=200, show_default=True, help="Steps an epoch.")
@click.option("--batch", default=16, show_default=True)
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option("--mirrored", is_flag=True, help="Train on all GPUs of this machine.")
@click.option("--log-dir", default=None)
@click.option("--resume", is_flag=True)
def train(scene, epochs, steps, batch, learning_rate, mirrored, log_dir, resume):
    """Train on the upper rows of SCENE."""
    bands, labels = vegetation(read_scene(scene)[:TRAIN_ROWS])
    rate = ft.schedules.cosine(learning_rate, epochs)
    trainer = ft.train(
        ft.TrainConfig(
            model=LandCover(bands.shape[-1], learning_rate),
            dataflow=training_data(bands, labels, batch, steps),
            callbacks=[ft.ModelSaver(), ft.ScheduledHyperParamSetter("learning_rate", rate)],
            max_epoch=epochs,
            strategy=tf.distribute.MirroredStrategy() if mirrored else None,
            log_dir=log_dir or ft.auto_set_dir("landcover"),
        ),
        resume="auto" if resume else None,
    )
    click.echo(f"checkpoints in {trainer.log_dir}")


@main.command()
@click.argument("run", type=click.Path(exists=True))
@click.argument("scene", type=click.Path(exists=True))
def evaluate(run, scene):
    """Compare with per-pixel classifiers on the lower rows of SCENE."""
    bands, labels = vegetation(read_scene(scene))
    train, test = slice(None, TRAIN_ROWS), slice(TRAIN_ROWS, None)
    truth = labels[test][..., 0]
    found = pixelwise(bands[train], labels[train], bands[test])
    found["fully convolutional network"] = probabilities(load(run), bands[test]).argmax(-1)
    for name, labels in found.items():
        click.echo(f"{name:30s} IoU {iou(truth, labels):.4f}   accuracy {np.mean(truth == labels):.4f}")


@main.command("map")
@click.argument("run", type=click.Path(exists=True))
@click.argument("scene", type=click.Path(exists=True))
@click.argument("target", type=click.Path(dir_okay=False))
def map_command(run, scene, target):
    """Write a map of the whole SCENE: PNG in colours, or GeoTIFF (.tif) of probabilities."""
    bands = read_scene(scene)[..., :3]
    result = probabilities(load(run), bands)
    if target.endswith((".tif", ".tiff")):
        write_geotiff(target, result, like=scene)
    else:
        light = np.clip(bands.astype(np.float32) / 2500, 0, 1) ** (1 / 1.8) * 255
        green = np.array([60, 200, 60], np.float32)
        share = result[..., 1:] * 0.6
        cv2.imwrite(target, np.concatenate([light, light * (1 - share) + green * share], axis=1).astype(np.uint8))
    click.echo(f"wrote {target}")


def write_geotiff(target: str, values: np.ndarray, like: str) -> None:
    """Write (H, W, C) with the place on earth of another raster, where that one has it."""
    import rasterio

    place = {}
    if like.endswith((".tif", ".tiff")):
        with rasterio.open(like) as file:
            place = {"crs": file.crs, "transform": file.transform}
    height, width, count = values.shape
    with rasterio.open(
        target, "w", driver="GTiff", height=height, width=width, count=count, dtype=values.dtype, **place
    ) as file:
        file.write(np.moveaxis(values, -1, 0))


@main.command()
@click.argument("run", type=click.Path(exists=True))
@click.argument("target", type=click.Path())
def export(run, target):
    """Write a SavedModel whose outputs are also there with 16 to 128 pixels cut off at each side."""
    outputs = [OUTPUT, *(f"{OUTPUT}_crop{size}" for size in (16, 32, 64, 128))]
    ft.export(load(run), target, ["bands"], outputs, format="saved_model")
    click.echo(f"wrote {target}")


if __name__ == "__main__":
    main()
