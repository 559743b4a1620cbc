"""Source over the lines of text files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ...utils.errors import DataFlowError
from ..core.base import Datapoint
from .lines import LineFile, is_wide
from .openfiles import OpenFiles
from .shards import ShardedSource
from .source import PathLike

__all__ = ["TextLineData", "check_encoding"]


def check_encoding(encoding: str) -> str:
    """Check that an encoding is known, and that it is UTF-16, UTF-32 or a superset of ASCII (EBCDIC is not).

    Raises:
        DataFlowError: It is another one.
    """
    try:
        plain = is_wide(encoding) or "a,1\n".encode(encoding).endswith(b"a,1\n")
        plain = plain and "a\n".encode(encoding).decode(encoding) == "a\n"
    except (LookupError, TypeError, UnicodeError):
        plain = False
    if not plain:
        raise DataFlowError(f"encoding={encoding!r} is unknown: use e.g. 'utf-8', 'latin-1', 'utf-16'")
    return encoding


class TextLineData(ShardedSource):
    """The lines of text files, in any order.

    Args:
        path: A file, a list of files, or a pattern such as ``"*.txt"``.
        encoding: Encoding of the text; files in UTF-16 or UTF-32 are held in memory.
        skip_blank: Whether empty lines are left out.
        shuffle: Use a new random order in each epoch, over the records of all files.
        seed: Seed of the order; None takes the default.

    Raises:
        DataFlowError: A file is missing or unreadable, or the encoding is unknown.
        FormatError: When read: the file is compressed, or a line is not in the encoding; names file and line.

    Order:
        As in the files; with ``shuffle`` a new permutation of all lines each epoch. Indexable: each datapoint is
        ``[str]``, without the line break (LF, CR LF or CR, as in Python).

    State:
        The index of the next datapoint; resuming costs nothing.

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

    def _open_files(self) -> tuple[Sequence[LineFile], list[int]]:
        files = OpenFiles()
        blank = "empty" if self._skip_blank else "keep"
        return self._lay_out(self._open_each(lambda path: LineFile(path, files, blank=blank, encoding=self._encoding)))

    def _read(self, index: int) -> Datapoint:
        lines, number = self._locate(index)
        return [lines.read(number)]
