"""A text file that only grows, and that a resumed run can take back to where it was."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TextIO

from flowtrain.utils.files import explained

__all__ = ["LineFile", "set_aside"]

logger = logging.getLogger("flowtrain.monitors")

_SECONDS = 5.0  # how long who follows the file may have to wait for a line


class LineFile:
    """Lines in a file, appended; opened when the first line is written.

    Content of a run that was killed before its first checkpoint belongs to nothing that goes on: unless
    `cut` was called before the first line, an existing file is set aside under another name.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None
        self._ours = False
        self._flushed = time.monotonic()

    def write(self, line: str) -> None:
        """Append one line."""
        if self._file is None:
            if not self._ours:
                set_aside(self.path)
                self._ours = True
            self._file = self.path.open("a", encoding="utf-8", newline="\n")
        with explained(self.path):
            self._file.write(line + "\n")
        if time.monotonic() > self._flushed + _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system: it survives a kill of this process."""
        self._flushed = time.monotonic()
        if self._file is not None:
            with explained(self.path):
                self._file.flush()

    def position(self) -> int:
        """The length of what was written, in bytes."""
        self.flush()
        return self.path.stat().st_size if self._ours and self.path.exists() else 0

    def cut(self, position: int) -> None:
        """Go back to an earlier position and go on from there."""
        self.close()
        self._ours = True
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < position:
            logger.warning(
                "%s has %d bytes, fewer than the %d it had at the checkpoint: its beginning is lost, "
                "the run goes on and appends to it",
                self.path,
                size,
                position,
            )
        elif size > position:
            with open(self.path, "r+b") as file:
                file.truncate(position)

    def close(self) -> None:
        """Release the file; a later write opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def set_aside(path: Path) -> None:
    """Rename a file that is not empty to ``name.old``, ``name.old1``, ...; never over another one."""
    if not path.exists() or path.stat().st_size == 0:
        return
    number, target = 0, path.with_name(path.name + ".old")
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.old{number}")
    path.rename(target)
    logger.info("%s is of a run that left no checkpoint; it is now %s", path, target.name)
