"""Runs as their monitors write them, made without training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from flowtrain.monitors import JSONLMonitor, TensorBoardMonitor, TimelineMonitor
from flowtrain.monitors.monitor import Monitors
from flowtrain.utils.run_status import record_end

STEPS = 50  # of an epoch


def settings(folder: Path, **config) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = {"model": "train.Net", "max_epoch": 6, "log_dir": str(folder), **config}
    (folder / "config.json").write_text(json.dumps(about))
    versions = {"command": ["train.py", "--rate", str(config.get("rate"))], "packages": {"tensorflow": "2.21.0"}}
    (folder / "versions.json").write_text(json.dumps(versions))


def epoch(monitors: Monitors, number: int, pull: float = 0.3) -> None:
    """What one epoch of a run logs."""
    step = number * STEPS
    rng = np.random.default_rng(number)
    monitors.put_scalar("cost", float(np.exp(-pull * number)), step)
    monitors.put_scalar("validation_cost", float(np.exp(-pull * number) + 0.3 * (number - 3) ** 2), step)
    monitors.put_scalar("validation_accuracy", 1 - float(np.exp(-pull * number)), step)
    monitors.put_image("made", rng.integers(0, 256, (3, 20, 30, 3), np.uint8), step)
    monitors.put_histogram("conv/kernel", rng.normal(0, 0.1 * number, 500), step)
    seconds = {"steps": 2.0, "data": 1.0, "callbacks": 0.25, "saving": 0.25}
    monitors.put_event("epoch", {"epoch": number, "seconds": seconds}, step)


def open_monitors(folder: Path) -> Monitors:
    return Monitors([TensorBoardMonitor(), JSONLMonitor(), TimelineMonitor()], folder)


def a_run(folder: Path, epochs: int = 6, failure: BaseException | None = None, pull: float = 0.3, **config) -> Path:
    settings(folder, rate=pull, **config)
    monitors = open_monitors(folder)
    for number in range(1, epochs + 1):
        epoch(monitors, number, pull)
    monitors.close()
    record_end(folder, failure)
    return folder
