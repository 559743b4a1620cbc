"""Status of a run, read from its folder: running, finished, failed, interrupted or killed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from pathlib import Path
from typing import Any

from .files import write_whole

__all__ = ["LOCK", "clear_end", "is_locked", "record_end", "status_after", "status_of"]

LOCK = ".lock"
_END = "ended.json"


def is_locked(path: Path) -> bool:
    """Whether a living process uses the folder of a run."""
    try:
        with (path / LOCK).open("rb") as file:
            # Shared, as several may ask at once; a run that takes the lock in this moment tries again (FileLock).
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def status_after(failure: BaseException | None) -> str:
    """Return ``"finished"``, ``"failed"`` or ``"interrupted"`` (Ctrl-C, SIGTERM), by what ended a run."""
    if failure is None:
        return "finished"
    return "failed" if isinstance(failure, Exception) else "interrupted"  # Ctrl-C and SIGTERM are no Exception


def record_end(path: Path, failure: BaseException | None, note: str | None = None) -> None:
    """Record how a run ended. A run without this record that no process holds was killed.

    Args:
        path: The run's folder.
        failure: The exception that ended it; None: it finished.
        note: Why it finished, if that was before the last epoch.
    """
    status = status_after(failure)
    if failure is not None:
        note = f"{type(failure).__name__}: {failure}".removesuffix(": ")
    with contextlib.suppress(OSError):  # a full disk must not hide the error that ended the run
        write_whole(path / _END, json.dumps({"status": status, "note": note, "time": time.time()}, indent=1))


def clear_end(path: Path) -> None:
    """Remove the record of how a run ended, as it goes on."""
    with contextlib.suppress(OSError):
        (path / _END).unlink()


def status_of(path: Path) -> dict[str, Any]:
    """Return the status of a run.

    Args:
        path: The run's folder.

    Returns:
        ``status``: ``"finished"``, ``"failed"``, ``"interrupted"`` (Ctrl-C, SIGTERM), ``"running"`` or ``"killed"``;
        ``note``: the error, or why it ended early; ``time``: when it ended, in seconds of the Unix epoch. Both may be
        None.
    """
    if is_locked(path):  # asked first: while a process holds it, a record is an earlier end, or is just being written
        return {"status": "running", "note": None, "time": None}
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        found = json.loads((path / _END).read_text())
        return {"status": str(found["status"]), "note": found.get("note"), "time": found.get("time")}
    return {"status": "killed", "note": None, "time": None}
