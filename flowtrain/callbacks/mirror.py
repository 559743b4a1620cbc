"""A copy of the run far away: in a bucket, for a machine that may not come back."""

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
from flowtrain.utils.arguments import check_seconds
from flowtrain.utils.errors import ConfigError
from flowtrain.utils.files import replace
from flowtrain.utils.run_status import LOCK
from flowtrain.utils.storage import (
    StorageMissing,
    delete,
    download,
    is_folder,
    list_folder,
    path_or_url,
    put,
    put_folder,
    stat,
)

from .base import Callback
from .periodic import check_period
from .proxy import ProxyCallback

__all__ = ["MirrorTo", "mirrors_among"]

logger = logging.getLogger("flowtrain.callbacks")

_CHECKPOINTS = "checkpoints"
_LOOK = 2.0  # seconds between two looks for new checkpoints
_AFTER_FAILURE = 30.0  # seconds until the next attempt


class MirrorTo(Callback):
    """Copies checkpoints, logs and the best model to a bucket while training goes on.

    Checkpoints are copied when they are whole; their manifest is sent last, so a copy that was broken off is never
    taken for one. Copying is done by a thread, newest first: training never waits for it, and a bucket that cannot be
    reached is a warning and tried again. At the end of training, also after an error or SIGTERM, it gets ``wait``
    seconds to finish.

    With ``train(config, resume="auto")`` and this callback, a log folder that is empty or behind (a new machine) is
    filled from the newest whole checkpoint of the mirror first, with the logs, and the run goes on exactly there.

    Args:
        url: Where to: ``"s3://bucket/run1"`` or any other URL of fsspec, or a folder. One run each.
        keep: How many of the newest ``step-...`` checkpoints to keep there; named ones (``best-...``) all stay.
        every: Seconds between two copies of the logs.
        wait: Seconds that the end of training waits for what is not copied yet.

    Raises:
        ConfigError: A number makes no sense, or the log folder and the mirror lie in each other.

    Example:
        >>> MirrorTo("s3://bucket/run1")
        MirrorTo
    """

    def __init__(self, url: str | os.PathLike[str], keep: int = 2, every: float = 60.0, wait: float = 60.0) -> None:
        self.url = path_or_url(url).rstrip("/")
        check_period(self, "keep", keep)
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
        """Copy what is not copied yet, for at most ``wait`` seconds; the trainer calls it again after its last save."""
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
        """Fill a log folder from the mirror, where that has a newer checkpoint.

        Raises:
            StorageError: The mirror cannot be read and the folder holds no checkpoint to go on from.
        """
        here = [int(path.name.rpartition("-")[2]) for path in list_checkpoints(log_dir / _CHECKPOINTS) if _whole(path)]
        try:
            names = _names(self.url)
            for name in _steps(names):
                if here and int(name.rpartition("-")[2]) <= max(here):
                    return
                if _fetch_checkpoint(self.url, names, name, log_dir):
                    break
            else:
                return
            for name in {part[1] for part in map(_split, names) if len(part) == 3}:
                if not is_step(name):
                    _fetch_checkpoint(self.url, names, name, log_dir)
            for name in names:
                if not name.startswith(f"{_CHECKPOINTS}/"):
                    _fetch_file(f"{self.url}/{name}", log_dir / name)
        except StorageMissing:
            return
        except OSError:
            if not here:
                raise
            logger.warning("MirrorTo: %s cannot be read; going on from the log folder", self.url, exc_info=True)


def mirrors_among(callbacks: Sequence[Any]) -> Iterator[MirrorTo]:
    """The mirrors in a list of callbacks, alone or inside another callback."""
    for callback in callbacks:
        while isinstance(callback, ProxyCallback):
            callback = callback.callback
        if isinstance(callback, MirrorTo):
            yield callback


class _Copier:
    """The thread that copies a log folder, while there is something to copy."""

    def __init__(self, folder: Path, url: str, keep: int, every: float) -> None:
        self._folder, self._url, self._keep, self._every = folder, url, keep, every
        self._copied: dict[str, Any] = {}  # checkpoint or log file -> what tells its content
        self._logged = -float("inf")
        self._wake, self._ending = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._failed = False
        self._start()

    def _start(self) -> None:
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def look_now(self) -> None:
        """Copy soon, not only at the next look."""
        if self._thread is None or not self._thread.is_alive():  # training went on after an end
            self._start()
        self._wake.set()

    def finish(self, seconds: float) -> bool:
        """Copy all that is there; says whether that was done in time."""
        if self._thread is not None and self._ending.is_set() and not self._thread.is_alive():
            self._start()
        self._ending.set()
        self._wake.set()
        thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive() and not self._failed

    def _run(self) -> None:
        self._failed = False
        while True:
            last = self._ending.is_set()
            self._wake.clear()
            try:
                self._copy(last)
                self._failed = False
            except Exception as error:  # whatever it is: a copy must not end the training
                level = logging.INFO if self._failed else logging.WARNING
                logger.log(level, "MirrorTo: copying to %s failed and is tried again: %s", self._url, error)
                self._failed = True
            if last:
                return
            if self._failed:
                self._ending.wait(_AFTER_FAILURE)
            else:
                self._wake.wait(_LOOK)

    def _copy(self, last: bool) -> None:
        checkpoints = self._folder / _CHECKPOINTS
        steps = list_checkpoints(checkpoints)[: self._keep]
        named = [path for path in _folders(checkpoints) if not is_step(path.name) and not path.name.startswith(".")]
        new = [path for path in [*steps, *named] if _content(path) not in (None, self._copied.get(path.name))]
        for path in new:
            self._copy_checkpoint(path)
        if any(is_step(path.name) for path in new):
            self._drop_old()
        if last or time.monotonic() - self._logged > self._every or new:
            self._copy_logs()
            self._logged = time.monotonic()

    def _copy_checkpoint(self, path: Path) -> None:
        """Copy links to its files: the saver may remove or replace the checkpoint meanwhile."""
        with tempfile.TemporaryDirectory(prefix=".mirror-", dir=self._folder) as beside:
            try:
                content = _content(path)
                for file in path.iterdir():
                    _link(file, Path(beside) / file.name)
            except FileNotFoundError:
                return  # it has just been removed
            if content is None or content != _content(Path(beside)) or check_checkpoint(beside) is not None:
                return  # replaced in between: the next look finds the new one
            put_folder(Path(beside), f"{self._url}/{_CHECKPOINTS}/{path.name}", last=(MANIFEST,))
        self._copied[path.name] = content
        logger.debug("MirrorTo: copied %s to %s", path.name, self._url)

    def _drop_old(self) -> None:
        names = _names(self._url)
        for name in _steps(names)[self._keep :]:
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
                with tempfile.NamedTemporaryFile() as copy:  # it may be written to meanwhile
                    shutil.copyfile(path, copy.name)
                    put(copy.name, f"{self._url}/{name}")
                self._copied[f"/{name}"] = content


def _folders(path: Path) -> list[Path]:
    return [child for child in path.iterdir() if child.is_dir()] if path.is_dir() else []


def _content(checkpoint: Path) -> bytes | None:
    """The manifest, which has checksums: what tells one content of a checkpoint from another."""
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


def _whole(path: Path) -> bool:
    return check_checkpoint(path) is None


# -- what is in a mirror


def _names(url: str) -> list[str]:
    return [found.removeprefix(f"{url}/") for found in list_folder(url, deep=True)] if is_folder(url) else []


def _split(name: str) -> list[str]:
    return name.split("/")


def _steps(names: list[str]) -> list[str]:
    """The ``step-...`` checkpoints that have a manifest, newest first."""
    whole = {part[1] for part in map(_split, names) if part[0] == _CHECKPOINTS and part[-1] == MANIFEST}
    return sorted(filter(is_step, whole), key=lambda name: -int(name.rpartition("-")[2]))


def _fetch_checkpoint(url: str, names: list[str], name: str, log_dir: Path) -> bool:
    """Copy a checkpoint from the mirror; says whether it is whole."""
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
