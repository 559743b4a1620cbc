"""Where the lines of a text file are: found once, then any line is read alone."""

from __future__ import annotations

import mmap

import numpy as np

from .maps import FileMaps, map_file
from .source import damaged

__all__ = ["LineFile"]

_CHUNK = 1 << 24
_NEWLINE, _RETURN, _QUOTE = b'\n\r"'
_BOM = b"\xef\xbb\xbf"


class LineFile:
    """The lines of one file, by number.

    Args:
        path: The file.
        maps: Where the mapped files are kept.
        quoted: Whether a line break between double quotes belongs to the line, as in CSV.
        skip_blank: Whether empty lines are left out.
        comment: Lines that begin with this byte are left out.

    Raises:
        FormatError: The file is compressed, or a quotation has no end.
    """

    def __init__(
        self, path: str, maps: FileMaps, *, quoted: bool = False, skip_blank: bool = False, comment: bytes = b""
    ) -> None:
        self.path, self._maps = path, maps
        data = map_file(path)
        if data[:2] == b"\x1f\x8b":
            raise damaged(path, "a gzip file: lines cannot be found in it by their place; decompress it (gunzip) first")
        starts, ends, numbers = _find_lines(path, data, quoted)
        if data and (skip_blank or comment):
            wanted = _wanted(np.frombuffer(data, np.uint8), starts, ends, skip_blank, comment)
            starts, ends, numbers = starts[wanted], ends[wanted], numbers[wanted]
        self._starts, self._ends, self._numbers = starts, ends, numbers
        self.count = len(starts)
        maps.expect(path, len(data))

    def read(self, index: int) -> bytes:
        """A line, without its line break.

        Args:
            index: Which of those that were not left out, from 0.
        """
        return self._maps[self.path][int(self._starts[index]) : int(self._ends[index])].rstrip(b"\r\n")

    def number(self, index: int) -> int:
        """A line's number as an editor shows it, from 1."""
        return int(self._numbers[index]) + 1


def _find_lines(path: str, data: mmap.mmap | bytes, quoted: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The start and end of each line, and its number counting every line break."""
    size = len(data)
    if size == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
    view = np.frombuffer(data, np.uint8)
    breaks, numbers = [], []
    seen = open_quotes = 0
    for at in range(0, size, _CHUNK):
        chunk = view[at : at + _CHUNK]
        places = np.flatnonzero(chunk == _NEWLINE)
        number = np.arange(seen, seen + len(places))
        seen += len(places)
        if quoted:
            quotes = np.flatnonzero(chunk == _QUOTE)
            # a line break counts where an even number of quotes lies before it (a doubled quote counts twice)
            outside = (np.searchsorted(quotes, places) + open_quotes) % 2 == 0
            places, number = places[outside], number[outside]
            open_quotes += len(quotes)
        breaks.append(places + at)
        numbers.append(number + 1)
    if open_quotes % 2:
        last = int(breaks[-1][-1]) + 1 if breaks and len(breaks[-1]) else 0
        raise damaged(path, 'a quotation (") is opened and never closed in what begins here', offset=last)
    starts = np.concatenate([[0], np.concatenate(breaks) + 1])
    ends = np.append(starts[1:], size)
    if data[:3] == _BOM:
        starts[0] = 3
    kept = starts < size  # no line follows a line break at the end of the file
    return starts[kept], ends[kept], np.concatenate([[0], *numbers])[kept]


def _wanted(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, skip_blank: bool, comment: bytes) -> np.ndarray:
    first = data[starts]
    wanted = np.ones(len(starts), bool)
    if skip_blank:
        short = ends - starts <= 2
        wanted &= ~(short & ((first == _NEWLINE) | (first == _RETURN)))
    if comment:
        wanted &= first != comment[0]
    return wanted
