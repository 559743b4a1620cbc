"""Tar files in WebDataset's layout: the files of one sample follow each other and share a name up to the first dot."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgpack

from ...utils.errors import DataFlowError, FormatError
from ..core.base import Datapoint
from .maps import FileMaps, map_file
from .shards import ShardedSource
from .sidecar import load_or_build
from .source import PathLike, damaged
from .tarsample import MARK, decode_members, decode_webdataset

__all__ = ["TarData"]

_INDEX_KIND = 2
_BLOCK = 512

Sample = dict[str, Any]


class TarData(ShardedSource):
    """Samples of tar files in WebDataset's layout, in any order.

    ``0001.jpg`` and ``0001.cls`` make one sample with the components ``jpg`` and ``cls``. An index beside each file
    (``.ftindex``, made at the first use) gives random access, so the flow shuffles all samples, and no shard has to
    be read from its start.

    Args:
        path: A file, a list of files, or a pattern such as ``"train-*.tar"``. Compressed files are refused.
        decode: None: files of :func:`~flowtrain.dataflow.formats.write` give their datapoints, others a dict: the key
            as ``"__key__"``, each extension with the file's bytes. ``"raw"``: always that dict. ``"auto"``: that
            dict, decoded by extension (npy, json, txt, cls, and pictures as RGB). Or a function of that dict.
        shuffle: Whether each epoch has an order of its own.
        seed: Of the order.

    Raises:
        DataFlowError: A file is missing or unreadable, or ``decode`` is unknown.
        FormatError: When first read: a file is cut short, damaged, compressed or not a tar.

    Order:
        As in the files; with ``shuffle`` a new permutation of all samples each epoch. Indexable.

    State:
        An index: going on costs nothing.

    Example:
        >>> ds = TarData("train-*.tar", decode="auto", shuffle=True)    # doctest: +SKIP
        >>> ds = MapData(ds, lambda s: [s["jpg"], s["cls"]])            # doctest: +SKIP
    """

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        decode: Callable[[Sample], Datapoint] | Literal["raw", "auto"] | None = None,
        *,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        if not (decode is None or callable(decode) or decode in ("raw", "auto")):
            raise DataFlowError(f'decode is None, "raw", "auto" or a function of the sample; got {decode!r}')
        super().__init__(path, shuffle=shuffle, seed=seed, what="tar file")
        self._decode = decode_webdataset if decode == "auto" else decode

    def _open_files(self) -> Any:
        maps = FileMaps()
        return self._lay_out([_TarFile(path, maps, self._decode) for path in self.paths])


class _TarFile:
    """One tar file, mapped, with the place of every file of every sample."""

    def __init__(self, path: str, maps: FileMaps, decode: Any) -> None:
        self.path, self._maps, self._decode = path, maps, decode
        index = msgpack.unpackb(load_or_build(path, _INDEX_KIND, _find_samples), use_list=False)
        self._container, self._keys, self._members, size = index
        maps.expect(path, size)
        self.count = len(self._keys)

    def read(self, number: int) -> Datapoint:
        mapped = self._maps[self.path]
        key = self._keys[number]
        members = [(name, mapped[start : start + size]) for name, start, size in self._members[number]]
        try:
            if self._container and self._decode is None:
                return decode_members(self._container, members)
            sample: Sample = {"__key__": key, **dict(members)}
            return sample if self._decode in (None, "raw") else self._decode(sample)
        except FormatError as error:
            where = self._members[number][0][1] if members else None
            raise damaged(self.path, f"sample {key!r}: {error}", record=number, offset=where) from error


def _find_samples(path: str) -> bytes:
    """Walk over the headers: the container that `write` noted, the keys, and the members of each sample."""
    container = ""
    keys: list[str] = []
    members: list[list[tuple[str, int, int]]] = []
    end = 0
    mapped = map_file(path)
    if mapped[:2] == b"\x1f\x8b" or mapped[:3] == b"BZh" or mapped[:6] == b"\xfd7zXZ\0":
        raise damaged(path, "a compressed tar: files cannot be found in it by their place; decompress it first")
    try:
        with tarfile.open(path, "r:") as archive:
            container = archive.pax_headers.get(MARK, "")
            for info in archive:
                end = info.offset_data + (-(-info.size // _BLOCK) * _BLOCK if info.isreg() else 0)
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    raise damaged(
                        path, f"{info.name!r} is a link or a device: only files are expected", offset=info.offset
                    )
                if end > len(mapped):
                    there = len(mapped) - info.offset_data
                    what = f"cut short: {info.name!r} has {info.size:,} bytes, {there:,} are there"
                    raise damaged(path, what, record=len(keys), offset=info.offset_data)
                folder, base = os.path.split(info.name)
                stem, _, extension = base.partition(".")
                key = os.path.join(folder, stem)
                if not keys or keys[-1] != key:
                    keys.append(key)
                    members.append([])
                if any(extension == name for name, _, _ in members[-1]):
                    raise damaged(path, f"{info.name!r} is there twice", record=len(keys) - 1, offset=info.offset)
                members[-1].append((extension, info.offset_data, info.size))
    except tarfile.ReadError as error:
        raise damaged(path, f"not a tar file, cut short or damaged: {error}", record=len(keys), offset=end) from error
    # tarfile takes a damaged header, and the end of the file, for the end of the archive: a whole one ends in zeros
    if mapped[end : end + _BLOCK] != bytes(_BLOCK):
        what = (
            "cut short: the blocks that mark the end of the archive are missing"
            if end >= len(mapped)
            else "no file header here"
        )
        raise damaged(path, what, record=len(keys), offset=end)
    return msgpack.packb([container, keys, members, len(mapped)])  # type: ignore[return-value]
