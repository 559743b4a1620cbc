"""CIFAR-10 and CIFAR-100, from their binary archives (the Python archives are pickles, which are never read)."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Literal

import numpy as np

from ...utils.arguments import check_choice
from ...utils.errors import DataFlowError
from ...utils.storage import carried, local_copy
from ..formats.source import PathLike, damaged, parsing
from .arrays import PicturesAndLabels
from .fetch import NOT_THE_ARCHIVE, Remote, fetch, has_file

__all__ = ["Cifar10", "Cifar100"]

_PIXELS = 3 * 32 * 32


class _Cifar(PicturesAndLabels):
    """Base of both: a file of records, each of 1 or 2 label bytes and the planes R, G, B of 32 x 32 pixels."""

    _remote: Remote
    _inside: str  # folder in the archive
    _members: dict[str, tuple[str, ...]]  # split -> files in that folder
    _label_bytes = 1
    _label_at = 0

    def _find(self) -> list[str]:
        """The unpacked files of the split if all are there, else the archive."""
        for place in (f"{self.folder}/{self._inside}", self.folder):
            if all(has_file(place, name) for name in self._members[self.split]):
                return [carried(f"{place}/{name}") for name in self._members[self.split]]
        return [fetch(self._remote, self.folder)]

    def _load(self) -> tuple[np.ndarray, np.ndarray]:
        if self._files[0].endswith(".bin"):  # see _find: unpacked files, or the one archive
            parts = [(path, Path(local_copy(path)).read_bytes()) for path in self._files]
        else:
            parts = self._unpack(self._files[0])
        size = self._label_bytes + _PIXELS
        for name, content in parts:
            if not content or len(content) % size:
                raise damaged(name, f"records of {size} bytes expected, got {len(content):,} bytes in all", offset=0)
        records = np.concatenate([np.frombuffer(content, np.uint8).reshape(-1, size) for _, content in parts])
        planes = records[:, self._label_bytes :].reshape(-1, 3, 32, 32)
        return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, self._label_at]

    def _unpack(self, archive: str) -> list[tuple[str, bytes]]:
        """(name, content) of the split's files in the archive; nothing is extracted to disk."""
        local, parts = local_copy(archive), []
        with parsing(archive, NOT_THE_ARCHIVE), tarfile.open(local) as tar:
            for name in self._members[self.split]:
                member = tar.extractfile(f"{self._inside}/{name}")
                if member is None:
                    raise damaged(archive, f"{name} is not a file")
                parts.append((f"{archive}/{name}", member.read()))
        return parts


class Cifar10(_Cifar):
    """Small colour pictures of 10 classes: 50,000 to train with and 10,000 to test (Krizhevsky, 2009).

    Args:
        split: ``"train"`` or ``"test"``.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.
        folder: Folder or URL of ``cifar-10-binary.tar.gz`` or of the unpacked ``cifar-10-batches-bin``; None:
            ``$FLOWTRAIN_DATA/cifar10``. The archive is downloaded into a local folder if it is missing.

    Raises:
        DataFlowError: The split is unknown.
        DownloadError: The archive is missing and cannot be downloaded; says where to put it by hand.
        FormatError: When first read: a file is damaged.

    Order:
        As published; with ``shuffle`` a new permutation each epoch. Indexable and vectorized: a datapoint is
        ``[uint8 (32, 32, 3) RGB, int from 0 to 9]``. The names are in ``Cifar10.classes``.

    State:
        The index of the next datapoint; resuming costs nothing.

    Example:
        >>> picture, label = Cifar10("train").get(0)    # doctest: +SKIP
    """

    folder_name = "cifar10"
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    _inside = "cifar-10-batches-bin"
    _members = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
    _remote = Remote(
        "cifar-10-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
    )


class Cifar100(_Cifar):
    """Small colour pictures of 100 classes in 20 groups: 50,000 to train with and 10,000 to test (Krizhevsky, 2009).

    Args:
        split: ``"train"`` or ``"test"``.
        labels: ``"fine"`` (0 to 99) or ``"coarse"`` (0 to 19).
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.
        folder: Folder or URL of ``cifar-100-binary.tar.gz`` or of the unpacked ``cifar-100-binary``; None:
            ``$FLOWTRAIN_DATA/cifar100``. The archive is downloaded into a local folder if it is missing.

    For errors, order and state see :class:`Cifar10`.
    """

    folder_name = "cifar100"
    _inside = "cifar-100-binary"
    _members = {"train": ("train.bin",), "test": ("test.bin",)}
    _label_bytes = 2
    _remote = Remote(
        "cifar-100-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
    )

    def __init__(
        self,
        split: str,
        labels: Literal["fine", "coarse"] = "fine",
        *,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
        folder: PathLike | None = None,
    ) -> None:
        kinds = ("coarse", "fine")
        self._label_at = kinds.index(check_choice("Cifar100", "labels", labels, kinds, DataFlowError))
        super().__init__(split, shuffle=shuffle, seed=seed, folder=folder)
