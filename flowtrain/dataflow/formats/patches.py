"""Source over OTBTF's patches-images: rasters in which square patches are stacked vertically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from ...utils.arguments import check_names, if_given
from ...utils.errors import DataFlowError
from ..core.base import Datapoint
from .raster import RasterFile
from .source import FileSource, PathLike, damaged, resolve_files

__all__ = ["PatchesImages"]


class PatchesImages(FileSource):
    """Square patches from rasters that stack them vertically, as OTB's PatchesExtraction writes them.

    The width of a raster is the height and the width of its patches. The files of one name are read one after the
    other; the first, second, ... file must hold as many patches for each name.

    Args:
        sources: Name -> its rasters: a list of files, one file, or a pattern ("xs_*.tif", sorted).
        streaming: Read each patch from its file when it is needed, in each process. False: read all patches into memory
            when the flow is made.
        keys: Names whose patches are handed out as a list, in this order; None: a dict of all names.
        order: Numbers of the patches in the order in which they are handed out; some may be left out or repeated.
            None: as in the files.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.

    Raises:
        DataFlowError: A file is missing, the files of two names differ in their numbers of patches, or an entry of
            ``order`` is no patch.
        FormatError: A raster is damaged, or its height is not a multiple of its width.
        MissingPackage: rasterio is not installed; names the extra.

    Order:
        That of ``order`` or the files; with ``shuffle`` a new permutation each epoch. Indexable: a datapoint has an
        array (P, P, bands) for each name, in the raster's own dtype.

    State:
        The index of the next datapoint; resuming costs nothing.

    Example:
        >>> ds = PatchesImages(                                                         # doctest: +SKIP
        ...     {"input_xs_patches": ["xs_1.tif", "xs_2.tif"], "labels_patches": ["labels_1.tif", "labels_2.tif"]},
        ...     streaming=True, shuffle=True)
    """

    def __init__(
        self,
        sources: Mapping[str, PathLike | Sequence[PathLike]],
        streaming: bool = False,
        *,
        keys: Sequence[str] | None = None,
        order: Sequence[int] | np.ndarray | None = None,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(shuffle, seed)
        if not isinstance(sources, Mapping) or not sources:
            raise DataFlowError(f"PatchesImages takes a dict from names to lists of rasters, got {sources!r:.200}")
        self._files = {
            name: [RasterFile(path) for path in resolve_files(paths, what=f"raster of {name!r}")]
            for name, paths in sources.items()
        }
        self._keys = if_given(check_names, "PatchesImages", "keys", keys, DataFlowError, least=1, known=sources)
        self._ends = np.cumsum(_patches_per_file(self._files))
        self._patches = _order(order, int(self._ends[-1]))
        self.streaming = streaming
        self._arrays = {} if streaming else {name: self._whole(name) for name in self._keys or sources}

    def _whole(self, name: str) -> np.ndarray:
        parts = [_patches(file[:, :]) for file in self._files[name]]
        whole = np.concatenate(parts) if len(parts) > 1 else parts[0]
        whole.flags.writeable = False  # datapoints are views: a consumer that wrote into one would change the source
        return whole

    def _count(self) -> int:
        return len(self._patches)

    def _read(self, index: int) -> Datapoint:
        patch = int(self._patches[index])
        made = {name: self._patch(name, patch) for name in self._keys or self._files}
        return made if self._keys is None else list(made.values())

    def _patch(self, name: str, patch: int) -> np.ndarray:
        if not self.streaming:
            return self._arrays[name][patch]
        number = int(np.searchsorted(self._ends, patch, side="right"))
        file = self._files[name][number]
        size = file.shape[1]
        first = (patch - (int(self._ends[number - 1]) if number else 0)) * size
        return file[first : first + size, :]


def _patches(raster: np.ndarray) -> np.ndarray:
    size = raster.shape[1]
    return raster.reshape(-1, size, size, raster.shape[2])


def _patches_per_file(files: Mapping[str, list[RasterFile]]) -> list[int]:
    """Number of patches in each file of a name, the same for all names.

    Raises:
        FormatError: A raster does not consist of square patches, or differs from another of its name.
        DataFlowError: Two names have other numbers of patches.
    """
    counts: dict[str, list[int]] = {}
    for name, rasters in files.items():
        for file in rasters:
            height, width, _ = file.shape
            if height % width:
                raise damaged(file.path, f"{height} x {width} pixels are no pile of {width} x {width} patches")
        for one, other in pairwise(rasters):
            if (one.shape[1:], one.dtype) != (other.shape[1:], other.dtype):
                raise damaged(
                    other.path,
                    f"{other.dtype} patches of {other.shape[1]} pixels and {other.shape[2]} bands; those of "
                    f"{one.path} are {one.dtype}, {one.shape[1]} pixels, {one.shape[2]} bands",
                )
        counts[name] = [file.shape[0] // file.shape[1] for file in rasters]
    (first, expected), *others = counts.items()
    for name, found in others:
        if found != expected:
            raise DataFlowError(
                f"PatchesImages: the files of {name!r} have {found} patches, those of {first!r} {expected}: the "
                "files of all names belong together one by one"
            )
    return expected


def _order(order: Sequence[int] | np.ndarray | None, size: int) -> range | np.ndarray:
    if order is None:
        return range(size)
    chosen = np.asarray(order)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not chosen.size:
        raise DataFlowError(f"PatchesImages: order is a list of numbers of patches, got {order!r:.200}")
    if chosen.min() < 0 or chosen.max() >= size:
        raise DataFlowError(
            f"PatchesImages has the patches 0 to {size - 1}; order goes from {chosen.min()} to {chosen.max()}"
        )
    return chosen
