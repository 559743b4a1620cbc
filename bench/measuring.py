"""Measurement for the data benchmarks: rate and CPU time of a whole process tree after a warm-up; output of tables."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def tree_cpu_seconds() -> float:
    """CPU time of this process and of its living descendants (those that have ended are not counted)."""
    import psutil

    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def own_cpu_seconds() -> float:
    import psutil

    times = psutil.Process().cpu_times()
    return times.user + times.system


def spin(seconds: float) -> None:
    """Keep a core busy in Python, in the place of a consumer's work."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def measure(
    flow: Iterable[Any],
    per_batch: int,
    seconds: float,
    spin_ms: float = 0.0,
    warm_seconds: float = 1.0,
    warm_batches: int = 12,
) -> dict[str, float]:
    """Measure the iteration over a flow, epoch after epoch.

    Args:
        flow: Can be iterated again and again.
        per_batch: Number of datapoints in each of its items.
        seconds: How long to measure.
        spin_ms: Busy time of the consumer for each batch.
        warm_seconds: How long to iterate before measuring.
        warm_batches: How many batches to take at least before measuring, but for at most three times ``warm_seconds``:
            every slot of a queue is to have been used once, since its memory is allocated at its first use.

    Returns:
        ``rate`` (datapoints/s), ``cpu_ms`` (of the whole process tree, per datapoint), ``own_us`` (of this process
        alone, per batch), ``first`` (seconds to the first batch).
    """
    start = time.perf_counter()
    batches = itertools.chain.from_iterable(itertools.repeat(flow))
    batch = next(batches)
    first = time.perf_counter() - start
    warmed, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < warm_seconds or (
        warmed < warm_batches and passed < 3 * warm_seconds
    ):
        batch = next(batches)
        warmed += 1
        if spin_ms:
            spin(spin_ms / 1e3)
    count = 0
    cpu, own, start = tree_cpu_seconds(), own_cpu_seconds(), time.perf_counter()
    end = start + seconds
    now = start
    while now < end:
        batch = next(batches)
        count += 1
        if spin_ms:
            spin(spin_ms / 1e3)
        now = time.perf_counter()
    cpu, own = tree_cpu_seconds() - cpu, own_cpu_seconds() - own
    del batch
    done = count * per_batch
    return {
        "rate": done / (now - start),
        "cpu_ms": 1e3 * cpu / done,
        "own_us": 1e6 * own / count,
        "first": first,
    }


def report(result: dict[str, Any]) -> None:
    """Print a result as a marked line, which the parent process finds among whatever else a library prints."""
    sys.stdout.write("\nRESULT " + json.dumps(result) + "\n")
    sys.stdout.flush()


class Run:
    """A run of a benchmark: remembers its start, and publishes its tables with duration and load of the machine."""

    def __init__(self) -> None:
        self._load, self._start = os.getloadavg()[0], time.time()

    def publish(self, about: str, text: str, path: Path | None) -> None:
        """Print tables, and write them to a Markdown file if a path is given."""
        seconds, load = time.time() - self._start, os.getloadavg()[0]
        about += f", {seconds:.0f} s in all; the machine's load before it was {self._load:.1f}, at its end {load:.1f}."
        print(f"\n{about}\n\n{text}")
        if path:
            path.write_text(f"{about}\n\n{text}\n")
