"""Files that become shorter while they are read: an error that names the file, never the end of the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from flowtrain.dataflow import DataFromList, MapData, PrefetchData
from flowtrain.utils.errors import WorkerDied

SCRIPT = """
import os, sys
from pathlib import Path

import lmdb
import numpy as np

import flowtrain.dataflow as df
from flowtrain.dataflow.formats import HDF5Data, LMDBData, NpzData, ParquetData, TarData, TFRecordData, write
from flowtrain.utils.errors import FormatError

ROWS = 400
table = np.random.default_rng(0).integers(0, 256, (ROWS, 20_000), np.uint8)
rows = df.DataFromArrays(np.arange(ROWS), table)
folder = Path(sys.argv[1])


def plain_lmdb(path):
    with lmdb.open(str(path), subdir=False, lock=False, map_size=1 << 26) as env, env.begin(write=True) as transaction:
        for number, row in enumerate(table):
            transaction.put(b"%04d" % number, row.tobytes())


def written(path):
    write(rows, path, progress=False)


KINDS = {
    "a.npy": (lambda path: np.save(path, table), NpzData),
    "plain.npz": (lambda path: np.savez(path, rows=table), NpzData),
    "a.npz": (written, NpzData),
    "a.tar": (written, TarData),
    "a.tfrecord": (written, TFRecordData),
    "a.h5": (written, HDF5Data),
    "a.lmdb": (written, LMDBData),
    "a.parquet": (written, ParquetData),
    "other.lmdb": (plain_lmdb, lambda path: LMDBData(path, "raw")),
    "function.lmdb": (written, lambda path: LMDBData(path, lambda key, value: [key, value])),
}
for name, (make, read) in KINDS.items():
    print(name, flush=True)
    make(folder / name)
    for walk in ("iterated", "by index"):
        path = folder / f"{walk} {name}"
        path.write_bytes((folder / name).read_bytes())
        ds, seen = read(path), 0
        get = iter(ds).__next__ if walk == "iterated" else lambda: ds.get(seen)
        try:
            while seen < ROWS:
                get()
                seen += 1
                if seen == 50:
                    os.truncate(path, 3000)
        except FormatError as error:
            assert "changed since it was opened" in str(error) and name in str(error), error
        assert 50 <= seen < ROWS, seen
print("passed")
"""


def test_a_file_that_is_cut_while_it_is_read(tmp_path):
    run = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=800)
    assert done.returncode == 0 and done.stdout.endswith("passed\n"), (done.returncode, done.stdout[-3000:])


def test_a_worker_that_a_cut_file_ended_says_so():
    """What is cut off between the look at the size and the copy of a mapped row: a worker's end names the cause."""

    def touch(datapoint):
        os.kill(os.getpid(), signal.SIGBUS)
        return datapoint

    with pytest.raises(WorkerDied, match=r"killed by SIGBUS: was a file cut short that it had mapped into memory"):
        list(PrefetchData(MapData(DataFromList([1, 2]), touch), num_prefetch=1, num_proc=1))


BETWEEN = """
import os, sys
import numpy as np
from flowtrain.dataflow import DataFromArrays
from flowtrain.dataflow.formats import HDF5Data, NpzData, write

path, Data = sys.argv[1], {"npz": NpzData, "h5": HDF5Data}[sys.argv[1].rpartition(".")[2]]
write(DataFromArrays(np.zeros((400, 20_000), np.uint8)), path, progress=False)
ds = Data(path)
ds.get(0)
look = os.lseek


def cut_after_the_look(*args):
    size = look(*args)
    os.truncate(path, 3000)
    return size


os.lseek = cut_after_the_look
ds.get(300)
"""


@pytest.mark.parametrize("ending", ["npz", "h5"])
def test_what_is_cut_off_after_the_look_at_the_size(ending, tmp_path):
    """No error can be raised out of a SIGBUS; it names the file nevertheless."""
    run = [sys.executable, "-c", BETWEEN, str(tmp_path / f"a.{ending}")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=800)
    assert done.returncode == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in done.stderr and f"of {tmp_path}/a.{ending}" in done.stderr, done.stderr
