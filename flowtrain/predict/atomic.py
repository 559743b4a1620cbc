"""Files and folders that are either whole or not there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from flowtrain.utils.errors import ExportError
from flowtrain.utils.files import writing

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
    with writing(path) as beside:
        yield beside
