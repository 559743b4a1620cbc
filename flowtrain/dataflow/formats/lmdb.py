"""LMDB: a data set in one file, each record found by its key in about a microsecond."""

from __future__ import annotations

import os
import struct
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ...ipc.codec import CodecError, pack, unpack, unpack_fast
from ...utils.errors import DataFlowError, FormatError
from ...utils.optional import require
from ..base import Datapoint
from .framing import crc32c
from .runs import RUN_BYTES, ReadRun
from .source import FileSource, PathLike, damaged, resolve_file
from .tensorpack import parse_keys, parse_value

__all__ = ["HEADER_KEY", "VERSION", "LMDBData", "pack_record", "record_key"]

HEADER_KEY = b"__flowtrain__"
VERSION = 1
_TENSORPACK_KEYS = b"__keys__"

_key_of = struct.Struct(">Q")  # big endian: LMDB's order of bytes is then the order of the numbers
_crc_of = struct.Struct("<I")
_CRC_RESIDUE = 0x48674BC7  # the CRC32C of any data followed by their own CRC32C, little endian

record_key = _key_of.pack


def pack_record(datapoint: Any, crc: Callable[[bytes], int]) -> bytes:
    """A record: the msgpack array of the datapoint and the CRC32C of all bytes before the CRC.

    So one function call checks it and one parses it, and neither needs a copy of a part.
    """
    body = b"".join((b"\x92", pack(datapoint), b"\xc4\x04"))  # an array of 2; bytes, of which there are 4
    return body + _crc_of.pack(crc(body))


class LMDBData(FileSource):
    """Records of an LMDB file.

    Use it for files of :func:`~flowtrain.dataflow.formats.write` and of Tensorpack's ``LMDBSerializer`` (with its
    msgpack serializer), and for any other LMDB as keys and values. Reading needs no lock file and no writable
    folder; do not write to the file meanwhile.

    Args:
        path: The file, or a folder that holds ``data.mdb``.
        decode: None: files of ``write`` and of Tensorpack give their datapoints, others ``[key, value]`` as bytes.
            ``"raw"``: always ``[key, value]``. Or a function ``(key, value) -> datapoint``.
        shuffle: Whether each epoch has an order of its own.
        seed: Of the order.
        verify: Whether the checksums that ``write`` stores are compared.

    Raises:
        DataFlowError: The file is missing or unreadable, or ``decode`` is unknown.
        FormatError: When first read: the file is cut short, damaged or not LMDB, or its records are pickled (they
            are never unpickled).

    Order:
        As written by ``write`` or Tensorpack, else by key; with ``shuffle`` a new permutation each epoch. Indexable.

    State:
        An index: going on costs nothing.

    Example:
        >>> ds = LMDBData("train.lmdb", shuffle=True)    # doctest: +SKIP
    """

    def __init__(
        self,
        path: PathLike,
        decode: Callable[[bytes, bytes], Datapoint] | Literal["raw"] | None = None,
        *,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
        verify: bool = True,
    ) -> None:
        if not (decode is None or decode == "raw" or callable(decode)):
            raise DataFlowError(f'decode is None, "raw" or a function (key, value) -> datapoint; got {decode!r}')
        super().__init__(shuffle, seed)
        full = os.path.expanduser(os.fspath(path))
        self.path = resolve_file(os.path.join(full, "data.mdb") if os.path.isdir(full) else full, what="LMDB file")
        self._decode, self._verify = decode, verify
        self._reads_ahead = not callable(decode)

    def _open_files(self) -> _Reader:
        return _Reader(self.path, self._decode, self._verify)

    def _count(self) -> int:
        return self._handle.count

    def _read(self, index: int) -> Datapoint:
        return self._handle.read(index)

    def _run_reader(self) -> ReadRun:
        return self._handle.read_run

    def describe(self) -> str:
        return f"LMDBData({os.path.basename(self.path)})"


class _Reader:
    """An open file, what its records are, and their keys where they are not just numbers."""

    def __init__(self, path: str, decode: Any, verify: bool) -> None:
        self.path = path
        self._environment = _Environment.of(path)  # keeps it open
        self._value = self._environment.get
        self._error = self._environment.error
        self._keys: list[bytes] | None = None
        self._crc = crc32c() if verify else None
        self._make: Callable[[bytes, bytes], Datapoint]
        header = self._value(HEADER_KEY)
        keys = self._value(_TENSORPACK_KEYS) if header is None else None
        if header is not None:
            self.count = self._read_header(header)
        if decode is None and header is not None:
            self._make = self._unpack
            return
        if decode is None and keys is not None:
            self._keys = parse_keys(path, keys)
            self._make = lambda key, value: parse_value(value)
        else:
            ours = (HEADER_KEY, _TENSORPACK_KEYS)
            self._keys = [key for key in self._environment.list_keys() if key not in ours]
            self._make = decode if callable(decode) else _pair
        self.count = len(self._keys)

    def read(self, index: int) -> Datapoint:
        key = record_key(index) if self._keys is None else self._keys[index]
        try:
            value = self._environment.local.get(key)
            if value is None:
                raise FormatError(f"the record is missing: there is no key {key!r}")
            return self._make(key, value)
        except self._error as error:
            raise damaged(self.path, f"LMDB cannot read it: {error}", record=index) from error
        except FormatError as error:
            raise damaged(self.path, str(error), record=index) from error

    def read_run(self, records: Sequence[int]) -> list[Datapoint]:
        """The datapoints of the first of some records, at least of one."""
        found: list[Datapoint] = []
        try:
            self._read_into(found, records)
        except Exception:  # whatever it is: `read` knows what to say, and only when the record's turn has come
            return found or [self.read(records[0])]
        return found

    def _read_into(self, found: list[Datapoint], records: Sequence[int]) -> None:
        get, keys, make, left = self._environment.local.get, self._keys, self._make, RUN_BYTES
        if keys is None and make == self._unpack:  # the usual case, with nothing in it that is not needed
            crc, add = self._crc, found.append
            for record in records:
                value = get(record_key(record))
                if crc is not None and crc(value) != _CRC_RESIDUE:
                    raise ValueError
                add(unpack_fast(value)[0])
                left -= len(value)
                if left < 0:
                    return
            return
        for record in records:
            key = record_key(record) if keys is None else keys[record]
            value = get(key)
            found.append(make(key, value))
            left -= len(value)
            if left < 0:
                return

    def _read_header(self, value: bytes) -> int:
        try:
            header = unpack(value)
            version, count = header["version"], header["count"]
        except (CodecError, KeyError, TypeError) as error:
            raise damaged(self.path, f"its header {HEADER_KEY!r} is damaged: {error}") from error
        if version != VERSION:
            raise damaged(
                self.path, f"written in version {version} of the form; this flowtrain reads version {VERSION}"
            )
        return count

    def _unpack(self, key: bytes, value: bytes) -> Datapoint:
        if self._crc is not None and self._crc(value) != _CRC_RESIDUE:
            raise FormatError(f"the {len(value):,} bytes of the record do not have the checksum that ends them")
        try:
            return unpack(value)[0]
        except (CodecError, LookupError, TypeError) as error:
            raise FormatError(f"not a record of write: {error}") from error


def _pair(key: bytes, value: bytes) -> list[bytes]:
    return [key, value]


class _Transaction(threading.local):
    """A transaction of each thread that reads: one must not be used by two at once."""

    def __init__(self, environment: Any) -> None:  # called again in each thread
        self.transaction = environment.begin()
        self.get = self.transaction.get


class _Environment:
    """One open LMDB file of this process: LMDB forbids to open a file twice, so flows over one file share it."""

    _opened: weakref.WeakValueDictionary[tuple[int, int, int], _Environment] = weakref.WeakValueDictionary()

    @classmethod
    def of(cls, path: str) -> _Environment:
        status = os.stat(path)  # not the name: another file may have been put in its place
        key = (os.getpid(), status.st_dev, status.st_ino)
        found = cls._opened.get(key)
        if found is None:
            found = cls._opened[key] = cls(path)
        return found

    def __init__(self, path: str) -> None:
        lmdb = require("lmdb", extra="formats", needed_for="LMDBData")
        self.path, self.error = path, lmdb.Error
        size = os.path.getsize(path)
        try:
            self._env = lmdb.open(path, subdir=False, readonly=True, lock=False, readahead=False, max_readers=1)
        except lmdb.Error as error:
            raise damaged(path, f"not an LMDB file, or damaged ({size:,} bytes): {error}") from error
        # LMDB maps as many pages as its head says; reading one that is not there would end the process (SIGBUS)
        wanted = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        if size < wanted:
            raise damaged(path, f"cut short: it has {size:,} bytes and should have {wanted:,}", offset=size)
        self.local = _Transaction(self._env)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        try:
            return self.local.get(key)
        except self.error as error:
            raise damaged(self.path, f"LMDB cannot read key {key!r}: {error}") from error

    def list_keys(self) -> list[bytes]:
        """All keys, in LMDB's order."""
        try:
            return list(self.local.transaction.cursor().iternext(keys=True, values=False))
        except self.error as error:
            raise damaged(self.path, f"LMDB cannot list the keys: {error}") from error
