"""CSV files with typed columns, a row a datapoint."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ...utils.errors import DataFlowError, closest
from ..core.base import Datapoint
from .lines import LineFile
from .maps import FileMaps
from .shards import ShardedSource
from .source import PathLike, damaged
from .text import check_encoding, decode_line

__all__ = ["CSVData"]

_SAMPLE = 1000
_TRUE, _FALSE = {"true", "yes", "t", "y", "1"}, {"false", "no", "f", "n", "0"}

Parser = Callable[[str], Any]


class CSVData(ShardedSource):
    """The rows of CSV files, each cell with the type of its column.

    Args:
        path: A file, a list of files with the same columns, or a pattern such as ``"part-*.csv"``.
        columns: Column -> type, for those that are wanted, in the wanted order: ``int``, ``float``, ``str``, ``bool``,
            a NumPy dtype (``np.float32``), or a function of the text. Without a header a list of types, one for
            each column. None takes all columns, with types found in the first 1000 rows: int, float, bool or str.
        header: Whether the first row of each file names the columns.
        delimiter: Between cells, e.g. ``";"`` or ``"\\t"``.
        missing: Column -> value of an empty cell. Where it says nothing, an empty cell is nan in a float column, ""
            in a str column, and an error in others. Without a header: by number, from 0.
        encoding: Of the text.
        shuffle: Whether each epoch has an order of its own, over all files.
        seed: Of the order.

    Raises:
        DataFlowError: A file is missing or unreadable; when first read: a column is unknown, or there are no rows.
        FormatError: When read: a row has too few or too many cells, or a cell is not of its column's type; names
            file, line and column.

    Order:
        As in the files; with ``shuffle`` a new permutation of all rows each epoch. Indexable: a datapoint is a dict
        of the columns, or a list where there is no header. Blank lines are no rows.

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
        missing: Mapping[Any, Any] | None = None,
        encoding: str = "utf-8",
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(path, shuffle=shuffle, seed=seed, what="CSV file")
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise DataFlowError(f"delimiter is one character that is no quote or line break, got {delimiter!r}")
        if columns is not None and (isinstance(columns, str) or header != isinstance(columns, Mapping) or not columns):
            form = "a dict {column: type}" if header else "a list of types, one for each column"
            raise DataFlowError(f"with header={header}, columns is {form}; got {columns!r}")
        self._columns, self._header, self._delimiter = columns, header, delimiter
        self._missing, self._encoding = dict(missing or {}), check_encoding(encoding)
        self._plan: list[tuple[Any, int, Parser]] | None = None  # name, place in the row, how a cell is read
        self._width = 0

    def _open_files(self) -> Any:
        maps = FileMaps()
        files = [LineFile(path, maps, quoted=True, skip_blank=True) for path in self.paths]
        rows = [_Rows(file, self._header) for file in files]
        names = self._names(files)
        self._width = len(names)
        self._plan = self._make_plan(names, rows)
        return self._lay_out(rows)

    def _read(self, index: int) -> Datapoint:
        rows, number = self._locate(index)
        plan = self._plan or []
        cells = self._cells(rows.file, number + self._header)
        values = [self._value(rows, number, cells[place], name, parse) for name, place, parse in plan]
        if not self._header:
            return values
        return dict(zip([name for name, _, _ in plan], values, strict=True))

    def _value(self, rows: _Rows, number: int, text: str, name: Any, parse: Parser) -> Any:
        if not text and name in self._missing:
            return self._missing[name]
        try:
            return parse(text)
        except (ValueError, TypeError, OverflowError) as error:
            line = rows.file.number(number + self._header)
            kind = getattr(parse, "wanted", "what its function takes")
            empty = f" Pass missing={{{name!r}: ...}} for empty cells." if not text else ""
            what = f"line {line}, column {name!r}: {text[:80]!r} is not {kind} ({error}).{empty}"
            raise damaged(rows.file.path, what, record=number) from error

    def _cells(self, file: LineFile, index: int) -> list[str]:
        """The cells of a line, as many as there are columns."""
        line = decode_line(file, index, self._encoding)
        if '"' in line:
            try:
                cells = next(csv.reader([line], delimiter=self._delimiter, strict=True))
            except csv.Error as error:
                raise damaged(file.path, f"line {file.number(index)}: {error}", record=index - self._header) from error
        else:
            cells = line.split(self._delimiter)
        if self._width and len(cells) != self._width:
            what = f"line {file.number(index)} has {len(cells)} cells, {self._width} are expected"
            raise damaged(file.path, what, record=index - self._header)
        return cells

    # -- what the columns are

    def _names(self, files: list[LineFile]) -> list[Any]:
        """The columns' names, or numbers, which must be the same in each file."""
        self._width = 0
        filled = [file for file in files if file.count]
        if not filled:
            raise DataFlowError(f"{', '.join(self.paths)}: no rows")
        first = self._cells(filled[0], 0)
        if not self._header:
            return list(range(len(first)))
        for file in filled:
            names = self._cells(file, 0)
            if names != first:
                raise damaged(file.path, f"its columns are {names}, those of {filled[0].path} are {first}")
        if len(set(first)) != len(first):
            raise damaged(filled[0].path, f"two columns have one name: {first}")
        return first

    def _make_plan(self, names: list[Any], rows: list[_Rows]) -> list[tuple[Any, int, Parser]]:
        if self._columns is None:
            return [(name, place, self._infer(rows, place)) for place, name in enumerate(names)]
        if not isinstance(self._columns, Mapping):
            if len(self._columns) != len(names):
                raise DataFlowError(f"{len(self._columns)} types for {len(names)} columns in {rows[0].file.path}")
            return [(place, place, _parser(kind)) for place, kind in enumerate(self._columns)]
        for name in self._columns:
            if name not in names:
                raise DataFlowError(f"{rows[0].file.path} has no column {name!r}. {closest(str(name), names)}")
        return [(name, names.index(name), _parser(kind)) for name, kind in self._columns.items()]

    def _infer(self, files: list[_Rows], place: int) -> Parser:
        """The first of int, float, bool, str that suits the first rows."""
        part = next((part for part in files if part.count), None)
        count = min(part.count, _SAMPLE) if part else 0
        rows = part.file if part else files[0].file
        texts = [self._cells(rows, number + self._header)[place] for number in range(count)]
        filled = [text for text in texts if text]
        for kind in (int, float, bool):
            if kind is not float and len(filled) < len(texts):
                continue  # an empty cell can be nan
            if filled and all(map(_fits(_parser(kind)), filled)):
                return _parser(kind)
        return _parser(str)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["_plan"] = None
        return state


class _Rows:
    """The lines of a file after its header."""

    def __init__(self, file: LineFile, header: bool) -> None:
        self.file = file
        self.count = max(0, file.count - header)


def _fits(parse: Parser) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, OverflowError):
            return False
        return True

    return fits


def _parser(kind: Any) -> Parser:
    """How a cell of a column of this type is read."""
    if kind is int:
        return _named(lambda text: int(text), "an int")
    if kind is float:
        return _named(lambda text: float(text) if text else float("nan"), "a float")
    if kind is bool:
        return _named(_parse_bool, "a bool (true, false, yes, no, 1, 0)")
    if kind is str:
        return str
    if callable(kind) and not (isinstance(kind, type) and issubclass(kind, np.generic)):
        return kind
    try:
        dtype = np.dtype(kind)
    except TypeError:
        raise DataFlowError(
            f"{kind!r} is no type of a column: int, float, str, bool, a NumPy dtype or a function"
        ) from None
    if dtype.kind == "b":
        return _named(lambda text: np.bool_(_parse_bool(text)), "a bool")
    if dtype.kind == "f":
        return _named(lambda text: dtype.type(text or "nan"), str(dtype))
    if dtype.kind in "iu":
        return _named(lambda text: dtype.type(int(text)), str(dtype))
    return _named(lambda text: dtype.type(text), str(dtype))


def _named(parse: Parser, wanted: str) -> Parser:
    parse.wanted = wanted  # type: ignore[attr-defined]
    return parse


def _parse_bool(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in _TRUE and lowered not in _FALSE:
        raise ValueError("no truth value")
    return lowered in _TRUE
