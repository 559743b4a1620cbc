"""Sources that read ahead hand out the same as reading one by one would, and are damaged at the same place."""

import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from flowtrain.dataflow import DataFromList
from flowtrain.dataflow.formats import LMDBData, TFRecordData, TFRecordWriter, write
from flowtrain.dataflow.formats.source import FileSource
from flowtrain.utils.errors import FormatError

SIZE = 2500  # more than the places that are computed at once


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    blobs = [b"%06d" % i + rng.bytes(int(rng.integers(0, 200))) for i in range(SIZE)]
    blobs[40] += bytes(1 << 18)  # a run of its own
    write(DataFromList([[blob, i] for i, blob in enumerate(blobs)]), folder / "x.lmdb", progress=False)
    for name, part in (("x", blobs), ("a", blobs[:1100]), ("b", blobs[1100:])):
        with TFRecordWriter(folder / f"{name}.tfrecord") as writer:
            for blob in part:
                writer.write(blob)
    return folder


def lmdb(folder, **options):
    return LMDBData(folder / "x.lmdb", **options)


def tfrecord(folder, **options):
    return TFRecordData(folder / "x.tfrecord", "raw", **options)


def shards(folder, **options):
    return TFRecordData([folder / "a.tfrecord", folder / "b.tfrecord"], **options)


sources = pytest.mark.parametrize("make", [lmdb, tfrecord, shards])


@sources
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("verify", [False, True])
def test_a_walk_is_get_after_get(folder, make, shuffle, verify):
    ds = make(folder, shuffle=shuffle, seed=3, verify=verify)
    for epoch in range(2):
        assert list(ds) == [ds.get(i, epoch) for i in range(SIZE)]


@sources
def test_the_position_counts_what_was_handed_out(folder, make):
    ds = make(folder, shuffle=True, seed=3)
    walk = iter(ds)
    for done in range(1, 60):
        assert next(walk) == ds.get(done - 1, 0)
        assert ds.state_dict()["position"] == done
    walk.close()
    assert ds.state_dict()["position"] == 59
    again = pickle.loads(pickle.dumps(make(folder, shuffle=True, seed=8)))
    again.load_state_dict(ds.state_dict())
    assert list(again) == [ds.get(i, 0) for i in range(59, SIZE)]
    assert list(again) == list(make(folder, shuffle=True, seed=3)._cursor(1))


@sources
def test_steps_and_loops_may_be_mixed(folder, make):
    ds = make(folder)
    cursor = ds._cursor(0)
    found = [next(cursor), next(cursor)]
    for datapoint in cursor:
        found.append(datapoint)
        if len(found) == 20:
            break
    found += [next(cursor), *cursor]
    assert found == [ds.get(i) for i in range(SIZE)]
    assert cursor.state() == SIZE
    assert next(cursor, None) is None


@pytest.mark.parametrize("make", [lmdb, tfrecord])
def test_what_lies_before_the_damage_is_handed_out(folder, make, tmp_path):
    whole = make(folder)
    name = "x.lmdb" if make is lmdb else "x.tfrecord"
    data = bytearray((folder / name).read_bytes())
    place = data.index(b"000021")
    data[place] ^= 1
    (tmp_path / name).write_bytes(data)
    ds = make(tmp_path)
    found = []
    with pytest.raises(FormatError, match=f"{name}, record 21.*checksum"):
        for datapoint in ds:
            found.append(datapoint)
    assert found == [whole.get(i) for i in range(21)]
    assert ds.state_dict()["position"] == 21


class Processes(FileSource):
    """Numbers, and the process that opened the files; read in runs of 10."""

    _reads_ahead = True

    def _open_files(self):
        return SimpleNamespace(count=100, process=os.getpid())

    def _run_reader(self):
        handle = self._handle
        return lambda records: [[record, handle.process] for record in records[:10]]


def test_the_child_of_a_fork_opens_files_of_its_own():
    walk = iter(Processes(False, None))
    assert next(walk) == [0, os.getpid()]
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if {process for _, process in list(walk)[9:]} == {os.getpid()} else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [[0, os.getpid()], *walk] == [[i, os.getpid()] for i in range(100)]


def test_a_decode_function_is_not_called_ahead(folder):
    called = []
    ds = LMDBData(folder / "x.lmdb", lambda key, value: called.append(key) or [len(value)])
    walk = iter(ds)
    next(walk)
    next(walk)
    assert len(called) == 2
