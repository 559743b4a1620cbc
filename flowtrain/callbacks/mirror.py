"""MirrorTo: copies a run to a bucket while it trains, so that another machine can resume it."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flowtrain.model.checkpoint_io import check_checkpoint, is_step, list_checkpoints
from flowtrain.model.manifest import MANIFEST
from flowtrain.utils.arguments import check_int, check_seconds, if_given
from flowtrain.utils.errors import ConfigError
from flowtrain.utils.files import replace
from flowtrain.utils.run_status import LOCK
from flowtrain.utils.storage import (
    StorageMissing,
    delete,
    download,
    names_below,
    path_or_url,
    put,
    put_folder,
    stat,
)

from .base import Callback
from .proxy import with_wrapped

__all__ = ["MirrorTo", "mirrors_among"]

logger = logging.getLogger("flowtrain.callbacks")

_CHECKPOINTS = "checkpoints"
_LOOK = 2.0  # seconds between two looks for new checkpoints
_AFTER_FAILURE = 30.0  # seconds until the next attempt


class MirrorTo(Callback):
    """Copies checkpoints and logs to a bucket while training runs.

    Only whole checkpoints are copied, the newest first. The manifest is sent last, so that an incomplete copy is never
    taken for a checkpoint. A thread does the copying: training does not wait for it, and a bucket that cannot be
    reached is a warning and tried again. At the end of training, also after an error or SIGTERM, the thread gets
    ``wait`` seconds to finish.

    With ``train(config, resume="auto")`` and this callback, a log folder that is empty or older than the mirror (on a
    new machine) is first filled from the mirror's newest whole checkpoint and its logs; the run continues there.

    Args:
        url: ``"s3://bucket/run1"`` or any other URL of fsspec, or a folder; one for each run.
        keep: How many of the newest ``step-...`` checkpoints the mirror keeps; named ones (``best-...``) all stay.
        every: Seconds between two copies of the logs.
        wait: Seconds that the end of training waits for the copies to finish.

    Raises:
        ConfigError: A number is invalid, or one of the log folder and the mirror contains the other.

    Example:
        >>> MirrorTo("s3://bucket/run1")
        MirrorTo
    """

    def __init__(self, url: str | os.PathLike[str], keep: int = 2, every: float = 60.0, wait: float = 60.0) -> None:
        self.url = path_or_url(url).rstrip("/")
        if_given(check_int, type(self).__name__, "keep", keep)
        self.keep, self.every, self.wait = keep, check_seconds("MirrorTo", "every", every), wait
        check_seconds("MirrorTo", "wait", wait)
        super().__init__()

    def reset(self) -> None:
        self._copier: _Copier | None = None

    def setup_graph(self) -> None:
        here, there = os.path.abspath(self.trainer.log_dir), os.path.abspath(self.url)
        if "://" not in self.url and (f"{there}/".startswith(f"{here}/") or f"{here}/".startswith(f"{there}/")):
            raise ConfigError(f"MirrorTo: the mirror {self.url} and the log folder {here} lie in each other")

    def before_train(self) -> None:
        self._copier = _Copier(Path(self.trainer.log_dir), self.url, self.keep, self.every)

    def trigger_epoch(self) -> None:
        if self._copier is not None:
            self._copier.look_now()

    def after_train(self) -> None:
        self.finish()

    def finish(self) -> None:
        """Wait at most ``wait`` seconds until everything is copied. The trainer calls it again after its last save."""
        if self._copier is None:
            return
        if not self._copier.finish(self.wait):
            logger.warning(
                "MirrorTo: not all of %s was copied to %s within %g s. What is missing stays in the log folder; "
                "pass wait= for more time",
                self.trainer.log_dir,
                self.url,
                self.wait,
            )

    def fetch(self, log_dir: Path) -> None:
        """Fill a log folder from the mirror if that has a newer whole checkpoint; else leave the folder as it is.

        Raises:
            StorageError: The mirror cannot be read, and the folder has no whole checkpoint to resume from.
        """
        here = list_checkpoints(log_dir / _CHECKPOINTS)
        newest = next((_step(path.name) for path in here if check_checkpoint(path) is None), -1)
        try:
            names = names_below(self.url)
            for name in _steps(names):
                if _step(name) <= newest:
                    return
                if _fetch_checkpoint(self.url, names, name, log_dir):
                    break
            else:  # no whole checkpoint there: logs alone must not make the folder look like a run to resume
                return
            for name in _checkpoints(names):
                if not is_step(name):
                    _fetch_checkpoint(self.url, names, name, log_dir)
            for name in names:
                if not name.startswith(f"{_CHECKPOINTS}/"):
                    _fetch_file(f"{self.url}/{name}", log_dir / name)
        except StorageMissing:
            return
        except OSError:
            if newest < 0:
                raise
            logger.warning("MirrorTo: %s cannot be read; going on from the log folder", self.url, exc_info=True)


def mirrors_among(callbacks: Sequence[Any]) -> Iterator[MirrorTo]:
    """The MirrorTo callbacks in a list, also those wrapped by another callback."""
    return (callback for callback in with_wrapped(callbacks) if isinstance(callback, MirrorTo))


class _Copier:
    """A thread that copies a log folder's new checkpoints and changed logs to a mirror.

    The thread alone reads and writes `_copied` and `_logged`; others only set the two events.
    """

    def __init__(self, folder: Path, url: str, keep: int, every: float) -> None:
        self._folder, self._url, self._keep, self._every = folder, url, keep, every
        self._copied: dict[str, Any] = {}  # name of a checkpoint -> its manifest; /path of a log -> its size and time
        self._logged = -float("inf")  # time of the last copy of the logs
        self._wake, self._ending = threading.Event(), threading.Event()
        self._start()

    def _start(self) -> None:
        self._failed = False
        self._ending.clear()
        # A daemon: an upload that hangs must not keep the process alive after finish() has given up on it.
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def look_now(self) -> None:
        """Look for new checkpoints at once, not after the usual wait."""
        if not self._thread.is_alive():  # train() was called again after finish()
            self._start()
        self._wake.set()

    def finish(self, seconds: float) -> bool:
        """Copy everything, waiting at most so many seconds; returns whether all is copied."""
        # Ended by an earlier finish(): the trainer calls again after its last save, for which one more pass is needed.
        if self._ending.is_set() and not self._thread.is_alive():
            self._start()
        self._ending.set()
        self._wake.set()
        self._thread.join(seconds)
        return not self._thread.is_alive() and not self._failed

    def _run(self) -> None:
        while True:
            # Both before the copy: what was saved before finish() is in this last pass, and a look_now() during the
            # pass leads to another one.
            last = self._ending.is_set()
            self._wake.clear()
            try:
                self._copy(last)
                self._failed = False
            except Exception as error:  # of any kind (network, credentials, disk): a copy must not end the training
                level = logging.INFO if self._failed else logging.WARNING
                logger.log(level, "MirrorTo: copying to %s failed and is tried again: %s", self._url, error)
                self._failed = True
            if last:
                return
            if self._failed:  # not cut short by new checkpoints: a bucket that is away is not asked at every save
                self._ending.wait(_AFTER_FAILURE)
            else:
                self._wake.wait(_LOOK)

    def _copy(self, last: bool) -> None:
        checkpoints = self._folder / _CHECKPOINTS
        steps = list_checkpoints(checkpoints)[: self._keep]
        named = [path for path in checkpoints.glob("[!.]*") if path.is_dir() and not is_step(path.name)]
        new = [path for path in [*steps, *named] if _content(path) not in (None, self._copied.get(path.name))]
        for path in new:
            self._copy_checkpoint(path)
        if any(is_step(path.name) for path in new):
            self._drop_old()
        if last or time.monotonic() - self._logged > self._every or new:
            self._copy_logs()
            self._logged = time.monotonic()

    def _copy_checkpoint(self, path: Path) -> None:
        """Upload one checkpoint, through hard links: the saver may delete or replace the checkpoint meanwhile."""
        with tempfile.TemporaryDirectory(prefix=".mirror-", dir=self._folder) as beside:
            try:
                content = _content(path)
                for file in path.iterdir():
                    _link(file, Path(beside) / file.name)
            except FileNotFoundError:
                return  # deleted in between
            if content is None or content != _content(Path(beside)) or check_checkpoint(beside) is not None:
                return  # replaced in between, and the links are of both: the next look finds the new one
            put_folder(Path(beside), f"{self._url}/{_CHECKPOINTS}/{path.name}", last=(MANIFEST,))
        self._copied[path.name] = content
        logger.debug("MirrorTo: copied %s to %s", path.name, self._url)

    def _drop_old(self) -> None:
        names = names_below(self._url)
        for name in _steps(names)[self._keep :]:
            # The manifest first: a deletion that is broken off must not leave what looks like a whole checkpoint.
            for file in sorted(names, key=lambda file: not file.endswith(MANIFEST)):
                if file.startswith(f"{_CHECKPOINTS}/{name}/"):
                    delete(f"{self._url}/{file}")

    def _copy_logs(self) -> None:
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder).as_posix()
            if name.startswith((f"{_CHECKPOINTS}/", ".")) or path.name == LOCK or not path.is_file():
                continue
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                content = status.st_size, status.st_mtime_ns
                if self._copied.get(f"/{name}") == content:
                    continue
                with tempfile.NamedTemporaryFile() as copy:  # the run may append to the file during the upload
                    shutil.copyfile(path, copy.name)
                    put(copy.name, f"{self._url}/{name}")
                self._copied[f"/{name}"] = content


def _content(checkpoint: Path) -> bytes | None:
    """The bytes of the manifest, which identify a checkpoint's content (it has checksums); None if there is none."""
    with contextlib.suppress(OSError):
        return (checkpoint / MANIFEST).read_bytes()
    return None


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a filesystem without links
        shutil.copyfile(source, target)


# -- what is in a mirror


def _step(name: str) -> int:
    return int(name.rpartition("-")[2])


def _checkpoints(names: list[str]) -> set[str]:
    """Names of the checkpoints that have a manifest, among the files of a mirror."""
    parts = (name.split("/") for name in names)
    return {part[1] for part in parts if part[0] == _CHECKPOINTS and part[2:] == [MANIFEST]}


def _steps(names: list[str]) -> list[str]:
    """Names of the ``step-...`` checkpoints that have a manifest, newest first."""
    return sorted(filter(is_step, _checkpoints(names)), key=_step, reverse=True)


def _fetch_checkpoint(url: str, names: list[str], name: str, log_dir: Path) -> bool:
    """Copy a checkpoint from the mirror and verify its checksums; returns whether it is whole."""
    beside = log_dir / _CHECKPOINTS / f".{os.getpid()}-{secrets.token_hex(4)}.{name}"
    beside.mkdir(parents=True)
    try:
        for file in names:
            if file.startswith(f"{_CHECKPOINTS}/{name}/"):
                _fetch_file(f"{url}/{file}", beside / file.rpartition("/")[2])
        problem = check_checkpoint(beside, deep=True)
        if problem is not None:
            logger.warning("MirrorTo: %s in %s is not whole: %s", name, url, problem)
            return False
        replace(beside, log_dir / _CHECKPOINTS / name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    logger.info("MirrorTo: fetched %s from %s", name, url)
    return True


def _fetch_file(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    download(url, stat(url), path)
