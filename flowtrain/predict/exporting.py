"""export: write a model to a file of many formats, verified against the live model before it appears."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from flowtrain.model.store import read_value
from flowtrain.utils.arguments import check_choice, check_int, if_given, names_arguments
from flowtrain.utils.errors import ConfigError, ExportError
from flowtrain.utils.storage import is_there, is_url, names_in, writing_to

from .export_source import Names, Subject
from .verify import check, check_batch
from .writers import FORMATS, write_keras_weights, write_npz

__all__ = ["export"]

logger = logging.getLogger("flowtrain.predict")
_SUFFIXES = {name: format.suffix for name, format in FORMATS.items()} | {"weights_h5": ".weights.h5", "npz": ".npz"}
_OTHER_NAMES = {"frozen": "pb", "frozen_pb": "pb", "savedmodel": "saved_model"}
_FIXABLE = [name for name, format in FORMATS.items() if format.fixed]


@names_arguments
def export(
    model: object,
    path: str | Path,
    inputs: Names = None,
    outputs: Names = None,
    format: Literal["saved_model", "pb", "keras", "h5", "weights_h5", "tflite", "onnx", "npz"] | None = None,
    *,
    overwrite: bool = False,
    height: int | None = None,
    width: int | None = None,
    averaged: bool = False,
    batch: Mapping[str, Any] | Sequence[Any] | None = None,
    signature: str = "serving_default",
) -> Path | str:
    """Write a model for use without flowtrain, and check that the file computes the same.

    The files are read again and run on a batch beside the live model. If an output differs by more than 1e-4 of
    its largest value, the files are removed and an error says so.

    Args:
        model: A trainer, ModelGraph, ModelDesc, Keras model, OfflinePredictor or predictor.
        path: The file or folder to make, or its URL. It appears when it is whole and checked.
        inputs: Names of the inputs; None for those that the outputs need. A dict gives them other names in the file,
            name in the file -> name in the model: ``{"input": "noisy"}``.
        outputs: Names of the tensors to compute; ``NAME_crop32`` is NAME without 32 pixels on each side. None for a
            Keras model's outputs, or the last layer's. A dict as for inputs.
        format: "saved_model" (a folder that TensorFlow alone runs), "pb" (a frozen graph of constants), "keras"
            and "h5" (whole Keras models), "weights_h5" (weights of a Keras model, for its ``load_weights``), "tflite",
            "onnx" (needs the extra ``onnx``), "npz" (weights only). None: what path ends in; a folder is a SavedModel.
        overwrite: Replace what is there already: a file by a file, a SavedModel by a SavedModel.
        height: Fix the height of pictures ("pb", "tflite", "onnx").
        width: Fix the width.
        averaged: Write the moving averages of the weights, which a model with ``average_decay`` or a run with the
            callback ``EMA`` keeps.
        batch: The batch to check with, by name or in order; None: random, pictures of 64 x 64. Pass one where random
            values make no sense, e.g. for strings or indices.
        signature: Name of the SavedModel's signature.

    Returns:
        The path, or the URL.

    Raises:
        ExportError: The path exists, the format cannot express the model, or the export differs from the live model.
        TensorNameError: An unknown name; lists the nearest.
        MissingPackage: ONNX without its packages; names the extra.

    Example:
        >>> export(trainer, "colorize.pb", ["luminance"], ["prediction/output"])    # doctest: +SKIP
        >>> export(trainer, "exported", outputs=["softmax", "softmax_crop32"])      # doctest: +SKIP
        >>> export(trainer, "n2n.pb", {"input": "noisy"}, {"output": "denoised"})   # doctest: +SKIP
    """
    path = path if is_url(path) else Path(path)
    kind = _format_of(Path(path), format)
    for name, size in (("height", height), ("width", width)):
        if_given(check_int, "export", name, size)
    if (height is not None or width is not None) and kind not in _FIXABLE:
        raise ExportError(f"a fixed height or width can be written as {', '.join(_FIXABLE)}, not as {kind}.")
    if kind in ("npz", "keras", "h5", "weights_h5") and (inputs or outputs):
        raise ExportError(f"a {kind} file holds the whole model: leave out inputs and outputs.")
    subject = Subject(model, averaged)
    if kind == "npz":
        variables = subject.variables()
        if not variables:
            raise ExportError("the model has no variables to write: a frozen graph holds constants.")
        with _replacing(path, overwrite, kind) as temporary:
            write_npz({name: read_value(variable) for name, variable in variables.items()}, temporary)
        return path
    if kind == "weights_h5":
        keras_model = subject.required_keras(kind)
        with _replacing(path, overwrite, kind) as temporary:
            write_keras_weights(keras_model, temporary)
        return path
    job = subject.job(kind, inputs, outputs, height, width, signature)
    with _replacing(path, overwrite, kind) as temporary:
        FORMATS[kind].write(job, temporary)
        worst = check(job, FORMATS[kind].reopen, temporary, check_batch(job, batch, height, width), kind)
    logger.info("exported %s as %s: differs from the live model by %.1e at most", path, kind, worst)
    return path


@contextlib.contextmanager
def _replacing(path: str | Path, overwrite: bool, kind: str) -> Iterator[Path]:
    """Yield a path to write to; it is renamed to the target if the block, with its check, raises no error."""
    if not overwrite and is_there(path):
        raise ExportError(f"{path} exists. Choose another path, or pass overwrite=True to replace it.")
    names = names_in(path)
    if names and (kind != "saved_model" or "saved_model.pb" not in names):
        raise ExportError(
            f"{path} is a folder that holds {names[0]!r}, which overwrite=True would delete with all else in it. "
            "Choose another path."
        )
    with writing_to(path, durable=True) as beside:
        yield beside


def _format_of(path: Path, given: str | None) -> str:
    if given is None:
        found = [
            name for name, suffix in _SUFFIXES.items() if path.name.endswith(suffix) and (suffix or not path.suffix)
        ]
        if not found:
            raise ConfigError(
                f"Which format is {path.name!r}? It ends in none of {', '.join(filter(None, _SUFFIXES.values()))}; "
                "pass format=..."
            )
        return max(found, key=lambda name: len(_SUFFIXES[name]))  # weights.h5 before h5
    given = check_choice("export", "format", _OTHER_NAMES.get(str(given).lower(), given), _SUFFIXES)
    suffix = _SUFFIXES[given]
    if suffix and not path.name.endswith(suffix):
        raise ConfigError(f"the name of a {given} file ends in {suffix}: write {path.with_suffix(suffix).name!r}.")
    return given
