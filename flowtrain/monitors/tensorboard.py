"""Monitor that writes event files for TensorBoard."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from flowtrain.utils.storage import in_run

from .event_file import EventFile, histogram_value, hparams_value, image_value
from .line_file import rows_of
from .monitor import Monitor

__all__ = ["TensorBoardMonitor"]

logger = logging.getLogger("flowtrain.monitors")


class TensorBoardMonitor(Monitor):
    """Writes scalars, pictures, histograms, the graph and the hyperparameters as event files.

    Look at them with ``tensorboard --logdir train_log`` (``pip install tensorboard``; writing does not need
    it). A resumed run cuts off what was written after its checkpoint and goes on in a new file, so that a TensorBoard
    that is open all the while follows it.

    Args:
        folder: Folder of the event files, inside the run's folder.
        max_images: How many pictures of a batch are written at most.

    Example:
        >>> TensorBoardMonitor(max_images=3).max_images
        3
    """

    def __init__(self, folder: str = "tensorboard", max_images: int = 10) -> None:
        self.folder, self.max_images = in_run(folder, "the folder of TensorBoardMonitor"), max_images
        self._file: EventFile | None = None  # open; the next value opens one
        self._newest: Path | None = None  # the file that was written last
        self._last_step = 0
        self._start_step: int | None = None  # from which on a new file replaces older ones; None: a new run

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
        """Show the graph in the graph tab, the config in the hparams tab; other events are not written."""
        if kind == "graph":
            graph = content["graph_def"]
            serialised = graph if isinstance(graph, bytes) else graph.SerializeToString()
            self._at(step).add(step, graph_def=serialised)
        elif kind == "config":
            settings = {name: _shown(value) for name, value in content.items() if value is not None}
            self._at(step).add_value(step, **hparams_value(settings, start=time.time()))

    def flush(self) -> None:
        if self._file is not None:
            if not self._file.path.exists():
                raise FileNotFoundError(errno.ENOENT, "deleted while the run was writing it", str(self._file.path))
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._start_step = self._last_step + 1  # a file that is opened later keeps all that is written until here

    def state_dict(self) -> dict[str, Any]:
        self.flush()
        newest = "" if self._newest is None else self._newest.name
        files = {path.name: path.stat().st_size for path in self._event_files()} if newest else {}
        return {"step": self._last_step, "file": newest, "bytes": files.get(newest, 0), "files": files}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # A file is cut to its size at the checkpoint and no more appended to: a TensorBoard that has read further would
        # not see what changes behind its place. A new file with a START event makes it forget those steps.
        with contextlib.suppress(Exception):  # what the disk did not take is written again
            self.close()
        self._file = None
        self._last_step = int(state["step"])
        self._start_step = self._last_step + 1
        name, size = str(state["file"]), int(state["bytes"])
        sizes: dict[str, int] = state.get("files", {name: size} if name else {})
        self._newest = self._path / name if (self._path / name).is_file() else None
        known = {path.name: path for path in self._event_files()}
        for later in known.keys() - sizes.keys():
            if "files" in state or later > name:  # of an attempt that went on from this checkpoint and was killed
                _hide(known[later])
        for file in known.keys() & sizes.keys():
            if known[file].stat().st_size > sizes[file]:
                os.truncate(known[file], sizes[file])
        if sizes.keys() - known.keys():
            self._write_history(sizes.keys() - known.keys())

    def _write_history(self, missing: Iterable[str]) -> None:
        """Write the scalars of the history into a new file that replaces all others, because some were lost."""
        logger.warning(
            "%s: %s is gone; the scalars are written anew from the run's history, its pictures and histograms are lost",
            self._path, ", ".join(sorted(missing)),
        )  # fmt: skip
        self._start_step = 0
        for row in rows_of(self.history):
            for tag, value in row.items():
                if tag != "step":
                    self.put_scalar("step" if tag == "scalar/step" else tag, value, int(row["step"]))

    def _at(self, step: int) -> EventFile:
        """The open file, to which something of a step is going to be appended."""
        if self._file is None:
            if self._start_step is None:  # what is there is of a run that was killed before its first checkpoint
                for path in self._event_files():
                    _hide(path)
            self._file = EventFile(
                self._path, self._start_step, after=max((f.name for f in self._event_files()), default="")
            )
            self._newest = self._file.path
        self._last_step = max(self._last_step, step)
        return self._file

    def _event_files(self) -> list[Path]:
        return list(self._path.glob("events.out.tfevents.*"))


def _hide(path: Path) -> None:
    """Rename an event file so that TensorBoard, which looks for "tfevents", does not read it."""
    path.rename(path.with_name(path.name.replace("tfevents", "unfinished")))


def _shown(value: object) -> bool | float | str:
    return value if isinstance(value, (bool, int, float, str)) else str(value)
