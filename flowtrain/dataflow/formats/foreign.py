"""Sources of TFRecord files that two other projects write: OTBTF's shards and Noise2Noise's pictures."""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ...utils.arguments import check_names, if_given
from ...utils.errors import DataFlowError, FormatError
from ...utils.storage import is_url, list_folder, url_name
from ..core.base import Datapoint
from .example import parse_example
from .openfiles import open_binary
from .source import MissingFile, PathLike, damaged, resolve_file
from .tensorproto import parse_tensor, tensor_dtype
from .tfrecord import TFRecordData

__all__ = ["Noise2NoiseData", "OTBTFData"]

# The project writes output_shape.json; output_shapes.json is found in the wild too.
_SHAPE_FILES = ("output_shapes.json", "output_shape.json")


class OTBTFData(TFRecordData):
    """Patches in the shards that OTBTF's ``to_tfrecords`` writes: ``0.records``, ``1.records``, ...

    Beside them lie ``output_types.json`` (name -> dtype) and ``output_shapes.json`` (name -> shape). Each record is a
    tf.train.Example whose features are serialized tensors; their dtypes and shapes are checked against the JSON files.

    Args:
        folder: The folder.
        keys: Names of the features for a list, in this order; None gives a dict of all.
        shuffle: Whether each epoch has an order of its own, over all shards.
        seed: Seed of the order.

    Raises:
        DataFlowError: The folder, a shard or a JSON file is missing, or a name is unknown.
        FormatError: A JSON file is damaged; when read: a record is damaged, or differs from what the JSON files say.

    Order:
        By the shard's number (2 before 10), then as in the shard; with ``shuffle`` a new permutation each epoch.
        Indexable.

    State:
        An index: going on costs nothing.

    Example:
        >>> ds = OTBTFData("patches/train", keys=["s2_input", "labels"], shuffle=True)    # doctest: +SKIP
    """

    def __init__(
        self,
        folder: PathLike,
        keys: Sequence[str] | None = None,
        *,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        folder = resolve_file(folder, what="folder of OTBTF shards", folder=True)
        found = {int(m[1]): m[0] for name in _names_in(folder) if (m := re.fullmatch(r"(\d+)\.records", name))}
        if not found:
            raise MissingFile(f"no shard (0.records, 1.records, ...) in {folder}")
        # Without this check a shard that was not copied would only make the data set smaller.
        gap = next(number for number in range(len(found) + 1) if number not in found)
        if gap < len(found):
            raise MissingFile(f"shard {gap}.records is missing in {folder}, which has shards up to {max(found)}")
        super().__init__(
            [os.path.join(folder, found[number]) for number in sorted(found)], self._make, shuffle=shuffle, seed=seed
        )
        self._dtypes = types = _read_json(os.path.join(folder, "output_types.json"), tensor_dtype)
        present = [name for name in _SHAPE_FILES if name in _names_in(folder)]
        shapes = _read_json(os.path.join(folder, (present or list(_SHAPE_FILES))[0]), _shape)
        self._shapes = {name: shapes.get(name) for name in types}
        self._keys = if_given(check_names, "OTBTFData", "keys", keys, DataFlowError, least=1, known=types)

    def _make(self, record: bytes) -> Datapoint:
        features = parse_example(record)
        tensors = {name: self._tensor(name, features.get(name)) for name in self._keys or self._dtypes}
        return tensors if self._keys is None else list(tensors.values())

    def _tensor(self, name: str, feature: object) -> np.ndarray:
        if not isinstance(feature, list) or len(feature) != 1:
            raise FormatError(f"feature {name!r} is missing, or not one serialized tensor")
        tensor = parse_tensor(feature[0])
        if tensor.dtype != self._dtypes[name]:
            raise FormatError(f"feature {name!r} is {tensor.dtype}; output_types.json says {self._dtypes[name]}")
        shape = self._shapes[name]
        if shape is not None and not _agrees(tensor.shape, shape):
            raise FormatError(f"feature {name!r} has shape {tensor.shape}; the JSON file says {tuple(shape)}")
        return tensor


class Noise2NoiseData(TFRecordData):
    """Pictures in the TFRecord files of Noise2Noise: features ``shape`` (int64, channels first) and ``data`` (uint8).

    Args:
        path: A file, a list of files, or a pattern.
        channels_last: True: pictures come as (H, W, C), as from all other sources; False: as stored, (C, H, W).
        shuffle: Whether each epoch has an order of its own.
        seed: Seed of the order.

    Raises:
        DataFlowError: A file is missing or unreadable.
        FormatError: When read: a record is damaged or of another kind; names file and record.

    Order:
        As in the files; with ``shuffle`` a new permutation each epoch. Indexable: a datapoint is ``[uint8 picture]``.

    State:
        An index: going on costs nothing.

    Example:
        >>> ds = Noise2NoiseData("imagenet_val_raw.tfrecords", shuffle=True)    # doctest: +SKIP
    """

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        *,
        channels_last: bool = True,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(path, self._make, shuffle=shuffle, seed=seed)
        self._channels_last = channels_last

    def _make(self, record: bytes) -> Datapoint:
        features = parse_example(record)
        shape, data = features.get("shape"), features.get("data")
        if not isinstance(shape, np.ndarray) or len(shape) != 3 or not isinstance(data, list) or len(data) != 1:
            raise FormatError(f"the features shape (3 integers) and data (bytes) expected, found {sorted(features)}")
        sizes = tuple(shape.tolist())
        if min(sizes) < 0 or math.prod(sizes) != len(data[0]):
            raise FormatError(f"shape {sizes} with {len(data[0]):,} bytes of data")
        picture = np.frombuffer(data[0], np.uint8).reshape(sizes)
        return [np.ascontiguousarray(picture.transpose(1, 2, 0)) if self._channels_last else picture.copy()]


def _names_in(folder: str) -> list[str]:
    return [url_name(url) for url in list_folder(folder)] if is_url(folder) else os.listdir(folder)


def _read_json(path: str, read: Callable[[Any], Any]) -> dict[str, Any]:
    """Read a JSON file that holds an object; ``read`` converts each value."""
    with io.TextIOWrapper(open_binary(resolve_file(path, what="JSON file of OTBTF shards")), "utf-8") as file:
        try:
            found = json.load(file, object_pairs_hook=_each_once)
            return {name: read(value) for name, value in found.items()}
        except (ValueError, TypeError, AttributeError) as error:  # AttributeError: it is a list, a text, a number
            raise damaged(path, f"not JSON, or not what OTBTF has there: {error}") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of a JSON object's members; refuse a name that occurs twice.

    Python's json keeps the last of them, and a damaged byte can turn one name into another.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name is there twice: {', '.join(name for name, _ in pairs)}")
    return found


def _shape(sizes: Any) -> list[int | None] | None:
    if sizes is not None and not (isinstance(sizes, list) and all(size is None or type(size) is int for size in sizes)):
        raise ValueError(f"{sizes!r} is no shape")
    return sizes


def _agrees(shape: tuple[int, ...], declared: Sequence[int | None]) -> bool:
    """Whether a shape matches a declared one, in which None and negative sizes stand for any."""
    return len(shape) == len(declared) and all(
        size is None or size < 0 or size == real for real, size in zip(shape, declared, strict=True)
    )
