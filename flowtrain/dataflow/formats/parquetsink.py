"""Sink for Parquet: datapoints are spooled as columns, from which the row groups are written at the end.

A Parquet file has its footer at the end and cannot be appended to: a resumed `write` goes on with the spool.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from .arrowcells import ArrowTable
from .arrowvalues import arrow
from .columnsinks import TableSink
from .framing import crc32c
from .parquetfile import parquet_package
from .parquetlayout import HEADER, MARK, ParquetColumn, arrow_column, check_name, checksum, marked
from .sealed import pack_sealed

__all__ = ["ParquetSink"]

_GROUP_BYTES = 4 << 20  # of a row group; small, since a reader loads all of it for any one row
_GROUP_ROWS = 1 << 16


class ParquetSink(TableSink):
    """Writes one Parquet file; ``parquetlayout`` says how its columns hold the datapoints."""

    _column = ParquetColumn

    def __init__(self, folder: str, position: list[Any] | None) -> None:
        parquet_package()  # if pyarrow is missing, fail now and not after the last datapoint
        check_name(folder)
        super().__init__(folder, position)

    def _write(self, path: str) -> None:
        pa, parquet = arrow(), parquet_package()
        spool, arrays = self._spool, self._spool.arrays()
        names = list(spool.columns)
        bounds = self._bounds()
        crcs: dict[str, list[int]] = {name: [] for name in names}

        def group(start: int, stop: int) -> ArrowTable:
            columns = [arrow_column(spool.columns[name], arrays, name, start, stop) for name in names]
            return pa.table(columns, names=names)

        schema = marked(group(0, 0).schema)
        with_bytes = [name for name in names if pa.types.is_large_binary(schema.field(name).type)]
        # Bytes are pictures and the like, all different: a dictionary of them only costs memory and time.
        dictionary = [name for name in names if name not in with_bytes]
        with parquet.ParquetWriter(path, schema, write_page_checksum=True, use_dictionary=dictionary) as writer:
            for start, stop in bounds:
                table = group(start, stop).cast(schema)
                for name in names:
                    crcs[name].append(checksum(table.column(name)))
                writer.write_table(table, row_group_size=max(1, stop - start))
            columns = {name: [c.kind, c.dtype, list(c.shape)] for name, c in spool.columns.items()}
            header = {
                "version": 1,
                "count": spool.count,
                "layout": spool.layout,
                "columns": columns,
                "rows": [stop - start for start, stop in bounds],
                "crcs": crcs,
            }
            sealed = base64.b64encode(pack_sealed(header, crc32c()))
            writer.add_key_value_metadata({HEADER: sealed, MARK: b"1"})

    def _bounds(self) -> list[tuple[int, int]]:
        """The first row and the end of each row group: as many rows as stay within both limits, at least one."""
        spool = self._spool
        if not spool.columns:
            return []
        fixed = sum(column.row_bytes for column in spool.columns.values() if column.fixed)
        ends = [array for name, array in spool.arrays().items() if name.endswith(".ends")]
        bounds, start = [], 0
        while start < spool.count:
            stop = min(spool.count, start + _GROUP_ROWS)
            sizes = fixed * np.arange(1, stop - start + 1)  # of a group of so many rows
            for array in ends:
                sizes += array[start:stop].astype(np.int64) - (int(array[start - 1]) if start else 0)
            stop = start + max(1, int(np.searchsorted(sizes, _GROUP_BYTES, "right")))
            bounds.append((start, stop))
            start = stop
        return bounds
