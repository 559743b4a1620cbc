"""Find vegetation in a satellite scene from its blue, green and red bands, with a fully convolutional network.

\b
python landcover.py train sentinel2.npz              # rows < 1000 to train, the others to test
python landcover.py evaluate RUN sentinel2.npz       # beside logistic regression and boosted trees; or another scene
python landcover.py map RUN sentinel2.npz map.png    # the whole scene, tile by tile; map.tif: probabilities
python landcover.py export RUN saved_model           # with cropped outputs predictions_crop16 ... 128; map takes it too
python landcover.py make-patches sentinel2.npz patches --form tfrecords    # then: train patches
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np
import tensorflow as tf
from data import GEOTIFF, TRAIN_ROWS, checksum, read_raster, vegetation, write_raster
from network import MARGIN, STRIDE, LandCover
from patches import (
    RandomPatches,
    grid,
    patches_of,
    stacked,
    training_data,
    write_patches_images,
    write_tfrecords,
)

import flowtrain as ft
from flowtrain.cli.options import POSITIVE, RATE, Group, NewPath, write_picture
from flowtrain.metrics import BinaryCounts
from flowtrain.utils.files import write_whole

OUTPUT = "predictions_softmax_tensor"
CROPS = (16, 32, 64, 96, 128)
FACTS = "trained_on.json"  # file in a run's folder that says which data it was trained on


def load(run: str, output: str = OUTPUT):
    """The predictor of a run's newest checkpoint, or of a SavedModel, .pb, .keras or .meta file."""
    if Path(run, "saved_model.pb").exists() or Path(run).suffix in (".pb", ".keras", ".meta"):
        return ft.load_predictor(run, ["bands"], [output])
    bands = ft.read_checkpoint(run)["conv1/kernel"].shape[2]
    return ft.OfflinePredictor(ft.PredictConfig(LandCover(bands), run, ["bands"], [output]))


def probabilities(predictor, bands: np.ndarray, expression: int = 512, receptive: int | None = None) -> np.ndarray:
    """float32 (H, W, classes) of a whole scene, whatever its size, tile by tile.

    Args:
        predictor: From bands to probabilities.
        bands: (H, W, C).
        expression: How many pixels of height and width a tile contributes.
        receptive: The whole size of a tile; None: a margin of 64 pixels on each side.
    """
    margin = MARGIN if receptive is None else None
    options = {"expression": expression, "margin": margin, "receptive": receptive, "align": STRIDE}
    (result,) = ft.tiled(predictor, bands.astype(np.float32), **options)
    return result


def pixelwise(train_bands, train_label, test_bands, pixels: int = 200_000) -> dict[str, np.ndarray]:
    """Train classifiers that see one pixel at a time, for comparison; returns name -> predicted labels (H, W).

    Args:
        train_bands: Pixels, (N, C).
        train_label: Their labels, (N,).
        test_bands: The scene to label, (H, W, C).
        pixels: How many of the N pixels to train on, drawn at random.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = train_bands.astype(np.float32), train_label
    chosen = np.random.default_rng(0).choice(len(x), min(pixels, len(x)), replace=False)
    models = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
        "gradient-boosted trees": HistGradientBoostingClassifier(max_iter=200, random_state=0),
    }
    flat = test_bands.reshape(-1, test_bands.shape[-1]).astype(np.float32)
    return {
        name: model.fit(x[chosen], y[chosen]).predict(flat).reshape(test_bands.shape[:2])
        for name, model in models.items()
    }


def coloured(bands: np.ndarray, result: np.ndarray) -> np.ndarray:
    """The scene, and beside it the scene with the found vegetation in green: uint8 (H, 2 W, 3), RGB."""
    dark, bright = np.percentile(bands, (1, 99), axis=(0, 1))
    light = np.clip((bands - dark) / (bright - dark), 0, 1) ** (1 / 1.4) * 255
    share = result[..., 1:] * 0.6
    green = np.array([60, 200, 60], np.float32)
    return np.concatenate([light, light * (1 - share) + green * share], axis=1)[..., ::-1].astype(np.uint8)


@click.group(cls=Group, help=__doc__)
def main():
    pass


source = click.argument("source", type=click.Path(exists=True))
scene = click.argument("scene", type=click.Path(exists=True, dir_okay=False))
run = click.argument("run", type=click.Path(exists=True))


@main.command()
@source
@click.option("--valid", type=click.Path(exists=True), help="A folder of patches to validate on; a scene has its own.")
@click.option("--epochs", type=POSITIVE, default=30, show_default=True)
@click.option(
    "--steps", default=None, type=POSITIVE, help="Of an epoch; default: 300 for a scene, all patches for a folder."
)
@click.option("--batch", type=POSITIVE, default=16, show_default=True)
@click.option("--learning-rate", type=RATE, default=4e-3, show_default=True)
@click.option("--mirrored", is_flag=True, help="Train on all GPUs of this machine.")
@click.option("--log-dir", default=None)
@click.option("--resume", is_flag=True, help="Go on with the newest run, or with the one in --log-dir.")
def train(source, valid, epochs, steps, batch, learning_rate, mirrored, log_dir, resume):
    """Train on the upper rows of a scene, or on a folder of patches."""
    rate = ft.schedules.cosine(learning_rate, epochs)
    callbacks = [ft.ModelSaver(), ft.ScheduledHyperParamSetter("learning_rate", rate)]
    facts, held_out = {"source": str(Path(source).absolute())}, None
    if Path(source).is_dir():
        patches = patches_of(source, shuffle=True)
    else:
        pixels = read_raster(source)
        facts["checksum"] = checksum(pixels)
        bands, label = vegetation(pixels)
        steps = steps or 300
        patches = RandomPatches(bands[:TRAIN_ROWS], label[:TRAIN_ROWS], size=steps * batch)
        rest = [grid(raster[TRAIN_ROWS:]) for raster in (bands, label)]
        held_out = ft.DataFromArrays(*rest) if len(rest[0]) else None
    if valid:
        held_out = patches_of(valid, shuffle=False)
    if held_out is not None:
        batches = ft.BatchData(held_out, 32, remainder=True)
        callbacks.append(ft.InferenceRunner(batches, [ft.BinaryClassificationStats("vegetation", "label")]))
    trainer = ft.train(
        ft.TrainConfig(
            model=LandCover(patches.get(0)[0].shape[-1], learning_rate),
            dataflow=training_data(patches, batch),
            callbacks=callbacks,
            steps_per_epoch=steps,
            max_epoch=epochs,
            strategy=tf.distribute.MirroredStrategy() if mirrored else None,
            log_dir=log_dir or ft.auto_set_dir("landcover", resume),
        ),
        resume="auto" if resume else None,
    )
    write_whole(Path(trainer.log_dir, FACTS), json.dumps(facts))
    click.echo(f"checkpoints in {trainer.log_dir}")


def trained_on(run: str, given: str | None, scene: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """The pixels that a run was trained on: bands (N, C), labels (N,); and whether they are `scene`'s upper part."""
    folder = Path(run).absolute()  # the folder of the run, or of one of its checkpoints, two levels further down
    noted = next((path / FACTS for path in (folder, *folder.parents[:2]) if (path / FACTS).exists()), None)
    facts = json.loads(noted.read_text()) if noted else {}
    path = given or facts.get("source")
    if not given and facts.get("checksum") == checksum(scene):
        pixels = scene
    elif path is None or not Path(path).exists():
        raise ft.FlowtrainError(
            f"what {run} was trained on is not there ({path}): say it with --trained-on, so that the per-pixel "
            "classifiers learn from the same"
        )
    elif Path(path).is_dir():
        rows = [list(column) for column in zip(*patches_of(path, shuffle=False), strict=True)]
        return np.concatenate([x.reshape(-1, x.shape[-1]) for x in rows[0]]), np.concatenate(rows[1], None), False
    else:
        pixels = read_raster(path)
    bands, label = (raster[:TRAIN_ROWS] for raster in vegetation(pixels))
    return bands.reshape(-1, bands.shape[-1]), label.ravel(), checksum(pixels) == checksum(scene)


@main.command()
@run
@scene
@click.option(
    "--trained-on",
    "trained_on_",
    type=click.Path(exists=True),
    help="The scene or folder; default: as the run noted it.",
)
def evaluate(run, scene, trained_on_):
    """Compare with per-pixel classifiers: on the lower rows of the SCENE trained on, or on all of another."""
    pixels = read_raster(scene)
    known_bands, known_label, same = trained_on(run, trained_on_, pixels)
    bands, label = (raster[TRAIN_ROWS if same else 0 :] for raster in vegetation(pixels))
    if not len(bands):
        raise ft.FlowtrainError(f"{scene} was trained on whole: it has no more than {TRAIN_ROWS} rows")
    found = pixelwise(known_bands, known_label, bands)
    found["fully convolutional network"] = probabilities(load(run), bands).argmax(-1)
    click.echo(f"{'':30s}    IoU  precision  recall  accuracy")
    for name, labels in found.items():
        counts = BinaryCounts()
        counts.add(labels=label[..., 0], predictions=labels)
        click.echo(
            f"{name:30s} {counts.iou:.4f}     {counts.precision:.4f}  {counts.recall:.4f}    {counts.accuracy:.4f}"
        )


@main.command("map")
@run
@scene
@click.argument("target", type=NewPath(".png", ".jpg", ".tif", ".tiff"))
@click.option("--output", default=OUTPUT, show_default=True, help="Another output, such as predictions_crop32.")
@click.option("--efield", type=POSITIVE, default=512, show_default=True, help="Pixels that a tile contributes.")
@click.option("--rfield", type=POSITIVE, default=None, help="The whole size of a tile; default: --efield + 128.")
def map_command(run, scene, target, output, efield, rfield):
    """Write a map of the whole SCENE: a picture, or a GeoTIFF (.tif) of probabilities, placed as SCENE is.

    RUN is a run, or what `export` wrote of one.
    """
    predictor = load(run, output)
    bands = read_raster(scene)
    count = predictor.specs[0].shape[-1]
    if bands.ndim != 3 or bands.shape[2] < count:
        raise ft.FlowtrainError(f"{scene} holds {bands.dtype} {bands.shape}; the model takes its first {count} bands")
    bands = bands[..., :count]
    started = time.monotonic()
    result = probabilities(predictor, bands, efield, rfield)
    seconds = time.monotonic() - started
    if target.suffix.lower() in GEOTIFF:
        write_raster(target, result, like=scene)
    else:
        write_picture(target, coloured(bands, result))
    click.echo(f"wrote {target}: {bands.shape[0]} x {bands.shape[1]} pixels in {seconds:.1f} s")


@main.command()
@run
@click.argument("target", type=NewPath(replace=False))
def export(run, target):
    """Write a SavedModel whose output is also there with 16 to 128 pixels cut off at each side."""
    outputs = [OUTPUT, *(f"predictions_crop{pixels}" for pixels in CROPS)]
    predictor = load(run)
    side = 2 * max(CROPS) + STRIDE  # so that something is left to compare
    batch = [np.random.default_rng(0).uniform(0, 5000, (1, side, side, predictor.specs[0].shape[-1]))]
    ft.export(predictor, target, ["bands"], outputs, format="saved_model", batch=batch)
    click.echo(f"wrote {target}: {', '.join(outputs)}")


@main.command("make-patches")
@scene
@click.argument("folder", type=NewPath(replace=False))
@click.option("--form", type=click.Choice(["npy", "tif", "tfrecords"]), default="tfrecords", show_default=True)
@click.option("--size", type=POSITIVE, default=64, show_default=True, help="Height and width of a patch.")
@click.option("--per-file", type=POSITIVE, default=100, show_default=True, help="Patches in a TFRecord file.")
@click.option("--lower", is_flag=True, help="The lower rows, to validate on, instead of the upper ones.")
def make_patches(scene, folder, form, size, per_file, lower):
    """Cut the upper rows of SCENE into patches: rasters of stacked patches, or TFRecord shards."""
    rows = slice(TRAIN_ROWS, None) if lower else slice(TRAIN_ROWS)
    bands, label = (grid(raster[rows], size) for raster in vegetation(read_raster(scene)))
    if not len(bands):
        raise ft.FlowtrainError(f"{scene} has no patch of {size} x {size} pixels in these rows")
    if form == "tfrecords":
        write_tfrecords(folder, bands, label, per_file)
    else:
        write_patches_images(folder, bands, label, f".{form}")
    click.echo(f"{len(bands)} patches in {folder}; stacked they are a raster of {stacked(bands).shape}")


if __name__ == "__main__":
    main()
