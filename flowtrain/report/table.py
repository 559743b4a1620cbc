"""A table of runs for the terminal."""

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
_METRICS = 4


def table_rows(folder: str | Path, sort: str | None = None, reverse: bool = False) -> list[dict[str, Any]]:
    """What there is to say of each run in a folder.

    Args:
        folder: Looked through, with the folders in it.
        sort: A column or a scalar's name; a scalar sorts the best run to the top. None: by the path.
        reverse: Turn the order round.

    Returns:
        One dict a run: ``run``, ``status``, ``epoch``, ``max_epoch``, ``step``, ``started``, ``minutes``, ``note``, and
        ``best`` and ``last``: name of a scalar -> value.

    Raises:
        ConfigError: There is no run in it, or no such column.
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
    """A table of all runs in a folder: how each stands and the best values it reached.

    Args:
        folder: Looked through, with the folders in it.
        metrics: The scalars to show; none: four, those of the validation first.
        sort: See `table_rows`.
        reverse: See `table_rows`.

    Returns:
        Text.

    Raises:
        ConfigError: There is no run in it, or no such column or scalar.
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
    text = tabulate(lines, heads, colalign=left, disable_numparse=True)
    notes = [f"{row['run']}: {row['note']}" for row in rows if row["note"]]
    return "\n".join([text, *(["", *notes] if notes else [])])


def _row(run: RunFolder, folder: Path) -> dict[str, Any]:
    name = run.path.relative_to(folder)
    results = run.results()
    trained = sum(sum(epoch.seconds.values()) for epoch in run.epochs)
    return {
        "run": str(name) if name.parts else run.name,
        "status": run.status,
        "epoch": run.epoch,
        "max_epoch": run.config.get("max_epoch"),
        "step": run.step,
        "started": time.strftime("%F %H:%M", time.localtime(run.started)) if run.started else "",
        "minutes": trained / 60,
        "note": run.note,
        "best": {name: found["best"] for name, found in results.items()},
        "last": {name: found["last"] for name, found in results.items()},
    }


def _key(row: dict[str, Any], sort: str) -> tuple[bool, Any]:
    if sort in _COLUMNS:
        return False, row[sort]
    value = row["best"].get(sort)
    if value is None or value != value:
        return True, 0.0
    return False, -value if higher_is_better(sort) else value
