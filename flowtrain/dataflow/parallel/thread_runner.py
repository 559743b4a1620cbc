"""MultiThreadRunner: run a whole flow ahead of time in threads of this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...utils.arguments import check_int, check_seconds, old_spellings
from ...utils.errors import DataFlowError
from ..core.base import DataFlow
from .crew import Crew
from .jobs import IndexJob, WalkJob
from .old_arguments import OLD_SPELLINGS
from .prefetch import Runner
from .threads import ThreadCrew

__all__ = ["MultiThreadRunner"]


@old_spellings(**OLD_SPELLINGS)
class MultiThreadRunner(Runner):
    """Make datapoints ahead of time in threads of this process.

    Like ``PrefetchData``, for flows that spend their time outside of Python (OpenCV, files, the network). The first
    datapoint comes sooner, but only one thread at a time runs Python code, so a consumer that is busy in Python slows
    the threads down. Several threads call ``get`` of one flow at once: the flows of flowtrain allow that, and a
    ``get`` of your own has to.

    Args:
        ds: The flow to run in the threads. Or a function that makes a flow: each thread then walks one of its own,
            as with ``duplicate``.
        num_prefetch: How many datapoints are kept ready, beyond those that are being made.
        num_thread: How many threads. 0: none.
        timeout: Seconds that a single datapoint may take before it is an error.
        duplicate: For a flow that can only be iterated: each thread walks a copy of its own. For i.i.d. data only.

    Order: as ``PrefetchData``.

    State: as ``PrefetchData``.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(MultiThreadRunner(DataFromList([[1], [2]]), num_thread=2))
        [[1], [2]]
    """

    _workers_are = "num_thread"

    def __init__(
        self,
        ds: DataFlow | Callable[[], DataFlow],
        num_prefetch: int = 4,
        num_thread: int = 2,
        *,
        timeout: float = 300.0,
        duplicate: bool = False,
    ) -> None:
        self.num_prefetch = check_int("MultiThreadRunner", "num_prefetch", num_prefetch, least=1)
        self.num_thread = check_int("MultiThreadRunner", "num_thread", num_thread, least=0)
        self.timeout = check_seconds("MultiThreadRunner", "timeout", timeout)
        self._flows: list[DataFlow] | None = None
        if not isinstance(ds, DataFlow):
            if not callable(ds):
                raise DataFlowError(f"MultiThreadRunner takes a DataFlow or a function that makes one, got {ds!r:.200}")
            self._flows = [ds() for _ in range(max(1, self.num_thread))]
            ds, duplicate = self._flows[0], True
        super().__init__(ds, self.num_thread, duplicate)

    def describe(self) -> str:
        return f"MultiThreadRunner(num_thread={self.num_thread})"

    def _ensure_reset(self) -> None:
        for flow in self._flows or [self.ds]:  # the threads are in this process
            flow._ensure_reset()

    def _workers(self, flow: DataFlow | None, name: str) -> Crew:
        count = self.num_thread
        flows = (self._flows or self._walk_jobs()) if flow is None else []
        jobs: list[Any] = [IndexJob(flow)] * count if flow is not None else [WalkJob(flows) for _ in range(count)]
        return ThreadCrew(jobs, self.num_prefetch + count, self.timeout, name)
