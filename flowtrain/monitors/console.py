"""Monitor that logs an epoch's scalars as a table, for the terminal and the log file."""

from __future__ import annotations

import fnmatch
import logging
import time
from collections.abc import Sequence
from typing import Any

from .monitor import Monitor

__all__ = ["ConsoleMonitor"]

logger = logging.getLogger("flowtrain.monitors")


class ConsoleMonitor(Monitor):
    """Logs a table of the scalars of each epoch: the value now, the value before, and the change.

    It uses the logger ``flowtrain``, so the table is also in ``log.txt`` of the run. If epochs are short, those between
    two tables get one line each, with the values and their changes.

    Args:
        include: Patterns (``"val*"``) of the names to show.
        exclude: Patterns of the names not to show.
        table_every: The least seconds between two tables; 0: a table for each epoch.

    Example:
        >>> ConsoleMonitor(exclude=["*/throughput"])
        <ConsoleMonitor>
    """

    def __init__(self, include: Sequence[str] = ("*",), exclude: Sequence[str] = (), table_every: float = 30.0) -> None:
        self.include, self.exclude, self.table_every = tuple(include), tuple(exclude), table_every
        self._last_table = -float("inf")
        self._now: dict[str, float] = {}
        self._before: dict[str, float] = {}

    def __repr__(self) -> str:
        return "<ConsoleMonitor>"

    def put_scalar(self, name: str, value: float, step: int) -> None:
        if _matches(name, self.include) and not _matches(name, self.exclude):
            self._now[name] = value

    def put_event(self, kind: str, content: dict[str, Any], step: int) -> None:
        if kind == "epoch":
            self._print(f"epoch {content.get('epoch', '?')}, step {step}")

    def close(self) -> None:
        self._print("after the last epoch")

    def state_dict(self) -> dict[str, Any]:
        return {"before": {**self._before, **self._now}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._now, self._before = {}, {name: float(value) for name, value in state["before"].items()}

    def _print(self, title: str) -> None:
        if not self._now:
            return
        rows = [(name, f"{value:.5g}", *self._compared(name, value)) for name, value in sorted(self._now.items())]
        now = time.monotonic()
        # Short epochs would push all else out of the terminal with their tables.
        if now - self._last_table >= self.table_every:
            self._last_table = now
            logger.info("\n%s", _table(title, rows))
        else:
            # A change that rounds to nothing, "+0.0 %" or "-0.0 %", is left out.
            shown = [
                f"{name} {value}" if change[1:] in ("", "0.0 %") else f"{name} {value} ({change})"
                for name, value, _, change in rows
            ]
            logger.info("%s: %s", title, ", ".join(shown))
        self._before.update(self._now)
        self._now = {}

    def _compared(self, name: str, value: float) -> tuple[str, str]:
        """The value before and the change in per cent, as text; empty if there is none, or the value before was 0."""
        before = self._before.get(name)
        if before is None:
            return "", ""
        change = f"{100 * (value - before) / abs(before):+.1f} %" if before else ""
        return f"{before:.5g}", change


def _table(title: str, rows: list[tuple[str, str, str, str]]) -> str:
    from tabulate import tabulate

    headers = [title, "now", "before", "change"]
    return tabulate(rows, headers, colalign=("left", "right", "right", "right"), disable_numparse=True)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
