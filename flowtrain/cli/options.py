"""Click classes and helpers for ``flowtrain``'s commands and scripts: one-line errors, checked arguments, pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from ..utils.errors import ConfigError, FlowtrainError
from ..utils.files import write_whole
from ..utils.storage import NotLocal, local_only
from .errors import in_one_line

__all__ = [
    "FOLDER",
    "PICTURES",
    "POSITIVE",
    "RATE",
    "Command",
    "FiniteRange",
    "Group",
    "LocalPath",
    "NewPath",
    "distinct",
    "pictures_beneath",
    "write_picture",
]

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class FiniteRange(click.FloatRange):
    """A FloatRange that also refuses NaN and infinity: NaN passes click's comparisons."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


class LocalPath(click.Path):
    """A path on this machine; a URL is an error that says so, where click would say that it does not exist."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            given = local_only(value, "this", "Copy it here first: aws s3 cp, gcloud storage cp, curl, ...")
        except NotLocal as error:
            self.fail(str(error), param, ctx)
        return super().convert(given, param, ctx)


FOLDER = LocalPath(exists=True, file_okay=False)
"""An existing folder."""

POSITIVE = click.IntRange(1)
"""A whole number from 1."""

RATE = FiniteRange(0, min_open=True)
"""A number above 0, such as a learning rate."""


class _OneLine:
    """Mixin: shows flowtrain's errors and those of files in one line, with exit code 2; all others as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)  # type: ignore[misc]
        except (FlowtrainError, OSError) as error:
            failed = click.ClickException(in_one_line(error))
            failed.exit_code = 2  # click's own for wrong usage; 1 is that of a traceback, a fault of the program
            raise failed from error


class Command(_OneLine, click.Command):
    """A click command that shows flowtrain's errors, and those of files, in one line with exit code 2."""


class Group(_OneLine, click.Group):
    """A click group that shows flowtrain's errors, and those of files, in one line with exit code 2.

    Example:
        >>> @click.group(cls=Group)
        ... def main():
        ...     "Train and evaluate."
    """

    command_class = Command


class NewPath(LocalPath):
    """A file or folder to be written: refused before the work starts if it could not be written at its end.

    Args:
        suffixes: The allowed endings, in lower case; none: any ending, and folders.
        replace: Whether an existing file may be replaced.
    """

    name = "path"

    def __init__(self, *suffixes: str, replace: bool = True) -> None:
        super().__init__(dir_okay=not suffixes, path_type=Path)
        self.suffixes, self.replace = suffixes, replace

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path: Path = super().convert(value, param, ctx)  # type: ignore[assignment]
        if self.suffixes and path.suffix.lower() not in self.suffixes:
            self.fail(f"{path.name!r} ends in none of {', '.join(self.suffixes)}, which can be written.", param, ctx)
        if not path.absolute().parent.is_dir():  # else hours of work end in an error when they are written
            self.fail(f"the folder {path.absolute().parent} does not exist: make it first.", param, ctx)
        if path.exists() and not self.replace:
            self.fail(f"{path} exists: choose another path.", param, ctx)
        return path


def distinct(sources: Sequence[str | Path], targets: Sequence[Path]) -> list[Path]:
    """Check that no two sources are written to the same target; returns the targets as a list.

    Raises:
        ConfigError: Two are; the later would replace the earlier.
    """
    made: dict[Path, str | Path] = {}
    for source, target in zip(sources, targets, strict=True):
        if target in made:
            raise ConfigError(
                f"{made[target]} and {source} would both be written as {target}: rename one, or run over them apart."
            )
        made[target] = source
    return list(targets)


def pictures_beneath(folder: str | Path) -> list[Path]:
    """All picture files in a folder and its subfolders, sorted by path.

    Raises:
        ConfigError: There is none, or OpenCV cannot read one.
    """
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in PICTURES)
    if not found:
        raise ConfigError(f"no picture in {folder}; looked for {', '.join(sorted(PICTURES))}")
    for path in found:
        if not cv2.haveImageReader(str(path)):  # looks at the first bytes only: quick for thousands of files
            raise ConfigError(f"{path} is not a picture that OpenCV can read")
    return found


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write a uint8 picture (H, W), (H, W, 1) or RGB (H, W, 3) to a file, whole or not at all.

    Raises:
        ConfigError: The array is another, or the file's ending is not that of a picture format.
    """
    path, picture = Path(path), np.asarray(picture)
    picture = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)):
        raise ConfigError(f"{path}: a picture is uint8 (H, W) or (H, W, 3); got {picture.dtype} {picture.shape}.")
    if path.suffix.lower() not in PICTURES:
        raise ConfigError(f"{path}: a picture ends in {', '.join(PICTURES)}.")
    bgr = np.ascontiguousarray(picture[..., ::-1]) if picture.ndim == 3 else picture
    done, encoded = cv2.imencode(path.suffix.lower(), bgr)
    if not done:
        raise ConfigError(f"{path}: OpenCV cannot write {picture.shape} as {path.suffix}.")
    write_whole(path, encoded.tobytes(), durable=False)
