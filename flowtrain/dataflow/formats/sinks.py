"""The interface between `write` and the formats (``Sink``), and the table of formats that can be written."""

from __future__ import annotations

import os
from typing import Any, Protocol

from ...utils.errors import DataFlowError
from ..core.datapoint import Position
from .appendfile import TFRecordSink
from .columnsinks import HDF5Sink, NpzSink
from .lmdbsink import LMDBSink
from .otbtfsink import OTBTFSink
from .parquetsink import ParquetSink
from .tarsink import TarSink

__all__ = ["SINKS", "SUFFIXES", "Sink", "format_of"]


class Sink(Protocol):
    """Writer of one file, which is built in a folder of its own.

    The constructor takes the folder and a position: what ``commit`` returned in an earlier process, or None to start.
    It removes whatever was written after that commit, so that a killed `write` goes on exactly there.
    """

    def append(self, datapoint: object) -> None:
        """Add a datapoint."""
        ...

    def commit(self) -> Position:
        """Sync everything appended so far to disk; returns the position after it, a value that the codec packs."""
        ...

    def finish(self) -> str:
        """Complete the file and sync it to disk; returns its path."""
        ...

    def close(self) -> None:
        """Close the open files. May be called more than once."""
        ...


SINKS: dict[str, Any] = {
    "tfrecord": TFRecordSink,
    "lmdb": LMDBSink,
    "hdf5": HDF5Sink,
    "npz": NpzSink,
    "tar": TarSink,
    "parquet": ParquetSink,
    "otbtf": OTBTFSink,
}

SUFFIXES = {
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".records": "tfrecord",
    ".lmdb": "lmdb",
    ".mdb": "lmdb",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".npz": "npz",
    ".tar": "tar",
    ".parquet": "parquet",
}


def format_of(path: str, given: str | None) -> str:
    """The key into ``SINKS``: the given format, or the one that belongs to the suffix of the path.

    Raises:
        DataFlowError: The given format is unknown, or none is given and the suffix is unknown.
    """
    name = given if given is not None else SUFFIXES.get(os.path.splitext(path)[1].lower())
    if name not in SINKS:
        wrong = (
            f"format={given!r} is unknown" if given is not None else f"the ending of {path!r} does not say the format"
        )
        raise DataFlowError(f"{wrong}: use one of {', '.join(SUFFIXES)}, or format= one of {', '.join(SINKS)}")
    return name
