"""Monitor that writes scalars as JSON lines, for scripts; and their reader."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from flowtrain.utils.json_text import json_text
from flowtrain.utils.storage import is_folder, is_url, path_or_url, read_all

from .line_file import LineMonitor, rows_of

__all__ = ["JSONLMonitor", "read_jsonl"]


class JSONLMonitor(LineMonitor):
    """Appends ``{"step": 100, "cost": 0.25, ...}`` to a file in the run's folder.

    One line holds what was logged at one step between two flushes. Reading gives back the same float64; NaN and
    infinity, which JSON lacks, are written as the strings "nan", "inf" and "-inf". A resumed run first cuts off what
    was logged after its checkpoint, and no times are written, so the file of a run that was killed and resumed is byte
    for byte that of an undisturbed one.

    Args:
        filename: The file, inside the run's folder.

    Example:
        >>> import pandas as pd
        >>> pd.read_json("train_log/run/metrics.jsonl", lines=True)  # doctest: +SKIP
    """

    def __init__(self, filename: str = "metrics.jsonl") -> None:
        super().__init__(filename, self._all_lines)
        self._step: int | None = None
        self._values: dict[str, float] = {}

    def put_scalar(self, name: str, value: float, step: int) -> None:
        name = "scalar/step" if name == "step" else name  # it must not hide the step
        if step != self._step or name in self._values:
            self._write()
        self._step = step
        self._values[name] = value

    def flush(self) -> None:
        self._write()
        super().flush()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._values.clear()
        super().load_state_dict(state)

    def _write(self) -> None:
        if self._values:
            line = json_text({"step": self._step, **self._values})
            self._values.clear()
            self._file.write(line)

    def _all_lines(self) -> list[str]:
        """The lines of the whole history, for a file that was lost."""
        return [json_text(row) for row in rows_of(self.history)]


def read_jsonl(path: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Read what a JSONLMonitor wrote, also of a run that is under way or was killed.

    Args:
        path: The file, or the run's folder; or the URL of one of them.

    Returns:
        Name -> (step, value) pairs, as `trainer.history`. A last line without its end is left out.

    Example:
        >>> read_jsonl("train_log/run")["cost"]  # doctest: +SKIP
        [(100, 0.25), (200, 0.125)]
    """
    given = path_or_url(path)
    if is_url(given):
        text = read_all(f"{given.rstrip('/')}/metrics.jsonl" if is_folder(given) else given).decode()
    else:
        text = Path(given, "metrics.jsonl" if os.path.isdir(given) else "").read_text(encoding="utf-8")
    history: dict[str, list[tuple[int, float]]] = {}
    for line in text.split("\n")[:-1]:
        values = json.loads(line)
        step = int(values.pop("step"))
        for name, value in values.items():
            history.setdefault(name, []).append((step, float(value)))
    return history
