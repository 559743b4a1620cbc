"""The stores of CacheData: a dict in memory, or a folder with a file for each datapoint."""

from __future__ import annotations

import contextlib
import json
import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...ipc.codec import CodecError, pack, unpack
from ...utils.errors import DataFlowError
from ...utils.files import write_whole
from ..core.components import protected
from ..core.datapoint import Datapoint

__all__ = ["DiskStore", "MemoryStore"]

logger = logging.getLogger("flowtrain.dataflow")

_VERSION = 2  # of the manifest; 1 had no checksum
_HEAD = 16  # bytes before the datapoint: mark (4), CRC-32 (4), length (8), little-endian
_MARK = b"FTC1"
_PER_FOLDER = 1000  # files in a folder


class MemoryStore:
    """Store of datapoints in memory."""

    def __init__(self) -> None:
        self.whole: int | None = None
        """How many datapoints there are, once all are kept. Set only for flows that can only be iterated."""
        self._kept: dict[int, Any] = {}

    def load(self, place: int) -> Datapoint:
        """The datapoint that is kept at a place, or None."""
        kept = self._kept.get(place)
        return None if kept is None else protected(kept)

    def holds(self, place: int) -> bool:
        """Whether a datapoint is kept at a place."""
        return place in self._kept

    def save(self, place: int, datapoint: object) -> Datapoint:
        """Keep a datapoint, and return it as ``load`` will from now on."""
        self._kept[place] = datapoint
        return protected(datapoint)

    def finish(self, count: int) -> None:
        """Mark the cache as complete if it holds ``count`` datapoints."""
        if len(self._kept) == count:
            self.whole = count


class DiskStore:
    """Store of datapoints in a folder, one file each, with a manifest that says which flow they are of.

    Args:
        path: The folder; made when the first datapoint is kept.
        flow: The flow's stages by name.
        size: The flow's length; None if it is unknown.
        recipe: What the stages are made of: JSON.
        remake: Makes the datapoint of a place anew; None if none can be made alone.

    Raises:
        DataFlowError: ``path`` is a file, or the folder holds other files, a damaged manifest or another flow.
    """

    def __init__(
        self,
        path: Path,
        flow: str,
        size: int | None,
        recipe: list[dict[str, Any]],
        remake: Callable[[int], Datapoint] | None,
    ) -> None:
        self._path, self._identity = path, {"version": _VERSION, "flow": flow, "size": size}
        self._recipe = recipe
        self._ready = False
        self.whole: int | None = None
        if path.exists() and not path.is_dir():
            raise DataFlowError(f"CacheData: {path} is a file; give a folder of its own for the cache")
        found = self._check_manifest()
        if found and found.get("recipe", recipe) != recipe:  # folders of earlier versions have none
            self._check_kept(found["recipe"], remake)

    def load(self, place: int) -> Datapoint:
        """The datapoint that is kept at a place; None if there is none, or its file is damaged."""
        body = self._body(place)
        with contextlib.suppress(CodecError):
            return None if body is None else protected(unpack(body))
        return None

    def holds(self, place: int) -> bool:
        """Whether there is a file for a place; it may turn out to be damaged."""
        return self._file(place).exists()

    def save(self, place: int, datapoint: object) -> Datapoint:
        """Keep a datapoint, and return it as ``load`` will from now on."""
        if not self._ready:
            self._begin()
        try:
            body = pack(datapoint)
        except CodecError as error:
            raise DataFlowError(f"CacheData: datapoint {place} cannot be kept on disk: {error}") from error
        file = self._file(place)
        file.parent.mkdir(exist_ok=True)
        _write(file, _head(memoryview(body)) + body)
        return protected(datapoint)

    def finish(self, count: int) -> None:
        """Mark the cache as complete in its manifest if it holds ``count`` datapoints."""
        if all(self._file(place).exists() for place in range(count)):
            if not self._ready:
                self._begin()
            self.whole = count
            self._note({"whole": count})

    def _body(self, place: int) -> memoryview | None:
        try:
            data = self._file(place).read_bytes()
        except FileNotFoundError:
            return None
        body = memoryview(data)[_HEAD:]
        return body if data[:_HEAD] == _head(body) else None

    def _file(self, place: int) -> Path:
        return self._path / f"{place // _PER_FOLDER:06d}" / f"{place % _PER_FOLDER:03d}.msgpack"

    def _begin(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        if not (self._path / "manifest.json").exists():
            self._note({})
        self._ready = True

    def _note(self, more: dict[str, Any]) -> None:
        facts = {**self._identity, "recipe": self._recipe, **more}
        _write(self._path / "manifest.json", json.dumps({**facts, "crc32": _crc_of(facts)}).encode())

    def _check_manifest(self) -> dict[str, Any] | None:
        """Check that the manifest is of a flow with these stages and length; returns it, or None if there is none."""
        try:
            found = json.loads((self._path / "manifest.json").read_bytes())
            first = found.get("version") == 1 and "crc32" not in found  # folders of version 1 are still read
            if not first and found.pop("crc32", None) != _crc_of(found):
                raise ValueError("it does not have its checksum")
        except FileNotFoundError:
            if self._path.is_dir() and any(self._path.iterdir()):
                raise DataFlowError(
                    f"CacheData: the folder {self._path} holds other files; give one of its own"
                ) from None
            return None
        except (ValueError, AttributeError) as error:  # AttributeError: it is another program's, and no dict
            raise DataFlowError(f"CacheData: {self._path}/manifest.json is damaged; delete the folder") from error
        identity = {**self._identity, "version": 1} if first else self._identity
        if {key: found.get(key) for key in identity} != identity:
            raise DataFlowError(
                f"CacheData: the folder {self._path} was filled by another flow:\n  {found.get('flow')} "
                f"(size {found.get('size')})\nnot by this one:\n  {self._identity['flow']} "
                f"(size {self._identity['size']})\nDelete the folder, or give another one."
            )
        self.whole = found.get("whole")
        return found

    def _check_kept(self, before: list[dict[str, Any]], remake: Callable[[int], Datapoint] | None) -> None:
        """Compare the first and the last datapoint kept with those of a flow whose arguments or functions are others.

        They alone are no reason to refuse: the same pictures may lie in another folder, and the same function may have
        been written otherwise. Nor are other seeds, as each run may draw its own.
        """
        changed, seeds_alone = _difference(before, self._recipe)
        size = self._identity["size"]
        kept = {place: self._body(place) for place in (0, size - 1)} if remake and size else {}
        other = next(
            (at for at, body in kept.items() if body is not None and remake and body != pack(remake(at))), None
        )
        if other is not None and not seeds_alone:
            raise DataFlowError(
                f"CacheData: datapoint {other} in the folder {self._path} is another one than this flow makes: since "
                f"it was filled, {changed}. Delete the folder, or give another one."
            )
        if other is not None or not seeds_alone:
            logger.warning(
                "CacheData: since the folder %s was filled, %s; delete it if datapoints differ.", self._path, changed
            )


def _difference(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> tuple[str, bool]:
    """Which arguments of two recipes differ, as a clause; and whether these are seeds alone."""
    if [stage.keys() for stage in before] != [stage.keys() for stage in now]:
        return "stages were given other arguments", False
    names = [(name, stage) for was, stage in zip(before, now, strict=True) for name in was if was[name] != stage[name]]
    clause = ", ".join(f"{name} of {stage['stage']} was changed" for name, stage in names)
    return clause, all(name == "seed" for name, _ in names)


def _crc_of(facts: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(facts).encode())


def _head(body: memoryview) -> bytes:
    return _MARK + zlib.crc32(body).to_bytes(4, "little") + len(body).to_bytes(8, "little")


def _write(path: Path, data: bytes) -> None:
    # Without a sync for each datapoint: what a power cut damages is seen by its checksum, and made again.
    write_whole(path, data, durable=False)
