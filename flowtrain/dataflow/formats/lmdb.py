"""LMDB files as a source: of ``write``, of Tensorpack, of Caffe, or any other as keys and values."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Literal

from ...utils.arguments import check_choice
from ...utils.errors import DataFlowError, FormatError
from ...utils.storage import has_folder, local_copy, path_or_url
from ..core.base import Datapoint
from ..core.undecoded import get_leaving
from ..sources.turbojpeg import why_no_regions
from .caffe import parse_datum
from .framing import crc32c
from .lmdbchunks import HEADER_KEY, PLACES_KEY, ChunkedRecords, Decode, parse_header, record_key
from .lmdbfile import Environment
from .runs import RUN_BYTES, ReadRun
from .sealed import unpack_sealed
from .source import FileSource, PathLike, damaged, resolve_file
from .tensorpack import parse_keys, parse_value

__all__ = ["LMDBData"]

_TENSORPACK_KEYS = b"__keys__"
_CRC_OF_VERSION_1 = 0x48674BC7  # the CRC32C of any bytes followed by their own, little endian


class LMDBData(FileSource):
    """Records of an LMDB file, with random access to any of them in about a microsecond.

    Use it for files of :func:`~flowtrain.dataflow.formats.write` and of Tensorpack's ``LMDBSerializer`` (with its
    msgpack serializer), and for any other LMDB as keys and values. Reading needs no lock file and no writable
    folder; do not write to the file meanwhile.

    Args:
        path: The file, or a folder that holds ``data.mdb``. A URL is fetched once into the cache folder, as LMDB maps
            local files.
        decode: None: files of ``write`` and of Tensorpack give their datapoints, others ``[key, value]`` as bytes.
            ``"raw"``: always ``[key, value]``. ``"caffe"``: ``[picture, label]`` of Caffe's records, (H, W, C) and RGB,
            uint8 or float32. Or a function ``(key, value) -> datapoint``.
        shuffle: Whether each epoch has an order of its own.
        seed: Seed of the order.
        verify: Whether records are compared with the checksums that ``write`` stores.

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
        decode: Callable[[bytes, bytes], Datapoint] | Literal["raw", "caffe"] | None = None,
        *,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
        verify: bool = True,
    ) -> None:
        if not callable(decode):
            also = "a function (key, value) -> datapoint"
            check_choice("LMDBData", "decode", decode, (None, "raw", "caffe"), DataFlowError, also=also)
        super().__init__(shuffle, seed)
        full = path_or_url(path)
        self.path = resolve_file(os.path.join(full, "data.mdb") if has_folder(full) else full, what="LMDB file")
        self._verify = verify
        self._decode = parse_datum if decode == "caffe" else _pair if decode == "raw" else decode
        self._reads_ahead = not callable(decode)  # a user's function is called only for datapoints that are asked for

    def _open_files(self) -> _KeyedRecords | ChunkedRecords:
        environment = Environment.of(local_copy(self.path))  # LMDB maps it
        header = environment.get(HEADER_KEY)
        # Without this, a file of ours whose header's key is damaged would be read as anybody's keys and values.
        if header is None and environment.get(PLACES_KEY) is not None:
            raise damaged(self.path, f"the value of {HEADER_KEY!r} is missing")
        version, count = (0, 0) if header is None else parse_header(self.path, header)
        if version < 2:
            return _KeyedRecords(environment, self._decode, self._verify, count if version else None)
        return ChunkedRecords(environment, count, self._decode, self._verify)

    def _get_undecoded(self, index: int, epoch: int) -> Datapoint:
        return get_leaving(self, index, epoch)

    def _why_decoded(self) -> str | None:
        return why_no_regions() if self._decode is parse_datum else ""

    def _run_reader(self) -> ReadRun:
        return self._handle.read_run

    def describe(self) -> str:
        return f"LMDBData({os.path.basename(self.path)})"


class _KeyedRecords:
    """Records that are LMDB values, one each: of ``write`` version 1, of Tensorpack, or of any other LMDB.

    Args:
        environment: The open file.
        decode: Makes a datapoint of a key and a value; None: the record is the datapoint where the file is of ``write``
            or Tensorpack, else [key, value].
        verify: Whether checksums are compared.
        count: How many records a file of version 1 has; None: the file is not of ``write``.
    """

    def __init__(self, environment: Environment, decode: Decode | None, verify: bool, count: int | None) -> None:
        self._environment = environment
        self._keys: list[bytes] | None = None
        # Never a bound method: the cycle would keep the file open, and with it mapped, until a garbage collection.
        self._make: Decode
        keys = environment.get(_TENSORPACK_KEYS) if count is None else None
        if decode is None and count is not None:
            if count > environment.entries:
                what = f"its header tells of {count:,} records, {environment.entries:,} values are there"
                raise damaged(environment.path, what)
            crc = crc32c() if verify else None
            self.count = count
            self._make = lambda key, value: unpack_sealed(value, crc, _CRC_OF_VERSION_1)
            return
        if decode is None and keys is not None:
            self._keys = parse_keys(environment.path, keys)
            self._make = lambda key, value: parse_value(value)
        else:
            ours = (HEADER_KEY, _TENSORPACK_KEYS)
            self._keys = [key for key in environment.list_keys() if key not in ours]
            self._make = _pair if decode is None else decode
        self.count = len(self._keys)

    def read(self, index: int) -> Datapoint:
        key = record_key(index) if self._keys is None else self._keys[index]
        self._environment.check_size()
        try:
            value = self._environment.local.get(key)
            if value is None:
                raise FormatError(f"the record is missing: there is no key {key!r}")
            return self._make(key, value)
        except self._environment.error as error:
            raise damaged(self._environment.path, f"LMDB cannot read it: {error}", record=index) from error
        except FormatError as error:
            raise damaged(self._environment.path, str(error), record=index) from error

    def read_run(self, records: Sequence[int]) -> list[Datapoint]:
        """Read some records ahead; see :data:`ReadRun`."""
        self._environment.check_size()
        found: list[Datapoint] = []
        get, keys, make, left = self._environment.local.get, self._keys, self._make, RUN_BYTES
        try:
            for record in records:
                key = record_key(record) if keys is None else keys[record]
                value = get(key)
                found.append(make(key, value))
                left -= len(value)
                if left < 0:
                    break
        except Exception:  # whatever it is: `read` knows what to say, and only when the record's turn has come
            pass
        return found or [self.read(records[0])]


def _pair(key: bytes, value: bytes) -> list[bytes]:
    return [key, value]
