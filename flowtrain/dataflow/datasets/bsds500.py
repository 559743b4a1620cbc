"""The Berkeley Segmentation Data Set: photographs and hand-drawn contours."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from ...utils.arguments import check_choice
from ...utils.errors import DataFlowError
from ...utils.storage import has_folder, is_folder, is_url, list_folder
from ..core.base import Datapoint
from ..formats.source import FileSource, PathLike, damaged, parsing
from .arrays import read_picture
from .fetch import NOT_THE_ARCHIVE, Remote, fetch, folder_of
from .svhn import load_mat

__all__ = ["BSDS500"]

# No checksum is published, so the length is what a download is checked by.
_REMOTE = Remote(
    "BSR_bsds500.tgz",
    "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",
    size=70_763_455,
)
_INSIDE = "BSR/BSDS500/data"


class BSDS500(FileSource):
    """Photographs with contours drawn by several people each (Arbelaez et al., 2011): 200 train, 100 val, 200 test.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        landscape: Whether portraits are rotated by 90 degrees, so that all pictures are 321 x 481 and can be batched.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.
        folder: Folder of ``BSR_bsds500.tgz`` or of the unpacked ``BSR``; None: ``$FLOWTRAIN_DATA/bsds500``. There the
            archive is downloaded and unpacked if it is missing. A URL must hold the unpacked files.

    Raises:
        DataFlowError: The split is unknown, or the folder holds no pictures.
        DownloadError: The archive is missing and cannot be downloaded; says where to put it by hand.
        FormatError: The archive, or when read a picture or its contours, is damaged.

    Order:
        By file name; with ``shuffle`` a new permutation each epoch. Indexable: a datapoint is ``[uint8 (H, W, 3) RGB,
        float32 (H, W)]``. The second component is the share of annotators, 0 to 1, whose contours pass the pixel.

    State:
        The index of the next datapoint; resuming costs nothing.

    Example:
        >>> picture, contours = BSDS500("train").get(0)    # doctest: +SKIP
    """

    def __init__(
        self,
        split: str,
        *,
        landscape: bool = True,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
        folder: PathLike | None = None,
    ) -> None:
        super().__init__(shuffle, seed)
        self.split = check_choice("BSDS500", "split", split, ("train", "val", "test"), DataFlowError)
        self._landscape = landscape
        data = _unpacked(folder_of("bsds500", folder))
        self._pictures = _files(f"{data}/images/{split}", ".jpg")
        self._contours = [f"{data}/groundTruth/{split}/{Path(path).stem}.mat" for path in self._pictures]
        missing = sorted(set(self._contours) - set(_files(f"{data}/groundTruth/{split}", ".mat")))
        if not self._pictures or missing:
            raise DataFlowError(f"{missing[0]} is missing" if missing else f"no picture in {data}/images/{split}")

    def _count(self) -> int:
        return len(self._pictures)

    def _read(self, index: int) -> Datapoint:
        path = self._pictures[index]
        picture = read_picture(path, index)
        contours = self._share(self._contours[index])
        if contours.shape != picture.shape[:2]:
            raise damaged(path, f"contours of shape {contours.shape} for a picture {picture.shape[:2]}", record=index)
        if self._landscape and picture.shape[0] > picture.shape[1]:
            picture, contours = (np.ascontiguousarray(np.rot90(array)) for array in (picture, contours))
        return [picture, contours]

    @staticmethod
    def _share(path: str) -> np.ndarray:
        """The mean of all annotators' contours."""
        with parsing(path, "no groundTruth with Boundaries in it"):
            people = load_mat(path)["groundTruth"].ravel()
            drawn = [np.asarray(person["Boundaries"][0, 0], np.float32) for person in people]
            return np.stack(drawn).mean(axis=0)

    def describe(self) -> str:
        return f"BSDS500({self.split!r})"


def _files(folder: str, suffix: str) -> list[str]:
    if is_url(folder):
        return [url for url in (list_folder(folder) if is_folder(folder) else []) if url.endswith(suffix)]
    return sorted(str(path) for path in Path(folder).glob(f"*{suffix}"))


def _unpacked(folder: str) -> str:
    """The folder with ``images`` and ``groundTruth``; downloads and unpacks the archive if there is none."""
    # The folder may be the one of the archive, BSR itself, or that of the data in it.
    for place in (f"{folder}/{_INSIDE}", f"{folder}/{_INSIDE.removeprefix('BSR/')}", folder):
        if has_folder(f"{place}/images"):
            return place
    if is_url(folder):
        raise DataFlowError(f"there is no folder images in {folder}: unpack {_REMOTE.name} ({_REMOTE.url}) there")
    archive = fetch(_REMOTE, folder)
    temporary = tempfile.mkdtemp(prefix=".BSR.", dir=folder)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")  # refuses members outside of the folder, links out of it, devices
        # Renamed into place, so that no other process finds a half-unpacked folder.
        os.rename(f"{temporary}/BSR", f"{folder}/BSR")
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        # If another process has unpacked the archive meanwhile, the rename fails because the target is not empty.
        if not os.path.isdir(f"{folder}/{_INSIDE}/images"):
            raise damaged(archive, f"{NOT_THE_ARCHIVE}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return f"{folder}/{_INSIDE}"
