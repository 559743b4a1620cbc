"""``flowtrain export``: write a model in another format."""

from __future__ import annotations

from typing import Any

import click

from ..predict import export
from ..utils.storage import is_there
from .source import model_options, open_source

__all__ = ["command"]


@click.command("export")
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@model_options
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME",
    help="An input, or NEW=NAME; repeatable. Default: as needed.",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="NAME",
    help="An output, also NAME_crop32, NEW=NAME; repeatable.",
)
@click.option(
    "-f",
    "--format",
    type=click.Choice(["saved_model", "pb", "keras", "h5", "weights_h5", "tflite", "onnx", "npz"]),
    help="Default: by TARGET's ending.",
)
@click.option("--height", type=click.IntRange(1), help="Fix the height of pictures (pb, tflite, onnx).")
@click.option("--width", type=click.IntRange(1), help="Fix the width.")
@click.option("--overwrite", is_flag=True, help="Replace TARGET if it exists.")
def command(
    source: str,
    target: str,
    model: str | None,
    args: tuple[str, ...],
    signature: str | None,
    averaged: bool,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    format: Any,
    height: int | None,
    width: int | None,
    overwrite: bool,
) -> None:
    """Write the model of SOURCE to TARGET, and check that it computes the same.

    SOURCE is a SavedModel, frozen .pb, TensorFlow 1 checkpoint, .keras or .h5 file; or a checkpoint or a run's log
    folder, with --model:

        flowtrain export train_log/colorize colorize.pb -m train.py:Colorize -o prediction/output
    """
    if not overwrite and is_there(target):
        raise click.ClickException(f"{target} exists. Choose another path, or pass --overwrite to replace it.")
    path = export(
        open_source(source, model, args, signature, averaged),
        target,
        _names(inputs),
        _names(outputs),
        format,
        overwrite=overwrite,
        height=height,
        width=width,
        averaged=averaged,
    )
    click.echo(f"{path}: checked against {source}")


def _names(given: tuple[str, ...]) -> list[str] | dict[str, str] | None:
    """Parse NAME and NEW=NAME: a list of names; or name in the file -> name in the model; None if nothing is given."""
    if any("=" in name for name in given):
        return {new: name or new for new, _, name in (each.partition("=") for each in given)}
    return list(given) or None
