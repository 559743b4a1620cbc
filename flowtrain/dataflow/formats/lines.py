"""Random access to the lines of a text file: line breaks are searched once, then any line is read alone."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from ...utils.storage import local_copy
from .openfiles import OpenFile, OpenFiles, OpenURL
from .source import compression, damaged

__all__ = ["LineFile", "RowRule"]

_CHUNK = 1 << 24
_NEWLINE, _RETURN = b"\n\r"
_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = {"utf-32": (b"\xff\xfe\0\0", b"\0\0\xfe\xff"), "utf-16": (b"\xff\xfe", b"\xfe\xff")}

Blank = Literal["keep", "empty", "spaces"]


class RowRule:
    """CSV's rule of which line breaks belong to a row: those between a quote that begins a cell and the closing quote.

    Args:
        delimiter: The character between cells.
        quote: The quote character; within a quoted cell it is doubled.
        encoding: The file's encoding.
    """

    def __init__(self, delimiter: str, quote: str, encoding: str = "utf-8") -> None:
        self.delimiter, self.quote = delimiter.encode(encoding), quote.encode(encoding)
        d, q = re.escape(self.delimiter), re.escape(self.quote)
        plain = rb"(?:(?!%b)[^\r\n])*+" % d
        # Possessive (*+) and atomic: no backtracking, so a row of a million quotes is walked over once. Text after a
        # closing quote is let through: the splitter of cells refuses it, and names the cell.
        cell = rb"(?>%b[^%b]*+(?:%b%b[^%b]*+)*+%b%b|(?!%b)%b)" % (q, q, q, q, q, q, plain, q, plain)
        self.row = re.compile(rb"%b(?:%b%b)*+(?=\r|\n|\Z)" % (cell, d, cell))


class LineFile:
    """The lines of one file, by number. A line ends with LF, CR LF or CR, as in Python and pandas.

    Args:
        path: The file.
        files: The source's cache of open files.
        rows: CSV's rule, by which a line may hold line breaks; None: each line break ends a line.
        blank: Which blank lines are left out: ``"keep"`` none, ``"empty"`` those without any character, ``"spaces"``
            also those that hold only spaces.
        spaces: The bytes that count as spaces.
        comment: Lines that begin with this byte are left out.
        encoding: The text's encoding. Where a line break takes more than one byte (UTF-16, UTF-32), the file is held
            in memory, as UTF-8.

    Raises:
        FormatError: The file is compressed, is not in the encoding, or a quotation has no end.
    """

    def __init__(
        self,
        path: str,
        files: OpenFiles,
        *,
        rows: RowRule | None = None,
        blank: Blank = "keep",
        spaces: bytes = b" \t",
        comment: bytes = b"",
        encoding: str = "utf-8",
    ) -> None:
        self.path, self._files, self._encoding = path, files, encoding
        self._local = local_copy(path)  # all of the file is read now, to find its lines
        head = files[self._local].read(0, min(8, files[self._local].size))
        kind = compression(head)
        if kind:
            advice = "decompress it (gunzip) first" if kind == "gzip" else "decompress it first"
            raise damaged(path, f"a {kind} file: lines cannot be found in it by their place; {advice}")
        self._held = _as_utf8(path, files[self._local], encoding) if is_wide(encoding) else None
        if self._held is None:
            _refuse_wide(path, head, encoding)
            files.expect(self._local, files[self._local].size)
        self._size = files[self._local].size if self._held is None else len(self._held)
        starts, ends, numbers = self._find(rows)
        if self._size and (blank != "keep" or comment):
            self._starts, self._ends = starts, ends
            wanted = self._wanted(starts, ends, spaces if blank == "spaces" else b"", comment)
            wanted &= (starts < ends) | (blank == "keep")
            starts, ends, numbers = starts[wanted], ends[wanted], numbers[wanted]
        self._starts, self._ends, self._numbers = starts, ends, numbers
        self.count = len(starts)

    def read(self, index: int) -> str:
        """A line, without its line break.

        Args:
            index: Which line, from 0; those that were left out do not count.

        Raises:
            FormatError: The line is not in the encoding.
        """
        line = self.raw(index)
        encoding = self._encoding if self._held is None else "utf-8"
        try:
            return line.decode(encoding)
        except UnicodeDecodeError as error:
            what = f"line {self.number(index)} is not {encoding}: {error.reason} at its byte {error.start}."
            raise damaged(self.path, f"{what} Pass encoding=", record=index) from error

    def raw(self, index: int) -> bytes:
        """A line's bytes."""
        return self._bytes(int(self._starts[index]), int(self._ends[index]))

    def number(self, index: int) -> int:
        """A line's number as an editor shows it, from 1."""
        return int(self._numbers[index]) + 1

    # -- how lines are found

    def _bytes(self, start: int, end: int) -> bytes:
        if self._held is not None:
            return self._held[start:end]
        return self._files[self._local].read(start, end) if end > start else b""

    def _find(self, rows: RowRule | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The start and end of each line, and its number from 0, for which every line break counts."""
        begin = 3 if self._bytes(0, min(3, self._size)) == _BOM else 0
        if begin == self._size:
            nothing = np.empty(0, np.int64)
            return nothing, nothing, nothing
        breaks = _Breaks(rows)
        for at in range(begin, self._size, _CHUNK):
            # One byte more: a CR at the end of a chunk is no break of its own if an LF follows.
            breaks.add(self._bytes(at, min(at + _CHUNK + 1, self._size)), at, min(_CHUNK, self._size - at))
        places, ends, outside = breaks.found()
        if rows is not None and not breaks.regular:
            places, ends, numbers = self._walk(rows, begin, places)
        else:
            places, ends, numbers = places[outside], ends[outside], np.flatnonzero(outside) + 1
            if breaks.within_quotes:
                raise self._never_closed(int(places[-1]) + 1 if len(places) else begin)
        starts = np.concatenate([[begin], places + 1])
        ends = np.append(ends, self._size)
        kept = starts < self._size  # no line follows a line break at the end of the file
        return starts[kept], ends[kept], np.concatenate([[0], numbers])[kept]

    def _walk(self, rows: RowRule, begin: int, breaks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The line breaks between rows, found row by row, in a file with quotes in the middle of unquoted cells.

        There counting quotes says nothing: whether a quote opens a cell depends on where the row before it ended.
        """
        data = self._bytes(0, self._size)
        places, ends, at = [], [], begin
        while at < len(data):
            row = rows.row.match(data, at)
            if row is None:
                raise self._never_closed(at)
            at = row.end()
            if at < len(data):
                ends.append(at)
                at += 2 if data[at : at + 2] == b"\r\n" else 1
                places.append(at - 1)
        found = np.array(places, np.int64)
        return found, np.array(ends, np.int64), np.searchsorted(breaks, found) + 1

    def _never_closed(self, start: int) -> Exception:
        what = "a quotation is opened and never closed in what begins here. If quotes mean nothing in this file, pass "
        return damaged(self.path, f"{what}quoting=None", offset=start)

    def _wanted(self, starts: np.ndarray, ends: np.ndarray, spaces: bytes, comment: bytes) -> np.ndarray:
        """Which lines are no comment and not only spaces; lines without any character count as wanted.

        By the first byte of each line; only those that begin with a space are read whole.
        """
        first = np.zeros(len(starts), np.uint8)
        for at in range(0, self._size, _CHUNK):
            low, high = np.searchsorted(starts, [at, at + _CHUNK])
            chunk = np.frombuffer(self._bytes(at, min(at + _CHUNK, self._size)), np.uint8)
            first[low:high] = chunk[starts[low:high] - at]
        wanted = first != comment[0] if comment else np.ones(len(starts), bool)
        for index in np.flatnonzero(wanted & (starts < ends) & np.isin(first, list(spaces))):
            wanted[index] = bool(self.raw(int(index)).strip(spaces))
        return wanted


class _Breaks:
    """Finds line breaks, and which of them lie within quotes, a chunk of the file at a time and without a loop.

    If every opening quote stands at the start of a cell, a line break lies within quotes exactly if an odd number of
    quotes is before it. ``regular`` says whether that held so far; if not, `LineFile._walk` has to be used.
    """

    def __init__(self, rows: RowRule | None) -> None:
        self._rows = rows
        self._found: list[tuple[np.ndarray, ...]] = []  # of each chunk
        self._quotes = 0
        self._before: int | None = None  # the last byte of the chunk before
        self._quote_before = -2  # the place of the last quote of the chunks before; -2: before no byte of the file
        # A delimiter of several bytes cannot be told by the one byte before a quote.
        self.regular = rows is None or len(rows.delimiter) == 1

    @property
    def within_quotes(self) -> bool:
        """Whether a quoted cell is still open after the last chunk."""
        return self._quotes % 2 == 1

    def add(self, content: bytes, at: int, size: int) -> None:
        """Search a chunk.

        Args:
            content: The chunk's bytes, and the byte after them where there is one.
            at: The chunk's place in the file.
            size: How many bytes the chunk has.
        """
        padded = np.frombuffer(content, np.uint8)
        chunk = padded[:size]
        breaks = chunk == _NEWLINE
        returns = chunk == _RETURN
        if returns.any():
            follows = np.zeros(size, bool)
            follows[: len(padded) - 1] = padded[1 : size + 1] == _NEWLINE
            breaks |= returns & ~follows
        places = np.flatnonzero(breaks)
        before = _shifted(chunk, self._before, places)
        ends = places - ((chunk[places] == _NEWLINE) & (before == _RETURN))  # a line ends before the CR of a CR LF
        outside = np.ones(len(places), bool) if self._rows is None else self._outside(self._rows, chunk, at, places)
        self._found.append((places + at, ends + at, outside))
        self._before = int(chunk[-1])

    def _outside(self, rule: RowRule, chunk: np.ndarray, at: int, places: np.ndarray) -> np.ndarray:
        """Whether each line break of a chunk is outside quotes; counts the chunk's quotes, and checks ``regular``."""
        quotes = np.flatnonzero(chunk == rule.quote[0])
        opening = quotes[self._quotes % 2 :: 2]
        allowed = [_NEWLINE, _RETURN, rule.delimiter[-1]]
        before = _shifted(chunk, self._before, opening)
        # A doubled quote counts as a closing one and an opening one right after it, which also leaves the parity right.
        doubled = np.isin(opening + at - 1, np.append(quotes + at, self._quote_before))
        begins = np.isin(before, allowed) | doubled
        if len(opening) and opening[0] == 0 and self._before is None:
            begins[0] = True
        self.regular = self.regular and bool(begins.all())
        outside = (np.searchsorted(quotes, places) + self._quotes) % 2 == 0
        self._quotes += len(quotes)
        if len(quotes):
            self._quote_before = int(quotes[-1]) + at
        return outside

    def found(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each line break: its place, the end of the line before it, and whether it is outside quotes."""
        places, ends, outside = map(np.concatenate, zip(*self._found, strict=True))
        return places, ends, outside


def _shifted(chunk: np.ndarray, before: int | None, places: np.ndarray) -> np.ndarray:
    """The byte before each of some places (ascending) of a chunk; ``before`` is the byte before the chunk."""
    found = chunk[places - 1]  # for place 0 that is the chunk's last byte, corrected below
    if len(places) and places[0] == 0:
        found[0] = 0 if before is None else before
    return found


def is_wide(encoding: str) -> bool:
    """Whether a line break is anything but the single byte 10 in this encoding.

    Raises:
        LookupError: There is no such encoding.
    """
    return "a\n".encode(encoding) != b"a\n" and not encoding.lower().replace("_", "-").endswith("-sig")


def _as_utf8(path: str, file: OpenFile | OpenURL, encoding: str) -> bytes:
    content = file.read(0, file.size)
    try:
        return content.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeError as error:
        raise damaged(path, f"it is not {encoding}: {error}. Pass encoding=") from error


def _refuse_wide(path: str, head: bytes, encoding: str) -> None:
    for name, boms in _WIDE_BOMS.items():
        if head.startswith(boms) and len(head) > len(boms[0]):
            raise damaged(path, f"it begins with the mark of {name}, not {encoding}. Pass encoding={name!r}", offset=0)
