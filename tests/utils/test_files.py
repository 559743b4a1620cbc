"""Files that are whole or not there, after errors, kills and full disks."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from flowtrain.utils.files import FileLock, explained, write_whole, writing


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    write_whole(tmp_path / "a.txt", "grün")
    assert (tmp_path / "a.txt").read_bytes() == "grün".encode()
    write_whole(tmp_path / "a.txt", b"new", durable=False)
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_keeps_the_old_content(tmp_path):
    write_whole(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), writing(tmp_path / "a.txt") as beside:
        beside.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_temporary_name_keeps_the_ending(tmp_path):
    with writing(tmp_path / "picture.png") as beside:
        assert beside.suffix == ".png"
        assert beside.parent == tmp_path
        beside.write_bytes(b"1")


def test_a_folder_replaces_a_folder(tmp_path):
    for content in ("old", "new"):
        with writing(tmp_path / "model") as beside:
            (beside / "deep").mkdir(parents=True)
            (beside / "deep" / "file").write_text(content)
    assert (tmp_path / "model" / "deep" / "file").read_text() == "new"
    assert os.listdir(tmp_path) == ["model"]


def test_a_file_replaces_no_folder(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "notes.txt").write_text("of a year")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write_whole(tmp_path / "results", b"new")
    assert [path.name for path in tmp_path.rglob("*")] == ["results", "notes.txt"]


def test_a_full_disk_names_the_file_and_what_is_free(tmp_path):
    expected = r"No space left on device.*MB are free.*Make room"
    with (
        pytest.raises(OSError, match=expected) as caught,
        explained(tmp_path / "a.bin"),
        open("/dev/full", "wb", buffering=0) as file,
    ):
        file.write(b"x")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "a.bin")


def test_other_errors_pass_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, writing(tmp_path / "a.txt"):
        (tmp_path / "missing").read_bytes()
    assert caught.value.filename == str(tmp_path / "missing")


_HOLD = """
import sys
from flowtrain.utils.files import FileLock
lock = FileLock(sys.argv[1])
assert lock.acquire("process 7")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_says_who_has_it_and_ends_with_a_killed_process(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        lock = FileLock(path)
        assert not lock.acquire()
        assert lock.holder() == "process 7"
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert lock.acquire("me")
        lock.release()


def test_one_who_only_looks_does_not_keep_the_lock_from_another(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    with path.open("ab") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda seconds: looking.close())  # the look ends
        lock = FileLock(path)
        assert lock.acquire("me")
        lock.release()
