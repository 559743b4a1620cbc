"""Everything of the data half that takes bytes from files and sockets, each as a function of bytes."""

from __future__ import annotations

import gzip
import io
import re
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import ml_dtypes
import msgpack
import numpy as np
from kit import Target, in_file, in_folder, look, written

import flowtrain.dataflow as df
from flowtrain.dataflow.core.base import DataFlow
from flowtrain.dataflow.datasets.mnist import read_idx
from flowtrain.dataflow.formats import (
    CSVData,
    LMDBData,
    NpzData,
    SVMLightData,
    TarData,
    TextLineData,
    TFRecordData,
    encode_example,
    encode_tensor,
    parse_example,
    parse_tensor,
    write,
)
from flowtrain.dataflow.formats.framing import crc32c, frame
from flowtrain.dataflow.formats.records import decode_datapoint, encode_datapoint
from flowtrain.dataflow.remote.messages import Kind, read
from flowtrain.ipc.codec import CodecError, pack, pack_frames, unpack, unpack_frames
from flowtrain.ipc.wire import ForeignFrame, encode
from flowtrain.report.events import read_events
from flowtrain.utils.errors import DataFlowError, FormatError

VALUES: list[Any] = [
    [1, -1, 2**70, 1.5, "text", b"bytes", None, True, {"a": [1], 2: "b"}, (1, (2, "x")), 1 + 2j],
    [np.arange(6, dtype=np.int16).reshape(2, 3), np.zeros((0, 2), "f2"), np.float32(3), np.array(["a", "bc"])],
    {"image": np.full((4, 5, 3), 7, np.uint8), "label": 3, "name": "dog", "ragged": np.array([[1], [2, 3]], object)},
    [np.zeros(2, [("a", "<i4"), ("b", ">f8", (2,))]), np.array(["x"], np.dtypes.StringDType())],
    [np.ma.MaskedArray([1, 2], [True, False]), np.ones(2, ml_dtypes.bfloat16), np.datetime64("2020-01-01")],
]  # fmt: skip


def read_all(ds: DataFlow) -> None:
    for datapoint in ds:
        look(datapoint)
    if len(ds):
        look(ds.get(len(ds) - 1))


# -- between processes


def _codec(data: bytes) -> None:
    kept = None
    for read_it in (unpack, lambda data: unpack(data, copy=False), _as_frames):
        try:
            kept = read_it(data)
        except CodecError:
            continue
        look(kept)
        pack(kept)  # what can be read can be written, or is a CodecError too


def _as_frames(data: bytes) -> Any:
    return unpack_frames(_split(data))


def _split(data: bytes) -> list[bytes]:
    """Frames in one: the lengths of those after the first as the last bytes, how many in the very last."""
    count = data[-1] % 4 if data else 0
    lengths, rest = data[-1 - count : -1], data[: -1 - count]
    frames: list[bytes] = []
    for length in lengths:
        cut = len(rest) - min(length, len(rest))
        frames.insert(0, rest[cut:])
        rest = rest[:cut]
    return [rest, *frames]


def _joined(frames: list[Any]) -> bytes:
    first, *others = (bytes(frame) for frame in frames)
    return first + b"".join(others) + bytes(map(len, reversed(others))) + bytes([len(others)])


def _codec_seeds() -> Iterator[bytes]:
    for value in VALUES:
        yield pack(value)
    yield _joined(pack_frames(VALUES[1], min_bytes=8))


MESSAGES = {
    Kind.HELLO: {"by_index": True, "size": 60, "part": [0, 1], "what": "chain", "token": ""},
    Kind.REQUEST: [0, [0, 1, 0], [0, None, 0]],
    Kind.DATA: [0, VALUES[1], None, 0.1, ["ValueError", "text", "trace"]],
    Kind.PING: None,
    Kind.BYE: None,
    Kind.REFUSED: "why",
}


def _wire(data: bytes) -> None:
    frames = _split(data)
    _, message = read([frames[0][:7], frames[0][7:], *frames[1:]], list(Kind), 1 << 24)
    repr(message)
    look(getattr(message, "made", None))


def _wire_seeds() -> Iterator[bytes]:
    for kind, value in MESSAGES.items():
        head, first, *others = encode(kind, value)
        yield _joined([head + bytes(first), *others])


# -- records of files


def _example_seeds() -> Iterator[bytes]:
    yield encode_example({"a": [1, -2, 3], "b": [1.5, 2.5], "c": b"bytes", "d": []})
    for value in VALUES[:3]:
        yield encode_datapoint(value)


def _tensor_seeds() -> Iterator[bytes]:
    for array in (np.arange(6, dtype=np.int32).reshape(2, 3), np.float16([1]), np.array([b"a", b"bc"], object)):
        yield encode_tensor(array)
    yield b"\x08\x01\x12\x04\x12\x02\x08\x03\x2a\x04\0\0\x80\x3f"  # float_val, of which the last is repeated
    yield b"\x08\x09\x12\x04\x12\x02\x08\x03\x52\x03\x01\x02\x03"  # int64_val, packed
    yield b"\x08\x13\x12\x00\x6a\x02\x80\x78"  # half_val


def _tensor(data: bytes) -> None:
    look(parse_tensor(data))


def _example(data: bytes) -> None:
    for parse in (parse_example, decode_datapoint):
        try:
            look(parse(data))
        except FormatError:
            continue


# -- files


def _tfrecord(data: bytes) -> None:
    """After an even byte a file, after an odd one a record."""
    content = data[1:] if not data[:1] or data[0] % 2 == 0 else frame(b"first") + frame(data[1:])
    with in_file(content, "x.tfrecord") as path:
        for decode, verify in ((None, True), ("raw", False), ("example", True), ("tensor", True), ("datapoint", True)):
            try:
                read_all(TFRecordData(path, decode, verify=verify))
            except FormatError:
                continue


def _tfrecord_seeds() -> Iterator[bytes]:
    yield b"\0" + b"".join(frame(record) for record in (b"", b"abc", *_example_seeds()))
    yield from (b"\1" + record for record in (*_example_seeds(), *_tensor_seeds()))


def _npz(data: bytes) -> None:
    for name in ("x.npz", "x.npy"):
        with in_file(data, name) as path:
            try:
                read_all(NpzData(path))
            except DataFlowError:
                continue


def _npz_seeds() -> Iterator[bytes]:
    arrays = {"x": np.arange(6.0).reshape(3, 2), "y": np.arange(3, dtype=np.uint8)}
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **arrays)
        yield buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, arrays["x"])
    yield buffer.getvalue()
    yield written(
        "x.npz", lambda path: write(df.DataFromList([[1, "a", np.ones(2)], [2, "b", np.ones(2)]]), path, progress=False)
    )


def _lmdb(data: bytes) -> None:
    """A map of keys and values; the file around them is LMDB's own."""
    try:
        entries = msgpack.unpackb(data, raw=True, strict_map_key=False)
    except Exception:  # of the input's form, which is ours alone
        return
    if type(entries) is not dict:
        return
    with in_folder() as folder:
        path = str(folder / "x.lmdb")
        environment = lmdb.open(path, map_size=1 << 22, subdir=False, sync=False, lock=False)
        with environment, environment.begin(write=True) as transaction:
            for key, value in entries.items():
                if type(key) is type(value) is bytes and 0 < len(key) < 500:
                    transaction.put(key, value)
        for options in ({}, {"verify": False}, {"decode": "raw"}):
            try:
                ds = LMDBData(path, **options)
                if len(ds) < 10_000:
                    read_all(ds)
            except FormatError:
                continue


def _entries(path: str) -> dict[bytes, bytes]:
    environment = lmdb.open(path, readonly=True, subdir=False, lock=False)
    with environment, environment.begin() as transaction:
        return dict(transaction.cursor())


def _lmdb_seeds() -> Iterator[bytes]:
    with in_folder() as folder:
        write(df.DataFromList(VALUES[:4]), folder / "x.lmdb", progress=False)
        yield msgpack.packb(_entries(str(folder / "x.lmdb")))
    crc = crc32c()
    first = [b"\x92" + pack(value) + b"\xc4\x04" for value in VALUES[:3]]
    old = {struct.pack(">Q", i): record + struct.pack("<I", crc(record)) for i, record in enumerate(first)}
    array = {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [2], b"data": bytes(8)}
    scalar = {b"nd": False, b"type": "<i8", b"data": bytes(8)}
    for entries in (
        {**old, b"__flowtrain__": pack({"version": 1, "count": len(first), "checksum": "crc32c"})},
        {b"__keys__": msgpack.packb([b"0", b"1"]), b"0": msgpack.packb([array, 1]), b"1": msgpack.packb([scalar])},
        {b"key": b"value"},
    ):
        yield msgpack.packb(entries)


def _tar(data: bytes) -> None:
    """After an even byte a file, after an odd one the contents of one member, whose name begins it."""
    if data and data[0] % 2:
        name, _, content = data[1:].partition(b"\0")
        try:
            data = b"\0" + _tar_of({"0." + name.decode("ascii"): content})
        except (ValueError, tarfile.TarError):
            return
    with in_file(data[1:], "x.tar") as path:
        for decode in (None, "raw", "auto"):
            try:
                read_all(TarData(path, decode))
            except FormatError:
                continue


def _tar_of(files: dict[str, bytes], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _tar_seeds() -> Iterator[bytes]:
    array = io.BytesIO()
    np.save(array, np.arange(3))
    files = {
        "npy": array.getvalue(), "json": b'{"a": [1]}', "txt": b"text", "cls": b"3", "mp": pack(VALUES[1]),
        "jpg": _jpg(),
    }  # fmt: skip
    yield b"\0" + _tar_of({f"{i}.{name}": content for i in range(2) for name, content in files.items()})
    yield b"\0" + _tar_of({"a" * 120 + "/é.txt": b"1"}, format=tarfile.PAX_FORMAT)
    yield b"\0" + _tar_of({"a" * 120 + ".txt": b"1"}, format=tarfile.GNU_FORMAT)
    yield b"\0" + written("x.tar", lambda path: write(df.DataFromList([VALUES[0], VALUES[1]]), path, progress=False))
    yield from (b"\1" + name.encode() + b"\0" + content for name, content in files.items())


def _jpg() -> bytes:
    import cv2

    return cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()


def _idx(data: bytes) -> None:
    with in_file(data, "x-ubyte") as path:
        look(read_idx(path))


def _idx_seeds() -> Iterator[bytes]:
    for code, dtype in ((8, ">u1"), (13, ">f4"), (11, ">i2")):
        content = bytes([0, 0, code, 2]) + struct.pack(">II", 3, 4) + np.arange(12).astype(dtype).tobytes()
        yield content
        yield gzip.compress(content, mtime=0)


def _csv(data: bytes) -> None:
    with in_file(data, "x.csv") as path:
        for options in (
            {},
            {"header": False},
            {"on_error": "skip"},
            {"quoting": None, "delimiter": ";"},
            {"encoding": "utf-16"},
        ):
            try:
                read_all(CSVData(path, **options))
            except DataFlowError:
                continue


def _csv_seeds() -> Iterator[bytes]:
    yield b'name,age,height\n"Ada, Countess",36,1.65\r\nGrace,,1.7\n\n"a ""b""\nc",3,nan\n'
    yield b"a;b\n1;2\n3;x\n"
    yield "größe,x\n1,2\n".encode("utf-16")
    yield "\ufeffa,b\n1,True\n2,False\n".encode()


def _lines(data: bytes) -> None:
    with in_file(data, "x.txt") as path:
        for make in (TextLineData, SVMLightData, lambda path: TextLineData(path, encoding="utf-16", skip_blank=True)):
            try:
                ds = make(path)
                if not isinstance(ds, SVMLightData) or b":" not in data or _indices_are_small(data):
                    read_all(ds)
            except DataFlowError:
                continue


def _indices_are_small(data: bytes) -> bool:
    """A dense vector is as long as the largest index: 1:1 99999999:1 is a right file, and large."""
    return all(len(digits) < 7 for digits in re.findall(rb"[0-9]+", data))


def _lines_seeds() -> Iterator[bytes]:
    yield b"one\ntwo\r\n\nthree"
    yield b"1 qid:3 1:0.5 4:2 # note\n-1 2:1e3\n"
    yield "größe\nx\n".encode("utf-16")


def _events(data: bytes) -> None:
    """The records of a file for TensorBoard, as msgpack's list of them."""
    try:
        records = msgpack.unpackb(data)
    except Exception:  # of the input's form, which is ours alone
        records = data
    whole = isinstance(records, list) and all(type(record) is bytes for record in records)
    content = b"".join(map(frame, records)) if whole else data
    with in_file(content, "events.out.tfevents.1") as path:
        found = read_events(Path(path).parent, 3)
        repr(found)


def _events_seeds() -> Iterator[bytes]:
    scalar = _field(1, b"loss") + b"\x15" + struct.pack("<f", 1.5)
    image = _field(1, b"sample") + _field(4, b"\x08\x01\x10\x01" + _field(4, b"\x89PNG"))
    histogram = _field(1, b"w") + _field(5, _field(6, np.arange(3.0).tobytes()) + _field(7, np.ones(3).tobytes()))
    head = b"\x09" + struct.pack("<d", 1.6e9) + b"\x10\x07"
    records = [head + _field(5, _field(1, value)) for value in (scalar, image, histogram)]
    yield msgpack.packb(records)
    yield b"".join(map(frame, records))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


TARGETS = {
    "codec": Target(_codec, (CodecError,), _codec_seeds),
    "wire": Target(_wire, (ForeignFrame,), _wire_seeds),
    "tfrecord": Target(_tfrecord, (FormatError,), _tfrecord_seeds),
    "example": Target(_example, (FormatError,), _example_seeds),
    "tensor": Target(_tensor, (FormatError,), _tensor_seeds),
    "npz": Target(_npz, (DataFlowError,), _npz_seeds),
    "lmdb": Target(_lmdb, (FormatError,), _lmdb_seeds),
    "tar": Target(_tar, (FormatError,), _tar_seeds),
    "idx": Target(_idx, (FormatError,), _idx_seeds),
    "csv": Target(_csv, (DataFlowError,), _csv_seeds),
    "lines": Target(_lines, (DataFlowError,), _lines_seeds),
    "events": Target(_events, (), _events_seeds),
}
