"""What `write` needs of each format: append, make durable, go back to what was durable, finish."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import resource
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ...ipc.codec import CodecError
from ...utils.errors import DataFlowError, FormatError
from ...utils.files import write_whole
from ...utils.optional import require
from .columns import ColumnSpool
from .example import encode_example
from .framing import crc32c, frame
from .hdf5 import write_hdf5
from .lmdbchunks import (
    CHUNK_BYTES,
    CHUNK_RECORDS,
    HEADER_KEY,
    MAX_RECORD_BYTES,
    MAX_RECORDS,
    PLACES_KEY,
    pack_header,
    pack_table,
    place_of,
    record_key,
)
from .npzfile import write_npz
from .records import encode_datapoint
from .sealed import pack_sealed
from .table import HEADER
from .tarsample import CHECKSUM, MARK, encode_members
from .tensorproto import encode_tensor

__all__ = ["SINKS", "SUFFIXES", "Sink"]

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
_PAGE = 1 << 16  # bytes that LMDB may write besides the records: its table of pages


class Sink(Protocol):
    """One file that is being written, in a folder of its own.

    Made with the folder and the position to go on from: what ``commit`` returned in an earlier process, or None.
    """

    def append(self, datapoint: Any) -> None:
        """Add a record."""
        ...

    def commit(self) -> Any:
        """Make durable what was appended; returns the position after it, for the codec to pack."""
        ...

    def finish(self) -> str:
        """Complete the file and make it durable; returns its path."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...


class _AppendOnly:
    """A file that grows at its end."""

    def __init__(self, folder: str, position: Any, name: str = "data") -> None:
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

    def commit(self) -> Any:
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"end": self._end}

    def finish(self) -> str:
        self.commit()
        self.close()
        return self.path

    def close(self) -> None:
        self._file.close()


class TFRecordSink(_AppendOnly):
    """Records as tf.train.Examples."""

    def append(self, datapoint: Any) -> None:
        self.add(frame(encode_datapoint(datapoint)))


class OTBTFSink:
    """Records of serialized tensors in OTBTF's shards, ``0.records``, ``1.records``, ..., and the two JSON files."""

    def __init__(self, folder: str, position: Any, keys: Sequence[str] | None = None, per_file: int = 100) -> None:
        self._keys, self._per_file = list(keys) if keys is not None else None, per_file
        self.path = os.path.join(folder, "data")
        os.makedirs(self.path, exist_ok=True)
        start = position or {"count": 0, "shard": None, "types": {}, "shapes": {}, "per_file": per_file}
        if start["per_file"] != per_file:
            raise FormatError(f"{folder} has {start['per_file']} records a file: pass resume=False to start again")
        self._count, self._types, self._shapes = start["count"], start["types"], start["shapes"]
        for name in os.listdir(self.path):  # what was begun after the last commit
            if int(name.partition(".")[0]) > max(self._count - 1, 0) // per_file:
                os.unlink(os.path.join(self.path, name))
        full = self._count and self._count % per_file == 0
        self._shard = None if full or not self._count else self._open(start["shard"])

    def _open(self, position: Any = None) -> _AppendOnly:
        return _AppendOnly(self.path, position, f"{self._count // self._per_file}.records")

    def append(self, datapoint: Any) -> None:
        features = self._features(datapoint)
        self._agree(features)
        encoded = encode_example({name: encode_tensor(array) for name, array in features.items()})
        if self._shard is None:
            self._shard = self._open()
        self._shard.add(frame(encoded))
        self._count += 1
        if self._count % self._per_file == 0:
            self._shard.finish()
            self._shard = None

    def _features(self, datapoint: Any) -> dict[str, Any]:
        if isinstance(datapoint, Mapping):
            missing = [name for name in self._keys or () if name not in datapoint]
            if missing:
                raise FormatError(f"datapoint {self._count} has no {missing[0]!r}; it has {list(datapoint)}")
            named = {name: datapoint[name] for name in self._keys or datapoint}
        else:
            if self._keys is None or len(self._keys) != len(datapoint):
                raise FormatError(
                    f"datapoint {self._count} has {len(datapoint)} components without names: pass keys=[...], a name "
                    "for each"
                )
            named = dict(zip(self._keys, datapoint, strict=True))
        return {name: np.asarray(value) for name, value in named.items()}

    def _agree(self, features: dict[str, Any]) -> None:
        """Note types and shapes; sizes that differ between datapoints are null in the JSON file."""
        types = {name: "string" if a.dtype.kind in "OSU" else a.dtype.name for name, a in features.items()}
        shapes = {name: list(array.shape) for name, array in features.items()}
        if not self._types:
            self._types, self._shapes = types, shapes
        ranks = {name: len(shape) for name, shape in shapes.items()}
        if types != self._types or ranks != {name: len(shape) for name, shape in self._shapes.items()}:
            before = _facts(self._types, self._shapes)
            raise FormatError(f"datapoint {self._count} has {_facts(types, shapes)}; those before it {before}")
        self._shapes = {
            name: [size if size == other else None for size, other in zip(shape, shapes[name], strict=True)]
            for name, shape in self._shapes.items()
        }

    def commit(self) -> Any:
        shard = self._shard.commit() if self._shard else None
        facts = {"types": self._types, "shapes": self._shapes}
        return {"count": self._count, "shard": shard, "per_file": self._per_file, **facts}

    def finish(self) -> str:
        if self._shard:
            self._shard.finish()
        for name, facts in (("output_types.json", self._types), ("output_shape.json", self._shapes)):
            write_whole(os.path.join(self.path, name), json.dumps(facts))
        return self.path

    def close(self) -> None:
        if self._shard:
            self._shard.close()


def _facts(types: dict[str, str], shapes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {kind} {tuple(shapes[name])}" for name, kind in types.items())


class TarSink(_AppendOnly):
    """Records as files of a tar."""

    def __init__(self, folder: str, position: Any) -> None:
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

    def append(self, datapoint: Any) -> None:
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

    def commit(self) -> Any:
        return {**super().commit(), "count": self._count, "container": self._container, "last": self._last}

    def finish(self) -> str:
        if self._last:  # a tar that is cut, or has zeros in its middle, looks like one that ends there
            self._file.seek(self._last[0])
            self._file.write(self._header(f":{self._count}"))
            self._file.seek(self._end)
        self.add(bytes(-self._end % tarfile.RECORDSIZE or tarfile.RECORDSIZE))
        return super().finish()


class LMDBSink:
    """Records in chunks, and the table of where each one is."""

    def __init__(self, folder: str, position: Any) -> None:
        lmdb = require("lmdb", extra="formats", needed_for="Writing LMDB")
        self.path = os.path.join(folder, "data")
        self._full, self._error = lmdb.MapFullError, lmdb.Error
        size = max(1 << 26, 2 * os.path.getsize(self.path) if os.path.exists(self.path) else 0)
        # no lock file: `write` holds a lock on the folder
        with self._as_os_error(size):
            self._env = lmdb.open(self.path, map_size=size, subdir=False, lock=False, max_readers=1, writemap=False)
        self._map_size = size
        self._crc = crc32c()
        if position and "places" not in position:
            raise FormatError(f"{folder} is of an older flowtrain: pass resume=False to start again")
        self._places = _AppendOnly(folder, position and position["places"], "places")
        self._count, self._chunks = (position["count"], position["chunks"]) if position else (0, 0)
        self._records: list[bytes] = []  # of the chunk that is being filled
        self._end = 0  # of that chunk
        self._pending: list[bytes] = []  # chunks that are full
        self._pending_bytes = 0
        self._drop_after(self._chunks)

    def append(self, datapoint: Any) -> None:
        try:
            record = pack_sealed(datapoint, self._crc)
        except CodecError as error:
            raise FormatError(str(error)) from error
        if len(record) > MAX_RECORD_BYTES:
            raise FormatError(f"datapoint {self._count} has {len(record):,} bytes; LMDB holds {MAX_RECORD_BYTES:,}")
        if self._count == MAX_RECORDS:
            raise FormatError(f"an LMDB file holds {MAX_RECORDS:,} datapoints: write several files")
        if self._end + len(record) > CHUNK_BYTES or len(self._records) == CHUNK_RECORDS:
            self._end_chunk()
        start, self._end = self._end, self._end + len(record)
        self._places.add(place_of.pack(self._chunks + len(self._pending), start, self._end))
        self._records.append(record)
        self._count += 1
        if self._pending_bytes + self._end > 1 << 25:
            self._store()

    def commit(self) -> Any:
        self._store()
        self._sync()
        return {"count": self._count, "chunks": self._chunks, "places": self._places.commit()}

    def finish(self) -> str:
        self._store()
        with open(self._places.finish(), "rb") as file:
            self._put({PLACES_KEY: pack_table(file.read(), self._crc), HEADER_KEY: pack_header(self._count)})
        # LMDB keeps the last two states, and takes the older where what leads to the newer is damaged: both are whole
        self._put({HEADER_KEY: pack_header(self._count)})
        self._sync()
        self.close()
        return self.path

    def close(self) -> None:
        self._places.close()
        self._env.close()

    def _end_chunk(self) -> None:
        if self._records:
            self._pending.append(b"".join(self._records))
            self._pending_bytes += self._end
            self._records, self._end = [], 0

    def _store(self) -> None:
        """Put all that was appended; the chunk that is being filled ends here."""
        self._end_chunk()
        self._put({record_key(number): chunk for number, chunk in enumerate(self._pending, self._chunks)})
        self._chunks += len(self._pending)
        self._pending, self._pending_bytes = [], 0

    def _put(self, items: dict[bytes, bytes]) -> None:
        """One transaction; again with more room where there is too little."""
        while True:
            try:
                with (
                    self._as_os_error(sum(map(len, items.values()))),
                    self._env.begin(write=True) as transaction,
                ):
                    for key, value in items.items():
                        transaction.put(key, value)
                return
            except self._full:
                self._map_size *= 2
                self._env.set_mapsize(self._map_size)

    def _sync(self) -> None:
        with self._as_os_error(0):
            self._env.sync(True)

    @contextlib.contextmanager
    def _as_os_error(self, size: int) -> Iterator[None]:
        """Make the system's errors, which LMDB raises as its own, OSErrors: so `write` names the file.

        Args:
            size: Bytes that are being written.
        """
        try:
            yield
        except self._full:
            raise
        except self._error as error:
            codes = [code for code in _DISK_ERRORS if os.strerror(code) in str(error)]
            code = codes[0] if codes else errno.EIO
            if code == errno.EIO:  # LMDB's name for a write of which only a part was done
                limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
                written = os.path.getsize(self.path) if os.path.exists(self.path) else 0
                if limit != resource.RLIM_INFINITY and written + size + _PAGE > limit:
                    code = errno.EFBIG
                elif shutil.disk_usage(os.path.dirname(self.path)).free < size + _PAGE:
                    code = errno.ENOSPC
            text = os.strerror(code) if codes or code != errno.EIO else f"{os.strerror(code)} ({error})"
            raise OSError(code, text) from error

    def _drop_after(self, chunks: int) -> None:
        with self._as_os_error(0), self._env.begin(write=True) as transaction, transaction.cursor() as cursor:
            found = cursor.set_range(record_key(chunks))
            while found:
                found = cursor.delete()


class _TableSink:
    """Columns, put into one file at the end."""

    def __init__(self, folder: str, position: Any) -> None:
        self._folder = folder
        self._spool = ColumnSpool(folder, position)
        self.append, self.commit, self.close = self._spool.append, self._spool.commit, self._spool.close

    def _write(self, path: str, arrays: dict[str, Any]) -> None:
        raise NotImplementedError

    def finish(self) -> str:
        path = os.path.join(self._folder, "data")
        header = np.frombuffer(pack_sealed(self._spool.header(), crc32c()), np.uint8)
        self._write(path, {HEADER: header, **self._spool.arrays()})
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        self.close()
        return path


class NpzSink(_TableSink):
    """Columns in an npz."""

    def _write(self, path: str, arrays: dict[str, Any]) -> None:
        write_npz(path, arrays)


class HDF5Sink(_TableSink):
    """Columns in an HDF5 file."""

    def _write(self, path: str, arrays: dict[str, Any]) -> None:
        write_hdf5(path, arrays)


SINKS: dict[str, Any] = {
    "tfrecord": TFRecordSink,
    "lmdb": LMDBSink,
    "hdf5": HDF5Sink,
    "npz": NpzSink,
    "tar": TarSink,
    "otbtf": OTBTFSink,
}

SUFFIXES = {
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".records": "tfrecord",
    ".lmdb": "lmdb",
    ".mdb": "lmdb",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".npz": "npz",
    ".tar": "tar",
}


def format_of(path: str, given: str | None) -> str:
    """The format to write: what was asked for, or what the file's ending says.

    Raises:
        DataFlowError: Neither names a format.
    """
    name = given if given is not None else SUFFIXES.get(os.path.splitext(path)[1].lower())
    if name not in SINKS:
        wrong = (
            f"format={given!r} is unknown" if given is not None else f"the ending of {path!r} does not say the format"
        )
        raise DataFlowError(f"{wrong}: use one of {', '.join(SUFFIXES)}, or format= one of {', '.join(SINKS)}")
    return name
