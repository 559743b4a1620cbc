"""Writing tar: the files of a sample side by side, with checksums in their headers."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from ...utils.errors import FormatError
from .appendfile import AppendOnlyFile
from .framing import crc32c
from .tarsample import CHECKSUM, MARK, encode_members

__all__ = ["TarSink"]


class TarSink(AppendOnlyFile):
    """Records as files of a tar."""

    def __init__(self, folder: str, position: dict[str, Any] | None) -> None:
        super().__init__(folder, position)
        self._count = position["count"] if position else 0
        self._container = position["container"] if position else ""
        self._last: list[Any] = position.get("last", []) if position else []  # place, name, size and CRC of a file
        self._crc = crc32c()

    def _header(self, mark: str) -> bytes:
        info = tarfile.TarInfo(self._last[1])
        info.size = self._last[2]
        info.gname = f"{CHECKSUM}{self._last[3]:08x}{mark}"
        return info.tobuf(tarfile.PAX_FORMAT)

    def append(self, datapoint: object) -> None:
        container, members = encode_members(datapoint)
        if not self._container:
            self._container = container
            self.add(tarfile.TarInfo.create_pax_global_header({MARK: container}))
        if container != self._container:
            raise FormatError(f"datapoint {self._count} is a {container}, the first one a {self._container}")
        content = io.BytesIO()
        for extension, data in members:
            self._last = [self._end + content.tell(), f"{self._count:09d}.{extension}", len(data), self._crc(data)]
            content.write(self._header(""))
            content.write(data)
            content.write(bytes(-len(data) % 512))
        self.add(content.getvalue())
        self._count += 1

    def commit(self) -> dict[str, Any]:
        return {**super().commit(), "count": self._count, "container": self._container, "last": self._last}

    def finish(self) -> str:
        if self._last:  # a tar that is cut, or has zeros in its middle, looks like one that ends there
            self._file.seek(self._last[0])
            self._file.write(self._header(f":{self._count}"))
            self._file.seek(self._end)
        self.add(bytes(-self._end % tarfile.RECORDSIZE or tarfile.RECORDSIZE))
        return super().finish()
