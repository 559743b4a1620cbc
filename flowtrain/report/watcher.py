"""watch: rewrites the report of running trainings whenever they have changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from flowtrain.utils.arguments import names_arguments

from ..utils.run_status import status_of
from .folder import RunFolder, run_path
from .page_file import write_report

__all__ = ["watch"]


@names_arguments
def watch(
    runs: Sequence[str | Path], path: str | Path = "report.html", *, every: float = 10.0, images: int = 24
) -> Path | str:
    """Write a report, and again when the runs have changed, until all of them have ended.

    The page reloads itself in the browser and keeps what was selected in it. The final page, of runs that have ended,
    does not reload.

    Args:
        runs: Log folders of the runs.
        path: The HTML file, or its URL.
        every: Seconds between two looks at the runs.
        images: How many pictures of a kind to keep of each run.

    Returns:
        The path.

    Raises:
        ConfigError: One of the folders holds no run.
    """
    seen: object = None
    folders = [RunFolder(run_path(run)).path for run in runs]  # refuses what is no run before its status is asked
    while True:
        # The status before the files: a run that ends in between is looked at once more, so the last page has its end.
        alive = any(status_of(run)["status"] == "running" for run in folders)
        found = _state_of(folders)
        if found != seen or not alive:
            path = write_report(folders, path, images=images, refresh=every if alive else 0.0)
            seen = found
        if not alive:
            return path
        time.sleep(every)


def _state_of(runs: Sequence[Path]) -> object:
    """Names, sizes and times of the files that a report reads: if they are unchanged, so is the page."""
    found = []
    for run in runs:
        for path in [*run.iterdir(), *(run / "tensorboard").glob("*"), *(run / "checkpoints").glob("*")]:
            try:
                about = path.stat()
            except OSError:  # gone meanwhile
                continue
            found.append((str(path), about.st_size, about.st_mtime_ns))
    return sorted(found)
