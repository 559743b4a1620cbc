"""Base of data sets that fit into memory as an array of pictures and an array of labels."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np

from ...utils.arguments import check_choice
from ...utils.errors import DataFlowError
from ..core.base import Datapoint
from ..formats.source import FileSource, PathLike
from .fetch import folder_of

__all__ = ["PicturesAndLabels", "read_picture"]


def read_picture(path: PathLike, record: int) -> np.ndarray:
    """Read a picture file: uint8 (H, W, 3), RGB.

    Args:
        path: The file.
        record: Index of its datapoint, for errors.

    Raises:
        BrokenImage: The file is damaged, or no picture; names file and record.
    """
    from ..sources.decode import BrokenImage, read_image  # imports OpenCV, which is slow

    try:
        return read_image(path)
    except BrokenImage as error:
        what = str(error).removeprefix(f"{os.fspath(path)}: ")
        raise BrokenImage(f"{os.fspath(path)}, record {record}: {what}") from error


class PicturesAndLabels(FileSource):
    """Base of small classification data sets: a datapoint is ``[picture, label]``.

    A subclass defines ``folder_name``, ``splits``, ``_find`` and ``_load``. The files are found or downloaded when the
    flow is constructed, and loaded by each process when it needs its first datapoint.
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
        self.split = check_choice(type(self).__name__, "split", split, self.splits, DataFlowError)
        self.folder = folder_of(self.folder_name, folder)
        self._files = self._find()

    def _find(self) -> Any:
        """Find or download the files; the result is kept as ``self._files``."""
        raise NotImplementedError

    def _load(self) -> tuple[np.ndarray, np.ndarray]:
        """Load the files: uint8 pictures (N, ...) and labels (N,)."""
        raise NotImplementedError

    def _open_files(self) -> tuple[np.ndarray, np.ndarray]:
        pictures, labels = self._load()
        return pictures, np.asarray(labels, np.int64)  # as a batch of the int that _read gives has them

    def _count(self) -> int:
        return len(self._handle[1])

    def _read(self, index: int) -> Datapoint:
        pictures, labels = self._handle
        return [pictures[index].copy(), int(labels[index])]  # the consumer's own: it may write into it

    @property
    def vectorized(self) -> bool:
        """True: a batch is taken from the arrays by one index."""
        return True

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> list[np.ndarray]:
        pictures, labels = self._handle
        places = self._places(np.asarray(indices), epoch)
        return [pictures[places], labels[places]]  # an index array copies

    def describe(self) -> str:
        return f"{type(self).__name__}({self.split!r})"
