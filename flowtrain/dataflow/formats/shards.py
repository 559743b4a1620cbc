"""A source whose records lie in one or more files, one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, Protocol

from ..base import Datapoint
from .source import FileSource, PathLike, describe_paths, resolve_files

__all__ = ["Shard", "ShardedSource"]


class Shard(Protocol):
    """One file that knows how many records it has, and reads any of them."""

    count: int

    def read(self, number: int) -> Datapoint:
        """The content of a record, numbered from 0 within the file."""
        ...


class ShardedSource(FileSource):
    """Records of several files as one flow: all of the first file, then all of the second.

    A subclass defines ``_open_shard`` and, if the content of a record is not the datapoint, ``_decode``.

    Args:
        path: A file, a list of files, or a pattern such as ``"train-*.tar"``.
        shuffle: Whether each epoch has an order of its own, over all files.
        seed: Of the order.
        what: What the files are, named in errors.
    """

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        *,
        shuffle: bool,
        seed: int | Literal["random"] | None,
        what: str,
    ) -> None:
        super().__init__(shuffle, seed)
        self.paths = resolve_files(path, what=what)

    def _open_shard(self, path: str) -> Shard:
        raise NotImplementedError

    def _open_files(self) -> tuple[list[Shard], list[int]]:
        shards = [self._open_shard(path) for path in self.paths]
        return shards, [0, *accumulate(shard.count for shard in shards)]

    def _count(self) -> int:
        return self._handle[1][-1]

    def _locate(self, index: int) -> tuple[Shard, int]:
        """The file that holds a record, and its number there."""
        shards, firsts = self._handle
        if len(shards) == 1:
            return shards[0], index
        place = bisect_right(firsts, index) - 1
        return shards[place], index - firsts[place]

    def _read(self, index: int) -> Datapoint:
        shard, number = self._locate(index)
        return shard.read(number)

    def describe(self) -> str:
        return f"{type(self).__name__}({describe_paths(self.paths)})"
