"""Append-only text file of a monitor, which a resumed run truncates to the position in its checkpoint."""

from __future__ import annotations

import errno
import io
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowtrain.utils.files import explained, write_whole
from flowtrain.utils.storage import in_run

from .monitor import Monitor

__all__ = ["LineFile", "LineMonitor", "check_grown", "rows_of", "set_aside"]

logger = logging.getLogger("flowtrain.monitors")

_SECONDS = 5.0  # the longest that a reader of the file waits for a line, while lines come


class LineFile:
    """Lines appended to a file, which is opened when the first one is written.

    A file that exists then, and was not taken over by `cut`, was left by a run that was killed before its first
    checkpoint. No run continues it, so it is set aside under another name.

    Args:
        path: The file.
        rebuild: Gives all lines up to the position of a `cut`, for a file that has lost some; None: they stay lost.
    """

    def __init__(self, path: Path, rebuild: Callable[[], Iterable[str]] | None = None) -> None:
        self.path, self._rebuild = path, rebuild
        # Raw, without Python's buffer: that would keep what a full disk refused, and write it later at another place.
        self._file: io.FileIO | None = None
        self._lines: list[str] = []  # not written yet
        self._size = 0  # bytes that were written whole; after a full disk the file may hold a part of a line more
        self._ours = False  # whether the file is this run's
        self._flushed = time.monotonic()

    def write(self, line: str) -> None:
        """Append one line."""
        self._lines.append(line + "\n")
        if time.monotonic() > self._flushed + _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand all lines to the operating system, so that they survive a kill of this process.

        Raises:
            OSError: The disk is full, or the file was deleted, replaced or cut short. The lines are kept.
        """
        self._flushed = time.monotonic()
        if not self._lines and self._file is None:
            return
        if not self._ours:
            set_aside(self.path)
            self._ours = True
        check_grown(self.path, self._size, self._file)
        if self._file is None:
            self._file = io.FileIO(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        with explained(self.path):
            content = memoryview("".join(self._lines).encode())
            self._file.seek(self._size)  # over what an earlier flush left of a line
            done = 0
            while done < len(content):
                done += self._file.write(content[done:]) or 0
        self._size += done
        self._lines.clear()

    def position(self) -> int:
        """Flush, and return the length of the file in bytes."""
        self.flush()
        return self._size

    def cut(self, position: int) -> None:
        """Truncate the file to an earlier position; lines that are not written yet are dropped.

        A file that is shorter, or has no end of a line there, has lost lines: it is rebuilt, or goes on as it is.
        """
        self._drop()
        if position == 0 and not self._ours:
            set_aside(self.path)
        self._ours = True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < position or not self._ends_a_line(position):
            self._mend(position, size)
        elif size > position:
            os.truncate(self.path, position)
        self._size = self.path.stat().st_size if self.path.exists() else 0

    def close(self) -> None:
        """Flush and close the file; a later write opens it again."""
        self.flush()
        self._drop()

    def _drop(self) -> None:
        self._lines.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _ends_a_line(self, position: int) -> bool:
        if position == 0:
            return True
        with open(self.path, "rb") as file:
            file.seek(position - 1)
            return file.read(1) == b"\n"

    def _mend(self, position: int, size: int) -> None:
        """Write a file that has lost lines anew; if nobody knows them, cut it to its last whole line."""
        lost = f"{self.path} has {size} of the {position} bytes that the run had written"
        if self._rebuild is not None:
            write_whole(self.path, "".join(f"{line}\n" for line in self._rebuild()))
            logger.warning("%s: it is written anew from the run's history", lost)
            return
        if size:
            with open(self.path, "r+b") as file:
                file.truncate(file.read(position).rfind(b"\n") + 1)
        logger.warning("%s: what is missing stays lost, new lines are appended", lost)


class LineMonitor(Monitor):
    """Base of monitors that write one `LineFile`.

    Args:
        filename: The file, in the log folder.
        rebuild: Makes all lines anew, see `LineFile`.
    """

    def __init__(self, filename: str, rebuild: Callable[[], Iterable[str]] | None = None) -> None:
        self._rebuild = rebuild
        self.filename = in_run(filename, f"the file of {type(self).__name__}")

    def open(self, log_dir: Path) -> None:
        self._file = LineFile(log_dir / self.filename, self._rebuild)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.flush()
        self._file.close()

    def state_dict(self) -> dict[str, Any]:
        return {"bytes": self._file.position()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._file.cut(int(state["bytes"]))


def check_grown(path: Path, size: int, file: io.FileIO | None = None) -> None:
    """Raise if a file that a run appends to was deleted, replaced or cut short since the last write.

    Writing would succeed all the same, into a file that has no name any more or has lost its beginning.

    Args:
        path: The file.
        size: The bytes that the run has written.
        file: The open file; None: it is opened for each write.

    Raises:
        FileNotFoundError: The file is not the one that it was.
    """
    try:
        there = os.stat(path)
        whole = there.st_size >= size and (file is None or os.path.samestat(there, os.fstat(file.fileno())))
    except FileNotFoundError:
        whole = size == 0 and file is None and path.parent.exists()
    if not whole:
        raise FileNotFoundError(errno.ENOENT, "deleted, replaced or cut short while the run was writing it", str(path))


def rows_of(history: Mapping[str, Sequence[tuple[int, float]]]) -> list[dict[str, float]]:
    """The scalars of a history as rows ``{"step": step, name: value, ...}``, in the order of steps.

    A step at which a scalar was logged twice has two rows. A scalar that is itself called "step" is ``scalar/step``.
    """
    rows: dict[int, list[dict[str, float]]] = {}
    row: dict[str, float] | None
    for name, pairs in history.items():
        column = "scalar/step" if name == "step" else name
        for step, value in pairs:
            at = rows.setdefault(step, [])
            row = next((row for row in at if column not in row), None)
            if row is None:
                row = {"step": step}
                at.append(row)
            row[column] = value
    return [row for step in sorted(rows) for row in rows[step]]


def set_aside(path: Path) -> None:
    """Rename a file, unless it is missing or empty, to the first free name of ``name.old``, ``name.old1``, ..."""
    if not path.exists() or path.stat().st_size == 0:
        return
    number, target = 0, path.with_name(path.name + ".old")
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.old{number}")
    path.rename(target)
    logger.info("%s was there before this run began; it is now %s", path, target.name)
