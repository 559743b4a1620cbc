"""Callbacks that log memory and GPU utilization."""

from __future__ import annotations

import logging
import shutil
import statistics
import subprocess
import threading
from pathlib import Path

from .base import Callback

__all__ = ["GPUUtilizationTracker", "HostMemoryTracker"]

logger = logging.getLogger("flowtrain.callbacks")


class HostMemoryTracker(Callback):
    """Logs the resident memory of the training process and the machine's available memory, in MB, when triggered.

    On a system without /proc it logs one line and nothing else.

    Example:
        >>> HostMemoryTracker()
        HostMemoryTracker
    """

    def before_train(self) -> None:
        self._there = Path("/proc/self/status").exists()
        if not self._there:
            logger.info("HostMemoryTracker: this system has no /proc; memory is not tracked")

    def trigger(self) -> None:
        if self._there:
            used, free = _kilobytes("/proc/self/status", "VmRSS"), _kilobytes("/proc/meminfo", "MemAvailable")
            self.trainer.monitors.put_scalar("memory/process_mb", used / 1024, self.global_step)
            self.trainer.monitors.put_scalar("memory/free_mb", free / 1024, self.global_step)


class GPUUtilizationTracker(Callback):
    """Logs the mean utilization of each NVIDIA GPU over an epoch's steps, in percent.

    A thread runs nvidia-smi periodically. Without a GPU it logs one line and nothing else.

    Args:
        seconds: Time between two samples.

    Example:
        >>> GPUUtilizationTracker()
        GPUUtilizationTracker
    """

    def __init__(self, seconds: float = 2.0) -> None:
        self.seconds = seconds
        super().__init__()

    def reset(self) -> None:
        self._thread: threading.Thread | None = None
        self._samples: list[list[float]] = []

    def before_train(self) -> None:
        # Asked once as well: nvidia-smi is also installed where its driver finds no GPU.
        self._there = shutil.which("nvidia-smi") is not None and bool(_gpu_utilization())
        if not self._there:
            logger.info("GPUUtilizationTracker: there is no GPU that nvidia-smi knows; nothing is tracked")

    def before_epoch(self) -> None:
        if self._there:
            self._samples, self._stopping = [], threading.Event()
            self._thread = threading.Thread(target=self._sample, name="flowtrain-gpu-utilization", daemon=True)
            self._thread.start()

    def after_epoch(self) -> None:
        self._stop()

    def trigger_epoch(self) -> None:
        # Not strict: a GPU that fails within an epoch is missing from the later samples.
        for number, values in enumerate(zip(*self._samples, strict=False)):
            self.trainer.monitors.put_scalar(f"gpu/{number}_percent", statistics.mean(values), self.global_step)

    def after_train(self) -> None:
        self._stop()

    def _sample(self) -> None:
        while not self._stopping.wait(self.seconds):
            values = _gpu_utilization()
            if values:
                self._samples.append(values)

    def _stop(self) -> None:
        if self._thread is not None:
            self._stopping.set()
            self._thread.join(timeout=15)  # more than the 10 s that one nvidia-smi may take
            self._thread = None


def _kilobytes(path: str, field: str) -> float:
    """A number in a file of /proc, in KiB (which it calls kB); 0 if there is no such line."""
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return float(value.split()[0])
    return 0.0


def _gpu_utilization() -> list[float]:
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.split()
        return [float(line) for line in lines]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
