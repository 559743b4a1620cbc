"""What `write` needs of each format: append, make durable, go back to what was durable, finish."""

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
    """One file that is being written, in a folder of its own.

    Made with the folder and the position to go on from: what ``commit`` returned in an earlier process, or None.
    """

    def append(self, datapoint: object) -> None:
        """Add a record."""
        ...

    def commit(self) -> Position:
        """Make durable what was appended; returns the position after it, for the codec to pack."""
        ...

    def finish(self) -> str:
        """Complete the file and make it durable; returns its path."""
        ...

    def close(self) -> None:
        """Let go of the files."""
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
    """The format to write: what was asked for, or what the file's ending says.

    Raises:
        DataFlowError: Neither names a format.
    """
    name = given if given is not None else SUFFIXES.get(os.path.splitext(path)[1].lower())
    if name not in SINKS:
        wrong = (
            f"format={given!r} is unknown" if given is not None else f"the ending of {path!r} does not say the format"
        )
        raise DataFlowError(f"{wrong}: use one of {', '.join(SUFFIXES)}, or format= one of {', '.join(SINKS)}")
    return name
