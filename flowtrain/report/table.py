"""The table of runs for the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from flowtrain.utils.arguments import names_arguments

from ..utils.errors import ConfigError, closest
from .folder import RunFolder, find_runs, higher_is_better, run_path

__all__ = ["runs_table", "table_rows"]

_COLUMNS = ("run", "status", "epoch", "step", "started", "minutes")
_METRICS = 4  # scalars that are shown if none are named


def table_rows(folder: str | Path, sort: str | None = None, reverse: bool = False) -> list[dict[str, Any]]:
    """The rows of the table of runs, as dicts.

    Args:
        folder: Searched for runs, with its subfolders.
        sort: A column, or the name of a scalar: the best run comes first. None: by path.
        reverse: Reverse the order.

    Returns:
        For each run ``run``, ``status``, ``epoch``, ``max_epoch``, ``step``, ``started``, ``minutes``, ``note``; and
        ``best`` and ``last``: name of a scalar -> value.

    Raises:
        ConfigError: The folder holds no run, or no run has that column.
    """
    folder = run_path(folder)
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}")
    runs = [RunFolder(path) for path in find_runs(folder)]
    if not runs:
        raise ConfigError(f"there is no run in {folder} or the folders in it")
    rows = [_row(run, folder) for run in runs]
    if sort is not None:
        names = sorted({name for row in rows for name in row["best"]})
        if sort not in _COLUMNS and sort not in names:
            raise ConfigError(f"no run has a column {sort!r}. {closest(sort, [*_COLUMNS, *names])}")
        rows.sort(key=lambda row: _key(row, sort))
    return rows[::-1] if reverse else rows


@names_arguments
def runs_table(folder: str | Path, metrics: Sequence[str] = (), sort: str | None = None, reverse: bool = False) -> str:
    """A text table of all runs in a folder: status, progress and best values of each.

    Args:
        folder: Searched for runs, with its subfolders.
        metrics: Names of the scalars to show; none: four, those of the validation first.
        sort: A column, or the name of a scalar: the best run comes first. None: by path.
        reverse: Reverse the order.

    Returns:
        The table.

    Raises:
        ConfigError: The folder holds no run, or no run has that column or scalar.
    """
    rows = table_rows(folder, sort, reverse)
    known = sorted({name for row in rows for name in row["best"]})
    for name in metrics:
        if name not in known:
            raise ConfigError(f"no run has logged {name!r}. {closest(name, known)}")
    shown = list(metrics) or sorted(
        known, key=lambda name: (not name.startswith(("validation_", "val_")), name != "cost", name)
    )
    shown = shown if metrics else shown[:_METRICS]
    lines = []
    for row in rows:
        epoch = f"{row['epoch']}/{row['max_epoch']}" if row["max_epoch"] else str(row["epoch"])
        values = [f"{row['best'][name]:.5g}" if name in row["best"] else "" for name in shown]
        lines.append([row["run"], row["status"], epoch, row["step"], row["started"], f"{row['minutes']:.1f}", *values])
    heads = [*_COLUMNS, *(f"{'highest' if higher_is_better(name) else 'least'} {name}" for name in shown)]
    left = ("left", "left", "right", "right", "left", "right", *["right"] * len(shown))
    # All cells are text: parsed as numbers, a run named "1e5" would be shown as 100000.
    text = tabulate(lines, heads, colalign=left, disable_numparse=True)
    notes = [f"{row['run']}: {row['note']}" for row in rows if row["note"]]
    return "\n".join([text, *(["", *notes] if notes else [])])


def _row(run: RunFolder, folder: Path) -> dict[str, Any]:
    name = run.path.relative_to(folder)
    results = run.results()
    return {
        "run": str(name) if name.parts else run.name,
        "status": run.status,
        "epoch": run.epoch,
        "max_epoch": run.config.get("max_epoch"),
        "step": run.step,
        "started": time.strftime("%F %H:%M", time.localtime(run.started)) if run.started else "",
        "minutes": run.trained / 60,
        "note": run.note,
        "best": {name: found["best"] for name, found in results.items()},
        "last": {name: found["last"] for name, found in results.items()},
    }


def _key(row: dict[str, Any], sort: str) -> tuple[bool, Any]:
    if sort in _COLUMNS:
        return False, row[sort]
    value = row["best"].get(sort)
    if value is None or value != value:  # runs without the scalar, or with NaN alone, come last
        return True, 0.0
    return False, -value if higher_is_better(sort) else value
