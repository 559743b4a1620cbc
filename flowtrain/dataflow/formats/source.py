"""What all sources over files share: their order, their handles, and how they say that a file is damaged."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ...utils.errors import USER_ERRORS, DataFlowError, FlowtrainError, FormatError
from ...utils.storage import (
    StorageError,
    StorageMissing,
    carried,
    first_missing,
    is_folder,
    is_url,
    named_by_url,
    path_or_url,
    stat,
)
from ..core.base import Cursor, Datapoint
from ..core.datapoint import Position
from ..sources.files import matching_paths
from ..sources.memory import Ordered
from .runs import ReadRun, RunCursor

__all__ = [
    "FileSource",
    "MissingFile",
    "PathLike",
    "compression",
    "damaged",
    "parsing",
    "resolve_file",
    "resolve_files",
]

_COMPRESSED = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
}

PathLike = str | os.PathLike[str]


class MissingFile(DataFlowError, FileNotFoundError):
    """A file or folder that a source should read is not there."""


def damaged(path: PathLike, what: str, *, record: int | None = None, offset: int | None = None) -> FormatError:
    """The error for a file that is cut short, corrupt or of another format.

    Args:
        path: The file.
        what: What is wrong, as a clause.
        record: Which record, from 0.
        offset: The byte in the file.
    """
    place = [f"record {record}"] if record is not None else []
    place += [f"byte {offset}"] if offset is not None else []
    return FormatError(named_by_url(f"{os.fspath(path)}{', ' if place else ''}{', '.join(place)}: {what}"))


@contextlib.contextmanager
def parsing(path: PathLike, what: str, place: Callable[[], dict[str, int]] = dict) -> Iterator[None]:
    """Where a parser of another library has a file's bytes: whatever it raises is the file's fault.

    Such parsers raise a dozen types on damaged bytes (ValueError, KeyError, tokenize.TokenError, MemoryError, ...), and
    no two versions the same.

    Args:
        path: The file.
        what: What it should have been, e.g. ``"not a tar file, cut short or damaged"``.
        place: Says how far it came, as ``record`` and ``offset`` of :func:`damaged`.

    Raises:
        FormatError: In place of any other exception.
    """
    try:
        yield
    except (FlowtrainError, FileNotFoundError):
        raise
    except Exception as error:
        beneath: BaseException | None = error
        while (beneath := beneath.__context__) is not None:  # zipfile makes of each OSError "not a zip file"
            if isinstance(beneath, StorageError):
                raise beneath from None
        raise damaged(path, f"{what}: {str(error) or type(error).__name__}", **place()) from error


def compression(head: bytes) -> str | None:
    """The name of the compression that a file's first bytes show, None where they show none."""
    return next((kind for kind, begin in _COMPRESSED.items() if head.startswith(begin)), None)


def resolve_file(path: PathLike, *, what: str, folder: bool = False) -> str:
    """Check that a path is a readable file (or folder) now, rather than at the first datapoint.

    Args:
        path: The path (``~`` is the home folder), or a URL.
        what: What should be there, named in errors.
        folder: Whether a folder is expected.

    Returns:
        The absolute path, or the URL.

    Raises:
        MissingFile: Nothing is there.
        DataFlowError: It is of the wrong kind, or may not be read.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise DataFlowError(f"a path expected for the {what}, got {type(path).__name__}: {path!r:.80}")
    found = path_or_url(path)
    if is_url(found):
        _look_up(found, what, folder)
        return carried(found)
    full = os.path.abspath(found)
    if not os.path.exists(full):
        near = (
            f" (the folder {os.path.dirname(full)} is not there either)"
            if not os.path.isdir(os.path.dirname(full))
            else ""
        )
        raise MissingFile(f"no {what} at {full}{near}")
    if os.path.isdir(full) != folder:
        kinds = ("a file", "a folder") if folder else ("a folder", "a file")
        raise DataFlowError(f"{full} is {kinds[0]}; the {what} is {kinds[1]}")
    if not os.access(full, os.R_OK):
        raise DataFlowError(f"{full} may not be read: check its permissions")
    return full


def _look_up(url: str, what: str, folder: bool) -> None:
    try:
        if folder and not is_folder(url):
            raise MissingFile(f"no {what} at {url}")
        if not folder:
            stat(url)
    except StorageMissing as error:
        raise MissingFile(f"no {what} at {url}: {error}") from error


def resolve_files(path: PathLike | Sequence[PathLike], *, what: str) -> list[str]:
    """Like :func:`resolve_file` for one path, a list of them, or a pattern such as ``"train-*.tfrecord"``.

    Returns:
        The absolute paths, or URLs: those of a pattern sorted, those of a list in its order.

    Raises:
        MissingFile: A file is not there, or the pattern matches nothing.
        DataFlowError: The list is empty, or a path is not a readable file.
    """
    alone = isinstance(path, (str, os.PathLike))
    found = matching_paths(path)
    if alone and not found:
        raise MissingFile(f"no {what} matches {os.fspath(path)!r}")
    missing = first_missing([one for one in found if is_url(one)])
    if missing is not None:
        raise MissingFile(f"no {what} at {missing}")
    paths = [one if is_url(one) else resolve_file(one, what=what) for one in found]
    if not paths:
        raise DataFlowError(f"an empty list of paths: at least one {what} is needed")
    return paths


class FileSource(Ordered):
    """A finite, indexable flow over something that is opened in each process when it is first needed.

    A subclass defines ``_open_files``, ``_count`` and ``_read``. What ``_open_files`` returns is never pickled, and
    never used in another process than the one that opened it.

    Args:
        shuffle: Draw a new permutation for each epoch.
        seed: Of the order; see :class:`~flowtrain.dataflow.RNGDataFlow`.
    """

    _held: tuple[int, Any] | None = None  # the process's number, and what _open_files returned there
    _size: int | None = None
    _reads_ahead: bool = False  # whether a walk reads runs of records; never where that calls a user's function

    # -- for subclasses

    def _open_files(self) -> Any:
        """Open the files: called once in each process that reads, and by one thread at a time."""
        raise NotImplementedError

    def _count(self) -> int:
        """The number of records."""
        raise NotImplementedError

    def _read(self, index: int) -> Datapoint:
        """Make the datapoint of a record; threads may call this at once."""
        raise NotImplementedError

    def _run_reader(self) -> ReadRun:
        """Open the files, and return what reads a run of records; only asked for where ``_reads_ahead``."""
        raise NotImplementedError

    @property
    def _handle(self) -> Any:
        held = self._held
        if held is None or held[0] != _process.number:
            with _process.opening:
                held = self._held
                if held is None or held[0] != _process.number:
                    held = self._held = (_process.number, self._open_files())
        return held[1]

    # -- the contract

    def __len__(self) -> int:
        if self._size is None:
            self._size = self._count()
        if not self._size:
            files = getattr(self, "paths", None) or [getattr(self, "path", "")]
            raise FormatError(f"{self.describe()} holds no records: {', '.join(files[:3])}".rstrip(": "))
        return self._size

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        size = self._size
        if size is None:
            size = len(self)
        if not 0 <= index < size:
            self._place(index, epoch)  # raises
        try:
            return self._read(self._place(index, epoch) if self.shuffle else index)
        except FlowtrainError:
            raise  # it names the file and the record
        except USER_ERRORS as error:  # of a user's decode function
            self._fail(error, index, epoch)

    def _cursor(self, epoch: int, state: Position = None) -> Cursor:
        if self._reads_ahead and type(self).get is FileSource.get:
            return RunCursor(self, epoch, state, self._run_reader)
        return super()._cursor(epoch, state)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_held", None)
        state.pop("_size", None)
        return state


class _Process:
    """What belongs to this process alone, and is new in the child of a fork."""

    def __init__(self) -> None:
        self.number = 0  # told apart faster than by os.getpid()
        self.opening = threading.RLock()

    def renew(self) -> None:
        self.number += 1
        self.opening = threading.RLock()  # another thread of the parent may have held it


_process = _Process()
os.register_at_fork(after_in_child=_process.renew)


def describe_paths(paths: Sequence[str]) -> str:
    """One short text for a list of files, as ``describe`` shows it."""
    first = Path(paths[0]).name
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"
