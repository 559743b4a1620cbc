"""Files at URLs: read by ranges, again after what may pass, with one error at the end; cached by content."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest

from flowtrain.utils import storage
from flowtrain.utils.errors import ConfigError, DataFlowError
from flowtrain.utils.storage import RemoteFile, StorageError, StorageFile, StorageMissing, set_remote_storage

from ..far_away import http_folder


def content(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@pytest.fixture
def large(s3, tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(content(3_000_000))
    return s3.put(path), path.read_bytes()


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_ranges_are_read_and_no_more(s3, large, cache_bytes):
    url, data = large
    set_remote_storage(cache_bytes=cache_bytes)
    file = RemoteFile(url)
    assert file.size == len(data)
    for start, end in [(2_000_000, 2_000_010), (0, 1), (999_999, 1_000_001), (2_999_990, 3_000_000), (5, 5)]:
        assert file.read(start, end) == data[start:end]
    assert s3.proxy.sent < 1_500_000
    assert file.read(0, len(data)) == data


def test_what_was_fetched_is_not_fetched_again_by_another_process(s3, large):
    url, data = large
    RemoteFile(url).read(0, len(data))
    s3.proxy.reset()
    assert RemoteFile(url).read(100, 2_900_000) == data[100:2_900_000]
    assert [method for method, _, _ in s3.proxy.seen] == ["HEAD"]


def test_a_cache_that_was_damaged_is_fetched_again(s3, large, tmp_path):
    url, data = large
    RemoteFile(url).read(0, len(data))
    (blocks,) = (tmp_path / "cache").glob("*/*.blocks")
    with open(blocks, "r+b") as file:
        file.seek(500_000)
        file.write(bytes(1000))
    assert RemoteFile(url).read(0, len(data)) == data


def test_a_changed_object_is_seen(s3, large, tmp_path):
    url, data = large
    RemoteFile(url).read(0, len(data))
    (tmp_path / "large.bin").write_bytes(content(len(data), seed=1))
    s3.put(tmp_path / "large.bin")
    assert RemoteFile(url).read(0, len(data)) == content(len(data), seed=1)
    assert len(list((tmp_path / "cache").glob("*/*.blocks"))) == 1


@pytest.mark.parametrize("fault", ["503", "break", "short"])
def test_what_may_pass_is_tried_again(s3, large, fault):
    url, data = large
    file = RemoteFile(url)
    s3.proxy.first(3, fault)
    assert file.read(0, len(data)) == data
    assert storage.read_all(url) == data


def test_a_slow_answer_is_given_up_and_asked_for_again(s3, large):
    url, data = large
    file = RemoteFile(url)
    s3.proxy.first(1, "slow")
    set_remote_storage(timeout=1.0, attempts=20)  # on a busy machine an answer may take longer, but not each time
    assert file.read(10, 20) == data[10:20]


@pytest.mark.parametrize("fault", ["503", "break", "short", "slow"])
def test_what_does_not_pass_is_one_error_that_names_the_object(s3, large, fault):
    url, _ = large
    file = RemoteFile(url)
    s3.proxy.always(fault)
    set_remote_storage(attempts=2, timeout=2.0 if fault == "slow" else 30.0)
    with pytest.raises(
        StorageError, match=rf"cannot read bytes 0 to 262,143 of {url}.*tried 2 times.*attempts="
    ) as told:
        file.read(0, 10)
    assert isinstance(told.value, OSError)
    assert isinstance(told.value, DataFlowError)
    requests = [path for method, path, _ in s3.proxy.seen if method == "GET"]
    assert len(requests) == 2


def test_a_missing_object_is_told_at_once(s3):
    with pytest.raises(StorageMissing, match=rf"cannot look up {s3.url}/none.npz: there is no such file"):
        RemoteFile(f"{s3.url}/none.npz")
    with pytest.raises(FileNotFoundError):
        storage.read_all("memory://none")


def test_patterns_and_folders(s3, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    for name in ["a/2.txt", "a/1.txt", "a/b/3.txt", "a/[4].txt"]:
        s3.put(path, name)
    assert storage.expand(f"{s3.url}/a/*.txt") == [f"{s3.url}/a/{name}.txt" for name in ["1", "2", "[4]"]]
    assert storage.expand(f"{s3.url}/**/*.txt") == [f"{s3.url}/a/{name}.txt" for name in ["1", "2", "[4]", "b/3"]]
    assert storage.list_folder(f"{s3.url}/a") == [f"{s3.url}/a/{name}.txt" for name in ["1", "2", "[4]"]]
    assert len(storage.list_folder(f"{s3.url}/a", deep=True)) == 4
    assert storage.is_folder(f"{s3.url}/a")
    assert not storage.is_folder(f"{s3.url}/a/1.txt")
    urls = storage.list_folder(f"{s3.url}/a", deep=True)
    assert storage.first_missing(urls) is None
    assert storage.first_missing([*urls, f"{s3.url}/a/5.txt"]) == f"{s3.url}/a/5.txt"
    assert storage.first_missing([f"{s3.url}/a/5.txt"]) == f"{s3.url}/a/5.txt"


def test_a_whole_file_is_fetched_once_and_checked(s3, large):
    url, data = large
    stat = storage.stat(url)
    path = storage.fetched(url, stat)
    assert Path(path).read_bytes() == data
    assert path.endswith("large.bin")
    s3.proxy.reset()
    assert storage.fetched(url, stat) == path
    assert not s3.proxy.seen
    with open(path, "r+b") as file:
        file.write(b"another")
    assert Path(storage.fetched(url, stat)).read_bytes() == data


def test_put_is_whole_or_not_at_all(s3, large, tmp_path):
    _, data = large
    set_remote_storage(attempts=2)
    storage.put(tmp_path / "large.bin", f"{s3.url}/b/other.bin")
    assert storage.read_all(f"{s3.url}/b/other.bin") == data
    s3.proxy.always("503", "PUT")
    with pytest.raises(StorageError, match=rf"cannot write {s3.url}/third.bin.*tried 2 times"):
        storage.put(tmp_path / "large.bin", f"{s3.url}/third.bin")
    assert s3.names() == ["b/other.bin", "large.bin"]
    storage.delete(f"{s3.url}/b/other.bin")
    assert s3.names() == ["large.bin"]


def test_http_and_memory(tmp_path, storage_cache):
    data = content(700_000)
    (tmp_path / "some file.bin").write_bytes(data)
    with http_folder(tmp_path) as url:
        file = RemoteFile(f"{url}/some%20file.bin")
        assert file.read(300_000, 300_100) == data[300_000:300_100]
        assert storage.read_all(f"{url}/some%20file.bin") == data
        with pytest.raises(StorageMissing):
            RemoteFile(f"{url}/none")
    storage.put(tmp_path / "some file.bin", "memory://folder/x.bin")
    assert RemoteFile("memory://folder/x.bin").read(1, 600_000) == data[1:600_000]
    assert storage.expand("memory://folder/*.bin") == ["memory://folder/x.bin"]


@pytest.mark.parametrize("habit", ["no ranges", "no head", "compresses", "busy", "moved"])
def test_what_http_servers_do(tmp_path, storage_cache, habit):
    data = b"".join(b"line %d\n" % number for number in range(60_000))
    (tmp_path / "x.txt").write_bytes(data)
    with http_folder(tmp_path, habit) as url:
        place = f"{url}/moved/x.txt" if habit == "moved" else f"{url}/x.txt"
        file = RemoteFile(place)
        assert file.size == len(data)
        assert file.read(300_000, 300_100) == data[300_000:300_100]
        assert file.read(0, len(data)) == data
        assert Path(storage.fetched(place, storage.stat(place))).read_bytes() == data


@pytest.mark.parametrize("habit", ["says more", "says less"])
def test_a_wrong_content_length_is_an_error(tmp_path, storage_cache, habit):
    (tmp_path / "x.bin").write_bytes(content(5000))
    set_remote_storage(attempts=2)
    with (
        http_folder(tmp_path, habit) as url,
        pytest.raises(StorageError, match=r"bytes came, .* were expected.*tried 2 times"),
    ):
        RemoteFile(f"{url}/x.bin").read(0, 10)


def test_an_http_server_that_refuses_is_not_a_file_that_is_missing(tmp_path, storage_cache):
    (tmp_path / "x.bin").write_bytes(b"x")
    set_remote_storage(attempts=2)
    with http_folder(tmp_path, "refuses") as url:
        for look in (storage.stat, storage.exists, storage.read_all):
            with pytest.raises(StorageError, match=rf"{url}/x.bin: ClientResponseError: 403.*tried once") as told:
                look(f"{url}/x.bin")
            assert not isinstance(told.value, FileNotFoundError)
    for look in (storage.stat, storage.exists):
        with pytest.raises(StorageError, match=rf"cannot look up {url}/x.bin: Client.*tried 2 times") as told:
            look(f"{url}/x.bin")  # nobody listens any more
        assert not isinstance(told.value, FileNotFoundError)


def test_a_file_object_reads_as_pythons_own(tmp_path, storage_cache):
    data = content(600_000)
    (tmp_path / "x.bin").write_bytes(data)
    with http_folder(tmp_path) as url, StorageFile(f"{url}/x.bin") as file:
        ours, plain = io.BufferedReader(file), io.BytesIO(data)
        for act in [
            lambda f: f.read(10),
            lambda f: f.seek(-20, 2),
            lambda f: f.read(),
            lambda f: f.seek(5),
            lambda f: f.tell(),
        ]:
            assert act(ours) == act(plain)
        assert file.read(None) is not None


def test_settings_are_checked_and_reach_other_processes(storage_cache):
    set_remote_storage(attempts=np.int64(3), timeout=7)
    assert (storage.settings().attempts, storage.settings().timeout) == (3, 7)
    for wrong in [
        {"attempts": 0},
        {"timeout": -1},
        {"cache_bytes": -1},
        {"options": {"s3": 3}},
        {"options": {"s3": {"x": object()}}},
    ]:
        with pytest.raises(ConfigError):
            set_remote_storage(**wrong)
    assert storage.settings().attempts == 3
    os.environ["FLOWTRAIN_REMOTE_STORAGE"] = '{"atempts": 3}'
    with pytest.raises(ConfigError, match=r"FLOWTRAIN_REMOTE_STORAGE.*atempts"):
        storage.settings()


def test_paths():
    assert storage.is_url("s3://bucket/key")
    assert not storage.is_url("C://x")
    assert not storage.is_url("/a/b://c")
    assert storage.path_or_url("file:///tmp/x") == "/tmp/x"
    with pytest.raises(DataFlowError, match=r"'s3://bucket/key'.*give the URL as a string"):
        storage.path_or_url(Path("s3://bucket/key"))
    with pytest.raises(DataFlowError, match="three slashes"):
        storage.path_or_url("file://host/x")
    assert storage.url_name("https://host/x/a.npz?token=1/2") == "a.npz"


class _Refused(Exception):
    """What gcsfs raises for an answer that it has no other exception for."""

    def __init__(self, code):
        super().__init__(f"Denied, {code}")
        self.code = code


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (OSError("Forbidden: bucket/x\nno access"), "once"),
        (ValueError("Bad Request: bucket/x\ninvalid argument"), "once"),
        (_Refused(401), "once"),
        (_Refused("403"), "once"),
        (_Refused(429), "2 times"),
        (_Refused(503), "2 times"),
        (_Refused(None), "2 times"),
        (OSError("connection lost"), "2 times"),
        (type("NoCredentialsError", (Exception,), {})("Unable to locate credentials"), "once"),
    ],
)
def test_what_a_server_refuses_is_not_tried_again(monkeypatch, storage_cache, error, times):
    from fsspec.implementations.memory import MemoryFileSystem

    def refuse(self, path, **_):
        raise error

    set_remote_storage(attempts=2)
    monkeypatch.setattr(MemoryFileSystem, "cat_file", refuse)
    with pytest.raises(StorageError, match=rf"memory://x.*tried {times}"):
        storage.read_all("memory://x")


def test_a_timeout_that_is_set_later_holds(monkeypatch, storage_cache):
    from fsspec.implementations.memory import MemoryFileSystem

    made, make = [], MemoryFileSystem.__init__
    monkeypatch.setattr(MemoryFileSystem, "__init__", lambda self, *a, **k: made.append(self) or make(self, *a, **k))
    for timeout, count in [(30, 1), (30, 1), (7, 2), (30, 2)]:
        set_remote_storage(timeout=timeout, options={"memory": {"use_listings_cache": False}})
        assert not storage.exists("memory://nothing")
        assert len(made) == count
