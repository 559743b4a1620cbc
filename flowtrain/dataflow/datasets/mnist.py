"""MNIST and Fashion-MNIST, from their idx files."""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path

import numpy as np

from ...utils.dtypes import array_from_bytes
from ...utils.storage import local_copy, path_or_url
from ..formats.source import damaged, parsing
from .arrays import PicturesAndLabels
from .fetch import Remote, fetch

__all__ = ["FashionMnist", "Mnist", "read_idx"]

_PIECE = 1 << 20
_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # third byte of an idx file -> dtype


def read_idx(path: str | Path) -> np.ndarray:
    """Read an idx file, gzipped or not (http://yann.lecun.com/exdb/mnist/, "THE IDX FILE FORMAT").

    Args:
        path: The file, or its URL.

    Returns:
        The array, in native byte order.

    Raises:
        FormatError: The file is cut short, damaged or not idx.
    """
    path = local_copy(path_or_url(path))
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with parsing(path, "cut short or damaged"), gzip.open(path) if zipped else open(path, "rb") as file:
        return _array_in(path, file)


def _array_in(path: str | Path, file: io.BufferedIOBase) -> np.ndarray:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _DTYPES:
        raise damaged(path, f"not an idx file: it begins with {head!r}", offset=0)
    dtype, ndim = np.dtype(_DTYPES[head[2]]), head[3]
    sizes = file.read(4 * ndim)
    shape = tuple(np.frombuffer(sizes, ">u4").tolist()) if len(sizes) == 4 * ndim else ()
    wanted = math.prod(shape) * dtype.itemsize
    data = bytearray()
    # Piece by piece: memory is allocated for bytes that are there, not for what a header claims. And no more than one
    # byte after the array is decompressed, since a gzip of a few megabytes may hold gigabytes.
    while len(data) <= wanted:
        part = file.read(min(_PIECE, wanted + 1 - len(data)))
        if not part:
            break
        data += part
    if len(shape) != ndim or len(data) != wanted:
        there = f"{len(data):,} are there" if len(data) < wanted else "more are there"
        need = f"{wanted:,}" if wanted < 1 << 100 else "more than 2**100"
        what = f"shape {str(shape)[:200]} and dtype {dtype} need {need} bytes after the header, {there}"
        raise damaged(path, what, offset=4 + len(sizes) + min(len(data), wanted))
    try:
        return array_from_bytes(dtype, shape, data).astype(dtype.newbyteorder("="), copy=False)
    except ValueError as error:  # a shape with a 0 needs no bytes, but NumPy refuses it if its other sizes are huge
        raise damaged(path, f"shape {shape} is none: {error}") from error


class Mnist(PicturesAndLabels):
    """Handwritten digits: 60,000 to train with and 10,000 to test (LeCun et al., 1998).

    Args:
        split: ``"train"`` or ``"test"``.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.
        folder: Folder or URL of the four ``.gz`` files; None: ``$FLOWTRAIN_DATA/mnist``. Missing files are downloaded
            into a local folder.

    Raises:
        DataFlowError: The split is unknown.
        DownloadError: A file is missing and cannot be downloaded; says where to put it by hand.
        FormatError: When first read: a file is damaged, or pictures and labels differ in number.

    Order:
        As published; with ``shuffle`` a new permutation each epoch. Indexable and vectorized: a datapoint is
        ``[uint8 (28, 28), int from 0 to 9]``. Pixels are 0 (paper) to 255 (ink); divide by 255 in the model.

    State:
        The index of the next datapoint; resuming costs nothing.

    Example:
        >>> ds = BatchData(Mnist("train", shuffle=True), 128)    # doctest: +SKIP
    """

    folder_name = "mnist"
    _base = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    _md5 = {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }

    def _find(self) -> list[str]:
        start = "train-" if self.split == "train" else "t10k-"
        names = [name for name in self._md5 if name.startswith(start)]
        return [fetch(self._remote(name), self.folder) for name in names]

    def _remote(self, name: str) -> Remote:
        # Copies of the data set have other names: with a dot before idx, or unpacked.
        dotted = name.replace("-idx", ".idx")
        plain = [other.removesuffix(".gz") for other in (name, dotted)]
        return Remote(name, self._base + name, self._md5[name], aliases=(dotted, *plain))

    def _load(self) -> tuple[np.ndarray, np.ndarray]:
        pictures, labels = map(read_idx, self._files)
        if pictures.shape != (len(labels), 28, 28) or pictures.dtype != np.uint8:
            what = f"{pictures.dtype} {pictures.shape} for {len(labels)} labels: uint8 (N, 28, 28) expected"
            raise damaged(self._files[0], what)
        return pictures, labels


class FashionMnist(Mnist):
    """Pictures of clothes in MNIST's form: 60,000 and 10,000, 10 classes (Xiao, Rasul and Vollgraf, 2017).

    The arguments are those of :class:`Mnist`; the default folder is ``$FLOWTRAIN_DATA/fashion_mnist``. The names of the
    classes are in ``FashionMnist.classes``.
    """

    folder_name = "fashion_mnist"
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    _base = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    _md5 = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }
