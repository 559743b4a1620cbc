"""``flowtrain predict``: run a model over pictures, rasters and arrays."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from ..predict import LoadedPredictor, tiled
from ..predict.named_graph import as_graph
from ..predict.placing import placements
from .options import LocalPath, distinct
from .pictures import Reader, check_size, write_result
from .source import model_options, open_source

__all__ = ["command"]


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> list[int] | None:
    """Parse ``1,2,4``."""
    try:
        return [int(each) for each in value.split(",")] if value else None
    except ValueError:
        raise click.BadParameter(f"expected numbers with commas between, as in 3,2,1; got {value!r}") from None


@click.command("predict")
@click.argument("source", type=click.Path())
@click.argument("files", nargs=-1, required=True, type=LocalPath(exists=True, dir_okay=False))
@model_options
@click.option(
    "-i", "--input", "inputs", multiple=True, metavar="NAME", help="An input; repeatable. Default: as needed."
)
@click.option("-o", "--output", "outputs", multiple=True, metavar="NAME", help="An output; repeatable.")
@click.option("--out", "folder", default="predicted", show_default=True, type=LocalPath(file_okay=False))
@click.option(
    "--range", "span", nargs=2, type=float, default=(0.0, 255.0), show_default=True, metavar="BLACK WHITE",
    help="What black and white of a picture are to the model, on the way in and out.",
)  # fmt: skip
@click.option("--npy", is_flag=True, help="Write arrays (.npy), never pictures or rasters.")
@click.option("--bands", callback=_numbers, metavar="1,2,...", help="Which bands of a raster to give, from 1.")
@click.option("--gray", is_flag=True, help="Convert coloured pictures for a model that takes gray ones.")
@click.option(
    "--tile",
    "--efield",
    type=click.IntRange(1),
    help="Run in tiles that contribute so many pixels each (expression field).",
)
@click.option("--margin", type=click.IntRange(0), help="Pixels around a tile. [default: 32]")
@click.option(
    "--rfield", type=click.IntRange(1), help="Instead of --margin: the whole size of a tile (receptive field)."
)
@click.option(
    "--align", type=click.IntRange(1), default=16, show_default=True, help="The product of the model's strides."
)
def command(
    source: str,
    files: tuple[str, ...],
    model: str | None,
    args: tuple[str, ...],
    signature: str | None,
    averaged: bool,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    folder: str,
    span: tuple[float, float],
    npy: bool,
    bands: list[int] | None,
    gray: bool,
    tile: int | None,
    margin: int | None,
    rfield: int | None,
    align: int,
) -> None:
    """Run the model of SOURCE over FILES, one after the other.

    FILES are pictures, rasters (.tif, .jp2), .npy arrays, or .npz with an array for each input. Outputs that look like
    pictures (1 or 3 channels) are written as .png, others as .npy; those of a raster as .tif, in its place on earth:

        flowtrain predict denoise.pb noisy/*.png --range -0.5 0.5 --tile 256

        flowtrain predict saved_model scene.tif -o predictions_crop32 --efield 64 --rfield 128

    A raster's numbers are given to the model as they are; --range is for 8-bit pictures.
    """
    if tile is None and (margin is not None or rfield is not None):
        raise click.UsageError("--margin and --rfield are about tiles: give --tile as well.")
    graph = as_graph(open_source(source, model, args, signature, averaged), averaged)
    predictor = LoadedPredictor(graph, list(inputs) or None, list(outputs) or None)
    read = Reader(predictor, (span[0], span[1]), bands, gray)
    target = Path(folder)
    stems = distinct(files, [target / Path(name).stem for name in files])
    for name, stem in zip(tqdm(files, desc="predict", unit="file"), stems, strict=True):
        given = read(Path(name))
        if tile:
            results = tiled(predictor, given.arrays, tile, margin, align, receptive=rfield)
        else:
            check_size(predictor, Path(name), given, align)
            results = [_one(output) for output in predictor(*(np.asarray(array)[None] for array in given.arrays))]
        # Only a raster has a place on earth to keep; for pictures the graph need not be followed.
        places = (placements(predictor) if given.raster else None) or [None] * len(results)
        target.mkdir(parents=True, exist_ok=True)  # only now: if the first file is refused, no empty folder is left
        for output, result, place in zip(predictor.outputs, results, places, strict=True):
            extra = "" if len(results) == 1 else "-" + output.replace("/", "_").replace(":", "_")
            write_result(stem.with_name(stem.name + extra), np.asarray(result), given, place, read.span, npy)


def _one(output: object) -> np.ndarray:
    output = np.asarray(output)
    return output[0] if output.ndim else output  # a scalar (a cost) has no batch axis
