"""Street View House Numbers, cropped digits."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ...utils.optional import require
from ...utils.storage import local_copy
from ..formats.source import damaged, parsing
from .arrays import PicturesAndLabels
from .fetch import Remote, fetch

__all__ = ["SVHNDigit", "load_mat"]


def load_mat(path: str) -> dict[str, Any]:
    """Read a MATLAB file: name -> value of each variable.

    Args:
        path: The file, or its URL.

    Raises:
        FormatError: The file is damaged or not a MATLAB file.
        MissingPackage: SciPy is not installed; names the extra.
    """
    io = require("scipy.io", extra="images", needed_for=f"Reading {os.path.basename(path)}")
    local = local_copy(path)
    with parsing(path, "not a MATLAB file, cut short, or damaged"):
        return io.loadmat(local)


class SVHNDigit(PicturesAndLabels):
    """House numbers from street pictures, cropped to single digits (Netzer et al., 2011): 73,257 train, 26,032 test,
    531,131 extra.

    Args:
        split: ``"train"``, ``"test"`` or ``"extra"``.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.
        folder: Folder or URL of ``train_32x32.mat``, ...; None: ``$FLOWTRAIN_DATA/svhn``. A missing file is downloaded
            into a local folder.

    Raises:
        DataFlowError: The split is unknown.
        DownloadError: The file is missing and cannot be downloaded; says where to put it by hand.
        FormatError: When first read: the file is damaged.

    Order:
        As published; with ``shuffle`` a new permutation each epoch. Indexable and vectorized: a datapoint is
        ``[uint8 (32, 32, 3) RGB, int from 0 to 9]``. (In the files zero has label 10; here it is 0.)

    State:
        The index of the next datapoint; resuming costs nothing.

    Example:
        >>> picture, digit = SVHNDigit("test").get(0)    # doctest: +SKIP
    """

    folder_name = "svhn"
    splits = ("train", "test", "extra")
    _base = "http://ufldl.stanford.edu/housenumbers/"
    _md5 = {
        "train": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test": "eb5a983be6a315427106f1b164d9cef3",
        "extra": "a93ce644f1a588dc4d68dda5feec44a7",
    }

    def _find(self) -> str:
        name = f"{self.split}_32x32.mat"
        return fetch(Remote(name, self._base + name, self._md5[self.split]), self.folder)

    def _load(self) -> tuple[np.ndarray, np.ndarray]:
        found = load_mat(self._files)
        pictures, labels = found.get("X"), found.get("y")
        if pictures is None or labels is None or pictures.shape != (32, 32, 3, labels.size):
            raise damaged(self._files, "the arrays X (32, 32, 3, N) and y (N, 1) expected")
        return np.ascontiguousarray(pictures.transpose(3, 0, 1, 2)), labels.ravel() % 10  # label 10 is the digit 0
