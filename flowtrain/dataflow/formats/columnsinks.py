"""Sinks of npz and HDF5 files: columns are spooled, and put into one file at the end."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .columns import ColumnSpool
from .framing import crc32c
from .hdf5 import write_hdf5
from .npzfile import write_npz
from .sealed import pack_sealed
from .table import HEADER

__all__ = ["HDF5Sink", "NpzSink"]


class _TableSink:
    """Sink of a file of named arrays; a subclass writes the arrays."""

    def __init__(self, folder: str, position: list[Any] | None) -> None:
        self._folder = folder
        self._spool = ColumnSpool(folder, position)
        self.append, self.commit, self.close = self._spool.append, self._spool.commit, self._spool.close

    def _write(self, path: str, arrays: dict[str, Any]) -> None:
        raise NotImplementedError

    def finish(self) -> str:
        path = os.path.join(self._folder, "data")
        header = np.frombuffer(pack_sealed(self._spool.header(), crc32c()), np.uint8)
        self._write(path, {HEADER: header, **self._spool.arrays()})
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        self.close()
        return path


class NpzSink(_TableSink):
    """Sink of npz files."""

    def _write(self, path: str, arrays: dict[str, Any]) -> None:
        write_npz(path, arrays)


class HDF5Sink(_TableSink):
    """Sink of HDF5 files."""

    def _write(self, path: str, arrays: dict[str, Any]) -> None:
        write_hdf5(path, arrays)
