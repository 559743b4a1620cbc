"""Text files, a line a datapoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ...utils.errors import DataFlowError
from ..core.base import Datapoint
from .lines import LineFile
from .maps import FileMaps
from .shards import ShardedSource
from .source import PathLike, damaged

__all__ = ["TextLineData", "check_encoding", "decode_line"]


def check_encoding(encoding: str) -> str:
    """Refuse an unknown encoding, and those in which a line break is not the byte 10."""
    try:
        plain = "a\n".encode(encoding) == b"a\n"
    except LookupError:
        plain = False
    if not plain:
        raise DataFlowError(f"encoding={encoding!r} is unknown, or does not contain ASCII: use e.g. 'utf-8', 'latin-1'")
    return encoding


def decode_line(lines: LineFile, index: int, encoding: str) -> str:
    """A line as str, or an error that names it."""
    line = lines.read(index)
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        what = f"line {lines.number(index)} is not {encoding}: {error.reason} at its byte {error.start}. Pass encoding="
        raise damaged(lines.path, what, record=index) from error


class TextLineData(ShardedSource):
    """The lines of text files, in any order.

    Args:
        path: A file, a list of files, or a pattern such as ``"*.txt"``.
        encoding: Of the text.
        skip_blank: Whether empty lines are left out.
        shuffle: Whether each epoch has an order of its own, over all files.
        seed: Of the order.

    Raises:
        DataFlowError: A file is missing or unreadable, or the encoding is unknown.
        FormatError: When read: the file is compressed, or a line is not in the encoding; names file and line.

    Order:
        As in the files; with ``shuffle`` a new permutation of all lines each epoch. Indexable: each datapoint is
        ``[str]``, without the line break.

    State:
        An index: going on costs nothing.

    Example:
        >>> list(TextLineData("names.txt"))    # doctest: +SKIP
        [['Ada'], ['Grace']]
    """

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        *,
        encoding: str = "utf-8",
        skip_blank: bool = False,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(path, shuffle=shuffle, seed=seed, what="text file")
        self._encoding, self._skip_blank = check_encoding(encoding), skip_blank

    def _open_files(self) -> Any:
        maps = FileMaps()
        return self._lay_out([LineFile(path, maps, skip_blank=self._skip_blank) for path in self.paths])

    def _read(self, index: int) -> Datapoint:
        lines, number = self._locate(index)
        return [decode_line(lines, number, self._encoding)]
