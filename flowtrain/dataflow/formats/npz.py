"""Source over the rows of npz and npy files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .mapped import RemoteArray
from .npzfile import NpzFile, map_npy
from .table import TableSource

__all__ = ["NpzData"]


class NpzData(TableSource):
    """The rows of the arrays in an ``.npz`` or ``.npy`` file, mapped into memory.

    Use it for arrays larger than memory: only the rows that are read are loaded, and worker processes share them.
    That holds for files of ``np.savez`` and :func:`~flowtrain.dataflow.formats.write`. Arrays of
    ``np.savez_compressed`` are decompressed whole, in each process.

    ``write`` stores a checksum for each row, which is compared when the row is read. Other npz files have one CRC-32
    for each array, so each array is read once when the file is opened (about a second per GB). For arrays of 64 MB and
    more in all, ``<file>.ftindex`` records the result, so that other processes and later runs need not repeat it.

    From a file at a URL, rows are fetched when they are read, and the CRC-32 of whole arrays is not compared.

    Args:
        path: The file, or its URL.
        keys: Which arrays to read. None: a file of ``write`` gives its datapoints; another npz gives a dict with a row
            of each array; an npy gives ``[row]``. A list of names gives a list; a dict ``{component: name}`` gives a
            dict.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.
        verify: Whether checksums are compared. An npy file has none.

    Raises:
        DataFlowError: The file is missing or unreadable; when first read: a name is unknown, or the arrays differ
            in length.
        FormatError: When first read: the file is cut short, damaged, or holds pickled objects.

    Order:
        By row; with ``shuffle`` a new permutation each epoch. Indexable, and vectorized for NumPy's own files.

    State:
        The index of the next datapoint; resuming costs nothing.

    Example:
        >>> ds = NpzData("digits.npz", keys=["images", "labels"], shuffle=True)    # doctest: +SKIP
    """

    _what = "npz or npy file"

    def _arrays(self) -> Mapping[str, np.ndarray | RemoteArray]:
        if self.path.lower().endswith(".npy"):
            if self._keys is None:
                self._keys = ["array"]
            return {"array": map_npy(self.path)}
        return NpzFile(self.path)

    def _check_whole(self, arrays: object, names: list[str]) -> None:
        if isinstance(arrays, NpzFile):
            arrays.check(names)
