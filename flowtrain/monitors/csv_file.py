"""Monitor that writes scalars as a CSV table, for spreadsheets."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

from flowtrain.utils.files import explained, writing
from flowtrain.utils.storage import in_run

from .line_file import check_grown, rows_of, set_aside
from .monitor import Monitor

__all__ = ["CSVMonitor"]

logger = logging.getLogger("flowtrain.monitors")


class CSVMonitor(Monitor):
    """Writes a CSV file in the run's folder, with a column per scalar and a row per step.

    A scalar that is logged for the first time makes a new column: the file is then written anew, beside the old one,
    and renamed, so that it is whole at every moment. A resumed run goes back to the rows and columns of its checkpoint.
    The cell of a scalar that was not logged at a step is empty.

    Args:
        filename: The file, inside the run's folder.

    Example:
        >>> import pandas as pd
        >>> pd.read_csv("train_log/run/metrics.csv")  # doctest: +SKIP
    """

    def __init__(self, filename: str = "metrics.csv") -> None:
        self.filename = in_run(filename, "the file of CSVMonitor")
        self._columns: list[str] = []
        self._rows = 0  # in the file
        self._size = 0  # bytes of the file after the last write that succeeded
        self._step: int | None = None  # of the row that is being filled
        self._values: dict[str, float] = {}  # the row that is being filled
        self._pending: list[dict[str, Any]] = []  # full rows that are not in the file yet
        self._ours = False  # whether the file is this run's; else one that exists is set aside

    def open(self, log_dir: Path) -> None:
        self._path = log_dir / self.filename

    def put_scalar(self, name: str, value: float, step: int) -> None:
        # A scalar that comes twice at a step gets a second row: both values are in the history, so both in the file.
        if step != self._step or name in self._values:
            self._end_row()
        self._step = step
        self._values[name] = value

    def flush(self) -> None:
        self._end_row()
        if not self._pending:
            return
        if not self._ours:
            set_aside(self._path)
            self._ours = True
        check_grown(self._path, self._size)
        new = {name: None for row in self._pending for name in row if name not in self._columns}
        if new:
            rows = self._read()
            self._columns = self._columns or ["step"]
            self._columns += [name for name in new if name != "step"]
            self._rewrite(rows)
        with explained(self._path), open(self._path, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns, lineterminator="\n").writerows(self._pending)
        self._size = self._path.stat().st_size
        self._rows += len(self._pending)
        self._pending = []

    def close(self) -> None:
        self.flush()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows, "columns": list(self._columns), "bytes": self._size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        wanted, size = int(state["rows"]), int(state.get("bytes", 0))
        if not self._ours and wanted == 0:
            set_aside(self._path)
        self._values, self._pending, self._ours = {}, [], True
        self._columns = list(state["columns"])
        self._path.parent.mkdir(parents=True, exist_ok=True)
        rows = self._read()[:wanted]
        if len(rows) < wanted or (size and self._path.stat().st_size < size):
            logger.warning("%s is shorter than the run had left it: it is written anew from the history", self._path)
            rows = rows_of(self.history)
        self._rows = len(rows)
        self._rewrite(rows)
        self._size = self._path.stat().st_size

    def _end_row(self) -> None:
        """Move the row that is being filled to the pending ones; a scalar called "step" must not hide the step."""
        if self._values:
            renamed = {"scalar/step" if name == "step" else name: v for name, v in self._values.items()}
            self._pending.append({"step": self._step, **renamed})
            self._values = {}

    def _read(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with open(self._path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        # Renamed but not synced: after a power cut the file is written anew from the history, as one that was lost.
        with writing(self._path, durable=False) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._columns, lineterminator="\n", extrasaction="ignore")
            if self._columns:  # a checkpoint from before the first value: an empty file, to which flush adds a header
                writer.writeheader()
            writer.writerows(rows)
