"""HDF5 files as a source, and their writing."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from ...utils.claims import DEFLATE_MOST, UNNAMED, Claim, check_claim
from ...utils.errors import DataFlowError
from ...utils.optional import require
from ...utils.storage import local_copy
from ..core.datapoint import Component
from .mapped import RemoteArray, map_array
from .source import damaged, parsing
from .table import TableSource

__all__ = ["HDF5Data", "write_hdf5"]

# Classes of h5py, which is imported when it is used, and has no types that a checker reads.
HDF5Dataset: TypeAlias = Any
HDF5File: TypeAlias = Any

_LIBVER = ("v108", "v110")  # HDF5's older file formats have no checksums of their metadata


class HDF5Data(TableSource):
    """Rows of the datasets in an HDF5 file, which is never loaded as a whole.

    Contiguous datasets (not chunked, not compressed) are mapped into memory: workers share the pages, and threads read
    in parallel. Other datasets are read row by row through h5py, and the file stays open; your program may have it
    open too. Strings are read as str, those of fixed length as well.

    Args:
        path: The file. A URL is fetched once into the cache folder, as HDF5's library reads local files.
        keys: None: a file of ``write`` gives its datapoints, any other a dict with a row of each dataset. A list of
            names of datasets (``"group/name"``) gives a list; a dict ``{component: name}`` gives a dict.
        shuffle: Whether each epoch has an order of its own.
        seed: Seed of the order.
        verify: Whether rows are compared with the checksums that ``write`` stores.

    Raises:
        DataFlowError: The file is missing or unreadable; when first read: a name is unknown, the datasets differ in
            length, or another process is writing the file.
        FormatError: When first read: the file is cut short, damaged or not HDF5, or a file that a virtual dataset
            refers to is missing.

    Order:
        By row; with ``shuffle`` a new permutation each epoch. Indexable.

    State:
        An index: going on costs nothing.

    Example:
        >>> ds = HDF5Data("train.h5", keys=["image", "label"], shuffle=True)    # doctest: +SKIP
    """

    _what = "HDF5 file"

    def _arrays(self) -> Mapping[str, Any]:
        h5py = require("h5py", extra="formats", needed_for="HDF5Data")
        found: dict[str, Any] = {}
        path = local_copy(self.path)
        with parsing(self.path, "not an HDF5 file, cut short, or damaged"):
            file = _open(h5py, path)
            # If this process has the file open for writing, HDF5 may hold rows that are not in the file yet: map none.
            may_map = not file.id.get_intent() & h5py.h5f.ACC_RDWR

            def visit(name: str, item: object) -> None:
                if isinstance(item, h5py.Dataset):
                    found[name] = _column(path, h5py, item, may_map)

            file.visititems(visit)
            if all(isinstance(array, np.ndarray) for array in found.values()):
                file.close()  # mapped arrays need no HDF5, and an open file would hinder whoever wants to write it
        if not found:
            raise damaged(self.path, "there is no dataset in the file")
        return found


def _open(h5py: ModuleType, path: str) -> HDF5File:
    """Open a file for reading, with the locking mode with which this process may have it open already.

    HDF5 refuses to open a file again in the same process with another locking mode; its error reads as if the file
    were damaged. h5py's default (None) is tried first, so that code that opens the file after us by default succeeds.

    Raises:
        DataFlowError: Another process is writing the file.
    """
    for locking in (None, False, True):
        try:
            return h5py.File(path, "r", locking=locking)
        except BlockingIOError as error:
            raise DataFlowError(
                f"{path} is open for writing in {_writer(path)}: what is read now may be half written. Close it there, "
                "or wait until it is closed"
            ) from error
        except OSError as error:
            if locking or "lock" not in str(error):
                raise
    raise AssertionError("unreachable")


def _writer(path: str) -> str:
    """The process that holds a write lock on a file, by /proc/locks; "another process" where that does not tell."""
    status = os.stat(path)
    place = f":{status.st_ino}"
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii") as locks:
        for line in locks:
            fields = line.split()
            if len(fields) > 5 and fields[3] == "WRITE" and fields[5].endswith(place):
                return f"process {fields[4]}"
    return "another process"


def _column(path: str, h5py: ModuleType, dataset: HDF5Dataset, may_map: bool) -> np.ndarray | RemoteArray | _Rows:
    """A dataset as a mapped array where it is contiguous and of plain numbers, else as `_Rows`."""
    dtype, offset = dataset.dtype, dataset.id.get_offset()
    if dataset.shape is None:  # h5py.Empty: it has no rows, and others of the file may be wanted
        return np.empty((), dtype)
    if dataset.is_virtual:
        _check_sources(path, dataset)
    if dataset.size == 0 and dtype.kind in "biufc":  # it has no place in the file, and an empty range cannot be mapped
        return np.empty(dataset.shape, dtype)
    if not may_map or offset is None or dataset.external or dtype.kind not in "biufc" or not dataset.shape:
        return _Rows(path, h5py, dataset)
    if offset + dataset.nbytes > os.path.getsize(path):
        raise damaged(path, f"dataset {dataset.name!r} is cut short: {dataset.nbytes:,} bytes expected", offset=offset)
    return map_array(path, dtype, offset, dataset.shape)


def _check_sources(path: str, dataset: HDF5Dataset) -> None:
    """Refuse a virtual dataset with a missing source file, whose rows HDF5 would read as zeros."""
    for source in dataset.virtual_sources():
        name = source.file_name
        beside = os.path.join(os.path.dirname(path), name)
        if name != "." and "%" not in name and not (os.path.exists(beside) or os.path.exists(name)):
            raise damaged(path, f"dataset {dataset.name!r} refers to the file {name!r}, which is not there")


class _Rows:
    """A dataset that cannot be mapped (chunked, compressed, of strings, ...), read row by row through h5py."""

    def __init__(self, path: str, h5py: ModuleType, dataset: HDF5Dataset) -> None:
        self._path, self._dataset = path, dataset
        self.shape, self.dtype = dataset.shape, dataset.dtype
        # str, as from every other source. UTF-8 whatever the dataset says: many programs mark UTF-8 as ASCII.
        self._items = dataset.asstr("utf-8") if h5py.check_string_dtype(dataset.dtype) is not None else dataset
        self._there = os.path.getsize(path)
        self._elsewhere = bool(dataset.is_virtual or dataset.external)  # content lies in other files, of other sizes
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._check(max(self._row_bytes, math.prod(dataset.chunks or ()) * self.dtype.itemsize))

    def _check(self, wanted: int) -> None:
        """Refuse to read so many bytes if the file cannot hold them, not even deflated.

        A damaged shape is no error to HDF5: it fills what is not stored with the dataset's fill value, at any size.
        """
        if self._elsewhere:
            return
        try:
            check_claim(wanted, self._there, ratio=DEFLATE_MOST, limit=UNNAMED)
        except Claim as error:
            what = f"dataset {self._dataset.name!r} has rows or chunks that cannot lie in the file: {error}"
            raise damaged(self._path, what) from error

    def __getitem__(self, index: int | slice | np.ndarray) -> Component:
        record = index if isinstance(index, int) else None
        if isinstance(index, slice):
            self._check(len(range(*index.indices(self.shape[0] if self.shape else 0))) * self._row_bytes)
        try:
            return self._items[index]
        except UnicodeDecodeError as error:
            what = (
                f"dataset {self._dataset.name!r} holds bytes that are not text in UTF-8 ({error}): write them as a "
                "dataset of uint8, or as np.void"
            )
            raise damaged(self._path, what, record=record) from error
        except Exception as error:  # on damaged files h5py raises many types, and its filters still others
            raise damaged(self._path, f"dataset {self._dataset.name!r} is damaged: {error}", record=record) from error


def write_hdf5(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays that may be larger than memory, each as a contiguous dataset, which a reader can map.

    Args:
        path: The file.
        arrays: Name -> array; ``/`` in a name makes groups.
    """
    h5py = require("h5py", extra="formats", needed_for="Writing HDF5")
    with h5py.File(path, "w", libver=_LIBVER) as file:
        for name, array in arrays.items():
            dataset = file.create_dataset(name, array.shape, array.dtype)
            # Some 4 MiB at a time: the arrays are mapped files of any size, of which h5py would copy a whole slice.
            step = max(1, (1 << 22) // max(1, array.nbytes // max(1, len(array))))
            for start in range(0, len(array), step):
                dataset[start : start + step] = array[start : start + step]
