"""Everything a run logs, for TensorBoard."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from .base import Monitor
from .event_file import EventFile, histogram_value, hparams_value, image_value

__all__ = ["TensorBoardMonitor"]

logger = logging.getLogger("flowtrain.monitors")


class TensorBoardMonitor(Monitor):
    """Writes scalars, pictures, histograms, the graph and the hyperparameters as event files.

    Look at them with ``tensorboard --logdir train_log`` (``pip install tensorboard``; writing does not need
    it). A resumed run takes back what was written after its checkpoint and goes on in a new file, so that a
    TensorBoard that is open all the while follows it.

    Args:
        folder: The folder inside the run's folder.
        max_images: How many pictures of a batch are kept.

    Example:
        >>> TensorBoardMonitor(max_images=3).max_images
        3
    """

    def __init__(self, folder: str = "tensorboard", max_images: int = 10) -> None:
        self.folder, self.max_images = folder, max_images
        self._file: EventFile | None = None
        self._newest: Path | None = None
        self._last_step = 0
        self._start_step: int | None = None

    def open(self, log_dir: Path) -> None:
        self._path = log_dir / self.folder

    def put_scalar(self, name: str, value: float, step: int) -> None:
        self._at(step).add_value(step, tag=name, simple_value=value)

    def put_image(self, name: str, image: np.ndarray, step: int) -> None:
        shown = image[: self.max_images]
        for index, picture in enumerate(shown):
            tag = name if len(shown) == 1 else f"{name}/{index}"
            self._at(step).add_value(step, tag=tag, image=image_value(picture))

    def put_histogram(self, name: str, values: np.ndarray, step: int) -> None:
        self._at(step).add_value(step, tag=name, histo=histogram_value(values))

    def put_event(self, kind: str, content: dict[str, Any], step: int) -> None:
        """See Monitor: the graph goes to the graph tab, the config to the hparams tab."""
        if kind == "graph":
            graph = content["graph_def"]
            serialised = graph if isinstance(graph, bytes) else graph.SerializeToString()
            self._at(step).add(step, graph_def=serialised)
        elif kind == "config":
            settings = {name: _shown(value) for name, value in content.items() if value is not None}
            self._at(step).add_value(step, **hparams_value(settings, start=time.time()))

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._start_step = self._last_step + 1

    def state_dict(self) -> dict[str, Any]:
        self.flush()
        if self._newest is None:
            return {"step": self._last_step, "file": "", "bytes": 0}
        return {
            "step": self._last_step,
            "file": self._newest.name,
            "bytes": self._newest.stat().st_size,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.close()
        self._last_step = int(state["step"])
        self._start_step = self._last_step + 1
        name, size = str(state["file"]), int(state["bytes"])
        self._newest = self._path / name if (self._path / name).is_file() else None
        for path in self._event_files():
            if path.name > name:  # of an attempt that went on from this checkpoint and was killed
                path.unlink()
            elif path.name == name and path.stat().st_size > size:
                os.truncate(path, size)

    def _at(self, step: int) -> EventFile:
        if self._file is None:
            if self._start_step is None:
                self._set_aside()
            self._file = EventFile(self._path, self._start_step)
            self._newest = self._file.path
        self._last_step = max(self._last_step, step)
        return self._file

    def _event_files(self) -> list[Path]:
        return list(self._path.glob("events.out.tfevents.*"))

    def _set_aside(self) -> None:
        """Hide from TensorBoard what a run wrote that was killed before its first checkpoint."""
        for path in self._event_files():
            path.rename(path.with_name(path.name.replace("tfevents", "unfinished")))


def _shown(value: Any) -> bool | float | str:
    return value if isinstance(value, (bool, int, float, str)) else str(value)
