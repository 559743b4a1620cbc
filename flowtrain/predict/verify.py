"""Verification of an export: the file computes the same as the live model, on one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.utils.errors import ExportError, ModelError

from .writers import Job, Runner

__all__ = ["check", "check_batch"]

_TOLERANCE = 1e-4
_SIDE = 64  # of the pictures of the random batch: enough for six poolings


def check_batch(
    job: Job, given: Mapping[str, Any] | Sequence[Any] | None, height: int | None, width: int | None
) -> dict[str, np.ndarray]:
    """The batch to check with, name -> array: the given one, or a random one of the inputs' shapes and dtypes.

    Args:
        job: The export, with its predictor.
        given: The user's batch, by name or in order; None for a random one.
        height: Height of random pictures; None for the input's, or 64.
        width: Width of random pictures; None for the input's, or 64.

    Raises:
        ExportError: The given batch lacks an input, or there is no random value for an input.
    """
    names, specs = job.predictor.inputs, job.predictor.specs
    if isinstance(given, Mapping):
        missing = [name for name in names if name not in given]
        if missing:
            raise ExportError(f"batch= has no {missing}; the inputs are {names}.")
        values = [given[name] for name in names]
    elif given is not None:
        values = list(given)
        if len(values) != len(names):
            raise ExportError(f"batch= has {len(values)} components; the inputs are {names}.")
    else:
        random = np.random.default_rng(0)
        values = [_random(random, name, spec, height, width) for name, spec in zip(names, specs, strict=True)]
    return {
        name: np.asarray(value, spec.dtype.as_numpy_dtype)
        for name, spec, value in zip(names, specs, values, strict=True)
    }


def _random(
    random: np.random.Generator, name: str, spec: tf.TensorSpec, height: int | None, width: int | None
) -> np.ndarray:
    if spec.shape.rank is None or spec.dtype == tf.string:
        raise ExportError(f"there is no random value for the input {name!r} ({spec}): pass batch={{{name!r}: ...}}.")
    shape = spec.shape.as_list()
    if len(shape) == 4:
        shape = [shape[0] or 2, height or shape[1] or _SIDE, width or shape[2] or _SIDE, shape[3] or 1]
    # A batch of 2 shows whether the file takes more than one.
    shape = [2 if size is None and not place else size or 8 for place, size in enumerate(shape)]
    if spec.dtype.is_floating:
        return random.uniform(-1, 1, shape)
    # 0 and 1: valid as indices, classes and booleans of nearly any model, where larger numbers may have no embedding.
    return random.integers(0, 256 if spec.dtype == tf.uint8 else 2, shape)


def check(job: Job, reopen: Callable[..., Runner], path: Path, batch: dict[str, np.ndarray], format: str) -> float:
    """Run the export and the live predictor on a batch and compare their outputs.

    Args:
        job: The export, with its live predictor.
        reopen: Makes a runner of the written file.
        path: The written file or folder.
        batch: Name of an input -> array.
        format: The format's name, for errors.

    Returns:
        The largest difference of an output, relative to its largest absolute value.

    Raises:
        ExportError: The live model or the file cannot be run, or an output differs by more than 1e-4.
    """
    try:
        expected = job.predictor(*[batch[name] for name in job.predictor.inputs])
    except (ModelError, tf.errors.OpError, ValueError) as error:
        shapes = {name: value.shape for name, value in batch.items()}
        raise ExportError(
            f"the live model does not run on the random batch {shapes} that should check the export. Pass one that it "
            f"takes: batch={{name: array}}. ({error})"
        ) from error
    try:
        found = reopen(job, path)(batch)
    except Exception as error:  # the errors of TFLite, ONNX and Keras have no common class
        raise ExportError(f"the {format} was written, but cannot be run, so it was removed: {error}") from error
    worst = 0.0
    for name, live, copy in zip(job.predictor.outputs, expected, found, strict=True):
        difference = _difference(np.asarray(live), np.asarray(copy))
        if not difference <= _TOLERANCE:  # written so that NaN is refused
            raise ExportError(
                f"the {format} computes another {name!r} than the live model: it differs by {difference:.1e} of the "
                f"largest value, where {_TOLERANCE} is allowed. It was removed. Does the model draw random numbers?"
            )
        worst = max(worst, difference)
    return worst


def _difference(live: np.ndarray, copy: np.ndarray) -> float:
    if live.shape != copy.shape:
        return float("inf")
    if live.dtype.kind not in "fciub" and live.dtype.name != "bfloat16":
        return 0.0 if np.array_equal(live, copy) else float("inf")
    # complex128 holds every numeric dtype but the largest integers. Equal infinities and two NaNs count as the same.
    live, copy = live.astype(np.complex128), copy.astype(np.complex128)
    same = (live == copy) | (np.isnan(live) & np.isnan(copy))
    if same.all():
        return 0.0
    finite = np.abs(live[np.isfinite(live)])
    scale = float(finite.max()) if finite.size else 0.0
    difference = np.where(same, 0, np.abs(live - copy))
    return float(difference.max() / max(scale, np.finfo(np.float32).tiny))
