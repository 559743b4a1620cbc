"""Monitor that writes wall-clock times: when scalars were logged, and what the time of each epoch was spent on."""

from __future__ import annotations

import json
import time
from typing import Any

from .line_file import LineMonitor

__all__ = ["TimelineMonitor"]


class TimelineMonitor(LineMonitor):
    """Appends wall-clock times to ``timeline.jsonl`` in the run's folder, for ``flowtrain report``.

    There is a line for each step at which scalars were logged, ``{"time": 1764383000.1, "step": 100}`` (seconds since
    1970), and one for each epoch, with ``"epoch"`` and ``"seconds"``: how long training waited for data, ran steps,
    was in callbacks and saved. The times are not in ``metrics.jsonl``, which is the same in each repetition of a run.

    Args:
        filename: The file, inside the run's folder.

    Example:
        >>> TimelineMonitor().filename
        'timeline.jsonl'
    """

    def __init__(self, filename: str = "timeline.jsonl") -> None:
        super().__init__(filename)
        self._step: int | None = None

    def put_scalar(self, name: str, value: float, step: int) -> None:
        if step != self._step:
            self._step = step
            self._file.write(json.dumps({"time": round(time.time(), 3), "step": step}))

    def put_event(self, kind: str, content: dict[str, Any], step: int) -> None:
        if kind == "epoch":
            line = {"time": round(time.time(), 3), "step": step, "epoch": content["epoch"]}
            seconds = {name: round(value, 6) for name, value in content.get("seconds", {}).items()}
            self._file.write(json.dumps(line | ({"seconds": seconds} if seconds else {})))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step = None  # its line may be among those that are cut off
        super().load_state_dict(state)
