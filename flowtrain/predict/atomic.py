"""Files and folders that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from flowtrain.utils.errors import ExportError

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: str | Path, overwrite: bool) -> Iterator[Path]:
    """Write to a temporary name beside the target, and give it the target's name when all went well.

    Args:
        path: The file or folder to make; its parents are made too.
        overwrite: Whether one that exists may be replaced.

    Yields:
        The temporary path, which ends as the target does. It is removed when an error leaves the block.

    Raises:
        ExportError: The target exists.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise ExportError(f"{path} exists. Choose another path, or pass overwrite=True to replace it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".unfinished-{os.getpid()}-{path.name}")
    _remove(temporary)
    try:
        yield temporary
        _rename(temporary, path)
    finally:
        _remove(temporary)


def _rename(new: Path, path: Path) -> None:
    if not path.is_dir():
        os.replace(new, path)
        return
    # A folder cannot be replaced in one step: it steps aside first, and returns if anything fails.
    aside = new.with_name(new.name + ".old")
    path.rename(aside)
    try:
        new.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
