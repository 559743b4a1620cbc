from __future__ import annotations

import io
import json
import pickle
import tarfile

import cv2
import numpy as np
import pytest

from flowtrain.dataflow.formats import TarData, write
from flowtrain.dataflow.sources.memory import DataFromList
from flowtrain.utils.errors import DataFlowError, FormatError


def make(path, files, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


FILES = {"a/01.jpg": b"J1", "a/01.cls": b"1", "a/02.jpg": b"J2", "a/02.cls": b"2", "b/02.seg.png": b"P", "x": b"bare"}


def test_webdataset_layout(tmp_path):
    path = make(tmp_path / "x.tar", FILES)
    assert list(TarData(path)) == [
        {"__key__": "a/01", "jpg": b"J1", "cls": b"1"},
        {"__key__": "a/02", "jpg": b"J2", "cls": b"2"},
        {"__key__": "b/02", "seg.png": b"P"},
        {"__key__": "x", "": b"bare"},
    ]
    more = make(tmp_path / "y.tar", {"z" * 150 + ".txt": b"long name"})
    ds = TarData([path, more], shuffle=True)
    assert len(ds) == 5
    assert sorted(dp["__key__"] for dp in ds) == ["a/01", "a/02", "b/02", "x", "z" * 150]
    assert len(list(pickle.loads(pickle.dumps(ds)))) == 5
    assert (tmp_path / "x.tar.ftindex").exists()


def test_decoding_by_extension(tmp_path):
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[..., 0] = 200  # red
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    files = {
        "0.png": cv2.imencode(".png", picture[..., ::-1])[1].tobytes(),
        "0.cls": b"7",
        "0.json": json.dumps({"a": [1]}).encode(),
        "0.txt": "é".encode(),
        "0.npy": buffer.getvalue(),
        "0.xyz": b"\0",
    }
    sample = TarData(make(tmp_path / "x.tar", files), "auto").get(0)
    np.testing.assert_array_equal(sample.pop("png"), picture)
    assert sample.pop("npy").tolist() == [0, 1, 2]
    assert sample == {"__key__": "0", "cls": 7, "json": {"a": [1]}, "txt": "é", "xyz": b"\0"}
    assert TarData(tmp_path / "x.tar", lambda s: [s["cls"]]).get(0) == [b"7"]
    for name in ("png", "cls", "json", "npy"):
        path = make(tmp_path / f"{name}.tar", {f"0.{name}": b"rubbish"})
        with pytest.raises(FormatError, match=rf"{name}.tar, record 0, byte 512: sample '0': the file .{name}"):
            TarData(path, "auto").get(0)


def test_files_of_write_are_files_to_others(tmp_path):
    data = [{"dat": b"J", "label": i, "box": np.arange(4), "text": "t"} for i in range(3)]
    path = write(DataFromList(data), tmp_path / "x.tar", progress=False)
    with tarfile.open(path) as tar:
        names = tar.getnames()
    assert names[:4] == ["000000000.dat", "000000000.label.mp", "000000000.box.npy", "000000000.text.txt"]
    assert TarData(path, "raw").get(1)["dat"] == b"J"
    assert TarData(path, "auto").get(1)["label.mp"] == 1


def test_names_that_begin_with_a_dot_are_no_samples(tmp_path):
    names = ["._1.jpg", "1.jpg", ".DS_Store", "._1.cls", "1.cls", "./a/._2.jpg", "./a/2.jpg", ".hidden"]
    path = make(tmp_path / "x.tar", {name: name.encode() for name in names})
    assert list(TarData(path)) == [
        {"__key__": "1", "jpg": b"1.jpg", "cls": b"1.cls"},
        {"__key__": "./a/2", "jpg": b"./a/2.jpg"},
    ]


def test_a_sample_in_pieces_is_put_together(tmp_path):
    names = ["1.bin", "2.bin", "3.bin", "2.cls", "1.cls", "3.cls"]
    path = make(tmp_path / "x.tar", {name: name.encode() for name in names})
    expected = [{"__key__": k, "bin": f"{k}.bin".encode(), "cls": f"{k}.cls".encode()} for k in "123"]
    assert list(TarData(path)) == expected
    assert sorted(dp["__key__"] for dp in TarData(path, shuffle=True)) == ["1", "2", "3"]


def test_contents_that_write_wrote_are_checked(tmp_path):
    data = [{"dat": b"needle" * 50, "i": i} for i in range(5)]
    path = write(DataFromList(data), tmp_path / "x.tar", progress=False)
    content = path.read_bytes()
    place = content.index(b"needle", 3000)
    path.write_bytes(content[:place] + b"N" + content[place + 1 :])
    with pytest.raises(
        FormatError, match=r"x\.tar, record 1, byte \d+: sample '000000001': the file \.dat does not have"
    ):
        list(TarData(path))
    assert len(list(TarData(path, verify=False))) == 5
    with tarfile.open(path) as tar:  # as another program unpacks it
        tar.extractall(tmp_path / "out", filter="data")
    assert (tmp_path / "out" / "000000000.dat").read_bytes() == b"needle" * 50


def test_every_cut_is_noticed(tmp_path):
    path = make(tmp_path / "x.tar", FILES)
    content = path.read_bytes()
    used = len(FILES) * 1024
    for end in range(100, used + 500, 97):
        path.write_bytes(content[:end])
        with pytest.raises(FormatError, match=r"cut short|damaged|no file header"):
            list(TarData(path))
    path.write_bytes(content[:used])
    with pytest.raises(FormatError, match="end of the archive"):
        list(TarData(path))
    path.write_bytes(content[: used + 1024])
    assert len(TarData(path)) == 4


def test_damaged_headers(tmp_path):
    path = make(tmp_path / "x.tar", FILES)
    content = bytearray(path.read_bytes())
    for place in (5, 1024 + 5, 3 * 1024 + 130):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match=r"x\.tar, record \d, byte \d+"):
            list(TarData(path))


@pytest.mark.parametrize("blocks", range(20))
def test_an_archive_ends_as_posix_says(tmp_path, blocks):
    path = write(DataFromList([[b"x" * 512 * blocks]]), tmp_path / "x.tar", progress=False)
    content = path.read_bytes()
    assert len(content) % tarfile.RECORDSIZE == 0
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1]
    end = last.offset_data + 512 * blocks
    assert 2 * 512 <= len(content) - end < 2 * 512 + tarfile.RECORDSIZE and not any(content[end:])


def test_what_is_refused(tmp_path):
    with pytest.raises(FormatError, match="compressed"):
        len(TarData(make(tmp_path / "x.tar.gz", FILES, "w:gz")))
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(FormatError, match="link"):
        len(TarData(tmp_path / "link.tar"))
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(FormatError, match="twice"):
        len(TarData(tmp_path / "twice.tar"))
    (tmp_path / "empty.tar").touch()
    with pytest.raises(FormatError, match=r"empty\.tar"):
        len(TarData(tmp_path / "empty.tar"))
    (tmp_path / "text.tar").write_text("text" * 1000)
    with pytest.raises(FormatError, match="not a tar"):
        len(TarData(tmp_path / "text.tar"))
    with pytest.raises(FileNotFoundError):
        TarData(tmp_path / "none.tar")
    with pytest.raises(DataFlowError, match="TarData: decode must be None, 'raw', 'auto' or a function of the sample"):
        TarData(tmp_path / "text.tar", "jpg")
    with pytest.raises(DataFlowError, match=r"none\.tar.* holds no records"):
        list(TarData(make(tmp_path / "none.tar", {})))


def test_a_name_that_is_not_utf_8(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        info = tarfile.TarInfo("caf\xe9.bin")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    for _ in range(2):  # from the file, and from the index beside it
        assert list(TarData(path)) == [{"__key__": "caf\udce9", "bin": b"x"}]


def test_a_class_is_of_digits_alone(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in {"1.cls": b" 12\n", "2.cls": b"1_2"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    ds = TarData(path, "auto")
    assert ds.get(0)["cls"] == 12
    with pytest.raises(FormatError, match=r"sample '2'.*only the digits 0 to 9 make a number"):
        ds.get(1)
