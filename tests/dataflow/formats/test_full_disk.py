"""A disk that is full: the error names the file and what is free, and a second call goes on."""

from __future__ import annotations

import errno
import subprocess

import numpy as np
import pytest

import flowtrain.dataflow as df
from flowtrain.dataflow.formats import TFRecordWriter, write
from flowtrain.utils.errors import FormatError

from ...full_disk import files_of_at_most

PATHS = ["data.tfrecord", "data.tar", "data.npz", "data.h5", "data.lmdb", "data.parquet"]


def noise(size=400):
    ds = df.DataFromList(list(range(size)), shuffle=False)
    return df.MapData(ds, lambda i: [i, np.random.default_rng(i).integers(0, 256, 10_000, np.uint8)])


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB; only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True).returncode:
        pytest.skip("mounting a file system takes root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("name", PATHS)
def test_a_limit_of_the_size(tmp_path, name):
    path = tmp_path / name
    with files_of_at_most(1_500_000), pytest.raises(OSError, match="MB are free where it was written") as caught:
        write(noise(), path, progress=False, commit_every=50)
    assert caught.value.errno == errno.EFBIG and name in str(caught.value)
    assert not path.exists()
    write(noise(), path, progress=False, commit_every=50)
    assert path.exists()


@pytest.mark.parametrize("name", PATHS)
def test_no_space_left(small_disk, name):
    with pytest.raises(OSError, match=r"No space left on device: .* MB are free where it was written") as caught:
        write(noise(), small_disk / name, progress=False, commit_every=50)
    assert caught.value.errno == errno.ENOSPC and name in str(caught.value)


@pytest.mark.parametrize("size", [0, 1000, 4096, 8192, 20_000])
@pytest.mark.parametrize("name", PATHS)
def test_no_room_even_for_the_beginning(tmp_path, name, size):
    with files_of_at_most(size), pytest.raises(OSError, match="MB are free where it was written") as caught:
        write(noise(5), tmp_path / name, progress=False)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("wrong", [object(), [[1, {2}]], np.array([object()], object)])
def test_what_no_format_holds_is_named_by_its_datapoint(tmp_path, name, wrong):
    rows = [[i, [i]] for i in range(10)]
    rows[7] = [7, wrong]
    with pytest.raises(FormatError, match=f"datapoint 7: .* cannot be packed.*writing .*{name}"):
        write(df.DataFromList(rows, shuffle=False), tmp_path / name, progress=False)


def test_records_that_are_written_one_by_one(tmp_path):
    path = tmp_path / "some.tfrecord"
    with files_of_at_most(100_000), pytest.raises(OSError, match=r"some\.tfrecord"), TFRecordWriter(path) as writer:
        for _ in range(100):
            writer.write(bytes(10_000))


def test_an_error_of_the_flow_keeps_its_own_file(tmp_path):
    def reads(dp):
        if dp == 3:
            raise OSError(errno.EIO, "Input/output error")
        return [dp]

    ds = df.MapData(df.DataFromList(list(range(9)), shuffle=False), reads)
    with pytest.raises(OSError) as caught:
        write(ds, tmp_path / "data.tfrecord", progress=False)
    assert "data.tfrecord" not in str(caught.value)
