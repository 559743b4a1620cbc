"""TFRecord files, read and written without TensorFlow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal

from ...utils.arguments import check_choice, names_arguments
from ...utils.errors import DataFlowError, FormatError
from ...utils.files import explained
from ...utils.storage import is_url, path_or_url, put
from ..core.base import Datapoint
from .example import parse_example
from .framing import RecordFile, frame
from .openfiles import OpenFiles
from .records import LAYOUT, decode_datapoint
from .runs import RUN_BYTES, ReadRun
from .shards import ShardedSource
from .source import PathLike, damaged
from .tensorproto import parse_tensor

__all__ = ["TFRecordData", "TFRecordWriter"]

Decoder = Callable[[bytes], Datapoint]


def _raw(record: bytes) -> list[bytes]:
    return [record]


def _tensor(record: bytes) -> list[Any]:
    return [parse_tensor(record)]


_DECODERS: dict[str, Decoder] = {
    "raw": _raw,
    "example": parse_example,
    "tensor": _tensor,
    "datapoint": decode_datapoint,
}


class TFRecordData(ShardedSource):
    """Records of TFRecord files, in any order, without TensorFlow.

    Use it for files of tf.io.TFRecordWriter, of tf.data, or of :func:`~flowtrain.dataflow.formats.write`. An index
    beside each file (``.ftindex``, built at first use) gives random access, so the flow shuffles all records and not
    only those in a buffer.

    Args:
        path: A file, a list of files, or a pattern such as ``"train-*.tfrecord"``. Compressed files are refused.
        decode: How records become datapoints. None: records of ``write`` give the datapoints that were written, others
            ``[bytes]``. ``"raw"``: always ``[bytes]``. ``"example"``: a tf.train.Example or SequenceExample, as a dict
            (see :func:`parse_example`). ``"tensor"``: a serialized tensor, as ``[array]``. ``"datapoint"``: a record of
            ``write``. Or a function from the record's bytes to the datapoint.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.
        verify: Whether checksums are compared. They cost about half a microsecond per record; leave them on.

    Raises:
        DataFlowError: A file is missing or unreadable, or ``decode`` is unknown.
        FormatError: When first read: a file is cut short, damaged or not a TFRecord; names file, record and byte.

    Order:
        As in the files; with ``shuffle`` a new permutation of all records each epoch. Indexable.

    State:
        The index of the next datapoint; resuming costs nothing.

    Example:
        >>> ds = TFRecordData("train-*.tfrecord", decode="example", shuffle=True)    # doctest: +SKIP
        >>> next(iter(ds))["label"]                                                  # doctest: +SKIP
        array([3])
    """

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        decode: Decoder | Literal["raw", "example", "tensor", "datapoint"] | None = None,
        *,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
        verify: bool = True,
    ) -> None:
        if not callable(decode):
            also = "a function of the record"
            check_choice("TFRecordData", "decode", decode, (None, *_DECODERS), DataFlowError, also=also)
        super().__init__(path, shuffle=shuffle, seed=seed, what="TFRecord file")
        self._decoder: Decoder | None = _DECODERS[decode] if isinstance(decode, str) else decode
        self._verify = verify
        self._reads_ahead = not callable(decode)

    def _open_files(self) -> tuple[Sequence[RecordFile], list[int]]:
        files = OpenFiles()
        return self._lay_out(self._open_each(lambda path: RecordFile(path, self._verify, files)))

    def _read(self, index: int) -> Datapoint:
        shard, number = self._locate(index)
        record = shard.read(number)
        decode = self._decoder or self._find_decoder(record)
        try:
            return decode(record)
        except FormatError as error:
            raise damaged(shard.path, str(error), record=number) from error

    def _run_reader(self) -> ReadRun:
        shards, _ = self._handle
        # The quick way is for raw records of one file: elsewhere a record must be decoded, or first found in its shard.
        return self._read_run if len(shards) > 1 or self._decoder is not _raw else shards[0].read_run

    def _read_run(self, records: Sequence[int]) -> list[Datapoint]:
        """Read the first of some records, at least one."""
        found, left = [], RUN_BYTES
        try:
            for index in records:
                shard, number = self._locate(index)
                found.append(self._read(index))
                left -= shard.size(number)
                if left < 0:
                    break
        except Exception:
            if not found:  # the error of a later record is raised when its turn has come: the next run begins with it
                raise
        return found

    def _find_decoder(self, record: bytes) -> Decoder:
        """The decoder for `write`'s records or for raw ones; `write` marks each record, so any one tells."""
        try:
            ours = LAYOUT in parse_example(record)
        except FormatError:
            ours = False
        self._decoder = decode_datapoint if ours else _raw
        return self._decoder


@names_arguments
class TFRecordWriter:
    """Write records to a TFRecord file, byte for byte as tf.io.TFRecordWriter does.

    For datapoints use :func:`~flowtrain.dataflow.formats.write`; this is for records that you encode yourself. As with
    TensorFlow's writer, a local file has its final name while it is incomplete.

    Args:
        path: The file; an existing one is replaced. A file for a URL is sent by ``close``, unless a ``with`` block
            ends with an error.

    Example:
        >>> with TFRecordWriter("/tmp/two.tfrecord") as writer:
        ...     writer.write(encode_example({"label": 1}))                           # doctest: +SKIP
    """

    def __init__(self, path: PathLike) -> None:
        self._path = path_or_url(path)
        # Object stores cannot append to an object, so the file for a URL is local until it is complete.
        self._file: Any = tempfile.NamedTemporaryFile() if is_url(self._path) else open(self._path, "wb")  # noqa: SIM115

    def write(self, record: bytes) -> None:
        """Append a record.

        Args:
            record: Bytes of the record.

        Raises:
            DataFlowError: ``record`` is not bytes.
            OSError: The disk is full or refuses; names the file.
        """
        if not isinstance(record, (bytes, bytearray, memoryview)):
            raise DataFlowError(f"a record is bytes, got {type(record).__name__}: encode it, e.g. with encode_example")
        try:
            self._file.write(frame(bytes(record)))
        except OSError:
            with explained(self._path):
                raise

    def flush(self) -> None:
        """Flush Python's buffer to the operating system."""
        with explained(self._path):
            self._file.flush()

    def close(self) -> None:
        """Close the file and, for a URL, send it.

        Raises:
            OSError: The disk is full or refuses; names the file.
            StorageError: The URL cannot be written.
        """
        with explained(self._path):
            if is_url(self._path) and not self._file.closed:
                self._file.flush()
                put(self._file.name, self._path)
            self._file.close()

    def __enter__(self) -> TFRecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and is_url(self._path):
            self._file.close()  # an incomplete file is not sent
        self.close()
