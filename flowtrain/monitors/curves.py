"""Monitor that draws the curves of a run's scalars as a picture; and the function that draws them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.storage import in_run, is_url, writing_to

from .monitor import Monitor

__all__ = ["CurvesMonitor", "base_name", "plot_history"]

History = Mapping[str, Sequence[tuple[int, float]]]

_VALIDATION = ("validation_", "val_")


class CurvesMonitor(Monitor):
    """Draws ``curves.png`` in the run's folder, at the end and, in long runs, at ends of epochs in between.

    Drawing takes some tenths of a second. It is done again only when fifty times that time has passed, so it never
    costs more than two per cent of a run.

    Args:
        filename: The picture, inside the run's folder; its ending chooses the format.

    Example:
        >>> CurvesMonitor("loss.png").filename
        'loss.png'
    """

    _SHARE = 50.0  # the least time between two drawings, in times of the last drawing
    _FIRST_SECONDS = 10.0  # before the first drawing

    def __init__(self, filename: str = "curves.png") -> None:
        self.filename = in_run(filename, "the file of CurvesMonitor")
        self._due = 0.0

    def open(self, log_dir: Path) -> None:
        self._path = log_dir / self.filename
        self._due = time.monotonic() + self._FIRST_SECONDS

    def put_event(self, kind: str, content: dict[str, Any], step: int) -> None:
        if kind == "epoch" and time.monotonic() >= self._due:
            self._draw()

    def close(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if self.history:
            start = time.monotonic()
            plot_history(self.history, self._path)
            end = time.monotonic()
            self._due = end + self._SHARE * (end - start)


@names_arguments
def plot_history(history: History, path: str | Path, columns: int = 3) -> Path | str:
    """Draw one small plot per scalar; ``validation_x`` (or ``val_x``) goes into the plot of ``x``.

    Args:
        history: Name -> (step, value) pairs, such as `trainer.history` or what `read_jsonl` gives.
        path: Path or URL of the picture; its ending chooses the format.
        columns: How many plots stand beside each other at most.

    Returns:
        The path.

    Example:
        >>> plot_history({"cost": [(1, 2.0), (2, 1.0)]}, "/tmp/curves.png")  # doctest: +SKIP
    """
    # Without pyplot, which has global state and opens a window system: so any thread may draw, on any machine.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels: dict[str, list[str]] = {}
    for name in sorted(history):
        panels.setdefault(base_name(name), []).append(name)
    width = max(1, min(columns, len(panels)))
    rows = max(1, math.ceil(len(panels) / width))
    figure = Figure(figsize=(4.5 * width, 2.8 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, names) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, width, index + 1)
        for name in sorted(names, key=len):  # the training's before the validation's: each keeps its colour
            steps, values = zip(*history[name], strict=True) if history[name] else ((), ())
            axes.plot(steps, values, marker="." if len(steps) < 30 else None, label=name)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend(fontsize=8)
    with writing_to(path) as beside:
        figure.savefig(beside)
    return str(path) if is_url(path) else Path(path)


def base_name(name: str) -> str:
    """The name of the plot that a scalar is drawn in: ``x`` for ``x``, ``validation_x`` and ``val_x``."""
    for prefix in _VALIDATION:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name
