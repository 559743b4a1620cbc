"""The summary table of a model: layers, output shapes, parameters, dtypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import keras
import tensorflow as tf
from tabulate import tabulate

from .tower import LayerRecord

__all__ = ["count_parameters", "summary_table"]


def count_parameters(variables: Mapping[str, keras.Variable]) -> int:
    """The number of elements of all variables together."""
    return sum(prod(variable.shape) for variable in variables.values())


def summary_table(
    records: Sequence[LayerRecord],
    inputs: Sequence[tf.TensorSpec],
    variables: Mapping[str, keras.Variable],
    trainable: Mapping[str, keras.Variable],
) -> str:
    """Format a model's inputs and layers as a table.

    Args:
        records: The calls of layers, in order.
        inputs: The model's inputs.
        variables: The model's parameters (weights and statistics), by name.
        trainable: The parameters that are trained.

    Returns:
        The table, ready to print, with the numbers of parameters below it.
    """
    rows: list[list[Any]] = [[spec.name, "Input", _shape(spec.shape), "", spec.dtype.name] for spec in inputs]
    paths = {record.path for record in records}
    counted: dict[str, int] = {}
    for name, variable in variables.items():
        # The innermost layer whose path the name begins with.
        owner = max((p for p in paths if name.startswith(p + "/")), key=len, default="")
        counted[owner] = counted.get(owner, 0) + prod(variable.shape)
    for record in records:
        output = record.output[0] if isinstance(record.output, (list, tuple)) else record.output
        shape, dtype = "", ""
        if hasattr(output, "shape"):
            shape, dtype = _shape(tf.TensorShape(output.shape)), tf.as_dtype(output.dtype).name
        count = counted.pop(record.path, 0)  # in the row of the first call, where a layer is called several times
        rows.append([record.name, record.kind, shape, f"{count:,}" if count else "", dtype])
    rest = sum(counted.values())
    if rest:
        rows.append(["(others)", "Variables", "", f"{rest:,}", ""])
    headers = ["layer", "kind", "output shape", "parameters", "dtype"]
    table = tabulate(rows, headers, tablefmt="simple", colalign=("left", "left", "left", "right", "left"))
    total, trained = count_parameters(variables), count_parameters(trainable)
    return f"{table}\n\nparameters: {total:,}, of which trained: {trained:,}, not trained: {total - trained:,}"


def _shape(shape: tf.TensorShape) -> str:
    if shape.rank is None:
        return "?"
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"
