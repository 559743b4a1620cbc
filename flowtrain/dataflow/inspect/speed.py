"""TestDataSpeed: datapoints per second, bytes per second and CPU time of a flow."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import sys
import time
from typing import Any

import numpy as np

from ...utils.arguments import check_int
from ...utils.errors import DataFlowError
from ..core.base import DataFlow
from ..core.datapoint import Datapoint
from ..core.iteration import Iteration
from ..core.proxy import ProxyDataFlow

__all__ = ["DataSpeed", "Endless", "TestDataSpeed", "datapoint_bytes"]


@dataclasses.dataclass(frozen=True)
class DataSpeed:
    """What ``TestDataSpeed`` measured."""

    datapoints: int
    """How many datapoints were counted, without the warmup."""
    seconds: float
    """Wall time that they took."""
    bytes: int
    """How many bytes of arrays, strings and numbers they held."""
    cpu_seconds: float
    """CPU time that they took on all cores, in this process and its workers."""
    first_seconds: float
    """How long the first datapoint took, with the start of workers and all else."""

    @property
    def per_second(self) -> float:
        """Datapoints a second."""
        return self.datapoints / self.seconds if self.seconds else float("inf")

    @property
    def megabytes_per_second(self) -> float:
        """Millions of bytes a second."""
        return self.bytes / 1e6 / self.seconds if self.seconds else float("inf")

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU for each datapoint."""
        return 1e3 * self.cpu_seconds / max(self.datapoints, 1)

    def __str__(self) -> str:
        return (
            f"{_rounded(self.per_second)} datapoints/s, {_rounded(self.megabytes_per_second)} MB/s, "
            f"{self.cpu_ms:.3g} ms CPU per datapoint "
            f"({self.datapoints} datapoints in {self.seconds:.2f} s; the first took {self.first_seconds:.2f} s)"
        )


class TestDataSpeed(ProxyDataFlow):
    """Measure how fast a flow gives datapoints to a consumer that does nothing with them.

    Args:
        ds: The flow to measure.
        size: How many datapoints to count; at the end of an epoch the next one begins.
        warmup: How many datapoints to take before, uncounted, while workers start and queues fill up. The first
            datapoint never counts.
        max_seconds: Stop counting after this time, however few datapoints there were.

    Order: that of ``ds``. Iterating it measures first, then passes ``ds`` on from the start of its next epoch.

    State: that of ``ds``.

    Example:
        >>> from flowtrain.dataflow import FakeData
        >>> speed = TestDataSpeed(FakeData([(8, 8)], size=100), size=50).start()  # doctest: +ELLIPSIS
        TestDataSpeed: ... datapoints/s, ... MB/s, ... ms CPU per datapoint ...
        >>> speed.datapoints
        50
    """

    __test__ = False  # the name makes pytest think that it is a test

    def __init__(self, ds: DataFlow, size: int = 5000, warmup: int = 0, max_seconds: float = 60.0) -> None:
        super().__init__(ds)
        self.size = check_int("TestDataSpeed", "size", size)
        self.warmup = check_int("TestDataSpeed", "warmup", warmup, least=0)
        self.max_seconds = max_seconds
        self._measured = False

    def start(self) -> DataSpeed:
        """Measure now and print one line.

        Returns:
            The figures.

        Raises:
            DataFlowError: An epoch of the flow is empty.
        """
        self._measured = True  # so that iterating the stage later passes on, and does not measure again
        began = time.perf_counter()
        source = Endless(self.ds, "TestDataSpeed")
        try:
            count = held = 0
            next(source)
            first = time.perf_counter() - began
            for _ in range(self.warmup - 1):
                next(source)
            cpu, start = _cpu_seconds(), time.perf_counter()
            deadline = start + self.max_seconds
            now = start
            while count < self.size and now < deadline:
                held += datapoint_bytes(next(source))
                count += 1
                now = time.perf_counter()
            speed = DataSpeed(count, now - start, held, _cpu_seconds() - cpu, first)
        finally:
            source.close()
        sys.stdout.write(f"TestDataSpeed: {speed}\n")
        sys.stdout.flush()
        return speed

    def _start(self) -> Iteration:
        if not self._measured:
            self.start()
        return super()._start()


class Endless:
    """Endless iterator over the epochs of a flow.

    Args:
        ds: The flow.
        owner: Named in errors.

    Raises:
        DataFlowError: An epoch is empty.
    """

    def __init__(self, ds: DataFlow, owner: str) -> None:
        self._ds, self._owner = ds, owner
        self._iterator: Any = iter(ds)

    def __next__(self) -> Datapoint:
        for _ in range(2):
            for datapoint in self._iterator:
                return datapoint
            self._iterator = iter(self._ds)
        raise DataFlowError(f"{self._owner}: {self._ds} gave no datapoint at all")

    def close(self) -> None:
        self._iterator.close()


def datapoint_bytes(value: object) -> int:
    """How many bytes of data a datapoint holds; numbers count as 8."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return sum(datapoint_bytes(entry) for entry in value.flat)
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(datapoint_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(datapoint_bytes, value))
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    return value.nbytes if isinstance(value, np.generic) else 8


def _cpu_seconds() -> float:
    """CPU seconds of this process and all its descendants, ended ones included."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime + _descendants_cpu()


def _descendants_cpu() -> float:
    """CPU seconds of all living descendants of this process and of their children that have ended (Linux; else 0)."""
    # By all of /proc and not by our children alone: workers are children of the zygote, which is our child.
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()  # after the program's name, which may hold anything
                parents[int(entry)] = int(fields[1])
                ticks[int(entry)] = sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: see proc(5)
    total = 0
    for pid in ticks:
        above = parents[pid]
        while above in parents and above != os.getpid():
            above = parents[above]
        total += ticks[pid] if above == os.getpid() else 0
    return total / os.sysconf("SC_CLK_TCK")


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
