"""Write a flow to a file, whole or not at all, and go on where an earlier attempt stopped."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from tqdm.auto import tqdm

from ...utils.arguments import check_int, names_arguments
from ...utils.errors import DataFlowError, FormatError
from ...utils.files import FileLock, explained, fsync, replace, write_whole
from ...utils.storage import cache_folder, exists, is_folder, is_url, path_or_url, put, put_folder, url_name
from ..core.base import DataFlow
from ..core.datapoint import Position
from ..core.values import refuse_masked
from .framing import crc32c
from .sealed import pack_sealed, unpack_sealed
from .sidecar import SUFFIX
from .sinks import SINKS, Sink, format_of
from .source import PathLike

__all__ = ["write"]

_log = logging.getLogger("flowtrain.dataflow")

Format = Literal["tfrecord", "lmdb", "hdf5", "npz", "tar", "parquet", "otbtf"]


@names_arguments
def write(
    ds: DataFlow,
    path: PathLike,
    format: Format | None = None,
    *,
    overwrite: bool = False,
    resume: bool = True,
    commit_every: int = 1000,
    progress: bool = True,
    keys: Sequence[str] | None = None,
    per_file: int = 100,
) -> Path | str:
    """Write one epoch of a flow to a file that gives the same datapoints again.

    Use it to pay for a slow preparation once. The file appears under its name only when it is complete; until then
    everything is in the folder ``<path>.partial``. A call that finds such a folder goes on where the last one
    stopped, after an error as well as after a kill: the flow must then be built as it was.

    Args:
        ds: The flow; its length need not be known, but it must end.
        path: The file, or its URL, e.g. ``"s3://bucket/train.tar"``: that is sent when the file is complete, so the
            disk must hold it meanwhile. Its ending says the format: ``.tfrecord`` (also ``.tfrecords``,
            ``.records``), ``.lmdb`` (``.mdb``), ``.h5`` (``.hdf5``), ``.npz``, ``.tar``, ``.parquet``.
        format: The format, where the ending does not say it. "otbtf": a folder of shards that :class:`OTBTFData` and
            OTBTF's own scripts read, with the types and shapes beside them.
        overwrite: Whether an existing file is replaced (once the new one is complete).
        resume: Whether to go on from ``<path>.partial``; False throws it away.
        commit_every: After how many datapoints the work so far is made safe. A kill costs at most so many.
        progress: Whether a progress bar is shown.
        keys: For "otbtf": names of the components to write, in the order of a list's.
        per_file: For "otbtf": records in a shard.

    Returns:
        The file or folder, or the URL.

    Raises:
        OSError: The disk is full or refuses: it names the file and what is free. What is safe so far stays.
        StorageError: A URL cannot be written. The file is complete: the next call only sends it.
        DataFlowError: The flow gave no datapoint, the file exists, another process is writing it, the folder is
            missing, or what is in ``<path>.partial`` belongs to another flow or format.
        FormatError: A datapoint cannot be written in this format; the message says which and why.

    Example:
        >>> write(FakeData([[2, 2]], size=3), "three.npz", progress=False)    # doctest: +SKIP
        PosixPath('three.npz')
        >>> len(NpzData("three.npz"))                                         # doctest: +SKIP
        3
    """
    if not isinstance(ds, DataFlow):
        raise DataFlowError(f"write(ds, path) takes a DataFlow, got {type(ds).__name__}: wrap a list in DataFromList")
    if commit_every < 1:
        raise DataFlowError(f"commit_every is at least 1, got {commit_every}")
    given = path_or_url(path)
    kind = format_of(given, format)
    options = _options(kind, keys, per_file)
    if is_url(given):
        return _write_far(ds, given, kind, options, (overwrite, resume, commit_every, progress))
    target = Path(given)
    if target.exists() and not overwrite:
        raise DataFlowError(f"{target} exists: pass overwrite=True to replace it")
    if not target.parent.is_dir():
        raise DataFlowError(f"the folder {target.parent} does not exist: make it first")
    _write_here(ds, target, kind, options, resume, commit_every, progress)
    return target


def _write_far(ds: DataFlow, url: str, kind: str, options: dict[str, Any], how: tuple[bool, bool, int, bool]) -> str:
    """Write to a file of this machine, whose place follows from the URL, and send that when it is complete."""
    overwrite, resume, commit_every, progress = how
    if not overwrite and (is_folder(url) if kind == "otbtf" else exists(url)):
        raise DataFlowError(f"{url} exists: pass overwrite=True to replace it")
    folder = cache_folder() / f"write-{hashlib.sha256(url.encode()).hexdigest()[:32]}"
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / url_name(url)
    if whole.is_dir() and not resume:
        shutil.rmtree(whole)
    elif not resume:
        whole.unlink(missing_ok=True)
    if not whole.exists():
        _write_here(ds, whole, kind, options, resume, commit_every, progress)
    if whole.is_dir():
        put_folder(whole, url, last=(".json",))
    else:
        put(whole, url)
    shutil.rmtree(folder)
    return url


def _write_here(
    ds: DataFlow, target: Path, kind: str, options: dict[str, Any], resume: bool, commit_every: int, progress: bool
) -> None:
    folder = target.with_name(target.name + ".partial")
    with _locked(folder, target):
        journal = _Journal(folder, kind, ds.size_or_none())
        position = journal.resume(ds) if resume else journal.restart()
        with explained(target):
            sink: Sink = SINKS[kind](str(folder), position, **options)
        try:
            if count := _copy(ds, sink, journal, commit_every, progress, target):
                with explained(target):
                    replace(Path(sink.finish()), target)
        finally:
            with explained(target):  # closing writes what is left in a buffer
                sink.close()
        if not count:  # a file without records is read as an error, and in most formats says nothing of what it is
            shutil.rmtree(folder)
            raise DataFlowError(f"{ds} gave no datapoint: nothing was written to {target}")
        with contextlib.suppress(FileNotFoundError):  # the index of the file that was replaced
            os.unlink(f"{target}{SUFFIX}")
        fsync(target.parent)
        shutil.rmtree(folder)


def _options(kind: str, keys: Sequence[str] | None, per_file: int) -> dict[str, Any]:
    """Check the arguments that one format alone takes."""
    if kind != "otbtf":
        if keys is not None:
            raise DataFlowError(f'keys= names the components for format="otbtf"; this is {kind}')
        return {}
    if isinstance(keys, str):
        raise DataFlowError(f"keys is a list of names: write [{keys!r}]")
    return {"keys": keys, "per_file": check_int("write", "per_file", per_file)}


def _copy(ds: DataFlow, sink: Sink, journal: _Journal, every: int, progress: bool, target: Path) -> int:
    """Append what the flow still has, and note the position now and then, and when something fails.

    Returns:
        How many datapoints there are, those of an earlier attempt too.
    """
    taken = done = journal.count
    with tqdm(total=journal.size, initial=done, desc=target.name, unit="dp", disable=not progress) as bar:
        try:
            for datapoint in ds:
                taken += 1
                refuse_masked(datapoint, f"datapoint {done}")
                try:
                    sink.append(datapoint)
                    done += 1
                    bar.update()
                    if done % every == 0:
                        journal.note(done, sink.commit(), ds.state_dict())
                except FormatError as error:
                    place = f"datapoint {done}"  # the codec, which knows values alone, names none
                    text = str(error) if str(error).startswith(place) else f"{place}: {error}"
                    raise FormatError(f"{text} (writing {target})") from error
                except OSError:
                    with explained(target):  # here alone: an OSError of the flow is of another file
                        raise
        except BaseException:
            # The position counts only where all that was handed out has been appended, and where a failure
            # cannot have moved it: a stage that is walked may have taken what its function then failed on.
            if ds.indexable and taken == done > journal.count:
                with explained(target):
                    journal.note(done, sink.commit(), ds.state_dict())
            raise
    if journal.size is not None and done != journal.size:
        raise DataFlowError(f"{ds} gave {done} datapoints, its length is {journal.size}: nothing was written")
    return done


class _Journal:
    """Record of what is durable: the number of datapoints, and the positions of the sink and of the flow."""

    def __init__(self, folder: Path, kind: str, size: int | None) -> None:
        self._folder, self._file = folder, folder / "journal"
        self._kind, self.size = kind, size
        self.count = 0

    def note(self, count: int, position: object, flow: object) -> None:
        """Replace the journal, in one step."""
        write_whole(self._file, pack_sealed([2, self._kind, self.size, count, position, flow], crc32c()))
        self.count = count

    def restart(self) -> None:
        """Throw away what an earlier attempt left."""
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()

    def resume(self, ds: DataFlow) -> Position:
        """Bring the flow to where the earlier attempt stopped; returns the sink's position, None for a start."""
        if not self._file.exists():
            return self.restart()
        try:
            _, kind, size, count, position, flow = unpack_sealed(self._file.read_bytes(), crc32c())
        except FormatError as error:
            what = "is damaged, or of an earlier version of flowtrain: pass resume=False to start again"
            raise DataFlowError(f"{self._file} {what} ({error})") from error
        if (kind, size) != (self._kind, self.size):
            raise DataFlowError(
                f"{self._folder} is of another attempt (format {kind}, {size} datapoints; now {self._kind}, "
                f"{self.size}): pass resume=False to throw it away"
            )
        ds.load_state_dict(flow)
        self.count = count
        _log.info("Going on after %d datapoints, found in %s.", count, self._folder)
        return position


@contextlib.contextmanager
def _locked(folder: Path, target: Path) -> Iterator[None]:
    """The folder, held against other processes; the lock ends with the process, however that ends."""
    with explained(target):
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / "lock")
    try:
        with explained(target):
            alone = lock.acquire(f"process {os.getpid()}")
        if not alone:
            raise DataFlowError(f"another process is writing in {folder}: {lock.holder() or 'it has left no name'}")
        yield
    finally:
        lock.release()
