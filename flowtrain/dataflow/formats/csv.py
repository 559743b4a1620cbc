"""CSV files as a source: typed columns, one datapoint per row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np

from ...utils.arguments import check_choice
from ...utils.errors import DataFlowError, FormatError, closest
from ..core.base import Datapoint
from .csvcells import CellSplitter, Column, guess_kind
from .lines import LineFile, RowRule, is_wide
from .openfiles import OpenFiles
from .shards import ShardedSource
from .source import PathLike, damaged
from .text import check_encoding

__all__ = ["CSVData"]

_SAMPLE = 1000

logger = logging.getLogger("flowtrain.dataflow")


class CSVData(ShardedSource):
    """Rows of CSV files; each cell has the type of its column.

    Types are guessed as ``pandas.read_csv`` guesses them: zip codes such as ``01234`` become numbers there and here.
    To keep a column as text, pass ``columns={"zip": str, ...}``.

    Args:
        path: A file, a list of files with the same columns, or a pattern such as ``"part-*.csv"``.
        columns: Column -> type, for the wanted columns in the wanted order: ``int``, ``float``, ``str``, ``bool``, a
            NumPy dtype (``np.float32``), or a function of the text. Without a header a list of types, one for each
            column. None takes all columns, with types guessed from the first 1000 rows: int, float (also whole
            numbers some of which are missing, and columns without any value), bool (``True``, ``true``, ``TRUE`` and
            ``False``, none missing), else str. In a column guessed as float, a whole number above 2**53 that a float
            would round is an error.
        header: Whether the first row of each file names the columns.
        delimiter: The character between cells, e.g. ``";"`` or ``"\\t"``.
        quoting: The quote character around cells that hold delimiters or line breaks; within such a cell it is
            doubled. Elsewhere than at the start of a cell it is a character like any other. None: there are no
            quotes, and each line break ends a row.
        missing: A list of words: these and the empty cell stand for no value. Or a dict column -> value (without a
            header: by number, from 0), which gives the value to use instead. By default the empty cell, and in
            columns of numbers and bools also ``NA``, ``null`` and the other words of pandas, stand for no value: nan
            in a float column, "" in a str column, an error in others.
        encoding: The text's encoding; files in UTF-16 or UTF-32 are held in memory.
        on_error: ``"raise"``: a row with too few or too many cells, or with a cell that is not of its column's type,
            is an error when it is read. ``"skip"``: all rows are read once when the files are opened; the bad ones are
            left out and counted in ``skipped``, and the first is logged.
        shuffle: Whether each epoch has an order of its own, over all files.
        seed: Seed of the order.

    Raises:
        DataFlowError: A file is missing or unreadable; when first read: a column is unknown, or there are no rows.
        FormatError: When first read: a file is empty, or not in the encoding. When read: a row has too few or too
            many cells, or a cell is not of its column's type; names file, line and column.

    Order:
        As in the files; with ``shuffle`` a new permutation of all rows each epoch. Indexable: a datapoint is a dict
        of the columns, or a list where there is no header. Lines that are empty or hold only spaces are no rows.

    State:
        An index: going on costs nothing.

    Example:
        >>> ds = CSVData("people.csv", {"name": str, "height": np.float32})    # doctest: +SKIP
        >>> ds.get(0)                                                          # doctest: +SKIP
        {'name': 'Ada', 'height': np.float32(1.65)}
    """

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        columns: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        header: bool = True,
        delimiter: str = ",",
        quoting: str | None = '"',
        missing: Mapping[Any, Any] | Sequence[str] | None = None,
        encoding: str = "utf-8",
        on_error: Literal["raise", "skip"] = "raise",
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(path, shuffle=shuffle, seed=seed, what="CSV file")
        if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n' or delimiter == quoting:
            raise DataFlowError(f"delimiter is one character that is no quote or line break, got {delimiter!r}")
        if quoting is not None and (not isinstance(quoting, str) or len(quoting) != 1 or not quoting.isascii()):
            raise DataFlowError(f"quoting is one character of ASCII, or None, got {quoting!r}")
        if columns is not None and (isinstance(columns, str) or header != isinstance(columns, Mapping) or not columns):
            form = "a dict {column: type}" if header else "a list of types, one for each column"
            raise DataFlowError(f"with header={header}, columns is {form}; got {columns!r}")
        check_choice("CSVData", "on_error", on_error, ("raise", "skip"), DataFlowError)
        self._columns, self._header = columns, header
        self._delimiter, self._quoting, self._encoding = delimiter, quoting, check_encoding(encoding)
        self._words, self._fill = _checked_missing(missing)
        self._on_error = on_error
        self._splitter = CellSplitter(delimiter, quoting)
        self._plan: list[tuple[Column, int]] | None = None  # each with its place in the row
        self._width = 0
        self._skipped: int | None = None

    @property
    def skipped(self) -> int:
        """How many rows ``on_error="skip"`` left out; asking opens the files."""
        len(self)
        return self._skipped or 0

    def _open_files(self) -> tuple[Sequence[_Rows], list[int]]:
        files = OpenFiles()
        encoding = "utf-8" if is_wide(self._encoding) else self._encoding  # LineFile holds wide encodings as UTF-8
        rule = None if self._quoting is None else RowRule(self._delimiter, self._quoting, encoding)
        spaces = " \t".replace(self._delimiter, "").encode()  # between tabs are cells: a line of tabs is not blank
        lines = self._open_each(
            lambda path: LineFile(path, files, rows=rule, blank="spaces", spaces=spaces, encoding=self._encoding)
        )
        empty = next((file for file in lines if not file.count), None)
        if empty:
            raise damaged(empty.path, f"an empty file: no rows{', not even a header' if self._header else ''}")
        names = self._names(lines)
        self._width = len(names)
        rows = [_Rows(file, self._header) for file in lines]
        if not any(part.count for part in rows):
            raise DataFlowError(f"{', '.join(self.paths)}: a header and no rows")
        self._plan = self._make_plan(names, rows)
        if self._on_error == "skip":
            self._leave_out_bad(rows)
        return self._lay_out(rows)

    def _read(self, index: int) -> Datapoint:
        rows, number = self._locate(index)
        return self._row(rows, number)

    def _row(self, rows: _Rows, number: int) -> Datapoint:
        plan = self._plan or []
        cells = self._cells(rows.file, rows.line(number))
        values = []
        for column, place in plan:
            try:
                values.append(column.read(cells[place]))
            except ValueError as error:
                what = f"line {rows.file.number(rows.line(number))}, column {column.name!r}: {error}"
                raise damaged(rows.file.path, what + self._hint(), record=number) from error
        if not self._header:
            return values
        return dict(zip([column.name for column, _ in plan], values, strict=True))

    def _hint(self) -> str:
        return ". Types are guessed from the first rows: pass columns=" if self._columns is None else ""

    def _cells(self, file: LineFile, index: int) -> list[str]:
        """Split a line into cells, as many as there are columns.

        Raises:
            FormatError: It has more or fewer cells, or text after a quote that ends a cell.
        """
        line = file.read(index)
        try:
            cells = self._splitter.split(line)
        except ValueError as error:
            raise damaged(file.path, f"line {file.number(index)}: {error}", record=index - self._header) from error
        if self._width and len(cells) != self._width:
            what = f"line {file.number(index)} has {len(cells)} cells, {self._width} are expected"
            raise damaged(file.path, what, record=index - self._header)
        return cells

    def _leave_out_bad(self, files: list[_Rows]) -> None:
        """Read every row once, and keep those that can be read."""
        skipped, first = 0, ""
        for rows in files:
            kept = np.ones(rows.count, bool)
            for number in range(rows.count):
                try:
                    self._row(rows, number)
                except FormatError as error:
                    kept[number] = False
                    first = first or str(error)
            skipped += int((~kept).sum())
            rows.keep(np.flatnonzero(kept))
        if skipped and self._skipped is None:
            logger.warning("%s: %d rows are left out. The first: %s", self, skipped, first)
        self._skipped = skipped

    # -- what the columns are

    def _names(self, files: list[LineFile]) -> list[Any]:
        """The columns' names, the same in each file; without a header their numbers."""
        self._width = 0  # not known yet: `_cells` takes any
        first = self._cells(files[0], 0)
        if not self._header:
            return list(range(len(first)))
        for file in files:
            names = self._cells(file, 0)
            if names != first:
                raise damaged(file.path, f"its columns are {names}, those of {files[0].path} are {first}")
        name, times = Counter(first).most_common(1)[0]
        if times > 1:
            raise damaged(files[0].path, f"{times} columns have one name: {name!r}")
        return first

    def _make_plan(self, names: list[Any], rows: list[_Rows]) -> list[tuple[Column, int]]:
        """The wanted columns, each with its place in the row.

        Raises:
            DataFlowError: A column in ``columns`` or ``missing`` is unknown, or there are more or fewer types than
                columns.
        """
        if self._columns is None:
            sample = list(islice(self._all_cells(rows), _SAMPLE))
            guessed = [guess_kind((cells[i] for cells in sample), self._words, n) for i, n in enumerate(names)]
            kinds: dict[Any, Any] = dict(zip(names, guessed, strict=True))
        elif not isinstance(self._columns, Mapping):
            if len(self._columns) != len(names):
                raise DataFlowError(f"{len(self._columns)} types for {len(names)} columns in {rows[0].file.path}")
            kinds = dict(enumerate(self._columns))
        else:
            kinds = dict(self._columns)
        places = {name: place for place, name in enumerate(names)}
        for name in [*kinds, *self._fill]:
            if name not in places:
                raise DataFlowError(
                    f"{rows[0].file.path} has no column {name!r}. {closest(str(name), list(map(str, names)))}"
                )
        fill = {name: [value] for name, value in self._fill.items()}
        return [
            (Column(name, kind, self._words, fill.get(name, []), self._columns is None), places[name])
            for name, kind in kinds.items()
        ]

    def _all_cells(self, files: list[_Rows]) -> Iterator[list[str]]:
        """The cells of each row; with ``on_error="skip"`` without the rows that cannot be split."""
        for rows in files:
            for number in range(rows.count):
                try:
                    yield self._cells(rows.file, rows.line(number))
                except FormatError:
                    if self._on_error == "raise":
                        raise

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_plan": None}  # a plan holds lambdas; each process makes its own


class _Rows:
    """The lines of a file after its header."""

    def __init__(self, file: LineFile, header: bool) -> None:
        self.file, self._first = file, int(header)
        self.count = file.count - header
        self._kept: np.ndarray | None = None

    def line(self, number: int) -> int:
        """The number of a row's line in the file, from 0."""
        return self._first + (number if self._kept is None else int(self._kept[number]))

    def keep(self, numbers: np.ndarray) -> None:
        """Leave out all other rows."""
        self._kept, self.count = numbers, len(numbers)


def _checked_missing(missing: Mapping[Any, Any] | Sequence[str] | None) -> tuple[list[str] | None, dict[Any, Any]]:
    """Split the argument ``missing``: words that stand for no value (None: the usual ones), column -> fill value."""
    if missing is None or isinstance(missing, Mapping):
        return None, dict(missing or {})
    if isinstance(missing, str) or not all(isinstance(word, str) for word in missing):
        raise DataFlowError(f"missing is a list of words, or a dict {{column: value}}; got {missing!r}")
    return list(missing), {}
