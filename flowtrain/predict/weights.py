"""read_weights: read the arrays of any file under readable names, without running code from the file."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from flowtrain.dataflow.formats.npzfile import NpzFile
from flowtrain.model.checkpoint_io import read_checkpoint
from flowtrain.model.internals import names_in_checkpoint
from flowtrain.utils.errors import CheckpointError
from flowtrain.utils.optional import require
from flowtrain.utils.storage import as_local

from .graphfile import read_graph
from .path_kinds import KINDS, checkpoint_prefix, kind_of, model_path

__all__ = ["OWN_NAMES", "open_h5", "read_weights"]

HDF5Group: TypeAlias = Any
"""An ``h5py.Group``; h5py is imported when it is used."""

OWN_NAMES = "flowtrain_variables"
"""Under this attribute an exported SavedModel holds its variables by their readable names."""

_ENDING = "/.ATTRIBUTES/VARIABLE_VALUE"


def read_weights(source: str | Path | Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Read all arrays of a file by name.

    Args:
        source: A path of any kind that `kind_of` knows, the URL of such a file or folder, or the arrays themselves.

    Returns:
        Name -> array; a trailing ``:0`` is dropped. Names are those in the file: in a ``.weights.h5`` the variables of
        a layer have only numbers ("conv1/0", "conv1/1").

    Raises:
        CheckpointError: There is no such file, or it is damaged, a pickle or of an unknown kind.

    Example:
        >>> sorted(read_weights({"conv1/kernel:0": np.zeros((3, 3, 1, 8))}))
        ['conv1/kernel']
    """
    if isinstance(source, Mapping):
        return _plain(source, "the given dict")
    with as_local(source) as local:
        kind, path = kind_of(local), model_path(local)
        try:
            return _plain(_READERS[kind](path), str(path))
        except CheckpointError:
            raise
        except Exception as error:  # a damaged file can make the library that reads it raise anything
            raise CheckpointError(
                f"{path} cannot be read as {KINDS[kind]}; is it cut short or damaged? ({error})"
            ) from error


def _plain(values: Mapping[str, Any], where: str) -> dict[str, np.ndarray]:
    weights: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if not isinstance(name, str):
            raise CheckpointError(f"Names of weights are strings; {where} has {name!r}.")
        array = value.numpy() if hasattr(value, "numpy") else np.asarray(value)
        if array.dtype == object:
            raise CheckpointError(f"{where}: {name!r} is not an array of numbers.")
        weights[re.sub(r":\d+$", "", name)] = array
    return weights


def _npz(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if file.read(1) == b"\x80":  # the opcode PROTO, with which pickles of protocol 2 and later begin
            raise CheckpointError(
                f"{path} is a pickle. Pickles can run any code when they are read, so they are never loaded."
            )
    arrays = NpzFile(str(path))  # np.load would not notice arrays that are missing in a damaged table of contents
    arrays.check(list(arrays))
    return {name: np.array(array) for name, array in arrays.items()}


def _bundle(path: Path) -> dict[str, np.ndarray]:
    prefix = checkpoint_prefix(path)
    if prefix is None:
        raise CheckpointError(f"{path}: there is no {path.with_suffix('').name}.index beside it.")
    return _read_bundle(prefix)


def _saved_model(path: Path) -> dict[str, np.ndarray]:
    prefix = path / "variables" / "variables"
    if not prefix.with_suffix(".index").exists():
        return {}  # a SavedModel of constants has no variables
    return _read_bundle(prefix)


def _read_bundle(prefix: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(prefix))
    keys = list(reader.get_variable_to_shape_map())
    names = names_in_checkpoint(reader)
    if names is None:
        return {key: np.asarray(reader.get_tensor(key)) for key in keys}
    return _named({key: np.asarray(reader.get_tensor(key)) for key in keys if key.endswith(_ENDING)}, names)


def _named(values: dict[str, np.ndarray], names: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Values of an object-based checkpoint under their variables' names, or by their keys if names are ambiguous.

    Args:
        values: Key -> array.
        names: Name of a variable -> the keys that it is saved under.
    """
    # A SavedModel that flowtrain exported holds its variables under their names in one attribute.
    own = {key: value for key, value in values.items() if key.startswith(f"{OWN_NAMES}/")}
    if own:
        return {_place(key).removeprefix(f"{OWN_NAMES}/"): value for key, value in own.items()}
    # A name counts only if all values saved under it are equal: variables of different layers may have one name.
    result = {}
    left = dict(values)
    for name, keys in names.items():
        present = [key for key in keys if key in values]
        same = all(np.array_equal(values[key], values[present[0]]) for key in present[1:])
        if name and present and same:
            result[name] = values[present[0]]
            for key in present:
                left.pop(key, None)
    for key, value in left.items():
        result[_place(key)] = value
    return result


def _place(key: str) -> str:
    """A readable name from a key of an object-based checkpoint, in which ``.S`` means ``/`` and ``..`` means ``.``."""
    return re.sub(r"\.([.S])", lambda found: "." if found[1] == "." else "/", key.removesuffix(_ENDING))


def _h5(path: Path) -> dict[str, np.ndarray]:
    with open_h5(path) as file:
        return _from_h5(file)


def _keras(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive, open_h5(io.BytesIO(archive.read("model.weights.h5"))) as file:
        return _from_h5(file)


def open_h5(file: object) -> HDF5Group:
    """Open an .h5 file for reading, given its path or an open binary file; h5py is optional."""
    return require("h5py", extra="formats", needed_for="reading .h5 and .keras files").File(file, "r")


def _from_h5(file: HDF5Group) -> dict[str, np.ndarray]:
    weights = file.get("model_weights", file)
    if "layer_names" in weights.attrs:
        return _from_legacy_h5(weights)
    found: dict[str, np.ndarray] = {}
    _from_keras_h5(file, "", found)
    return found


def _from_legacy_h5(weights: HDF5Group) -> dict[str, np.ndarray]:
    """Keras 2's layout, and that of ``model.save("x.h5")``: each layer lists its variables by name."""
    found = {}
    for layer in [*weights.attrs["layer_names"], "top_level_model_weights"]:
        group = weights.get(_text(layer))
        if group is None:
            continue
        for name in group.attrs.get("weight_names", ()):
            found[_text(name)] = np.asarray(group[_text(name)])
    return found


def _from_keras_h5(group: HDF5Group, path: str, found: dict[str, np.ndarray]) -> None:
    """Keras 3's layout: ``layers/dense_1/vars/0``; the layer's own name is an attribute of ``vars``."""
    for key, entry in group.items():
        if key == "vars":
            found.update({f"{path}/{number}".lstrip("/"): np.asarray(value) for number, value in entry.items()})
        elif hasattr(entry, "items"):
            inner = entry.get("vars")
            given = inner.attrs.get("name") if inner is not None else None
            # Groups that only hold others, such as "layers", are no part of a variable's name.
            part = key if key == "optimizer" else _text(given) if given is not None else "" if inner is None else key
            _from_keras_h5(entry, f"{path}/{part}".rstrip("/") if part else path, found)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _frozen(path: Path) -> dict[str, np.ndarray]:
    return {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in read_graph(path).node
        if node.op == "Const"
        # Scalars and integers are settings of operations (epsilons, axes, shapes), not weights.
        and tf.as_dtype(node.attr["dtype"].type).is_floating
        and node.attr["value"].tensor.tensor_shape.dim
    }


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    "own": read_checkpoint,
    "bundle": _bundle,
    "meta": _bundle,
    "saved_model": _saved_model,
    "keras": _keras,
    "h5": _h5,
    "weights_h5": _h5,
    "npz": _npz,
    "frozen": _frozen,
}
