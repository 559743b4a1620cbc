"""The folder of a run: chosen without asking, locked while the run lives, with files that say what the run was."""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import os
import platform
import socket
import subprocess
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from flowtrain.model.checkpoint_io import list_checkpoints
from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import ConfigError, TrainingError
from flowtrain.utils.files import FileLock, working_folder, write_whole
from flowtrain.utils.loading import looking
from flowtrain.utils.run_status import LOCK, is_locked
from flowtrain.utils.storage import in_run

__all__ = ["FileClaims", "LogFolder", "auto_set_dir", "default_dir", "packages", "versions"]

ROOT = "train_log"
_LOG = "log.txt"
_chosen: Path | None = None


@names_arguments
def auto_set_dir(name: str | None = None, resume: bool = False) -> Path:
    """Choose a new folder for the runs of this process that are given no ``log_dir``.

    It is the first free one of ``train_log/<name>``, ``train_log/<name>-2``, ...: nothing is asked, no folder is used
    again.

    Args:
        name: Name of the folder; None: that of the script.
        resume: Choose the newest of these folders that holds a run and is not in use, if there is one: for scripts
            with a flag ``--resume``.

    Returns:
        The folder; it exists.

    Example:
        >>> auto_set_dir("colorize")                                         # doctest: +SKIP
        PosixPath('train_log/colorize')
    """
    global _chosen
    name = name or _script()
    if looking():  # a script that is only loaded leaves no empty folder behind
        return Path(ROOT) / name
    _chosen = (_newest_run(name) if resume else None) or _make_free(name)
    return _chosen


def default_dir(resume: bool) -> Path:
    """The folder of a run that is given none: what `auto_set_dir` chose, or a folder by the name of the script.

    Args:
        resume: Take the newest folder that holds a run and is not in use, if there is one; else a new one.
    """
    if _chosen is not None and (resume or not holds_run(_chosen)):
        return _chosen
    return (_newest_run(_script()) if resume else None) or _make_free(_script())


def _newest_run(name: str) -> Path | None:
    """The newest folder of a name that holds a run and that no living process uses."""
    return next((path for path in reversed(_numbered(name)) if holds_run(path) and not is_locked(path)), None)


def holds_run(path: Path) -> bool:
    """Whether a run was started in the folder."""
    return (path / _LOG).exists() or bool(list_checkpoints(path / "checkpoints"))


class _LogFile(logging.handlers.WatchedFileHandler):
    """Log handler that makes the file and its folder again if they are deleted in mid-run."""

    def reopenIfNeeded(self) -> None:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        super().reopenIfNeeded()


class LogFolder:
    """A run's folder while it is open: holds its lock, and writes ``log.txt``.

    Args:
        path: The folder; made if it does not exist.
        resume: Whether to continue a run that the folder holds.

    Raises:
        TrainingError: A living run uses the folder.
        ConfigError: It holds a run and `resume` is False, or it cannot be written.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path / LOCK)
        except OSError as error:
            raise ConfigError(
                f"the log folder {path} cannot be written ({error.strerror or error}). Give another one: log_dir=..."
            ) from error
        try:
            # The lock before the look: of two runs that start at the same moment in an empty folder, the second is
            # refused by the lock, not told to resume what has not begun.
            self._take_lock()
            if holds_run(path) and not resume:
                raise ConfigError(
                    f'the log folder {path} holds a run already. Continue it: train(config, resume="auto"); '
                    "or start anew with another log_dir (none: a new folder each time)."
                )
            self._handler = _LogFile(path / _LOG)
        except BaseException as error:
            self._lock.release()
            if isinstance(error, PermissionError):
                raise ConfigError(f"the log folder {path} cannot be written ({error})") from error
            raise
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
        logging.getLogger("flowtrain").addHandler(self._handler)

    def _take_lock(self) -> None:
        note = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%F %T')}\n"
        if not self._lock.acquire(note):
            holder = self._lock.holder() or "another process"
            if holder.startswith(f"process {os.getpid()} on {socket.gethostname()},"):
                raise TrainingError(
                    f"the log folder {self.path} is in use by an earlier trainer of this process (a notebook's cell "
                    "run twice?). Close that one first: trainer.close(), or make it in a `with` "
                    "statement; or give another log_dir."
                )
            raise TrainingError(
                f"the log folder {self.path} is in use by a run that lives: {holder}. "
                "Wait for it, end it, or give another log_dir."
            )

    def describe(self, config: dict[str, Any]) -> None:
        """Write ``config.json`` and ``versions.json``; if an earlier start of the run wrote others, numbered ones."""
        for name, content in (("config", config), ("versions", versions())):
            text = json.dumps(content, indent=1, default=str)
            path = self.path / f"{name}.json"
            number = 1
            while path.exists() and path.read_text() != text:
                number += 1
                path = self.path / f"{name}-{number}.json"
            write_whole(path, text)

    def close(self) -> None:
        """Close the log file and release the lock."""
        logging.getLogger("flowtrain").removeHandler(self._handler)
        self._handler.close()
        self._lock.release()


class FileClaims:
    """Register of the files of a run and their writers: two writers of one file would mix their lines.

    Args:
        folder: Base of relative paths.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owners: dict[Path, object] = {}

    def claim(self, path: str | Path, owner: object) -> Path:
        """Reserve a path for one writer, which may ask again.

        Returns:
            The absolute path.

        Raises:
            ConfigError: Another writer has it.
        """
        path = (self._folder / in_run(path, f"the file of {owner}")).resolve()
        holder = self._owners.setdefault(path, owner)
        if holder is not owner:
            raise ConfigError(f"{owner} and {holder} both write {path}: give one of them another name")
        return path


def versions() -> dict[str, Any]:
    """What the result of a run depends on besides its configuration: command, commit, packages, machine."""
    return {
        "command": sys.argv,
        "code": _code_version(),
        "python": platform.python_version(),
        "packages": packages(),
        "machine": {"platform": platform.platform(), "processors": os.cpu_count()},
    }


@cache
def packages() -> dict[str, str]:
    """Versions of the installed packages that a run depends on. Cached: each save writes them into its manifest."""
    found = {}
    for package in ("flowtrain", "tensorflow", "keras", "numpy", "opencv-python-headless", "opencv-python"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _code_version() -> str | None:
    """The commit of the script's repository, "-dirty" added if files are changed; None without a repository or git."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # no git, no working directory any more
        folder = Path(sys.argv[0] or ".").resolve().parent
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=folder if folder.is_dir() else None,
            capture_output=True,
            text=True,
            timeout=5,
        )
        return done.stdout.strip() or None
    return None


def _script() -> str:
    main = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else ""
    return "notebook" if main in ("", "-c", "ipykernel_launcher", "colab_kernel_launcher") else main


def _make_free(name: str) -> Path:
    """Make the first folder of a name that does not exist yet."""
    number = 1
    while True:
        path = Path(ROOT) / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)  # the test itself: two runs that start at the same moment get two folders
        except FileExistsError:
            number += 1
        except OSError as error:
            raise ConfigError(f"no log folder can be made in {_root()} ({error}). Give one: log_dir=...") from error
        else:
            return path


def _root() -> str:
    folder = working_folder()
    return f"{ROOT}/ (the working directory was deleted)" if folder is None else str(Path(folder) / ROOT)


def _numbered(name: str) -> list[Path]:
    """The folders that `_make_free` made for a name, oldest first."""
    found = {}
    for path in Path(ROOT).glob(f"{name}*"):
        tail = path.name[len(name) :]
        if tail == "":
            found[1] = path
        elif tail[0] == "-" and tail[1:].isdigit():
            found[int(tail[1:])] = path
    return [found[number] for number in sorted(found)]
