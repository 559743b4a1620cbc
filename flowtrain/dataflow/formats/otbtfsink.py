"""Sink for OTBTF's TFRecord shards of serialized tensors, as `OTBTFData` and OTBTF's own scripts read them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...utils.errors import FormatError
from ...utils.files import write_whole
from ..core.datapoint import Datapoint
from .appendfile import AppendOnlyFile
from .example import encode_example
from .framing import frame
from .tensorproto import encode_tensor

__all__ = ["OTBTFSink"]


class OTBTFSink:
    """Writes the shards ``0.records``, ``1.records``, ... and the JSON files with the types and shapes of the features.

    Args:
        folder: The folder of the unfinished file.
        position: What ``commit`` returned; None starts anew.
        keys: Names of the components that are written, in the order of a list's components; None: all of a dict.
        per_file: Records in a shard.

    Raises:
        FormatError: The unfinished file has another number of records in a shard.
    """

    def __init__(
        self, folder: str, position: dict[str, Any] | None, keys: Sequence[str] | None = None, per_file: int = 100
    ) -> None:
        self._keys, self._per_file = list(keys) if keys is not None else None, per_file
        self.path = os.path.join(folder, "data")
        os.makedirs(self.path, exist_ok=True)
        start = position or {"count": 0, "shard": None, "types": {}, "shapes": {}, "per_file": per_file}
        if start["per_file"] != per_file:
            raise FormatError(f"{folder} has {start['per_file']} records a file: pass resume=False to start again")
        self._count, self._types, self._shapes = start["count"], start["types"], start["shapes"]
        last = max(self._count - 1, 0) // per_file
        for name in os.listdir(self.path):  # shards that were begun after the last commit, and what `finish` wrote
            number, _, ending = name.partition(".")
            if ending != "records" or int(number) > last:
                os.unlink(os.path.join(self.path, name))
        # The shard of the last committed datapoint goes on from its position, unless it is full and finished.
        full = self._count and self._count % per_file == 0
        self._shard = None if full or not self._count else self._open(start["shard"])

    def _open(self, position: dict[str, Any] | None = None) -> AppendOnlyFile:
        return AppendOnlyFile(self.path, position, f"{self._count // self._per_file}.records")

    def append(self, datapoint: object) -> None:
        features = self._features(datapoint)
        self._agree(features)
        encoded = encode_example({name: encode_tensor(array) for name, array in features.items()})
        if self._shard is None:
            self._shard = self._open()
        self._shard.add(frame(encoded))
        self._count += 1
        if self._count % self._per_file == 0:
            self._shard.finish()
            self._shard = None

    def _features(self, datapoint: Datapoint) -> dict[str, Any]:
        if isinstance(datapoint, Mapping):
            missing = [name for name in self._keys or () if name not in datapoint]
            if missing:
                raise FormatError(f"datapoint {self._count} has no {missing[0]!r}; it has {list(datapoint)}")
            named = {name: datapoint[name] for name in self._keys or datapoint}
        else:
            if self._keys is None or len(self._keys) != len(datapoint):
                raise FormatError(
                    f"datapoint {self._count} has {len(datapoint)} components without names: pass keys=[...], a name "
                    "for each"
                )
            named = dict(zip(self._keys, datapoint, strict=True))
        return {name: np.asarray(value) for name, value in named.items()}

    def _agree(self, features: dict[str, Any]) -> None:
        """Merge a datapoint's types and shapes into those of all; a size that varies becomes None, null in JSON.

        Raises:
            FormatError: A feature has another dtype or another number of axes than before.
        """
        # By TensorFlow's names of dtypes, as OTBTF's scripts look them up: tf.string for texts, else NumPy's name.
        types = {name: "string" if a.dtype.kind in "OSU" else a.dtype.name for name, a in features.items()}
        shapes = {name: list(array.shape) for name, array in features.items()}
        if not self._types:
            self._types, self._shapes = types, shapes
        ranks = {name: len(shape) for name, shape in shapes.items()}
        if types != self._types or ranks != {name: len(shape) for name, shape in self._shapes.items()}:
            before = _facts(self._types, self._shapes)
            raise FormatError(f"datapoint {self._count} has {_facts(types, shapes)}; those before it {before}")
        self._shapes = {
            name: [size if size == other else None for size, other in zip(shape, shapes[name], strict=True)]
            for name, shape in self._shapes.items()
        }

    def commit(self) -> dict[str, Any]:
        shard = self._shard.commit() if self._shard else None
        facts = {"types": self._types, "shapes": self._shapes}
        return {"count": self._count, "shard": shard, "per_file": self._per_file, **facts}

    def finish(self) -> str:
        if self._shard:
            self._shard.finish()
        for name, facts in (("output_types.json", self._types), ("output_shape.json", self._shapes)):
            write_whole(os.path.join(self.path, name), json.dumps(facts))
        return self.path

    def close(self) -> None:
        if self._shard:
            self._shard.close()


def _facts(types: dict[str, str], shapes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {kind} {tuple(shapes[name])}" for name, kind in types.items())
