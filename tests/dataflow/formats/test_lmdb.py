from __future__ import annotations

import pickle
import threading

import lmdb
import msgpack
import numpy as np
import pytest

from flowtrain.dataflow.formats import LMDBData, write
from flowtrain.dataflow.memory import DataFromList
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
    with pytest.raises(DataFlowError, match="decode is"):
        LMDBData(text, "rav")
    empty = make(tmp_path / "empty.lmdb", {})
    assert list(LMDBData(empty)) == []
    assert "empty.lmdb" in str(LMDBData(empty))
    with pytest.raises(IndexError, match="0 datapoints"):
        LMDBData(empty).get(0)
