"""``flowtrain inspect``: what is in a checkpoint or model file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import numpy as np
from tabulate import tabulate

from ..model.checkpoint_io import find_checkpoint, read_manifest
from ..predict import read_weights, valid_crop
from ..predict.load import load_graph
from ..predict.path_kinds import kind_of
from ..utils.errors import FlowtrainError
from ..utils.json_text import json_text
from ..utils.storage import as_local

__all__ = ["command"]


@click.command("inspect")
@click.argument("path", metavar="CKPT", type=click.Path())
@click.option("-p", "--pattern", default="", help="Only names in which this regular expression is found.")
@click.option("--stats", is_flag=True, help="Also mean, standard deviation, least and greatest value.")
@click.option("--tensors", is_flag=True, help="Also the names of all tensors of a model file.")
@click.option(
    "--field",
    type=click.IntRange(1),
    metavar="SIZE",
    help="Only the receptive field: what stays valid of so many pixels, layer by layer.",
)
@click.option("-o", "--output", "outputs", multiple=True, metavar="NAME", help="Outputs, for --field; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    path: str, pattern: str, stats: bool, tensors: bool, field: int | None, outputs: tuple[str, ...], as_json: bool
) -> None:
    """Show what is in a checkpoint or model file: its variables, inputs and outputs.

    CKPT is anything that holds weights: a checkpoint or a run's log folder, a TensorFlow checkpoint, SavedModel,
    .keras, .h5, .weights.h5, .npz or frozen .pb. With --field, what of a tile does not depend on its border:

        flowtrain inspect saved_model --field 128
    """
    if field is not None:
        click.echo(_receptive_field(path, field, outputs))
        return
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise click.BadParameter(f"{pattern!r} is no regular expression: {error}", param_hint="--pattern") from None
    with as_local(path) as local:
        kind = kind_of(local)
        weights = {name: value for name, value in read_weights(local).items() if wanted.search(name)}
        report: dict[str, Any] = {"path": path, "kind": kind, **_about(local, kind)}
    report["variables"] = {name: _described(value, stats) for name, value in sorted(weights.items())}
    report["parameters"] = int(sum(value.size for value in weights.values()))
    click.echo(json_text(report, indent=1) if as_json else _as_text(report, tensors))


def _receptive_field(path: str, size: int, outputs: tuple[str, ...]) -> str:
    """The table of `valid_crop`, and its result in words."""
    margin = valid_crop(load_graph(path), list(outputs) or None)
    up, down, left, right = margin.radius
    return (
        f"{margin.table(size)}\n"
        f"margin {int(margin)} pixel(s), {margin.crop} as a multiple of the strides' product {margin.align}; "
        f"a pixel sees {up} up, {down} down, {left} left, {right} right\n"
        f"of {size} pixels the middle {margin.valid(size)} are valid"
    )


def _about(path: Path, kind: str) -> dict[str, Any]:
    """What a file holds besides weights: a checkpoint's manifest, or a graph's inputs, outputs and tensors."""
    if kind == "own":
        found = find_checkpoint(path)
        manifest = read_manifest(found)
        plain = {key: value for key, value in manifest.items() if key not in ("files", "variables", "format")}
        return {"checkpoint": str(found), **plain}
    if kind in ("npz", "weights_h5"):
        return {}
    try:
        graph = load_graph(path)
    except FlowtrainError:  # the file has weights and no graph: its variables can still be listed
        return {}
    outputs = getattr(graph, "output_names", [])
    return {
        "inputs": {str(spec.name): f"{spec.dtype.name} {spec.shape}" for spec in graph.specs},
        "outputs": {name: f"{graph.tensor(name).dtype.name} {graph.tensor(name).shape}" for name in outputs},
        "tensors": [tensor.name for op in graph.graph.get_operations() for tensor in op.outputs],
    }


def _described(value: np.ndarray, stats: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"shape": list(value.shape), "dtype": value.dtype.name, "parameters": int(value.size)}
    if stats and value.size and value.dtype.kind in "fiub":
        exact = value.astype(np.float64)
        found |= {"mean": exact.mean(), "std": exact.std(), "min": exact.min(), "max": exact.max()}
        found = {name: round(entry, 6) if isinstance(entry, float) else entry for name, entry in found.items()}
    return found


def _as_text(report: dict[str, Any], tensors: bool) -> str:
    parts = []
    for key, value in report.items():
        if key == "tensors":
            parts += ["tensors:", *(f"  {name}" for name in value)] if tensors else []
        elif key in ("inputs", "outputs"):
            parts += [f"{key}:", *(f"  {name}  {about}" for name, about in value.items())]
        elif key == "variables":
            rows = [[name, *entry.values()] for name, entry in value.items()]
            heads = max((["name", *entry] for entry in value.values()), key=len, default=["name"])
            parts.append(tabulate(rows, heads, disable_numparse=True) if rows else "no variables")
        elif key != "parameters":
            parts.append(f"{key}: {value}")
    parts.append(f"{len(report['variables'])} variables, {report['parameters']:,} parameters")
    return "\n".join(parts)
