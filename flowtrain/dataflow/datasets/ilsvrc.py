"""ImageNet (ILSVRC 2012): class names, lists of files, and the pictures in the user's folders."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...utils.arguments import check_choice, names_arguments
from ...utils.errors import DataFlowError
from ...utils.storage import carried, has_folder, is_url, local_copy
from ..core.base import Datapoint
from ..core.undecoded import get_leaving
from ..formats.protobuf import fields
from ..formats.source import FileSource, PathLike, damaged, parsing, resolve_file
from ..sources.turbojpeg import why_no_regions
from .arrays import read_picture
from .fetch import NOT_THE_ARCHIVE, Remote, fetch, folder_of, has_file

__all__ = ["ILSVRC12", "ILSVRC12Files", "ILSVRCMeta"]

_REMOTE = Remote(
    "caffe_ilsvrc12.tar.gz",
    "http://dl.caffe.berkeleyvision.org/caffe_ilsvrc12.tar.gz",
    "f963098ea0e785a968ca1eb634003a90",
)


@names_arguments
class ILSVRCMeta:
    """The class names, file lists and mean picture of ILSVRC 2012, as Caffe distributes them.

    Args:
        folder: Folder or URL of ``caffe_ilsvrc12.tar.gz`` or of its unpacked files; None:
            ``$FLOWTRAIN_DATA/ilsvrc_metadata``. The archive is downloaded into a local folder if it is missing.

    Raises:
        DownloadError: The archive is missing and cannot be downloaded; says where to put it by hand.
        FormatError: When read: a file is damaged.

    Example:
        >>> ILSVRCMeta().class_names()[0]    # doctest: +SKIP
        'tench, Tinca tinca'
    """

    def __init__(self, folder: PathLike | None = None) -> None:
        self.folder = folder_of("ilsvrc_metadata", folder)
        self._archive = None if has_file(self.folder, "synsets.txt") else fetch(_REMOTE, self.folder)

    def synsets(self) -> list[str]:
        """The 1000 WordNet ids (``"n01440764"``) in the order of the labels: the names of the training folders."""
        return self._lines("synsets.txt")

    def class_names(self) -> list[str]:
        """The names of the 1000 classes in the order of the labels."""
        return [line.partition(" ")[2] for line in self._lines("synset_words.txt")]

    def image_list(self, split: str, layout: Literal["original", "train"] | None = None) -> list[tuple[str, int]]:
        """File names and labels of a split.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"`` (whose labels are not published, and are all 0 here).
            layout: ``"train"``: val pictures lie in a folder for each class, as the training pictures do.
                None or ``"original"``: val pictures lie in one folder.

        Returns:
            (path in the folder of the split, label) of each picture.
        """
        _check_part(split, layout)
        pairs = [line.rpartition(" ") for line in self._lines(f"{split}.txt")]  # "n01440764/n01440764_10026.JPEG 0"
        found = [(name.strip(), int(label)) for name, _, label in pairs]
        if split == "val" and layout == "train":
            synsets = self.synsets()
            found = [(f"{synsets[label]}/{name}", label) for name, label in found]
        return found

    def mean_picture(self) -> np.ndarray:
        """The mean of the training pictures: float32 (256, 256, 3), BGR as Caffe has it."""
        content = self._content("imagenet_mean.binaryproto")
        sizes: dict[int, int] = {}
        parts: list[Any] = []
        with parsing(f"{self.folder}/imagenet_mean.binaryproto", "not a mean picture"):
            for number, _, value in fields(content):  # BlobProto of caffe.proto: 2-4 channels, height, width; 5 data
                if number in (2, 3, 4):
                    sizes[number] = int(value)
                elif number == 5:
                    parts.append(value)
            planes = np.frombuffer(b"".join(parts), "<f4").reshape(sizes[2], sizes[3], sizes[4])
        return np.ascontiguousarray(planes.transpose(1, 2, 0))

    def _lines(self, name: str) -> list[str]:
        return self._content(name).decode().splitlines()

    def _content(self, name: str) -> bytes:
        if self._archive is None:
            found = resolve_file(f"{self.folder}/{name}", what="ILSVRC12 metadata file")
            return Path(local_copy(found)).read_bytes()
        local = local_copy(self._archive)
        with parsing(self._archive, NOT_THE_ARCHIVE), tarfile.open(local) as tar:
            for member in tar:
                if Path(member.name).name == name and member.isfile():
                    return tar.extractfile(member).read()  # type: ignore[union-attr]
        raise damaged(self._archive, f"there is no {name} in it")


def _check_part(split: str, layout: str | None) -> None:
    check_choice("ILSVRC12", "split", split, ("train", "val", "test"), DataFlowError)
    check_choice("ILSVRC12", "layout", layout, (None, "original", "train"), DataFlowError)


class ILSVRC12Files(FileSource):
    """The file names and labels of ILSVRC 2012; :class:`ILSVRC12` decodes the pictures too.

    Use it to decode in a later stage, for example in worker processes or with other options.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        folder: Folder or URL that contains the folders ``train``, ``val``, ``test``; None:
            ``$FLOWTRAIN_DATA/ilsvrc12``. The pictures are not downloaded, since their licence requires a registration
            at https://image-net.org.
        meta: Names and lists; None makes an :class:`ILSVRCMeta`.
        layout: Whether val pictures lie in one folder (``"original"``) or in one for each class (``"train"``). None:
            determined from the first val picture.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.

    Raises:
        DataFlowError: The split is unknown, or the folder or its first picture is missing.
        DownloadError: The metadata are missing and cannot be downloaded; says where to put them by hand.

    Order:
        As in the published lists; with ``shuffle`` a new permutation each epoch. Indexable: a datapoint is
        ``[path, label]``.

    State:
        The index of the next datapoint; resuming costs nothing.
    """

    def __init__(
        self,
        split: str,
        folder: PathLike | None = None,
        *,
        meta: ILSVRCMeta | None = None,
        layout: Literal["original", "train"] | None = None,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(shuffle, seed)
        self.split = split
        _check_part(split, layout)
        root = f"{folder_of('ilsvrc12', folder)}/{split}"
        if not has_folder(root):
            raise DataFlowError(
                f"no folder {root}: it should hold the {split} pictures of ILSVRC 2012, which are to be had after a "
                "registration at https://image-net.org"
            )
        meta = meta or ILSVRCMeta()
        if layout is None and split == "val":
            layout = "train" if not has_file(root, meta.image_list(split)[0][0]) else "original"
        self._list = meta.image_list(split, layout)
        self._root = root
        # The first alone: looking for 1.2 million files would take minutes, and a wrong layout shows in any of them.
        resolve_file(f"{root}/{self._list[0][0]}", what=f"first picture of the {split} list")

    def _count(self) -> int:
        return len(self._list)

    def _read(self, index: int) -> Datapoint:
        name, label = self._list[index]
        return [carried(f"{self._root}/{name}"), label]

    def describe(self) -> str:
        return f"{type(self).__name__}({self.split!r})"


class ILSVRC12(ILSVRC12Files):
    """The pictures and labels of ILSVRC 2012, 1000 classes (Russakovsky et al., 2015).

    The arguments are those of :class:`ILSVRC12Files`. A datapoint is ``[uint8 (H, W, 3) RGB, label]``.

    Raises:
        FormatError: When read: a file is not a picture; names it. Besides, what :class:`ILSVRC12Files` raises.

    Example:
        >>> ds = ILSVRC12("train", "/data/imagenet", shuffle=True)    # doctest: +SKIP
    """

    def _read(self, index: int) -> Datapoint:
        path, label = super()._read(index)
        # Reading a URL raises for a missing file by itself; resolve_file would cost another request.
        return [read_picture(path if is_url(path) else resolve_file(path, what="picture"), index), label]

    def _get_undecoded(self, index: int, epoch: int) -> Datapoint:
        return get_leaving(self, index, epoch)

    def _why_decoded(self) -> str | None:
        return why_no_regions()
