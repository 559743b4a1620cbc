from __future__ import annotations

import pickle
import subprocess
import sys
import threading

import cv2
import google_crc32c
import lmdb
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrain.dataflow.formats import LMDBData, write
from flowtrain.dataflow.formats.protobuf import bytes_field, varint
from flowtrain.dataflow.sources.memory import DataFromList
from flowtrain.dataflow.sources.streams import DataFromGenerator
from flowtrain.dataflow.stages.map import MapData
from flowtrain.utils.errors import DataFlowError, FormatError


def make(path, items, subdir=False):
    with lmdb.open(str(path), subdir=subdir, map_size=1 << 24) as env, env.begin(write=True) as txn:
        for key, value in items.items():
            txn.put(key, value)
    return path


def encode(value):
    """What msgpack_numpy writes."""
    if isinstance(value, np.ndarray):
        kind, descr = (b"V", value.dtype.descr) if value.dtype.kind == "V" else (b"", value.dtype.str)
        return {b"nd": True, b"type": descr, b"kind": kind, b"shape": value.shape, b"data": value.tobytes()}
    if isinstance(value, np.generic):
        return {b"nd": False, b"type": value.dtype.str, b"data": value.tobytes()}
    if isinstance(value, complex):
        return {b"complex": True, b"data": repr(value)}
    raise TypeError


def pack(value):
    return msgpack.packb(value, use_bin_type=True, default=encode)


def test_files_of_tensorpack(tmp_path, same):
    record = np.zeros(2, [("a", "<i4"), ("b", "<f4")])
    data = [[np.full((2, 2), i, np.float32), np.int64(i), "text", b"bytes", 1j, record, {"x": 1}] for i in range(12)]
    keys = [f"{i:08d}".encode() for i in range(12)]
    items = {key: pack(dp) for key, dp in zip(keys, data, strict=True)}
    path = make(tmp_path / "tp.lmdb", {**items, b"__keys__": pack(keys)})
    same(data, list(LMDBData(path)))
    assert len(LMDBData(path, "raw")) == 12
    assert LMDBData(path, "raw").get(0) == [keys[0], items[keys[0]]]


def test_pickled_records_are_refused(tmp_path):
    path = make(tmp_path / "p.lmdb", {b"a": pickle.dumps([1]), b"__keys__": pack([b"a"])})
    with pytest.raises(FormatError, match=r"record 0: the record is pickled.*TENSORPACK_SERIALIZE"):
        LMDBData(path).get(0)
    path = make(tmp_path / "k.lmdb", {b"__keys__": pickle.dumps([b"a"])})
    with pytest.raises(FormatError, match="pickled"):
        len(LMDBData(path))
    objects = {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": (1,), b"data": pickle.dumps([1])}
    path = make(tmp_path / "o.lmdb", {b"a": msgpack.packb([objects]), b"__keys__": pack([b"a"])})
    with pytest.raises(FormatError, match="pickled objects"):
        LMDBData(path).get(0)


def test_any_other_lmdb_gives_keys_and_values(tmp_path):
    path = make(tmp_path / "folder", {b"b": b"2", b"a": b"1"}, subdir=True)
    assert list(LMDBData(path)) == [[b"a", b"1"], [b"b", b"2"]]
    assert list(LMDBData(path, lambda key, value: [int(value)])) == [[1], [2]]
    shuffled = LMDBData(path, shuffle=True)
    assert sorted(shuffled) == [[b"a", b"1"], [b"b", b"2"]]


def test_several_flows_and_threads_over_one_file(tmp_path):
    path = write(DataFromList([[i, np.full(100, i)] for i in range(200)]), tmp_path / "x.lmdb", progress=False)
    ds, other = LMDBData(path), LMDBData(path, shuffle=True)
    assert sorted(dp[0] for dp in other) == [dp[0] for dp in ds]
    wrong = []

    def read():
        for i in range(200):
            number, array = ds.get(i)
            if number != i or (array != i).any():
                wrong.append(i)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert pickle.loads(pickle.dumps(ds)).get(7)[0] == 7


def test_no_lock_file_is_left(tmp_path):
    write(DataFromList([[1]]), tmp_path / "x.lmdb", progress=False)
    list(LMDBData(tmp_path / "x.lmdb"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.lmdb"]


def test_damage(tmp_path):
    path = write(DataFromList([[b"needle" * 500] for _ in range(20)]), tmp_path / "x.lmdb", progress=False)
    content = path.read_bytes()
    place = content.index(b"needle" * 400)
    path.write_bytes(content[:place] + b"N" + content[place + 1 :])
    with pytest.raises(FormatError, match=r"x\.lmdb, record \d+: .*checksum"):
        list(LMDBData(path))
    assert len(list(LMDBData(path, verify=False))) == 20
    short = tmp_path / "short.lmdb"
    short.write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match="cut short"):
        len(LMDBData(short))


def test_bad_input(tmp_path):
    with pytest.raises(FileNotFoundError, match="no LMDB file"):
        LMDBData(tmp_path / "none.lmdb")
    with pytest.raises(FileNotFoundError, match=r"data\.mdb"):
        LMDBData(tmp_path)
    text = tmp_path / "text.lmdb"
    text.write_text("no LMDB" * 2000)
    with pytest.raises(FormatError, match="not an LMDB"):
        len(LMDBData(text))
    text.write_text("")
    with pytest.raises(FormatError, match="not an LMDB"):
        len(LMDBData(text))
    with pytest.raises(DataFlowError, match="LMDBData: decode must be None, 'raw', 'caffe' or a function"):
        LMDBData(text, "rav")
    empty = make(tmp_path / "empty.lmdb", {})
    assert "empty.lmdb" in str(LMDBData(empty))
    for use in (list, len, lambda ds: ds.get(0)):
        with pytest.raises(DataFlowError, match=r"empty\.lmdb.* holds no records"):
            use(LMDBData(empty))


# ---- chunks


def chunked(path, sizes=(10,) * 150, **options):
    """A file of records of so many bytes."""
    return write(DataFromList([[i, bytes([i % 256]) * size] for i, size in enumerate(sizes)]), path, **options)


def edit(path, change):
    """Give a dict of a file's items to `change`, and write another file of what it makes of them."""
    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as env, env.begin() as txn:
        items = dict(txn.cursor())
    change(items)
    return make(path.with_name(f"edited-{len(list(path.parent.iterdir()))}.lmdb"), items)


def chunk_key(number):
    return number.to_bytes(8, "big")


def test_files_of_version_1(tmp_path, same):
    """Each record a value of its own, with its plain CRC32C at its end."""
    data = [[i, "text", {"x": b"y" * i}] for i in range(70)]
    items = {b"__flowtrain__": msgpack.packb({"version": 1, "count": 70, "checksum": "crc32c"})}
    for number, dp in enumerate(data):
        body = b"\x92" + msgpack.packb(dp) + b"\xc4\x04"
        items[chunk_key(number)] = body + google_crc32c.value(body).to_bytes(4, "little")
    path = make(tmp_path / "one.lmdb", items)
    same(data, list(LMDBData(path)))
    assert sorted(dp[0] for dp in LMDBData(path, shuffle=True)) == list(range(70))
    assert LMDBData(path, "raw").get(3) == [chunk_key(3), items[chunk_key(3)]]

    damaged = items[chunk_key(40)].replace(b"text", b"tixt")
    with pytest.raises(FormatError, match=r"record 40.*checksum"):
        list(LMDBData(make(tmp_path / "damaged.lmdb", {**items, chunk_key(40): damaged})))
    del items[chunk_key(40)]
    with pytest.raises(FormatError, match=r"record 40.*missing"):
        LMDBData(make(tmp_path / "missing.lmdb", items)).get(40)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([0, 1, 1000, 1 << 19, (1 << 20) - 20, 1 << 20, 3 << 20]), max_size=9),
    st.integers(1, 140),
    st.integers(1, 80),
)
def test_records_of_any_size(tmp_path_factory, large, small, every):
    sizes = [*large, *[5] * small]
    path = tmp_path_factory.mktemp("sizes") / "x.lmdb"
    ds = LMDBData(chunked(path, sizes, commit_every=every, progress=False))
    assert [(i, len(blob), set(blob)) for i, blob in ds] == [
        (i, size, {i % 256} if size else set()) for i, size in enumerate(sizes)
    ]
    assert all(ds.get(i)[0] == i for i in reversed(range(len(sizes))))


def test_no_records(tmp_path):
    with pytest.raises(DataFlowError, match="gave no datapoint: nothing was written"):
        write(DataFromGenerator(lambda: iter(())), tmp_path / "x.lmdb", progress=False)
    assert not (tmp_path / "x.lmdb").exists()


def test_going_on_within_what_would_be_a_chunk_makes_the_same_records(tmp_path):
    broken = True

    def fail(dp):
        if broken and dp[0] == 100:
            raise RuntimeError("planted")
        return dp

    flow = DataFromList([[i, b"x" * i] for i in range(150)])
    with pytest.raises(RuntimeError, match="planted"):
        write(MapData(flow, fail), tmp_path / "x.lmdb", commit_every=30, progress=False)
    broken = False
    path = write(MapData(flow, fail), tmp_path / "x.lmdb", commit_every=30, progress=False)
    assert list(LMDBData(path)) == list(flow)


def test_keys_and_records_of_a_file_in_chunks(tmp_path):
    path = chunked(tmp_path / "x.lmdb", progress=False)
    key, record = LMDBData(path, "raw").get(70)
    assert key == chunk_key(70)
    assert msgpack.unpackb(record)[0] == [70, bytes([70]) * 10]
    assert [len(pair) for pair in LMDBData(path, "raw")] == [2] * 150
    assert list(LMDBData(path, lambda key, value: [int.from_bytes(key)])) == [[i] for i in range(150)]


@pytest.mark.parametrize("verify", [True, False])
def test_damaged_chunks(tmp_path, verify):
    path = chunked(tmp_path / "x.lmdb", progress=False)

    def reader(change):
        return LMDBData(edit(path, change), verify=verify)

    def cut(items):
        items[chunk_key(1)] = items[chunk_key(1)][:-50]

    found = []
    with pytest.raises(FormatError, match=r"record 125: cut short.*byte 1.* of chunk 1"):
        for dp in reader(cut):
            found.append(dp[0])
    assert found == list(range(125))
    ds = reader(lambda items: items.pop(chunk_key(1)))
    assert ds.get(63)[0] == 63 and ds.get(128)[0] == 128
    with pytest.raises(FormatError, match=r"edited-\d\.lmdb, record 64: .*missing"):
        ds.get(64)
    with pytest.raises(FormatError, match=r"edited-\d\.lmdb, record 64: .*missing"):
        list(ds)
    with pytest.raises(FormatError, match=r"edited-\d\.lmdb, record 64: .*missing"):
        LMDBData(ds.path, "raw").get(64)


def test_a_damaged_table_or_header(tmp_path):
    places, header = b"__flowtrain_places__", b"__flowtrain__"
    path = chunked(tmp_path / "x.lmdb", progress=False)

    def reader(change):
        return LMDBData(edit(path, change), verify=False)

    def flip(items):
        items[places] = bytes([items[places][0] ^ 1]) + items[places][1:]

    with pytest.raises(FormatError, match="places does not have its checksum"):
        len(reader(flip))
    with pytest.raises(FormatError, match="150 places is missing"):
        len(reader(lambda items: items.pop(places)))
    with pytest.raises(FormatError, match="150 places has 12 bytes"):
        len(reader(lambda items: items.update({places: bytes(12)})))
    with pytest.raises(FormatError, match=r"version 9 .* reads versions 1 and 2"):
        len(reader(lambda items: items.update({header: msgpack.packb({"version": 9, "count": 1})})))
    with pytest.raises(FormatError, match=r"header .* is damaged"):
        len(reader(lambda items: items.update({header: b"\x93"})))


def test_chunks_in_several_threads(tmp_path):
    ds = LMDBData(chunked(tmp_path / "x.lmdb", (200,) * 1000, progress=False), shuffle=True)
    found = [[] for _ in range(4)]

    def read(numbers):
        numbers.extend(ds.get(i)[0] for i in range(1000))

    threads = [threading.Thread(target=read, args=(numbers,)) for numbers in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[ds.get(i)[0] for i in range(1000)]] * 4


def test_forks_go_on_reading(tmp_path):
    path = chunked(tmp_path / "x.lmdb", progress=False)
    script = """
import os, sys
from flowtrain.dataflow.formats import LMDBData
ds = LMDBData(sys.argv[1], shuffle=True)
walk = iter(ds)
found = [next(walk) for _ in range(70)]
child = os.fork()
found += walk
same = found == [ds.get(i, 0) for i in range(150)] and sorted(ds) == sorted(found)
if not child:
    os._exit(0 if same else 7)
_, status = os.waitpid(child, 0)
sys.exit(status or not same)
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=800)


def test_another_file_may_take_the_place_of_one_that_is_read(tmp_path):
    first = LMDBData(chunked(tmp_path / "x.lmdb", progress=False))
    assert first.get(0) == [0, bytes(10)]
    again = LMDBData(chunked(tmp_path / "x.lmdb", [3] * 9, overwrite=True, progress=False))
    assert [len(again), again.get(8)[1], len(first), first.get(149)[1]] == [9, bytes([8] * 3), 150, bytes([149] * 10)]


def test_caffes_records(tmp_path):
    rgb = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)

    def datum(shape, *parts, label=7):
        sizes = b"".join(varint(number << 3) + varint(size) for number, size in enumerate(shape, 1))
        return b"".join((sizes, varint(5 << 3), varint(label), *parts))

    bgr = rgb[..., ::-1].transpose(2, 0, 1).tobytes()
    real = np.linspace(-1, 1, 20, dtype="<f4")
    png = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    one_by_one = b"".join(varint(6 << 3 | 5) + number.tobytes() for number in real)
    path = make(
        tmp_path / "caffe",
        {
            b"0": datum((3, 4, 5), bytes_field(4, bgr)),
            b"1": datum((1, 4, 5), bytes_field(4, bytes(20)), label=-2),
            b"2": datum((1, 4, 5), bytes_field(6, real.tobytes())),
            b"3": datum((1, 4, 5), one_by_one),
            b"4": datum((3, 4, 5), bytes_field(4, png), varint(7 << 3), b"\1"),
            b"5": datum((3, 4, 5), bytes_field(4, bgr[:-1])),
            b"6": b"\xff\xff",
        },
        subdir=True,
    )
    ds = LMDBData(path, decode="caffe")
    pictures = [ds.get(i, 0) for i in range(5)]
    assert [label for _, label in pictures] == [7, -2, 7, 7, 7]
    for (picture, _), wanted in zip(
        pictures, [rgb, np.zeros((4, 5, 1)), real.reshape(4, 5, 1), real.reshape(4, 5, 1), rgb], strict=True
    ):
        np.testing.assert_array_equal(picture, wanted)
    assert [picture.dtype for picture, _ in pictures] == [np.uint8, np.uint8, np.float32, np.float32, np.uint8]
    for broken in (5, 6):
        with pytest.raises(FormatError, match="no Datum"):
            ds.get(broken, 0)
