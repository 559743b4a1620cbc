"""ImageFromFile and ImageFolder: sources of pictures in files."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from ...utils.arguments import as_int, check_choice, check_int, if_given
from ...utils.errors import DataFlowError, first_few
from ...utils.storage import first_missing, is_folder, is_url, list_folder, path_or_url
from ..core.cursor import Datapoint
from ..core.undecoded import get_leaving
from .decode import BrokenImage, Depth, Palette, check_reading, looks_whole, read_image, unreachable
from .files import labelled_files, matching_paths, no_file_because
from .memory import Ordered
from .turbojpeg import why_no_regions

__all__ = ["IMAGE_SUFFIXES", "ImageFolder", "ImageFromFile"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""File name endings of pictures, for finding them in a folder."""

_RESIZABLE = ("uint8", "uint16", "int16", "float32", "float64")
logger = logging.getLogger("flowtrain.dataflow")


class ImageFromFile(Ordered):
    """Read pictures from files.

    Args:
        files: Paths; or one folder, whose pictures (not those of folders within) are sorted by name; or one pattern
            (``"photos/*.jpg"``). Each may be a URL (``"s3://bucket/photos/*.jpg"``).
        channel: 3 for RGB, 1 for gray.
        resize: (height, width) in pixels, or one number for both; None keeps each picture's size.
        shuffle: Use a new random order in each epoch.
        on_error: ``"raise"``: a broken file is an error that names it. ``"skip"``: broken files are left out. They are
            searched for once, when the flow is made, by the beginning and end of each file (some 20 us), so that the
            length is right; ``skipped`` lists them and one warning names them. If decoding finds a file broken in its
            middle, the next file takes its place, with a warning.
        min_size: Decode JPEGs at 1/2, 1/4 or 1/8 of their size: the smallest whose shorter side still has
            ``min_size`` pixels. For much larger pictures that are cropped or resized to ``min_size`` afterwards. Saves
            a quarter of the time and more, and is closer to area resampling than decoding all and resizing linearly.
        seed: Seed of the order; None takes the default.
        palette: For pictures with a palette, such as masks of classes: ``"index"`` gives the palette indices
            (``channel=1``; also takes gray pictures, and resizes all by nearest neighbour), ``"color"`` the colours.
            None gives the colours with ``channel=3``, and is an error with ``channel=1``.
        depth: ``"keep"``: every level as stored, so uint16 for 16-bit pictures. 8: the upper 8 of 16 bits.

    Order: that of ``files``, or with ``shuffle`` one that depends on (seed, epoch). Indexable.

    State: one number.

    Yields:
        [picture]: (H, W, channel), uint8; uint16 for deeper pictures, and for TIFFs any dtype that they hold.

    Raises:
        DataFlowError: No file was given, a path does not exist, the folder holds no picture, or a picture has a palette
            and neither ``palette`` nor ``channel=3`` says how to read it.
        BrokenImage: A file, which is named, is cut short, damaged or no picture. PNG has checksums; in JPEG nine of ten
            lost blocks are noticed; in BMP, PPM, WebP and uncompressed TIFF changed bytes go unnoticed.

    Example:
        >>> from pathlib import Path
        >>> ds = ImageFromFile(sorted(Path("photos").glob("*.jpg")), shuffle=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        files: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        channel: int = 3,
        resize: int | tuple[int, int] | None = None,
        shuffle: bool = False,
        on_error: Literal["raise", "skip"] = "raise",
        min_size: int | None = None,
        seed: int | Literal["random"] | None = None,
        palette: Palette = None,
        depth: Depth = "keep",
    ) -> None:
        super().__init__(shuffle, seed)
        check_reading(type(self).__name__, channel, palette, depth)
        check_choice("ImageFromFile", "on_error", on_error, ("raise", "skip"), DataFlowError)
        self.files = _picture_paths(files)
        self.channel, self.on_error = channel, on_error
        self.palette: Palette = palette
        self.depth: Depth = depth
        self.resize = _as_size(resize)
        self.min_size = if_given(check_int, "ImageFromFile", "min_size", min_size)
        if min_size is None:
            self._advice = "pass min_size= to decode large JPEGs scaled down, or keep smaller files"
        self.skipped: list[str] = []
        if on_error == "skip":
            self._leave_out_broken()

    def __len__(self) -> int:
        return len(self.files)

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        place = self._place(index, epoch)
        # Instead of a broken file the next one in the order of ``files``: the same in every process, and bounded.
        for step in range(len(self.files)):
            at = (place + step) % len(self.files)
            try:
                return self._datapoint(at)
            except (BrokenImage, OSError) as error:
                if self.on_error == "raise" or unreachable(error):
                    self._fail(error, index, epoch)
                self._skip(self.files[at], error)
            except DataFlowError as error:  # not broken, so never skipped: an argument has to say how to read it
                self._fail(error, index, epoch)
        raise DataFlowError(f"{type(self).__name__}: none of the {len(self.files)} files can be decoded")

    def _get_undecoded(self, index: int, epoch: int) -> Datapoint:
        return get_leaving(self, index, epoch)

    def _why_decoded(self) -> str | None:
        if self.resize is not None:
            return f"{self} resizes them"
        return why_no_regions()

    def _datapoint(self, at: int) -> Datapoint:
        return [self._read(self.files[at])]

    def _read(self, path: str) -> np.ndarray:
        image = read_image(path, self.channel, self.min_size, self.palette, self.depth)
        if self.resize is not None and image.shape[:2] != self.resize:
            image = _resized(image, self.resize, mixed=self.palette != "index")
        return image

    def _leave_out_broken(self) -> None:
        whole = [path for path in self.files if looks_whole(path)]
        kept = set(whole)
        self.skipped = [path for path in self.files if path not in kept]
        if not whole:
            raise DataFlowError(f"ImageFromFile: none of the {len(self.files)} files is a whole picture")
        if self.skipped:
            logger.warning(
                "ImageFromFile skips %d of %d files: %s", len(self.skipped), len(self.files), first_few(self.skipped)
            )
        self.files = whole

    def _skip(self, path: str, error: Exception) -> None:
        if path not in self.skipped:
            self.skipped.append(path)
            logger.warning("ImageFromFile skips a file (%d so far): %s", len(self.skipped), error)


class ImageFolder(ImageFromFile):
    """Read pictures and their classes from a folder that holds one folder per class.

    Args:
        folder: Holds one folder per class, whose sorted names are the classes 0, 1, 2, ...
        channel: 3 for RGB, 1 for gray.
        resize: (height, width) in pixels, or one number for both; None keeps each picture's size.
        shuffle: Use a new random order in each epoch.
        on_error: ``"raise"`` or ``"skip"``; see ``ImageFromFile``.
        min_size: Decode large JPEGs at a fraction of their size; see ``ImageFromFile``.
        seed: Seed of the order; None takes the default.
        palette: ``"index"``, ``"color"`` or None; see ``ImageFromFile``.
        depth: ``"keep"`` or 8; see ``ImageFromFile``.

    ``classes`` lists the class names, ``labels`` each file's class.

    Order: by class, then by name; or with ``shuffle`` one that depends on (seed, epoch). Indexable.

    State: one number.

    Yields:
        [picture, label]: (H, W, channel), as from ``ImageFromFile``, and a Python int.

    Raises:
        DataFlowError: There are no class folders, or no picture in them.

    Example:
        >>> ds = ImageFolder("flowers", resize=64, shuffle=True)  # doctest: +SKIP
        >>> ds.classes  # doctest: +SKIP
        ['daisy', 'rose']
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        channel: int = 3,
        resize: int | tuple[int, int] | None = None,
        shuffle: bool = False,
        on_error: Literal["raise", "skip"] = "raise",
        min_size: int | None = None,
        seed: int | Literal["random"] | None = None,
        palette: Palette = None,
        depth: Depth = "keep",
    ) -> None:
        self.classes, files = labelled_files(folder, IMAGE_SUFFIXES)
        super().__init__(
            [path for path, _ in files], channel, resize, shuffle, on_error, min_size, seed, palette, depth
        )
        numbers = dict(files)  # by path, since on_error="skip" has left files out
        self.labels = [numbers[path] for path in self.files]

    def _datapoint(self, at: int) -> Datapoint:
        return [self._read(self.files[at]), self.labels[at]]


def _picture_paths(files: Any) -> list[str]:
    """The paths to read, as strings; for a folder those of the pictures in it."""
    if isinstance(files, (str, os.PathLike)) and not _is_pattern(path_or_url(files)):
        folder = path_or_url(files)
        found = [path for path in _in_folder(folder) if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES]
        if not found:
            raise DataFlowError(
                f"ImageFromFile: the folder {folder} holds no picture. It looks for {', '.join(IMAGE_SUFFIXES)}, not "
                "in folders within it"
            )
        return found
    paths = matching_paths(files)
    if not paths:
        raise DataFlowError("ImageFromFile got an empty list of files. Does the pattern that made it find any?")
    far = first_missing([path for path in paths if is_url(path)])
    missing = [path for path in paths if path == far or not (is_url(path) or os.path.isfile(path))]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        why = no_file_because(missing[0])
        raise DataFlowError(f"ImageFromFile: {missing[0]} {why}{more} (of {len(paths)} files)")
    return paths


def _is_pattern(path: str) -> bool:
    return glob.has_magic(path) and not (is_folder(path) if is_url(path) else os.path.lexists(path))


def _in_folder(folder: str) -> list[str]:
    if is_url(folder):
        if is_folder(folder):
            return list_folder(folder)
        raise DataFlowError(f"ImageFromFile: {folder} is no folder; pass a list of files, a pattern or a folder")
    if not os.path.isdir(folder):
        what = "is a file; pass a list of files" if os.path.exists(folder) else "does not exist"
        raise DataFlowError(f"ImageFromFile: {folder} {what}, or a folder of pictures")
    return sorted(str(path) for path in Path(folder).iterdir())


def _resized(image: np.ndarray, size: tuple[int, int], mixed: bool) -> np.ndarray:
    """Resize a picture (H, W, C); unless ``mixed`` by nearest neighbour, for palette indices and other labels."""
    height, width = size
    shrinks = height < image.shape[0] and width < image.shape[1]
    way = (cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR) if mixed else cv2.INTER_NEAREST_EXACT
    given = image if image.dtype.name in _RESIZABLE else image.astype(np.float64)  # exact for 32-bit integers of TIFFs
    resized = cv2.resize(given, (width, height), interpolation=way)
    if given is not image:
        resized = np.rint(resized).astype(image.dtype)
    return resized[:, :, None] if resized.ndim == 2 else resized


def _as_size(resize: Any) -> tuple[int, int] | None:
    if resize is None:
        return None
    size = [as_int(side) for side in (resize if isinstance(resize, Iterable) else (resize, resize))]
    if len(size) != 2 or not all(side is not None and side > 0 for side in size):
        raise DataFlowError(f"ImageFromFile: resize is (height, width) in pixels, not {resize!r}")
    return size[0], size[1]  # type: ignore[return-value]
