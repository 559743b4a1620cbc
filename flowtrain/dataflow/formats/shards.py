"""Base of sources whose records are spread over several files (shards)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, TypeVar

from ...utils.storage import is_url
from ..core.base import Datapoint
from .source import FileSource, PathLike, resolve_files

__all__ = ["ShardedSource"]

Shard = TypeVar("Shard")
_AT_ONCE = 8  # files at URLs that are opened at the same time: waiting for the server, not work, is what takes long


class ShardedSource(FileSource):
    """A source over the records of several files: all of the first file, then all of the second, ...

    A subclass defines ``_open_files``, which returns ``self._lay_out(files)``. Each of the files has ``count``, the
    number of its records, and ``read(number)``, unless the subclass defines ``_read``.

    Args:
        path: A file, a list of files, or a pattern such as ``"train-*.tar"``.
        shuffle: Use a new random order in each epoch, over the records of all files.
        seed: Seed of the order; None takes the default.
        what: Kind of file, for errors.
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

    def _open_each(self, open_one: Callable[[str], Shard]) -> list[Shard]:
        """Open all files, in their order; several at once if some are at URLs, since each takes a few requests."""
        if len(self.paths) == 1 or not any(map(is_url, self.paths)):
            return [open_one(path) for path in self.paths]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(open_one, self.paths))

    @staticmethod
    def _lay_out(shards: Sequence[Any]) -> tuple[Sequence[Any], list[int]]:
        """The open files, and the index of the first record of each, followed by the number of all records."""
        return shards, [0, *accumulate(shard.count for shard in shards)]

    def _count(self) -> int:
        return self._handle[1][-1]

    def _locate(self, index: int) -> tuple[Any, int]:
        """The file that holds a record, and the record's number in that file."""
        shards, firsts = self._handle
        if len(shards) == 1:
            return shards[0], index
        place = bisect_right(firsts, index) - 1  # right: an empty file has the same first index as the one after it
        return shards[place], index - firsts[place]

    def _read(self, index: int) -> Datapoint:
        shard, number = self._locate(index)
        return shard.read(number)

    def describe(self) -> str:
        first, more = Path(self.paths[0]).name, len(self.paths) - 1
        return f"{type(self).__name__}({first} and {more} more)" if more else f"{type(self).__name__}({first})"
