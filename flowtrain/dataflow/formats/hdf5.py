"""HDF5 files as a source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...utils.optional import require
from .source import damaged
from .table import TableSource

__all__ = ["HDF5Data", "write_hdf5"]


class HDF5Data(TableSource):
    """The rows of the datasets in an HDF5 file, never loaded as a whole.

    Datasets that lie in one piece (not chunked, not compressed) are mapped into memory: workers share them, and
    threads read at once. Others are read row by row through h5py.

    Args:
        path: The file.
        keys: None: a file of ``write`` gives its datapoints, another a dict with a row of each dataset. A list of
            datasets' names (``"group/name"``) gives a list; a dict ``{component: name}`` gives a dict.
        shuffle: Whether each epoch has an order of its own.
        seed: Of the order.
        verify: Whether the checksums that ``write`` stores are compared.

    Raises:
        DataFlowError: The file is missing or unreadable; when first read: a name is unknown, or the datasets differ
            in length.
        FormatError: When first read: the file is cut short, damaged or not HDF5.

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
        try:
            file = h5py.File(self.path, "r", locking=False)
            found: dict[str, Any] = {}

            def visit(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    found[name] = _column(self.path, h5py, item)

            file.visititems(visit)
        except (OSError, RuntimeError, KeyError) as error:
            raise damaged(self.path, f"not an HDF5 file, cut short, or damaged: {error}") from error
        if not found:
            raise damaged(self.path, "there is no dataset in the file")
        return found


def _column(path: str, h5py: Any, dataset: Any) -> Any:
    """A mapped array where the dataset is one piece of plain numbers, else something that reads row by row."""
    dtype, offset = dataset.dtype, dataset.id.get_offset()
    if dataset.size == 0 and dtype.kind in "biufc":
        return np.empty(dataset.shape, dtype)
    if offset is None or dataset.external or dtype.kind not in "biufc" or not dataset.shape:
        return _Rows(path, h5py, dataset)
    if offset + dataset.nbytes > os.path.getsize(path):
        raise damaged(path, f"dataset {dataset.name!r} is cut short: {dataset.nbytes:,} bytes expected", offset=offset)
    return np.memmap(path, dtype, "r", offset, dataset.shape)


class _Rows:
    """A chunked, compressed or string dataset."""

    def __init__(self, path: str, h5py: Any, dataset: Any) -> None:
        self._path, self._dataset = path, dataset
        self.shape = dataset.shape
        # strings come as str, as they do from every other source
        self._items = dataset.asstr() if h5py.check_string_dtype(dataset.dtype) is not None else dataset

    def __getitem__(self, index: Any) -> Any:
        try:
            return self._items[index]
        except (OSError, RuntimeError, UnicodeDecodeError) as error:
            record = index if isinstance(index, int) else None
            raise damaged(self._path, f"dataset {self._dataset.name!r} is damaged: {error}", record=record) from error


def write_hdf5(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays that may be larger than memory, each as one piece, so that a reader can map it.

    Args:
        path: The file.
        arrays: Name -> array; ``/`` in a name makes groups.
    """
    h5py = require("h5py", extra="formats", needed_for="Writing HDF5")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            dataset = file.create_dataset(name, array.shape, array.dtype)
            step = max(1, (1 << 22) // max(1, array.nbytes // max(1, len(array))))
            for start in range(0, len(array), step):
                dataset[start : start + step] = array[start : start + step]
