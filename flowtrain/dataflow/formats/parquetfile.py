"""One Parquet file, read by whole row groups, and the cache that keeps recently used row groups."""

from __future__ import annotations

import base64
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ...utils.errors import DataFlowError, FormatError, closest
from ...utils.optional import require
from ...utils.storage import RemoteFile, StorageFile, is_url
from .arrowcells import ArrowArray, ArrowSchema, ArrowType, Cells
from .arrowvalues import arrow, cells_of, unreadable
from .framing import crc32c
from .parquetlayout import HEADER, MARK, as_written, check_name, checksum, has_mark
from .sealed import unpack_sealed
from .source import damaged, parsing

__all__ = ["GroupCache", "ParquetFile", "RowGroup", "parquet_package", "same_columns"]


class RowGroup:
    """A row group in memory.

    Args:
        columns: Name -> cells.
        size: Bytes of memory that the columns take.
    """

    def __init__(self, columns: dict[str, Cells], size: int) -> None:
        self.columns, self.size = columns, size


class ParquetFile:
    """The footer of a file, by which its row groups are read. No file is held open.

    Args:
        path: The file, or its URL.
        columns: Names of the columns to read, in order; None: all.
        missing: Replacements for nulls; see `cells_of`.
        as_stored: Whether to ignore the layout that ``write`` stores, and return each column as it is.
        verify: Whether checksums are compared.

    Attributes:
        rows: Number of rows of each row group.
        sizes: About how many bytes the wanted columns of each row group take in memory.
        count: Number of datapoints; more than ``sum(rows)`` if datapoints have no components.
        layout: Layout of the datapoints in a file of ``write`` of which all columns are read; else None.
        kinds: Column -> [kind, dtype, shape] in a file of ``write``; else empty.
        names: The columns to read.
        types: Column -> Arrow type.

    Raises:
        DataFlowError: A column is unknown, or of a type that cannot be read.
        FormatError: It is not Parquet, cut short or damaged.
    """

    def __init__(
        self, path: str, columns: Sequence[str] | None, missing: Mapping[str, Any], as_stored: bool, verify: bool
    ) -> None:
        check_name(path)
        self.path, self._missing, self._verify = path, missing, verify
        self._remote = RemoteFile(path) if is_url(path) else None
        self._crcs: dict[str, list[int]] = {}
        self._size = os.path.getsize(path) if self._remote is None else self._remote.size
        pa = arrow()
        with parsing(path, "not a Parquet file, cut short, or damaged"), self._opened() as file:
            self._footer, schema = file.metadata, file.schema_arrow
            groups = [self._footer.row_group(number) for number in range(self._footer.num_row_groups)]
            self.rows = [group.num_rows for group in groups]
            self.count = self._footer.num_rows
            if min(self.rows, default=0) < 0 or sum(self.rows) != self.count:
                raise damaged(path, f"its row groups have {sum(self.rows)} rows, the file {self.count}")
            self.layout: Any = None
            self.kinds: dict[str, Any] = {}
            notes = self._footer.metadata or {}
            if HEADER in notes or MARK in notes or (not notes and has_mark(schema)):
                self._take_header(notes, schema, as_stored)
            if columns is not None:
                self.layout = None  # it is that of all columns
            self.names = list(schema.names) if columns is None else list(columns)
            self._check_names(schema)
            self.types = {name: schema.field(name).type for name in self.names}
            texts = (pa.string(), pa.large_string())
            # Read as dictionary arrays: a page of repeated texts may be few bytes, and gigabytes once written out.
            self._repeating = [name for name, kind in self.types.items() if kind in texts]
            self.sizes = [self._size_of(group) for group in groups]

    def _size_of(self, group: Any) -> int:
        """Estimate the bytes that the wanted columns of a row group take in memory, from the footer.

        The sizes that the footer has for each column are not asked for: if they are damaged, pyarrow ends the process.
        """
        widths = [_width(kind) for kind in self.types.values()]
        return sum(filter(None, widths)) * group.num_rows + (group.total_byte_size if None in widths else 0)

    def read_group(self, number: int, first: int) -> RowGroup:
        """Read a row group.

        Args:
            number: Which, from 0.
            first: The number of its first row in the file, for errors.

        Raises:
            FormatError: It is damaged, or the file has changed since it was opened.
        """
        what = f"row group {number} is damaged"
        if self._remote is None and os.path.getsize(self.path) != self._size:
            size = os.path.getsize(self.path)
            what = f"the file has changed since it was opened: it had {self._size:,} bytes, now it has {size:,}"
            raise damaged(self.path, what)
        with parsing(self.path, what, lambda: {"record": first}):
            with self._opened(self._footer) as file:
                table = file.read_row_group(number, columns=self.names, use_threads=False)
            if table.num_rows != self.rows[number]:
                raise FormatError(f"it has {table.num_rows} rows of {self.rows[number]}")
            cells = {name: self._cells(table.column(name), name, number, first) for name in self.names}
        return RowGroup(cells, table.nbytes)

    def _cells(self, column: ArrowArray, name: str, number: int, first: int) -> Cells:
        if name in self._crcs and self._verify and checksum(column) != self._crcs[name][number]:
            what = f"row group {number}, column {name!r}: its values do not have the checksum that is stored"
            raise damaged(self.path, what, record=first)
        moment = self._moment(name)
        missing = self._missing if moment is None else {name: moment("NaT")}
        made = cells_of(column, name, missing)
        return as_written(self.kinds[name], made) if name in self.kinds else made

    def _moment(self, name: str) -> type[np.datetime64 | np.timedelta64] | None:
        """NumPy's type of a column that ``write`` made of times: a null stands for NaT, which Arrow has not."""
        kind, dtype, _ = self.kinds.get(name, ("", "", ()))
        return np.dtype(dtype).type if kind == "scalar" and np.dtype(dtype).kind in "Mm" else None

    def _opened(self, footer: Any = None) -> Any:
        parquet = parquet_package()
        known = {"metadata": footer, "read_dictionary": self._repeating} if footer is not None else {}
        if self._remote is not None:  # pyarrow then merges the reads of a row group into few, large requests
            known["pre_buffer"] = True
        file = self.path if self._remote is None else StorageFile(self._remote)
        pages = self._verify and not self._crcs  # files of `write` have checksums of the values instead
        return parquet.ParquetFile(file, page_checksum_verification=pages, **known)

    def _check_names(self, schema: ArrowSchema) -> None:
        twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
        if twice is not None:
            raise damaged(self.path, f"two columns have one name: {twice!r}")
        for name in self.names:
            if name not in schema.names:
                raise DataFlowError(f"{self.path} has no column {name!r}. {closest(str(name), schema.names)}")
            kind = unreadable(schema.field(name).type)
            if kind is not None:
                others = [other for other in schema.names if other != name]
                raise DataFlowError(
                    f"{self.path}: the column {name!r} is {kind}, of which no value can be made. Leave it out: "
                    f"columns={others}"
                )

    def _take_header(self, notes: Mapping[bytes, bytes], schema: ArrowSchema, as_stored: bool) -> None:
        try:
            header = unpack_sealed(base64.b64decode(notes[HEADER], validate=True), crc32c())
            if header["version"] != 1:
                raise FormatError(f"written in version {header['version']} of the layout; this flowtrain reads 1")
            if list(header["columns"]) != schema.names or header["rows"] != self.rows:
                raise FormatError("columns or row groups are missing")
        except (LookupError, TypeError, ValueError, AttributeError, FormatError) as error:
            what = f"its header {HEADER.decode()!r}, or the footer, is damaged: {error}"
            raise damaged(self.path, what) from error
        self.count, self._crcs = header["count"], header["crcs"]
        if not as_stored:
            self.layout, self.kinds = header["layout"], header["columns"]


def _width(kind: ArrowType) -> int | None:
    """Bytes of a value; None if values differ in size."""
    try:
        return (kind.bit_width + 7) // 8
    except ValueError:  # not of a fixed width
        return None


def parquet_package() -> ModuleType:
    """Import pyarrow.parquet.

    Raises:
        MissingPackage: It is not installed; names the extra.
    """
    return require("pyarrow.parquet", extra="parquet", needed_for="Parquet")


class GroupCache:
    """Least-recently-used cache of row groups, for several threads.

    Args:
        room: Bytes that the groups may take.
        least: Number of groups that are kept even if they take more.
        read: Reads a group, given its key.

    Attributes:
        reads: Number of groups read so far.
    """

    def __init__(self, room: int, least: int, read: Callable[[Any], RowGroup]) -> None:
        self._room, self._least, self._read = room, least, read
        self._held: OrderedDict[Any, RowGroup] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        self.reads = 0

    def get(self, key: Any) -> RowGroup:
        """The group of a key, read if it is not in the cache."""
        with self._lock:  # held during the read as well, so that threads that want one group read it once
            group = self._held.get(key)
            if group is not None:
                self._held.move_to_end(key)
                return group
            group = self._read(key)
            self.reads += 1
            self._used += group.size
            while len(self._held) >= self._least and self._used > self._room:
                self._used -= self._held.popitem(last=False)[1].size
            self._held[key] = group
            return group


def same_columns(files: Sequence[ParquetFile]) -> None:
    """Check that all files have the wanted columns in the same types, and datapoints of one layout.

    Raises:
        DataFlowError: Two files differ; names both, and the column.
    """
    first = files[0]
    for file in files[1:]:
        if file.types != first.types or file.kinds.keys() != first.kinds.keys():
            odd = next((name for name in file.types if file.types[name] != first.types.get(name)), None)
            shown = f"{odd!r} as {file.types[odd]}" if odd is not None else f"the columns {file.names}"
            other = first.types.get(odd) if odd is not None else first.names
            raise DataFlowError(
                f"{file.path} has {shown}, {first.path} has {other}: files of one source have the same columns. Choose "
                "those that they share with columns=[...], or join sources with ConcatData"
            )
        if file.layout != first.layout:
            raise DataFlowError(
                f"{file.path} and {first.path} have the same columns for datapoints of different forms, such as lists "
                'and dicts. Join them with ConcatData, or take dicts of the columns with decode="raw"'
            )
