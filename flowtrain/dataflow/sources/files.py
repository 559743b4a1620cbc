"""A source of file paths, for formats that a function of one's own reads."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ...utils.errors import DataFlowError
from ..core.cursor import Datapoint
from .memory import Ordered

__all__ = ["DataFromFiles", "labelled_files"]


class DataFromFiles(Ordered):
    """Hand out the paths of files; ``MapData`` then reads them.

    Args:
        pattern: A glob pattern (``"scans/**/*.npy"``; ``**`` goes into folders), or a list of them. Files are sorted.
        labels: ``"folder"`` adds each file's class: the names of the folders that the files lie in, sorted, are the
            classes 0, 1, 2, ...
        shuffle: A new order each epoch.
        seed: Of the order; None takes the default.

    ``files`` lists the paths, ``classes`` the names of the classes.

    Order: sorted by path, or with ``shuffle`` one that depends on (seed, epoch). Indexable.

    State: one number.

    Yields:
        [path], or [path, label]: str and int.

    Raises:
        DataFlowError: No file fits the pattern.

    Example:
        >>> import numpy as np
        >>> from flowtrain.dataflow import MapData
        >>> ds = DataFromFiles("scans/**/*.npy", shuffle=True)  # doctest: +SKIP
        >>> ds = MapData(ds, lambda dp: [np.load(dp[0])])  # doctest: +SKIP
    """

    def __init__(
        self,
        pattern: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        labels: Literal["folder"] | None = None,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(shuffle, seed)
        patterns = [os.fspath(p) for p in ([pattern] if isinstance(pattern, (str, os.PathLike)) else pattern)]
        found = {path for each in patterns for path in glob.glob(each, recursive=True)}
        self.files = sorted(path for path in found if os.path.isfile(path))
        if not self.files:
            hint = ""
            if len(patterns) == 1 and os.path.isdir(patterns[0]):
                hint = f" That is a folder: write {os.path.join(patterns[0], '*')!r} for the files in it"
            raise DataFlowError(f"DataFromFiles: no file fits {', '.join(patterns)!r}.{hint}")
        if labels not in (None, "folder"):
            raise DataFlowError(f"DataFromFiles: labels is 'folder' or None, not {labels!r}")
        folders = [Path(path).parent.name for path in self.files]
        self.classes = sorted(set(folders)) if labels else []
        self._labels = [self.classes.index(folder) for folder in folders] if labels else None

    def __len__(self) -> int:
        return len(self.files)

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        place = self._place(index, epoch)
        return [self.files[place]] if self._labels is None else [self.files[place], self._labels[place]]


def labelled_files(
    folder: str | os.PathLike[str], suffixes: tuple[str, ...]
) -> tuple[list[str], list[tuple[str, int]]]:
    """The classes of a folder that holds one folder per class, and its files with their class's number.

    Args:
        folder: Its folders' names are the classes; files may lie in folders within them.
        suffixes: Which endings to take, in lower case.

    Raises:
        DataFlowError: The folder does not exist, or holds no folder with such files.
    """
    root = Path(folder)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataFlowError(f"{root} {what}; expected a folder that holds one folder per class")
    classes = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataFlowError(f"{root} holds no folders; expected one per class")
    files = [
        (str(path), number)
        for number, name in enumerate(classes)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in suffixes
    ]
    if not files:
        raise DataFlowError(f"the folders of {root} ({', '.join(classes[:5])}) hold no file with {', '.join(suffixes)}")
    return classes, files
