"""Sink for tar files in WebDataset's layout, with the checksum of each file in its header."""

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
    """Appends the files of each datapoint to a tar; `tarsample` says which they are."""

    def __init__(self, folder: str, position: dict[str, Any] | None) -> None:
        super().__init__(folder, position)
        self._count = position["count"] if position else 0
        self._container = position["container"] if position else ""
        self._last: list[Any] = position.get("last", []) if position else []  # offset, name, size, CRC of the last file
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
        # Rewrite the header of the last file, now with the number of samples: a tar that is cut at a header, or has
        # zeros in its middle, otherwise looks like one that ends there. The header keeps its length, since the group's
        # name with the number stays within the 32 bytes that a header has for it.
        if self._last:
            self._file.seek(self._last[0])
            self._file.write(self._header(f":{self._count}"))
            self._file.seek(self._end)
        # Two blocks of zeros end an archive, which is then filled up to a whole record (POSIX's pax format). Where one
        # block fills the record and the second is left out, GNU tar warns of "a lone zero block".
        ending = 2 * tarfile.BLOCKSIZE
        self.add(bytes(ending + -(self._end + ending) % tarfile.RECORDSIZE))
        return super().finish()
