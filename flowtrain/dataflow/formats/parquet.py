"""Source over the rows of Parquet files: random access by way of whole row groups."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Any, Literal

import numpy as np

from ...utils.arguments import check_int, check_names, if_given
from ...utils.errors import DataFlowError, FlowtrainError, closest
from ..core.base import Datapoint
from .arrowcells import NullCell
from .arrowvalues import gathers, null_paths
from .columnsource import ColumnSource
from .grouporder import GroupOrder
from .layout import join
from .parquetfile import GroupCache, ParquetFile, RowGroup, same_columns
from .pictures import picture_decoder
from .runs import ReadRun
from .shards import ShardedSource
from .source import PathLike, damaged

__all__ = ["ParquetData"]

_PLAIN_KINDS = ("int", "float", "bool", "scalar", "str", "bytes")


class ParquetData(ColumnSource, ShardedSource):
    """The rows of Parquet files, in any order.

    To get a row, its row group is read whole; recently used groups stay in memory. Both an ordered and a shuffled
    epoch read each group once per process: see Order.

    Args:
        path: A file, a list of files with the same columns, or a pattern such as ``"part-*.parquet"``.
        columns: Names of the columns to read, in the order of the result; None reads all.
        decode: None: files of :func:`~flowtrain.dataflow.formats.write` give their datapoints, others a dict of the
            columns. ``"raw"``: always that dict. A dict column -> ``"image"`` (the bytes of a picture file become RGB,
            uint8 (H, W, 3), as ``read_image`` gives), ``"gray"`` ((H, W, 1)) or a function of the cell. Or a function
            of the dict.
        missing: Column -> replacement for a null: a value of the column's type, or None. A field of a struct is
            ``"column.field"``, the elements of a list are ``"column[]"``. A null without a replacement is an error
            when it is read.
        shuffle: Use a new random order in each epoch, over the records of all files.
        shuffle_groups: How many row groups are mixed with each other; None: as many as ``cache_bytes`` holds.
        cache_bytes: Size of the cache of row groups, in bytes of memory of each process.
        seed: Seed of the order; None takes the default.
        verify: Whether checksums are compared: those of ``write``, and those of pages where a file has them.

    Raises:
        DataFlowError: A file is missing or unreadable, or an argument is wrong; when first read: a column is unknown or
            of a type that cannot be read, or files differ in their columns. When read: a value is null.
        FormatError: When first read: a file is not Parquet, cut short or damaged. When read: a row group is damaged;
            names file, row group and row.

    Cells are NumPy numbers of the column's dtype (integers too if some are null: they never pass through float64), str,
    bytes, datetime64, timedelta64 or ``decimal.Decimal``. A list of numbers is an array, another list a list, a struct
    a dict, a tensor an array of its shape, and a cell of a dictionary column the value.

    Order:
        As in the files. With ``shuffle`` the row groups come in a new random order each epoch, and the rows of
        ``shuffle_groups`` consecutive groups are mixed with each other: all rows of all files, if ``cache_bytes`` has
        room for all groups. So one process reads no row group twice in an epoch. Indexable; vectorised if all cells
        are numbers, times or texts.

    State:
        The index of the next datapoint; resuming costs nothing.

    Example:
        >>> ds = ParquetData("train-*.parquet", decode={"photo": "image"}, shuffle=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        columns: Sequence[str] | None = None,
        *,
        decode: Callable[[dict[str, Any]], Datapoint] | Mapping[str, Any] | Literal["raw"] | None = None,
        missing: Mapping[str, Any] | None = None,
        shuffle: bool = False,
        shuffle_groups: int | None = None,
        cache_bytes: int = 1 << 28,
        seed: int | Literal["random"] | None = None,
        verify: bool = True,
    ) -> None:
        super().__init__(path, shuffle=shuffle, seed=seed, what="Parquet file")
        self._columns = if_given(check_names, "ParquetData", "columns", columns, DataFlowError, least=1)
        if missing is not None and not isinstance(missing, Mapping):
            raise DataFlowError(f"missing is a dict {{column: what stands for a null there}}; got {missing!r}")
        if not (decode is None or decode == "raw" or callable(decode) or isinstance(decode, Mapping)):
            raise DataFlowError(
                'decode is None, "raw", a dict {column: "image", "gray" or a function of the cell}, or a function of '
                f"the row; got {decode!r}"
            )
        by_column = decode if isinstance(decode, Mapping) else {}
        self._decoders = {name: picture_decoder("ParquetData", name, how) for name, how in by_column.items()}
        self._make = decode if callable(decode) else None
        # Hugging Face writes a picture as a struct of bytes and path, one of which is null: no error here
        pictures = [name for name, how in by_column.items() if not callable(how)]
        self._asked = dict(missing or {})
        self._missing = {f"{name}.{part}": None for name in pictures for part in ("bytes", "path")} | self._asked
        self._as_stored = decode is not None  # the layout of a file of `write` is then ignored
        self._groups = if_given(check_int, "ParquetData", "shuffle_groups", shuffle_groups, least=1)
        self._cache_bytes = check_int("ParquetData", "cache_bytes", cache_bytes, least=0)
        self._verify = verify
        # A run of rows read ahead would call the user's function for rows that may never be asked for.
        self._reads_ahead = not any(map(callable, (decode, *by_column.values())))

    def _open_files(self) -> _Rows:
        files = self._open_each(
            lambda path: ParquetFile(path, self._columns, self._missing, self._as_stored, self._verify)
        )
        same_columns(files)
        known = files[0].names
        parts = [part for name, kind in files[0].types.items() for part in null_paths(kind, name)]
        for argument, names, among in (("decode", self._decoders, known), ("missing", self._asked, parts)):
            for name in names:
                if name not in among:
                    raise DataFlowError(
                        f"{argument}={{{name!r}: ...}}: {self.paths[0]} has no such column among those that are read. "
                        f"{closest(str(name), among)}"
                    )
        return _Rows(files, self.shuffle, self._cache_bytes, self._groups)

    def _count(self) -> int:
        return self._handle.count

    def _place(self, index: int, epoch: int) -> int:
        size = len(self)
        if not self.shuffle or not 0 <= index < size:
            return super()._place(index, epoch)  # raises IndexError for an index out of range
        return self._handle.order.place(self.stream, epoch, index, size)

    def _places(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        return (
            self._handle.order.places(self.stream, epoch, indices) if self.shuffle else super()._places(indices, epoch)
        )

    def _read(self, index: int) -> Datapoint:
        rows: _Rows = self._handle
        file, number, group, row = rows.locate(index)
        try:
            cells = {name: column.get(row) for name, column in group.columns.items()}
            for name, decoded in self._decoders.items():
                cells[name] = decoded(cells[name], f"{file.path}, record {number}, column {name!r}")
        except NullCell as error:
            raise damaged(file.path, str(error), record=number) from error
        except UnicodeDecodeError as error:
            raise damaged(file.path, f"a text is not UTF-8: {error}", record=number) from error
        if rows.layout is not None:
            return rows.joined(cells)
        return self._make(cells) if self._make else cells

    def _run_reader(self) -> ReadRun:
        rows: _Rows = self._handle
        read, decoders, names = self._read, self._decoders, rows.files[0].names

        def read_run(records: Sequence[int]) -> list[Datapoint]:
            try:
                columns = [] if decoders else rows.run(records)
            except (FlowtrainError, UnicodeDecodeError):
                columns = []  # read() below names the record; a later one of the run fails when its turn has come
            if not columns:
                return [read(records[0])]
            made = [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]
            return made if rows.layout is None else list(map(rows.joined, made))

        return read_run

    @property
    def vectorized(self) -> bool:
        """Whether ``get_batch`` takes the rows from whole columns instead of one by one."""
        file: ParquetFile = self._handle.files[0]
        if self._decoders or self._make or not file.names:
            return False
        if file.kinds:
            return all(
                file.kinds[name][0] in _PLAIN_KINDS or file.kinds[name][::2] == ["array", []] for name in file.names
            )
        return all(map(gathers, file.types.values())) and None not in self._missing.values()

    def _joined(self, cells: dict[str, Any]) -> Datapoint:
        rows: _Rows = self._handle
        return cells if rows.layout is None else rows.joined(cells)

    @property
    def groups_read(self) -> int:
        """Number of row groups that this process has read so far: it tells whether an order suits the files."""
        return self._handle.cache.reads


class _Rows:
    """The rows of all files as one sequence, with the cache of their row groups and the shuffled order.

    A *place* is the number of a row group over all files, a *record* the number of a row over all files.

    Args:
        files: The files.
        shuffled: Whether rows are read in the order of ``GroupOrder``.
        cache_bytes: Size of the cache.
        groups: How many row groups are mixed with each other; None: as many as the cache holds.
    """

    def __init__(self, files: list[ParquetFile], shuffled: bool, cache_bytes: int, groups: int | None) -> None:
        self.files, self.layout = files, files[0].layout
        firsts = [0, *accumulate(file.count for file in files)]
        # of each row group: its file, its number there, the file's first row, the group's first row in the file
        self._places = [
            (file, number, first, start)
            for file, first in zip(files, firsts[:-1], strict=True)
            for number, start in enumerate([0, *accumulate(file.rows)][:-1])
        ]
        counts = [rows for file in files for rows in file.rows]
        self._ends = list(accumulate(counts))
        self.count = firsts[-1]
        self.order = GroupOrder(counts, [size for file in files for size in file.sizes], cache_bytes, groups)
        # A shuffled walk returns to each group of a run until the run ends: a smaller cache would read them many times.
        self.cache = GroupCache(cache_bytes, self.order.longest_run if shuffled else 1, self._read)

    def _read(self, place: int) -> RowGroup:
        file, number, _, start = self._places[place]
        return file.read_group(number, start)

    def locate(self, index: int) -> tuple[ParquetFile, int, RowGroup, int]:
        """A row's file, its number in the file, its row group, and its number in the group."""
        place = bisect_right(self._ends, index)
        if place == len(self._ends):  # datapoints without a component: the file has no columns, and so no row groups
            return self.files[0], index, RowGroup({}, 0), 0
        file, _, first, start = self._places[place]
        return file, index - first, self.cache.get(place), index - first - start

    def run(self, records: Sequence[int]) -> list[list[Any]]:
        """The cells of the first rows of a sequence, up to the end of a row group: a list for each column."""
        _, _, group, row = self.locate(records[0])
        if not group.columns:
            return []
        start, end = records[0] - row, self._ends[bisect_right(self._ends, records[0])]
        rows = [record - start for record in takewhile(lambda record: start <= record < end, records)]
        if rows == list(range(row, row + len(rows))):
            return [column.rows(row, row + len(rows)) for column in group.columns.values()]
        return [list(map(column.get, rows)) for column in group.columns.values()]

    def joined(self, cells: dict[str, Any]) -> Datapoint:
        """The datapoint, or the batch, that `write` was given, from its cells."""
        return join(self.layout, lambda _, name: cells[name])

    def gather(self, records: np.ndarray) -> dict[str, np.ndarray]:
        """The cells of any rows as an array for each column; each row group is looked up once."""
        places = np.searchsorted(self._ends, records, "right")
        found: dict[str, np.ndarray] = {}
        for place in np.unique(places).tolist():
            chosen = np.flatnonzero(places == place)
            rows = records[chosen] - (self._ends[place - 1] if place else 0)
            for name, column in self.cache.get(place).columns.items():
                part = column.gather(rows)
                if name not in found:
                    found[name] = np.empty((len(records), *part.shape[1:]), part.dtype)
                found[name][chosen] = part
        return found
