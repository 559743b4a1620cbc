"""A file that grows at its end and goes back to its last commit when writing is resumed; TFRecord is one."""

from __future__ import annotations

import os
from typing import Any

from ...utils.errors import FormatError
from .framing import frame
from .records import encode_datapoint

__all__ = ["AppendOnlyFile", "TFRecordSink"]


class AppendOnlyFile:
    """A file that grows at its end."""

    def __init__(self, folder: str, position: dict[str, Any] | None, name: str = "data") -> None:
        self.path = os.path.join(folder, name)
        self._file = open(self.path, "r+b" if position else "w+b")  # noqa: SIM115 - closed by close()
        self._end = position["end"] if position else 0
        if os.path.getsize(self.path) < self._end:
            raise FormatError(f"{self.path} is shorter than its journal says: delete its folder and write again")
        self._file.truncate(self._end)  # what was written after the last commit
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
    """Records as tf.train.Examples."""

    def append(self, datapoint: object) -> None:
        self.add(frame(encode_datapoint(datapoint)))
