"""PrefetchData: run a whole flow ahead of time in worker processes."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

import numpy as np

from ...ipc.worker import Job
from ...utils.arguments import check_int, check_seconds, old_spellings
from ...utils.errors import DataFlowError
from ..core import process
from ..core.base import DataFlow
from ..core.cursor import Cursor, Datapoint, IndexCursor
from ..core.datapoint import Position
from .auto import AUTO, Workers, checked_workers, chosen_for
from .crew import Crew, InlineCrew
from .crews import Cluster, crews_on, named, replaces
from .jobs import IndexJob, WalkJob
from .old_arguments import OLD_SPELLINGS
from .sharding import copies_of, shardable, shards_of
from .walk_cursor import WalkedCursor
from .worker_stage import WorkerStage

__all__ = ["MultiProcessRunnerZMQ", "PrefetchData", "PrefetchDataZMQ", "Runner"]


class Runner(WorkerStage):
    """Base of the stages that run the whole flow beneath in workers.

    Args:
        ds: The flow beneath.
        workers: How many; 0: none.
        duplicate: Each worker walks an independent copy of a flow that can only be iterated.
    """

    _passes = True  # type: ignore[assignment]
    _workers_are = "num_proc"  # the argument's name, for errors

    def __init__(self, ds: DataFlow, workers: Workers, duplicate: bool) -> None:
        super().__init__(ds, workers)
        self.duplicate = duplicate
        self._reset_beneath_in: object = None
        if workers != AUTO and workers > 1 and not duplicate and not ds.indexable and not shardable(ds):
            self._refuse()

    def _refuse(self) -> NoReturn:
        blocker = self.ds._blocker()
        name, above = type(blocker).__name__, ""
        if blocker.children():
            above = f"put {name} above {type(self).__name__}; or "
        raise DataFlowError(
            f"{self.describe()}: {blocker} can only be iterated from its start, so {self._count} workers cannot share "
            f"its datapoints. Write {self._workers_are}=1, which keeps the order; or {above}define get(index, epoch) "
            "and __len__ on the source, so that any worker can make any datapoint, or shard(index, count), which "
            "returns one of count parts; or, for i.i.d. data only, write duplicate=True: each worker then walks a "
            "copy of its own."
        )

    def _indexable_itself(self) -> bool:
        return not self.duplicate

    @property
    def vectorized(self) -> bool:
        return self.ds.vectorized

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        if self.duplicate:
            return DataFlow.get(self, index, epoch)  # says what is in the way
        self._reset_here()
        return self.ds.get(index, epoch)

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Datapoint:
        self._reset_here()
        return self.ds.get_batch(indices, epoch)

    def _reset_here(self) -> None:
        if self._reset_beneath_in is not process.current:
            self._reset_beneath_in = process.current
            self.ds._ensure_reset()

    def _ensure_reset(self) -> None:
        if self._parallel:
            self._reset_once()  # what is beneath is opened by the workers, and here only when get is called
        else:
            super()._ensure_reset()

    def _cursor(self, epoch: int, state: Position = None) -> Cursor:
        if self.indexable:
            return IndexCursor(self, epoch, state)
        # Copies give all datapoints each, but an epoch has len(ds) of them: worker i gives ceil((size - i) / count),
        # as many as fall to it when datapoints are taken in turn.
        size = self.size_or_none() if self.duplicate and self._parallel else None
        shares = None if size is None else [-(-(size - i) // self._count) for i in range(self._count)]
        return WalkedCursor(self, epoch, state, self._count if self._parallel else 1, shares)

    def _walk_jobs(self) -> list[DataFlow]:
        """Return the flow that each worker walks: its part of the flow beneath, or an independent copy."""
        return copies_of(self.ds, self._count) if self.duplicate else shards_of(self.ds, self._count)

    def _take_crew(self, epoch: int, flow: DataFlow | None) -> Crew:
        if not self._parallel:
            return InlineCrew(WalkJob([self.ds]))
        name = f"{self.describe()}, epoch {epoch},"
        return self._workers(self.ds if flow is self else flow, name)

    def _workers(self, flow: DataFlow | None, name: str) -> Crew:
        """Return workers that make datapoints of a flow by index; None: each walks its part of the flow beneath."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_reset_beneath_in": None}


@old_spellings(**OLD_SPELLINGS)
class PrefetchData(Runner):
    """Make datapoints ahead of time in worker processes.

    Put it at the end of the chain, above ``BatchData``: a batch is then stacked straight into memory that the
    consumer shares, and only a few numbers travel. The arrays that are handed out are views of that memory, yours to
    keep and to write to. If you keep many of them, you are handed copies.

    The flow goes to the workers by cloudpickle, so lambdas and what the main script defines work. A script needs no
    ``if __name__ == "__main__"``. Inside the worker of another stage a PrefetchData has no workers of its own. On Linux
    workers start in milliseconds; on macOS each is an interpreter of its own.

    What you change in the flow (an attribute of a stage, an item of a list, a variable that a function uses) holds from
    the next epoch on. In a flow of more than 256 kB, or 16 MB of arrays, this does not go for what is written into a
    large array (64 kB and more), or into the items of a long list (256 and more): put a new one in its place.

    ``PrefetchDataZMQ`` and ``MultiProcessRunnerZMQ`` are other names of this class, for scripts written for Tensorpack,
    where they send by ZMQ instead of a pipe. Here neither is used.

    Args:
        ds: The flow to run in the workers.
        num_prefetch: How many datapoints are kept ready, beyond those that are being made. Tiny datapoints count
            by the group in which they travel (what takes 4 ms to make or has 4 MB, 256 of them at most).
        num_proc: How many workers. 0: none, everything runs in this process, for debugging. ``"auto"``: as many as
            this machine has use for. When the first datapoint is wanted, a worker makes datapoints for up to a second
            to measure them. The choice is one worker for each core that the process may use (its affinity, and the
            quota of its container); up to four for each where datapoints mostly wait, for a disk or a network; one in
            all where they take no time, and over a flow that can only be iterated. The data are the same whatever
            the choice is; the log tells it.
        timeout: Seconds that a single datapoint may take. A longer one is interrupted (or, where it ignores that, its
            worker is killed) and is an error, raised after all datapoints before it were handed out.
        restart: Replace a worker that was killed and make its datapoints again; else its death is an error. None: on a
            cluster, where machines come and go, but not on this machine.
        duplicate: For a flow that can only be iterated: each worker walks a copy of its own, with other random
            numbers. For i.i.d. data only: without randomness each datapoint comes ``num_proc`` times.
        preload: Modules to import once, before the workers are forked, e.g. ``["skimage"]``. Never one that starts
            threads, such as tensorflow.
        cluster: ``Ray(...)``: the workers are actors of a Ray cluster, on any of its machines. None: processes of this
            machine.

    Order: over an indexable flow that of ``ds``, each datapoint once, whatever ``num_proc`` and ``num_prefetch``
        are. Over any other, one worker keeps the order; more need a flow that defines ``shard(index, count)`` (one
        datapoint of each part in turn) or ``duplicate=True``.

    State: the position after the last datapoint that was handed out. What was made ahead of it is made again.

    Raises:
        DataFlowError: The flow cannot be divided among workers; the message names the stage in the way.
        WorkerDied: A worker was killed.
        WorkerTimeout: A datapoint took longer than ``timeout``.

    Example:
        >>> from flowtrain.dataflow import DataFromList, MapData
        >>> ds = MapData(DataFromList([[1], [2], [3]]), lambda dp: [dp[0] ** 2])
        >>> list(PrefetchData(ds, num_proc=2))
        [[1], [4], [9]]
    """

    def __init__(
        self,
        ds: DataFlow,
        num_prefetch: int = 4,
        num_proc: int | Literal["auto"] = 2,
        *,
        timeout: float = 300.0,
        restart: bool | None = None,
        duplicate: bool = False,
        preload: tuple[str, ...] | list[str] = (),
        cluster: Cluster | None = None,
    ) -> None:
        self.num_prefetch = check_int("PrefetchData", "num_prefetch", num_prefetch, least=1)
        self.num_proc = checked_workers("PrefetchData", num_proc, cluster=cluster, duplicate=duplicate)
        self.timeout = check_seconds("PrefetchData", "timeout", timeout)
        self.cluster = cluster
        self._options = {
            "timeout": self.timeout,
            "restart": replaces(restart, cluster),
            "preload": ("flowtrain.dataflow", *preload),
        }
        super().__init__(ds, self.num_proc, duplicate)
        if self._number is not None:
            self._engage(self._number)

    def _choice(self) -> tuple[int, str]:
        if not self.ds.indexable:
            return 1, f"{self.ds._blocker()} can only be iterated from its start, and one worker keeps the order"
        return chosen_for(self.ds, self.timeout)

    def _engage(self, count: int) -> None:
        self.num_proc = count
        self._crews = crews_on(self.cluster, "PrefetchData", count, self.num_prefetch + count, **self._options)

    def describe(self) -> str:
        return f"PrefetchData(num_proc={self.num_proc}{named(self.cluster)})"

    def _workers(self, flow: DataFlow | None, name: str) -> Crew:
        def job() -> Job:
            return WalkJob(self._walk_jobs()) if flow is None else IndexJob(flow)

        return self._kept_crew(job, flow, name)


# Tensorpack's names, for the scripts that have them; see the docstring.
PrefetchDataZMQ = PrefetchData
MultiProcessRunnerZMQ = PrefetchData
