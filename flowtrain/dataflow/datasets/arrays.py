"""Data sets that fit into memory: pictures and labels as two arrays."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np

from ...utils.errors import DataFlowError
from ..core.base import Datapoint
from ..formats.source import FileSource, PathLike
from .fetch import folder_of

__all__ = ["PicturesAndLabels", "check_split", "read_picture"]


def check_split(given: Any, splits: tuple[str, ...], what: str) -> str:
    """Refuse an unknown part of a data set.

    Raises:
        DataFlowError: It is not one of ``splits``.
    """
    if given not in splits:
        raise DataFlowError(f"{what} has the parts {', '.join(map(repr, splits))}; got {given!r}")
    return given


def read_picture(path: PathLike, record: int) -> np.ndarray:
    """The picture of a record, (H, W, 3), RGB.

    Raises:
        BrokenImage: It is damaged, or no picture; names file and record.
    """
    from ..sources.decode import BrokenImage, read_image  # brings OpenCV, which is slow to import

    try:
        return read_image(path)
    except BrokenImage as error:
        what = str(error).removeprefix(f"{os.fspath(path)}: ")
        raise BrokenImage(f"{os.fspath(path)}, record {record}: {what}") from error


class PicturesAndLabels(FileSource):
    """The base of small classification data sets: a datapoint is ``[picture, label]``.

    A subclass defines ``folder_name``, ``splits`` and ``_load``. Files are looked for when the flow is made, and
    loaded when the first datapoint is needed, in each process.
    """

    folder_name = ""
    splits: tuple[str, ...] = ("train", "test")

    def __init__(
        self,
        split: str,
        *,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
        folder: PathLike | None = None,
    ) -> None:
        super().__init__(shuffle, seed)
        self.split = check_split(split, self.splits, type(self).__name__)
        self.folder = folder_of(self.folder_name, folder)
        self._files = self._find()

    def _find(self) -> Any:
        """Find or download the files."""
        raise NotImplementedError

    def _load(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the files: uint8 pictures (N, ...) and labels (N,)."""
        raise NotImplementedError

    def _open_files(self) -> tuple[np.ndarray, np.ndarray]:
        pictures, labels = self._load()
        return pictures, np.asarray(labels, np.int64)

    def _count(self) -> int:
        return len(self._handle[1])

    def _read(self, index: int) -> Datapoint:
        pictures, labels = self._handle
        return [pictures[index].copy(), int(labels[index])]

    @property
    def vectorized(self) -> bool:
        """True: many datapoints are taken from the arrays at once."""
        return True

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> list[np.ndarray]:
        pictures, labels = self._handle
        places = self._places(np.asarray(indices), epoch)
        return [pictures[places], labels[places]]

    def describe(self) -> str:
        return f"{type(self).__name__}({self.split!r})"
