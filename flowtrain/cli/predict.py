"""``flowtrain predict``: run a model over pictures and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from tqdm import tqdm

from ..predict import LoadedPredictor, read_weights, tiled
from ..predict.live import as_graph
from ..utils.errors import ConfigError
from .source import model_options, open_source

__all__ = ["command"]


@click.command("predict")
@click.argument("source", type=click.Path())
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@model_options
@click.option("--averaged", is_flag=True, help="Use the averages of the weights that the model keeps.")
@click.option(
    "-i", "--input", "inputs", multiple=True, metavar="NAME", help="An input; repeatable. Default: as needed."
)
@click.option("-o", "--output", "outputs", multiple=True, metavar="NAME", help="An output; repeatable.")
@click.option("--out", "folder", default="predicted", show_default=True, type=click.Path(file_okay=False))
@click.option(
    "--range", "span", nargs=2, type=float, default=(0.0, 255.0), show_default=True, metavar="BLACK WHITE",
    help="What black and white of a picture are to the model, on the way in and out.",
)  # fmt: skip
@click.option("--npy", is_flag=True, help="Write arrays (.npy), never pictures.")
@click.option("--tile", type=click.IntRange(1), help="Run in tiles that contribute so many pixels each.")
@click.option("--margin", default=32, show_default=True, help="Pixels around a tile.")
@click.option("--align", default=16, show_default=True, help="The product of the model's strides.")
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
    tile: int | None,
    margin: int,
    align: int,
) -> None:
    """Run the model of SOURCE over FILES, one after the other.

    FILES are pictures, .npy arrays, or .npz with an array for each input. Outputs that look like pictures (1 or 3
    channels) are written as .png, others as .npy:

        flowtrain predict denoise.pb noisy/*.png --range -0.5 0.5 --tile 256
    """
    graph = as_graph(open_source(source, model, args, signature, averaged), averaged)
    predictor = LoadedPredictor.of(graph, list(inputs) or None, list(outputs) or None)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name in tqdm(files, desc="predict", unit="file"):
        given = _read(Path(name), predictor, span)
        results = (
            tiled(predictor, given, tile, margin, align) if tile else [_one(y) for y in predictor(*_batched(given))]
        )
        for output, result in zip(predictor.outputs, results, strict=True):
            extra = "" if len(results) == 1 else "-" + output.replace("/", "_").replace(":", "_")
            _write(target / (Path(name).stem + extra), np.asarray(result), span, npy)


def _read(path: Path, predictor: LoadedPredictor, span: tuple[float, float]) -> list[np.ndarray]:
    """One array for each input, without a batch dimension."""
    if path.suffix == ".npz":
        arrays = read_weights(path)
        missing = [name for name in predictor.inputs if name not in arrays]
        if missing:
            raise ConfigError(f"{path} has no array {missing[0]!r}; it has {', '.join(arrays)}.")
        return [arrays[name] for name in predictor.inputs]
    if len(predictor.inputs) > 1:
        raise ConfigError(f"The model needs {predictor.inputs}: give .npz files with an array for each.")
    if path.suffix == ".npy":
        try:
            return [np.load(path, allow_pickle=False)]
        except (ValueError, OSError, EOFError) as error:
            raise ConfigError(f"{path} is no array of numbers, or it is damaged ({error}).") from None
    channels = predictor.specs[0].shape[-1] if predictor.specs[0].shape.rank == 4 else 3
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flag)
    if picture is None:
        raise ConfigError(f"{path} is no picture that can be decoded.")
    picture = picture[..., None] if channels == 1 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    if predictor.specs[0].dtype.is_floating:
        black, white = span
        picture = (picture.astype(np.float32) / 255) * (white - black) + black
    return [picture]


def _batched(given: list[np.ndarray]) -> list[np.ndarray]:
    return [array[None] for array in given]


def _one(output: Any) -> np.ndarray:
    output = np.asarray(output)
    return output[0] if output.ndim else output


def _write(path: Path, result: np.ndarray, span: tuple[float, float], npy: bool) -> None:
    if npy or result.ndim != 3 or result.shape[-1] not in (1, 3):
        np.save(f"{path}.npy", result)
        return
    if result.dtype != np.uint8:
        black, white = span
        scaled = (result.astype(np.float32) - black) / (white - black) * 255
        result = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    if result.shape[-1] == 3:
        result = cv2.cvtColor(result, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".png", result)
    if not done:
        raise ConfigError(f"A picture of shape {result.shape} cannot be written as .png; pass --npy.")
    Path(f"{path}.png").write_bytes(encoded.tobytes())
