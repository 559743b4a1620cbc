"""Sinks of npz and HDF5 files: columns are spooled, and put into one file at the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.files import fsync
from .columns import Column, ColumnSpool
from .framing import crc32c
from .hdf5 import write_hdf5
from .npzfile import write_npz
from .sealed import pack_sealed
from .table import HEADER

__all__ = ["HDF5Sink", "NpzSink", "TableSink"]


class TableSink:
    """Sink of a file of columns, which a subclass writes at the end."""

    _column: type[Column] = Column

    def __init__(self, folder: str, position: list[Any] | None) -> None:
        self._folder = folder
        self._spool = ColumnSpool(folder, position, self._column)
        self.append, self.commit, self.close = self._spool.append, self._spool.commit, self._spool.close

    def _write(self, path: str) -> None:
        raise NotImplementedError

    def _arrays(self) -> dict[str, np.ndarray]:
        """The columns as named arrays, with the header as one of them."""
        header = np.frombuffer(pack_sealed(self._spool.header(), crc32c()), np.uint8)
        return {HEADER: header, **self._spool.arrays()}

    def finish(self) -> str:
        path = os.path.join(self._folder, "data")
        self._write(path)
        fsync(Path(path))
        self.close()
        return path


class NpzSink(TableSink):
    """Sink of npz files."""

    def _write(self, path: str) -> None:
        write_npz(path, self._arrays())


class HDF5Sink(TableSink):
    """Sink of HDF5 files."""

    def _write(self, path: str) -> None:
        write_hdf5(path, self._arrays())
