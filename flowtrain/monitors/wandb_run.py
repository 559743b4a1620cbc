"""Monitor that logs to Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flowtrain.utils.optional import require

from .monitor import Monitor

__all__ = ["WandbMonitor"]


class WandbMonitor(Monitor):
    """Sends scalars, pictures, histograms and the config to Weights & Biases.

    Needs ``pip install 'flowtrain[trackers]'``. A resumed run goes on in the same W&B run. W&B keeps the first value
    that it gets for a step, so steps that are done again change nothing there.

    Args:
        project: Name of the project.
        offline: Only write into the run's folder; ``wandb sync`` sends it later.
        **init: Further arguments of ``wandb.init``, such as ``entity`` or ``tags``.

    Example:
        >>> WandbMonitor("colorize", offline=True).project
        'colorize'
    """

    def __init__(self, project: str, offline: bool = False, **init: object) -> None:
        self.project, self.offline, self._init = project, offline, init
        self._run: Any = None
        self._run_id: str | None = None
        self._exit_code = 0

    def open(self, log_dir: Path) -> None:
        self._wandb = require("wandb", extra="trackers", needed_for="WandbMonitor")
        self._dir = log_dir

    def put_scalar(self, name: str, value: float, step: int) -> None:
        self._started().log({name: value}, step=step)

    def put_image(self, name: str, image: np.ndarray, step: int) -> None:
        pictures = [self._wandb.Image(picture.squeeze()) for picture in image]
        self._started().log({name: pictures}, step=step)

    def put_histogram(self, name: str, values: np.ndarray, step: int) -> None:
        self._started().log({name: self._wandb.Histogram(values.ravel())}, step=step)

    def put_event(self, kind: str, content: dict[str, Any], step: int) -> None:
        if kind == "config":
            self._started().config.update(content, allow_val_change=True)
        elif kind == "end":
            self._exit_code = 0 if content["status"] == "finished" else 1

    def close(self) -> None:
        if self._run is not None:
            self._run.finish(exit_code=self._exit_code)
            self._run = None

    def state_dict(self) -> dict[str, Any]:
        return {"run_id": self._run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["run_id"] != self._run_id:
            self.close()
        self._run_id = state["run_id"]

    def _started(self) -> Any:
        """The W&B run, begun with the first value: until then `load_state_dict` may name an older run."""
        if self._run is None:
            self._run = self._wandb.init(
                project=self.project,
                dir=str(self._dir),
                mode="offline" if self.offline else "online",
                id=self._run_id,
                resume="allow" if self._run_id else None,
                **self._init,
            )
            self._run_id = self._run.id
        return self._run
