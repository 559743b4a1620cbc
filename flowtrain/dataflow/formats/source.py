"""Base class of sources over files (handles per process, lengths, cursors), path checks, and the error for damage."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...utils.errors import USER_ERRORS, DataFlowError, FlowtrainError, FormatError, first_few
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
from ..core import process
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
    """A file or folder to read does not exist."""


def damaged(path: PathLike, what: str, *, record: int | None = None, offset: int | None = None) -> FormatError:
    """The error for a file that is cut short, corrupt or of another format.

    Args:
        path: The file; a local copy is named by its URL.
        what: What is wrong, as a clause.
        record: Number of the record, from 0.
        offset: Position in the file, in bytes.
    """
    place = [f"record {record}"] if record is not None else []
    place += [f"byte {offset}"] if offset is not None else []
    return FormatError(named_by_url(f"{os.fspath(path)}{', ' if place else ''}{', '.join(place)}: {what}"))


@contextlib.contextmanager
def parsing(path: PathLike, what: str, place: Callable[[], dict[str, int]] = dict) -> Iterator[None]:
    """Context in which any exception of a third-party parser becomes a `FormatError` about the file.

    On damaged bytes such parsers raise a dozen types (ValueError, KeyError, tokenize.TokenError, MemoryError, ...),
    which differ between versions. Errors of flowtrain and a missing file pass unchanged.

    Args:
        path: The file.
        what: What is wrong, e.g. ``"not a tar file, cut short or damaged"``.
        place: Returns how far the parser came, as keyword arguments of :func:`damaged`.

    Raises:
        FormatError: In place of any other exception.
        StorageError: Reading from the URL failed, whatever the parser made of that.
    """
    try:
        yield
    except (FlowtrainError, FileNotFoundError):
        raise
    except Exception as error:
        beneath: BaseException | None = error
        # A lost connection is not damage, but zipfile turns each OSError of the file object into "not a zip file".
        while (beneath := beneath.__context__) is not None:
            if isinstance(beneath, StorageError):
                raise beneath from None
        raise damaged(path, f"{what}: {str(error) or type(error).__name__}", **place()) from error


def compression(head: bytes) -> str | None:
    """The compression that a file's first bytes are the signature of, or None."""
    return next((kind for kind, begin in _COMPRESSED.items() if head.startswith(begin)), None)


def resolve_file(path: PathLike, *, what: str, folder: bool = False) -> str:
    """Check that a path is a readable file (or folder), so that a wrong path fails when a source is constructed.

    Args:
        path: The path (``~`` is the home folder), or a URL.
        what: Kind of file, for errors.
        folder: Whether a folder is expected.

    Returns:
        The absolute path, which stays right in a process with another working directory; or the URL.

    Raises:
        MissingFile: There is no such file or folder.
        DataFlowError: A folder was given for a file or the other way round, or it may not be read.
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
    if not folder and not os.path.isfile(full):  # opening a pipe waits until someone writes to it
        raise DataFlowError(f"{full} is no regular file but a pipe or a device: write what it gives to a file")
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
    found = matching_paths(path)  # expands a pattern; a single path or a list comes back literally
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
    """Base of finite, indexable sources over files that each process opens when it first needs them.

    A subclass defines ``_open_files``, whose result is available as ``self._handle``; it is never pickled, and never
    used in another process than the one that opened it. ``count`` and ``read(index)`` of this handle are used, unless
    the subclass defines ``_count`` and ``_read``.

    Args:
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; see :class:`~flowtrain.dataflow.RNGDataFlow`.
    """

    _held: tuple[object, Any] | None = None  # the process that opened the files, and what _open_files returned
    _size: int | None = None
    _reads_ahead: bool = False  # whether a walk reads runs of records; never if that calls a user's function

    # -- for subclasses

    def _open_files(self) -> Any:
        """Open the files. Called once in each process that reads, by one thread at a time."""
        raise NotImplementedError

    def _count(self) -> int:
        """The number of records."""
        return self._handle.count

    def _read(self, index: int) -> Datapoint:
        """Read the datapoint of a record. Several threads may call this at once."""
        return self._handle.read(index)

    def _run_reader(self) -> ReadRun:
        """Return the function that reads a run of records. Only called if ``_reads_ahead``."""
        raise NotImplementedError

    @property
    def _handle(self) -> Any:
        # Double-checked locking: a datapoint pays for the first test alone. Process and handle are one tuple, so that
        # no thread sees this process beside the handle of its parent.
        held = self._held
        if held is None or held[0] is not process.current:
            with _opening:
                held = self._held
                if held is None or held[0] is not process.current:
                    held = self._held = (process.current, self._open_files())
        return held[1]

    # -- the contract

    def __len__(self) -> int:
        if self._size is None:
            self._size = self._count()
        if not self._size:
            files = getattr(self, "paths", None) or [getattr(self, "path", "")]
            raise FormatError(f"{self.describe()} holds no records: {first_few(files, 3)}".rstrip(": "))
        return self._size

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        size = self._size
        if size is None:
            size = len(self)
        if not 0 <= index < size:
            self._place(index, epoch)  # raises IndexError
        try:
            return self._read(self._place(index, epoch) if self.shuffle else index)
        except FlowtrainError:
            raise  # names the file and the record already
        except USER_ERRORS as error:  # raised by a user's decode function
            self._fail(error, index, epoch)

    def _cursor(self, epoch: int, state: Position = None) -> Cursor:
        # A run is read by way of _read: the `get` of a subclass that overrides it would never be called.
        if self._reads_ahead and type(self).get is FileSource.get:
            return RunCursor(self, epoch, state, self._run_reader)
        return super()._cursor(epoch, state)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_held", None)
        state.pop("_size", None)
        return state


_opening = threading.RLock()


def _renew_lock() -> None:
    """Make a new lock in the child of a fork: a thread that exists in the parent alone may hold the old one forever."""
    global _opening
    _opening = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)
