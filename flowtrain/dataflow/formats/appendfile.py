"""Append-only files with commit positions, from which ``write`` resumes; a TFRecord file is one."""

from __future__ import annotations

import os
from typing import Any

from ...utils.errors import FormatError
from .framing import frame
from .records import encode_datapoint

__all__ = ["AppendOnlyFile", "TFRecordSink"]


class AppendOnlyFile:
    """A file that only grows; ``commit`` makes it durable and returns the position to resume from.

    Args:
        folder: The folder of the attempt.
        position: What ``commit`` returned in an earlier process; None starts an empty file.
        name: The file's name in the folder.

    Raises:
        FormatError: The file is shorter than it was at that commit.
    """

    def __init__(self, folder: str, position: dict[str, Any] | None, name: str = "data") -> None:
        self.path = os.path.join(folder, name)
        self._file = open(self.path, "r+b" if position else "w+b")  # noqa: SIM115 - closed by close()
        self._end = position["end"] if position else 0
        if os.path.getsize(self.path) < self._end:
            raise FormatError(f"{self.path} is shorter than its journal says: delete its folder and write again")
        # Bytes after the last commit may end within a record, and the flow makes their datapoints again.
        self._file.truncate(self._end)
        self._file.seek(self._end)

    def add(self, content: bytes) -> None:
        self._file.write(content)
        self._end += len(content)

    def commit(self) -> dict[str, Any]:
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"end": self._end}

    def finish(self) -> str:
        self.commit()
        self.close()
        return self.path

    def close(self) -> None:
        self._file.close()


class TFRecordSink(AppendOnlyFile):
    """Sink of TFRecord files: each datapoint becomes one tf.train.Example."""

    def append(self, datapoint: object) -> None:
        self.add(frame(encode_datapoint(datapoint)))
