"""DataFromFiles, a source of file paths; glob patterns, and folders that hold one folder per class."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Literal

from ...utils.arguments import check_choice
from ...utils.errors import DataFlowError, first_few
from ...utils.storage import (
    carried,
    exists,
    expand,
    first_missing,
    has_folder,
    is_url,
    list_folder,
    path_or_url,
    url_name,
)
from ..core.cursor import Datapoint
from .memory import Ordered

__all__ = ["DataFromFiles", "labelled_files", "matching_paths", "no_file_because"]


class DataFromFiles(Ordered):
    """Yield the paths of files, for a ``MapData`` that reads them.

    Args:
        pattern: A glob pattern (``"scans/**/*.npy"``; ``**`` descends into folders), whose files are sorted; or a list
            of paths, each taken literally, in the given order. URLs (``"s3://bucket/scans/*.npy"``) are yielded as
            URLs, which ``open_file`` opens.
        labels: ``"folder"`` adds each file's class: the sorted names of the files' folders are the classes 0, 1, 2, ...
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.

    ``files`` lists the paths, ``classes`` the class names.

    Order: that of ``files``, or with ``shuffle`` one that depends on (seed, epoch). Indexable.

    State: one number.

    Yields:
        [path], or [path, label]: str and int.

    Raises:
        DataFlowError: No file matches the pattern, or a path of the list is not a file.

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
        alone = isinstance(pattern, (str, os.PathLike))
        self.files = matching_paths(pattern)
        if alone:
            self.files = [path for path in self.files if is_url(path) or os.path.isfile(path)]  # "**" finds folders too
            # matching_paths has not looked up a URL that is no pattern.
            if not self.files or (is_url(self.files[0]) and not exists(self.files[0])):
                hint = ""
                if has_folder(pattern):
                    hint = f" That is a folder: write {os.path.join(pattern, '*')!r} for the files in it"
                raise DataFlowError(f"DataFromFiles: no file fits {os.fspath(pattern)!r}.{hint}")
        elif not self.files:
            raise DataFlowError("DataFromFiles got an empty list of files. Does the pattern that made it find any?")
        missing = first_missing([path for path in self.files if is_url(path)])
        for path in self.files:
            if path == missing or not (is_url(path) or os.path.isfile(path)):
                raise DataFlowError(f"DataFromFiles: {_no_file(path)} (of a list of {len(self.files)})")
        check_choice("DataFromFiles", "labels", labels, ("folder", None), DataFlowError)
        folders = [Path(path).parent.name for path in self.files]
        self.classes = sorted(set(folders)) if labels else []
        numbers = {name: number for number, name in enumerate(self.classes)}
        self._labels = [numbers[folder] for folder in folders] if labels else None

    def __len__(self) -> int:
        return len(self.files)

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        place = self._place(index, epoch)
        return [self.files[place]] if self._labels is None else [self.files[place], self._labels[place]]


def matching_paths(given: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Expand a glob pattern; take anything else literally.

    Names such as ``scan [3].npy`` are common, and as patterns they would match another file or none. So only a single
    argument that names no existing file is a pattern, and its leading folders are literal as far as they exist:
    ``"run[1]/*.npy"`` looks into the folder ``run[1]`` if there is one.

    Args:
        given: A path or URL, a pattern (``**`` descends into folders), or several paths.

    Returns:
        The paths. Those of a pattern are sorted, and empty if nothing matches. A literal path is not checked to exist.

    Raises:
        DataFlowError: ``given`` is none of these.
    """
    if not isinstance(given, (str, os.PathLike)):
        if isinstance(given, Set):
            raise DataFlowError("a set of paths has another order in each process: give a list of them, sorted(...)")
        if not isinstance(given, Iterable) or isinstance(given, bytes):
            raise DataFlowError(
                f"a path, a pattern or a list of paths expected, got {type(given).__name__}: {given!r:.80}"
            )
        paths = list(given)
        for path in paths:
            if not isinstance(path, (str, os.PathLike)):
                raise DataFlowError(f"a path expected, got {type(path).__name__}: {path!r:.80}")
        return [carried(path_or_url(path)) for path in paths]
    path = path_or_url(given)
    if is_url(path):
        return [carried(path)] if not glob.has_magic(path) or exists(path) else expand(path)
    if not glob.has_magic(path) or os.path.lexists(path):
        return [path]
    folder, rest = os.path.split(path)
    while folder and not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder, part = os.path.split(folder)
        rest = os.path.join(part, rest)
    return sorted(glob.glob(os.path.join(glob.escape(folder), rest), recursive=True))


def no_file_because(path: str) -> str:
    """Say why a path or URL cannot be read as a file, for an error."""
    if is_url(path) or not os.path.exists(path):
        return "does not exist"
    return "is a folder" if os.path.isdir(path) else "is no regular file"


def _no_file(path: str) -> str:
    message = f"{path!r} {no_file_because(path)}"
    if glob.has_magic(path):
        message += ". A list is taken literally: give a pattern as the one argument, without a list"
    return message


def labelled_files(
    folder: str | os.PathLike[str], suffixes: tuple[str, ...]
) -> tuple[list[str], list[tuple[str, int]]]:
    """List a folder that holds one folder per class.

    Args:
        folder: A path or URL. The names of its folders are the classes; files may lie in folders within those.
        suffixes: The file name endings to take, in lower case.

    Returns:
        The sorted class names, and (path, number of its class) for each file.

    Raises:
        DataFlowError: The folder does not exist, or holds no folder with such files.
    """
    place = path_or_url(folder)
    root = place.rstrip("/") if is_url(place) else str(Path(place))
    found = _urls_by_class(root) if is_url(place) else _paths_by_class(Path(root))
    classes = sorted(found)
    files = [
        (path, number)
        for number, name in enumerate(classes)
        for path in found[name]
        if os.path.splitext(url_name(path))[1].lower() in suffixes  # an address may end in a query
    ]
    if not files:
        raise DataFlowError(f"the folders of {root} ({first_few(classes)}) hold no file with {', '.join(suffixes)}")
    return classes, files


def _paths_by_class(root: Path) -> dict[str, list[str]]:
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataFlowError(f"{root} {what}; expected a folder that holds one folder per class")
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not folders:
        raise DataFlowError(f"{root} holds no folders; expected one per class")
    # Sorted, as the order of a folder's entries depends on the file system.
    return {folder.name: [str(path) for path in sorted(folder.rglob("*"))] for folder in folders}


def _urls_by_class(root: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    # By the parts of their paths, as paths are sorted: "a/b" before "a-b/c".
    for url in sorted(list_folder(root, deep=True), key=lambda url: url.split("/")):
        name, slash, _ = url.removeprefix(f"{root}/").partition("/")
        if slash and not name.startswith("."):
            found.setdefault(name, []).append(url)
    if not found:
        raise DataFlowError(f"{root} does not exist, or holds no folders; expected one per class")
    return found
