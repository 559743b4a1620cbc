"""Write a flow to a file: atomically, and resumable after an error or a kill.

The unfinished file, its journal and a lock are in the folder ``<path>.partial``. From time to time the sink syncs its
data to disk, and then the journal is replaced, which pairs the position of the sink with that of the flow. Whatever a
kill interrupts, the next attempt takes both from the last whole journal.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from tqdm.auto import tqdm

from ...utils.arguments import check_int, check_names, if_given, names_arguments
from ...utils.description import describe
from ...utils.errors import DataFlowError, FormatError
from ...utils.files import FileLock, explained, fsync, replace, write_whole
from ...utils.storage import (
    cache_folder,
    exists,
    is_folder,
    is_url,
    names_in,
    path_or_url,
    put,
    put_folder,
    url_name,
)
from ..core.base import DataFlow
from ..core.chain import describe_chain
from ..core.datapoint import Position
from ..core.proxy import check_flow
from ..core.values import refuse_masked
from ..stages.index_map import endless
from .framing import crc32c
from .sealed import pack_sealed, unpack_sealed
from .sidecar import SUFFIX
from .sinks import SINKS, Sink, format_of
from .source import PathLike

__all__ = ["write"]

logger = logging.getLogger("flowtrain.dataflow")

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
    """Write one epoch of a flow to a file from which a source reads the same datapoints.

    Use it to run a slow preparation once. The file appears under its name when it is complete; until then, everything
    is in the folder ``<path>.partial``. A call that finds such a folder resumes the attempt that left it, whether that
    ended by an error or by a kill. The flow must be built in the same way as in that attempt.

    Args:
        ds: The flow; it must be finite, its length need not be known.
        path: The file, or a URL such as ``"s3://bucket/train.tar"``, to which the complete file is sent: the disk must
            have room for it. The suffix determines the format: ``.tfrecord`` (also ``.tfrecords``, ``.records``),
            ``.lmdb`` (``.mdb``), ``.h5`` (``.hdf5``), ``.npz``, ``.tar``, ``.parquet``.
        format: The format, if the suffix does not determine it. "otbtf": a folder of shards that :class:`OTBTFData` and
            OTBTF's own scripts read, with the types and shapes beside them.
        overwrite: Whether an existing file, or folder of shards, is replaced, once the new one is complete.
        resume: Whether to resume from ``<path>.partial``; False deletes it.
        commit_every: Number of datapoints after which the data written so far are made durable. A kill costs at most so
            many datapoints.
        progress: Whether a progress bar is shown.
        keys: For "otbtf": names of the components to write; for a list, in the order of its components.
        per_file: For "otbtf": records in a shard.

    Returns:
        The path of the file or folder, or the URL.

    Raises:
        OSError: The disk is full or refuses; names the file and the free space. The next call can resume.
        StorageError: The URL cannot be written. The complete file is kept, and the next call only sends it.
        DataFlowError: The flow has no datapoint or no end, the file exists, or is a folder of other things, another
            process is writing it, the folder is missing, or ``<path>.partial``, or the complete file that is kept for
            the URL, belongs to another flow or format.
        ConfigError: ``commit_every`` or ``per_file`` is not a whole number from 1.
        FormatError: A datapoint cannot be written in this format; names the datapoint and the reason.

    Example:
        >>> write(FakeData([[2, 2]], size=3), "three.npz", progress=False)    # doctest: +SKIP
        PosixPath('three.npz')
        >>> len(NpzData("three.npz"))                                         # doctest: +SKIP
        3
    """
    check_flow(ds, "write(ds, path)")
    commit_every = check_int("write", "commit_every", commit_every)
    if endless(ds):
        raise DataFlowError(f"write: {ds} never ends; put TakeData or FixedSizeData around it")
    given = path_or_url(path)
    kind = format_of(given, format)
    options = _options(kind, keys, per_file)
    here = functools.partial(_write_here, ds, kind, options, resume, commit_every, progress)
    if is_url(given):
        recipe = json.dumps([kind, ds.size_or_none(), describe(options), describe_chain(ds, held=False)])
        return _write_far(here, recipe, given, kind, overwrite, resume)
    target = Path(given)
    if target.exists() and not overwrite:
        raise DataFlowError(f"{target} exists: pass overwrite=True to replace it")
    if not target.parent.is_dir():
        raise DataFlowError(f"the folder {target.parent} does not exist: make it first")
    if target.is_dir():
        _check_folder(target, kind)
    here(target)
    return target


def _check_folder(folder: Path | str, kind: str) -> None:
    """Refuse to replace a folder, and with it all that it holds, but for one of shards by one of shards."""
    names = names_in(folder)
    other = next((name for name in names if kind != "otbtf" or not name.endswith((".records", ".json", SUFFIX))), None)
    if kind != "otbtf" or other is not None:
        holds = "" if other is None else f" that holds {other!r}"
        raise DataFlowError(
            f"{folder} is a folder{holds}: overwrite=True replaces none; remove it, or give another name"
        )


def _write_far(here: Callable[[Path], None], recipe: str, url: str, kind: str, overwrite: bool, resume: bool) -> str:
    """Write a local file and, when it is complete, send it to the URL.

    The name of the local folder is a hash of the URL, so that the next call finds what this one leaves: an unfinished
    file, or a complete one that could not be sent, with the recipe of the flow that it is of.
    """
    if not overwrite and (is_folder(url) if kind == "otbtf" else exists(url)):
        raise DataFlowError(f"{url} exists: pass overwrite=True to replace it")
    if kind == "otbtf" and is_folder(url):
        _check_folder(url, kind)
    folder = cache_folder() / f"write-{hashlib.sha256(url.encode()).hexdigest()[:32]}"
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / url_name(url)
    if whole.is_dir() and not resume:
        shutil.rmtree(whole)
    elif not resume:
        whole.unlink(missing_ok=True)
    note = folder / "recipe"
    if not whole.exists():
        write_whole(note, recipe)
        here(whole)
    elif not note.exists() or note.read_text() != recipe:
        raise DataFlowError(
            f"{whole}, which could not be sent to {url}, is of another flow, or of this one with other arguments or "
            "functions: pass resume=False to throw it away"
        )
    else:
        logger.warning("Sending %s, which could not be sent before; resume=False writes it anew.", whole)
    if whole.is_dir():
        put_folder(whole, url, last=(".json",))  # sent last, since readers refuse a folder without them
    else:
        put(whole, url)
    shutil.rmtree(folder)
    return url


def _write_here(
    ds: DataFlow, kind: str, options: dict[str, Any], resume: bool, commit_every: int, progress: bool, target: Path
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
            with explained(target):  # closing flushes buffers, so it can fail on a full disk too
                sink.close()
        if not count:  # sources refuse a file without records: in most formats it has neither names nor dtypes
            shutil.rmtree(folder)
            raise DataFlowError(f"{ds} gave no datapoint: nothing was written to {target}")
        with contextlib.suppress(FileNotFoundError):  # the index of a file that this one replaced
            os.unlink(f"{target}{SUFFIX}")
        fsync(target.parent)
        shutil.rmtree(folder)


def _options(kind: str, keys: Sequence[str] | None, per_file: int) -> dict[str, Any]:
    """Check the arguments that are for one format; returns those that its sink takes."""
    if kind != "otbtf":
        if keys is not None:
            raise DataFlowError(f'keys= names the components for format="otbtf"; this is {kind}')
        return {}
    keys = if_given(check_names, "write", "keys", keys, DataFlowError, least=1)
    return {"keys": keys, "per_file": check_int("write", "per_file", per_file)}


def _copy(ds: DataFlow, sink: Sink, journal: _Journal, every: int, progress: bool, target: Path) -> int:
    """Append the rest of the flow to the sink; update the journal every so many datapoints, and after an error.

    Returns:
        Number of all datapoints in the sink, including those of earlier attempts.
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
                    place = f"datapoint {done}"  # errors of the codec, which sees values only, do not name it
                    text = str(error) if str(error).startswith(place) else f"{place}: {error}"
                    raise FormatError(f"{text} (writing {target})") from error
                except OSError:
                    with explained(target):  # not around the loop: an OSError of the flow is about another file
                        raise
        except BaseException:
            # The flow's position is that of the sink only if every datapoint handed out was appended. And only an
            # indexable flow keeps its position when it fails: a stage that is walked may already have taken from the
            # flow beneath what its function then failed on.
            if ds.indexable and taken == done > journal.count:
                with explained(target):
                    journal.note(done, sink.commit(), ds.state_dict())
            raise
    if journal.size is not None and done != journal.size:
        raise DataFlowError(f"{ds} gave {done} datapoints, its length is {journal.size}: nothing was written")
    return done


class _Journal:
    """The file that records what is durable: the number of datapoints, and the positions of the sink and of the flow.

    Args:
        folder: The folder ``<path>.partial``.
        kind: Name of the format.
        size: Length of the flow, or None.

    Attributes:
        count: Number of datapoints in the latest record.
    """

    def __init__(self, folder: Path, kind: str, size: int | None) -> None:
        self._folder, self._file = folder, folder / "journal"
        self._kind, self.size = kind, size
        self.count = 0

    def note(self, count: int, position: object, flow: object) -> None:
        """Replace the journal atomically."""
        write_whole(self._file, pack_sealed([2, self._kind, self.size, count, position, flow], crc32c()))
        self.count = count

    def restart(self) -> None:
        """Delete what an earlier attempt left, except the lock, which this process holds."""
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()

    def resume(self, ds: DataFlow) -> Position:
        """Move the flow to the position of the journal.

        Returns:
            The position of the sink; None if there is no journal.

        Raises:
            DataFlowError: The journal is damaged, or of another format or flow.
        """
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
        logger.info("Going on after %d datapoints, found in %s.", count, self._folder)
        return position


@contextlib.contextmanager
def _locked(folder: Path, target: Path) -> Iterator[None]:
    """Make the folder and hold its lock, which the system releases when the process ends, even by a kill."""
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
