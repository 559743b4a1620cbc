from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import struct
import tarfile
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from flowtrain.dataflow import AugmentImageComponent, imgaug
from flowtrain.dataflow.datasets import (
    BSDS500,
    ILSVRC12,
    Cifar10,
    Cifar100,
    DownloadError,
    FashionMnist,
    ILSVRC12Files,
    ILSVRCMeta,
    Mnist,
    SVHNDigit,
    data_root,
    read_idx,
)
from flowtrain.dataflow.datasets.fetch import Remote, fetch
from flowtrain.dataflow.sources import jpeg
from flowtrain.dataflow.sources.turbojpeg import decode_region
from flowtrain.utils.errors import DataFlowError, FormatError

DIGITS = Path(__file__).parent / "data"  # the first 100 of each part of MNIST, in MNIST's own form
RNG = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWTRAIN_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.fixture
def server(tmp_path):
    """A web server over ``tmp_path / "www"``: its address."""
    (tmp_path / "www").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_the_digits_of_the_repository(monkeypatch):
    monkeypatch.setenv("FLOWTRAIN_DATA", str(DIGITS))
    train, test = Mnist("train"), Mnist("test")
    assert len(train) == len(test) == 100
    picture, label = train.get(0)
    assert picture.dtype == np.uint8 and picture.shape == (28, 28) and picture.max() == 255
    assert [train.get(i)[1] for i in range(5)] == [5, 0, 4, 1, 9] and type(label) is int
    shuffled = Mnist("train", shuffle=True, seed=3)
    epochs = [[dp[1] for dp in shuffled] for _ in range(2)]
    assert epochs[0] != epochs[1] and sorted(epochs[0]) == sorted(epochs[1])
    pictures, labels = shuffled.get_batch(np.arange(100), epoch=1)
    assert labels.tolist() == epochs[1] and labels.dtype == np.int64
    np.testing.assert_array_equal(pictures[7], shuffled.get(7, 1)[0])
    assert [dp[1] for dp in pickle.loads(pickle.dumps(train))] == [dp[1] for dp in train]


@pytest.mark.skipif("FLOWTRAIN_DATA" not in os.environ, reason="FLOWTRAIN_DATA names no folder of data sets")
def test_the_real_mnist():
    if not (data_root() / "mnist").is_dir():
        pytest.skip("there is no mnist in FLOWTRAIN_DATA")
    counts = np.bincount(Mnist("train").get_batch(np.arange(60_000))[1])
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert len(Mnist("test")) == 10_000


def test_idx_files(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\0\0\x0b\x02" + struct.pack(">II", 2, 2) + np.arange(4, dtype=">i2").tobytes())
    assert read_idx(path).tolist() == [[0, 1], [2, 3]] and read_idx(path).dtype == np.int16
    content = path.read_bytes()
    for end in (0, 3, 7, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(FormatError, match=str(path)):
            read_idx(path)
    zipped = gzip.compress(content)
    for damaged in (zipped[:-12], zipped[:20] + b"!!" + zipped[22:], b"\x1f\x8bxx"):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="cut short or damaged"):
            read_idx(path)


def test_mnist_of_the_wrong_shape(root):
    folder = root / "fashion_mnist"
    folder.mkdir()
    pictures = b"\0\0\x08\x03" + struct.pack(">III", 2, 28, 28) + bytes(2 * 28 * 28)
    (folder / "train-images-idx3-ubyte").write_bytes(pictures)  # an unpacked file is as good
    (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\1\2")
    assert [dp[1] for dp in FashionMnist("train")] == [1, 2]
    (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 3) + b"\1\2\3")
    with pytest.raises(FormatError, match="for 3 labels"):
        len(FashionMnist("train"))


def cifar(labels, count):
    pictures = RNG.integers(0, 256, (count, 32, 32, 3), np.uint8)
    label = RNG.integers(0, 10, (count, labels), np.uint8)
    planes = pictures.transpose(0, 3, 1, 2).reshape(count, -1)
    return pictures, label, np.concatenate([label, planes], 1).tobytes()


def pack_tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_cifar10(root):
    parts = [cifar(1, 3) for _ in range(6)]
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    files = {f"cifar-10-batches-bin/{name}": part[2] for name, part in zip(names, parts, strict=True)}
    archive = root / "cifar10" / "cifar-10-binary.tar.gz"
    pack_tar(archive, files)
    train = Cifar10("train")
    assert len(train) == 15 and len(Cifar10("test")) == 3
    np.testing.assert_array_equal(train.get(4)[0], parts[1][0][1])
    assert train.get(4)[1] == parts[1][1][1, 0]
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(FormatError, match="cut short"):
        list(Cifar10("train"))
    with tarfile.open(root / "t.tar.gz", "w:gz"):
        pass
    (root / "t.tar.gz").replace(archive)
    with pytest.raises(FormatError, match="another archive"):
        list(Cifar10("train"))


def test_cifar100_unpacked(tmp_path):
    pictures, labels, content = cifar(2, 4)
    (tmp_path / "train.bin").write_bytes(content)
    fine, coarse = Cifar100("train", folder=tmp_path), Cifar100("train", "coarse", folder=tmp_path)
    np.testing.assert_array_equal(fine.get(3)[0], pictures[3])
    assert [dp[1] for dp in fine] == labels[:, 1].tolist() and [dp[1] for dp in coarse] == labels[:, 0].tolist()
    (tmp_path / "train.bin").write_bytes(content[:-1])
    with pytest.raises(FormatError, match="records of 3074 bytes"):
        list(Cifar100("train", folder=tmp_path))


def test_svhn(root):
    (root / "svhn").mkdir()
    pictures = RNG.integers(0, 256, (32, 32, 3, 5), np.uint8)
    path = root / "svhn" / "test_32x32.mat"
    scipy.io.savemat(path, {"X": pictures, "y": np.array([[1], [10], [3], [9], [10]], np.uint8)})
    ds = SVHNDigit("test")
    assert [dp[1] for dp in ds] == [1, 0, 3, 9, 0]
    np.testing.assert_array_equal(ds.get(2)[0], pictures[..., 2])
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(FormatError, match="test_32x32"):
        list(SVHNDigit("test"))


def bsds_files():
    files = {}
    for name, shape in (("100", (6, 9)), ("200", (9, 6))):
        picture = np.full((*shape, 3), 100, np.uint8)
        files[f"BSR/BSDS500/data/images/train/{name}.jpg"] = cv2.imencode(".jpg", picture)[1].tobytes()
        people = np.empty((1, 2), object)
        for i in range(2):
            drawn = np.zeros(shape, np.uint8)
            drawn[0, : i + 1] = 1
            people[0, i] = {"Boundaries": drawn}
        content = io.BytesIO()
        scipy.io.savemat(content, {"groundTruth": people})
        files[f"BSR/BSDS500/data/groundTruth/train/{name}.mat"] = content.getvalue()
    return files


def test_bsds500(root):
    pack_tar(root / "bsds500" / "BSR_bsds500.tgz", bsds_files())
    ds = BSDS500("train")
    assert len(ds) == 2
    picture, contours = ds.get(0)
    assert picture.shape == (6, 9, 3) and contours.dtype == np.float32
    assert contours[0, :3].tolist() == [1, 0.5, 0]
    assert ds.get(1)[0].shape == (6, 9, 3) and ds.get(1)[1].shape == (6, 9)
    assert BSDS500("train", landscape=False).get(1)[0].shape == (9, 6, 3)
    assert [path.name for path in (root / "bsds500").iterdir() if path.is_dir()] == ["BSR"]
    with pytest.raises(DataFlowError, match="no picture"):
        BSDS500("val")
    (root / "bsds500/BSR/BSDS500/data/images/train/100.jpg").write_bytes(b"no picture")
    with pytest.raises(FormatError, match=r"100\.jpg, record 0"):
        BSDS500("train").get(0)


@pytest.fixture
def imagenet(root):
    mean = np.arange(24, dtype="<f4").tobytes()
    blob = b"\x08\x01\x10\x03\x18\x02\x20\x04\x2a" + bytes([len(mean)]) + mean
    files = {
        "synsets.txt": b"n01\nn02\n",
        "synset_words.txt": b"n01 tench, Tinca tinca\nn02 goldfish\n",
        "train.txt": b"n01/a.JPEG 0\nn02/b.JPEG 1\n",
        "val.txt": b"v1.JPEG 1\nv2.JPEG 0\n",
        "test.txt": b"t1.JPEG 0\n",
        "imagenet_mean.binaryproto": blob,
    }
    pack_tar(root / "ilsvrc_metadata" / "caffe_ilsvrc12.tar.gz", files)
    picture = cv2.imencode(".jpg", np.full((5, 7, 3), (0, 0, 250), np.uint8))[1].tobytes()
    for name in ("train/n01/a", "train/n02/b", "val/v1", "val/v2"):
        path = root / "ilsvrc12" / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    return root / "ilsvrc12"


def test_ilsvrc_metadata(imagenet):
    meta = ILSVRCMeta()
    assert meta.synsets() == ["n01", "n02"] and meta.class_names() == ["tench, Tinca tinca", "goldfish"]
    assert meta.image_list("val") == [("v1.JPEG", 1), ("v2.JPEG", 0)]
    assert meta.image_list("val", "train") == [("n02/v1.JPEG", 1), ("n01/v2.JPEG", 0)]
    assert meta.mean_picture().shape == (2, 4, 3) and meta.mean_picture()[0, 1].tolist() == [1, 9, 17]
    with pytest.raises(DataFlowError, match="split must be 'train', 'val' or 'test', got 'valid'"):
        meta.image_list("valid")
    with pytest.raises(DataFlowError, match="layout must be None, 'original' or 'train', got 'trian'"):
        meta.image_list("val", "trian")


def test_ilsvrc_pictures(imagenet):
    files = ILSVRC12Files("train")
    assert [(Path(path).name, label) for path, label in files] == [("a.JPEG", 0), ("b.JPEG", 1)]
    picture, label = ILSVRC12("val", imagenet).get(0)
    assert picture.shape == (5, 7, 3) and picture[0, 0, 0] > 200 > picture[0, 0, 2] and label == 1
    (imagenet / "val" / "n02").mkdir()
    (imagenet / "val" / "v1.JPEG").rename(imagenet / "val" / "n02" / "v1.JPEG")
    assert ILSVRC12("val").get(0)[1] == 1  # the folders of classes are seen
    with pytest.raises(FileNotFoundError, match=r"v2\.JPEG"):
        ILSVRC12("val").get(1)
    whole = (imagenet / "train" / "n01" / "a.JPEG").read_bytes()
    (imagenet / "train" / "n01" / "a.JPEG").write_bytes(whole[: len(whole) // 2])  # OpenCV makes a picture of it
    with pytest.raises(FormatError, match=r"a\.JPEG, record 0: .*cut short"):
        ILSVRC12("train").get(0)
    (imagenet / "train" / "n01" / "a.JPEG").write_bytes(b"no picture")
    with pytest.raises(FormatError, match=r"a\.JPEG, record 0"):
        ILSVRC12("train").get(0)
    with pytest.raises(DataFlowError, match=r"image-net\.org"):
        ILSVRC12("test")
    with pytest.raises(DataFlowError, match="layout"):
        ILSVRC12("val", layout="flat")


def test_ilsvrc_decodes_what_a_crop_keeps(imagenet, monkeypatch):
    path = imagenet / "val" / "v1.JPEG"
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 2))
    crops = [imgaug.RandomResizedCrop(32), imgaug.Flip(horiz=True)]
    source = ILSVRC12("val", imagenet)
    ds = AugmentImageComponent(source, crops)
    assert "only the part" in " ".join(ds.explain(n=1, quiet=True).notes)
    regions = []
    monkeypatch.setattr(jpeg, "decode_region", lambda *args: regions.append(args) or decode_region(*args))
    for epoch in range(20):
        picture, label = source.get(0, epoch)
        expected = imgaug.AugmentorList(crops).augment(picture, ds.stream.at(epoch, 0))
        kept, same_label = ds.get(0, epoch)
        assert np.array_equal(kept, expected) and label == same_label == 1
    assert len(regions) == 20


@pytest.mark.parametrize("source", [Mnist, FashionMnist, Cifar10, Cifar100, SVHNDigit, BSDS500])
def test_what_is_missing_says_where_to_put_it(source, root, no_network):
    with pytest.raises(DownloadError, match=rf"no network\. Get http.* by hand and put it at {root}"):
        source("train")
    with pytest.raises(DataFlowError, match="'train'"):
        source("training")
    assert not [path for path in root.rglob("*") if path.is_file()]


def remote(server, content, **wrong):
    fields = {"md5": hashlib.md5(content).hexdigest(), "size": len(content), **wrong}
    return Remote("file.bin", f"{server}/file.bin", **fields)


def test_download(server, tmp_path, capsys):
    content = RNG.bytes(1_000_000)
    (tmp_path / "www" / "file.bin").write_bytes(content)
    path = Path(fetch(remote(server, content), tmp_path / "data" / "new"))
    assert path.read_bytes() == content
    assert "100%" in capsys.readouterr().err
    (tmp_path / "www" / "file.bin").unlink()
    assert fetch(remote(server, content), path.parent) == str(path)  # not asked for again


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"md5": "0" * 32}, "its MD5 is"), ({"size": 99}, "more than 99"), ({"size": 1000}, "100 bytes came, 1,000")],
)
def test_a_wrong_download_is_thrown_away(server, tmp_path, wrong, message):
    content = RNG.bytes(100)
    (tmp_path / "www" / "file.bin").write_bytes(content)
    with pytest.raises(DownloadError, match=f"not the published file: .*{message}.*by hand"):
        fetch(remote(server, content, **wrong), tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_refused_download(server, tmp_path):
    with pytest.raises(DownloadError, match=r"cannot be downloaded: .*404.*by hand"):
        fetch(remote(server, b"x"), tmp_path / "data")
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="by hand"):
        fetch(remote(server, b"x"), tmp_path / "file" / "below")


def test_the_default_folder(monkeypatch):
    monkeypatch.delenv("FLOWTRAIN_DATA", raising=False)
    assert data_root() == Path.home() / ".cache" / "flowtrain" / "data"
