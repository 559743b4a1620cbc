"""Map stages whose function runs in processes or threads."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

from ...ipc.worker import Job
from ...utils.arguments import check_int, check_seconds, old_spellings
from ...utils.cores import available_cores
from ...utils.errors import DataFlowError
from ..core.ahead import Piece, RunQueue
from ..core.base import DataFlow
from ..core.cursor import Cursor, Datapoint, IndexCursor
from ..core.datapoint import Position
from ..core.proxy import ProxyDataFlow
from ..core.stack import Collector
from ..stages.batch import LEAVES_OUT, BatchData, GroupingData
from ..stages.map import MapData
from .apply_cursor import SentCursor
from .auto import Workers, checked_workers, chosen_for
from .crew import Crew, InlineCrew
from .crews import Cluster, crews_on, named, replaces
from .jobs import ApplyJob, IndexJob
from .old_arguments import OLD_SPELLINGS
from .threads import ThreadCrew
from .worker_stage import WorkerStage

__all__ = ["MultiProcessMapAndBatchData", "MultiProcessMapData", "MultiThreadMapData"]


class _Spread(WorkerStage):
    """Base of the map stages with workers.

    Args:
        ds: The flow beneath.
        serial: The same stage without workers: the specification, and what workers run over an indexable flow.
        workers: How many; 0: none.
        strict: Whether the order is kept.
    """

    _keeps_sent = False  # whether datapoints are kept until they are answered, to be sent to another worker

    def __init__(self, ds: DataFlow, serial: DataFlow, workers: Workers, strict: bool) -> None:
        super().__init__(ds, workers)
        self._serial, self.strict = serial, strict

    @property
    def _walked(self) -> DataFlow:
        """The flow whose datapoints are sent to the workers, where they cannot make them by index."""
        return self.ds

    def _applied(self) -> Callable[[Datapoint, int, int], Datapoint]:
        """Return the function that workers call with (datapoint, index, epoch).

        It must not refer to the flow beneath, which stays in this process and may hold an open file or socket.
        """
        raise NotImplementedError

    def _indexable_itself(self) -> bool:
        return self.strict and self._serial._indexable_itself()

    def _ensure_reset(self) -> None:
        if self._parallel and self._serial.indexable:
            self._reset_once()  # the workers open what is beneath
        else:
            self._serial._ensure_reset()
            super()._ensure_reset()

    def __len__(self) -> int:
        return len(self._serial)

    def rows_per_datapoint(self) -> int | None:
        return self._serial.rows_per_datapoint() if self.strict else None

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        if not self.strict:
            return DataFlow.get(self, index, epoch)  # says what is in the way
        return self._serial.get(index, epoch)

    def _cursor(self, epoch: int, state: Position = None) -> Cursor:
        if self.indexable:
            return IndexCursor(self, epoch, state)
        return SentCursor.over_walk(self, self._sent_from(), epoch, self.strict, state)

    def _sent_from(self) -> DataFlow | None:
        """Return the flow whose datapoints are sent; None where the workers make them by index."""
        return None if self._serial.indexable else self._walked

    def _take_crew(self, epoch: int, flow: DataFlow | None) -> Crew:
        job: Job
        if flow is not None and flow is not self:  # a stage above this one, made with the help of these workers
            job = IndexJob(flow)
        else:  # this stage's own datapoints: its serial twin makes them by index, or its function is applied to others
            by_index = flow is not None or self._sent_from() is None
            job = IndexJob(self._serial) if by_index else ApplyJob(self._applied())
        return self._workers(job, f"{self.describe()}, epoch {epoch},") if self._parallel else InlineCrew(job)

    def _workers(self, job: Job, name: str) -> Crew:
        raise NotImplementedError


class _ProcessSpread(_Spread):
    def __init__(
        self,
        ds: DataFlow,
        serial: DataFlow,
        num_proc: Workers,
        buffer_size: int | None,
        strict: bool,
        timeout: float,
        restart: bool | None,
        preload: tuple[str, ...] | list[str],
        cluster: Cluster | None,
    ) -> None:
        name = type(self).__name__
        self.num_proc = checked_workers(name, num_proc, cluster=cluster)
        self.buffer_size = None if buffer_size is None else _clamped(name, buffer_size, 1, serial)
        self.timeout = check_seconds(name, "timeout", timeout)
        super().__init__(ds, serial, self.num_proc, strict)
        self._keeps_sent = replaces(restart, cluster)
        self.cluster = cluster
        self._options = {
            "timeout": self.timeout,
            "restart": self._keeps_sent,
            "preload": ("flowtrain.dataflow", *preload),
        }
        if self._number is not None:
            self._engage(self._number)

    def _choice(self) -> tuple[int, str]:
        if self._serial.indexable:
            return chosen_for(self._serial, self.timeout)
        cores = available_cores()
        return cores, f"one for each core; {self.ds} is iterated in this process, and not for measuring"

    def _engage(self, count: int) -> None:
        name, size = type(self).__name__, 2 * max(count, 1) if self.buffer_size is None else self.buffer_size
        self.num_proc = count
        self.buffer_size = _clamped(name, size, count, self._serial)
        self._crews = crews_on(self.cluster, name, count, self.buffer_size, **self._options)

    def describe(self) -> str:
        return f"{type(self).__name__}(num_proc={self.num_proc}{named(self.cluster)})"

    def _workers(self, job: Job, name: str) -> Crew:
        return self._kept_crew(lambda: job, job.flow if isinstance(job, IndexJob) else None, name)


@old_spellings(**OLD_SPELLINGS)
class MultiProcessMapData(_ProcessSpread):
    """Apply a function to each datapoint in worker processes.

    Over an indexable flow the workers make the datapoints themselves, and nothing is sent to them. Any other flow is
    iterated in this process, and its datapoints are sent. ``PrefetchData`` runs a whole chain in workers and is the
    better choice, except over a flow that has to be read in one process (a socket, a tar file) and mapped in several.

    Args:
        ds: The flow beneath.
        num_proc: How many workers. 0: none, everything runs in this process. ``"auto"``: as many as this machine has
            use for, see ``PrefetchData``; one for each core over a flow that can only be iterated.
        map_func: Takes a datapoint and returns the new one.
        buffer_size: How many datapoints may be with the workers or waiting for the consumer. It is clamped to the
            number of datapoints from above and to the number of workers from below.
        strict: Keep the order of ``ds`` (the default). ``strict=False`` hands out each datapoint as soon as it is done:
            a slow one does not hold up the others, but the order is another one each time.
        may_drop: Leave a datapoint out where ``map_func`` returns None. Without it None is an error.
        timeout: Seconds that a single datapoint may take before it is an error.
        restart: Replace a worker that was killed, and make its datapoints again. None: on a cluster only.
        preload: Modules to import once, before the workers are forked.
        cluster: ``Ray(...)``: the workers are actors of a Ray cluster. None: processes of this machine.

    Order: that of ``ds``, and indexable where ``ds`` is. With ``strict=False`` the order of completion, still each
        datapoint once an epoch, and not indexable.

    State: that of ``ds``; with ``strict=False`` also which datapoints after it were handed out.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> ds = DataFromList([[1], [2], [3]])
        >>> list(MultiProcessMapData(ds, 2, lambda dp: [dp[0] * 10]))
        [[10], [20], [30]]
    """

    def __init__(
        self,
        ds: DataFlow,
        num_proc: int | Literal["auto"],
        map_func: Callable[[Any], Any],
        *,
        buffer_size: int = 200,
        strict: bool = True,
        may_drop: bool = False,
        timeout: float = 300.0,
        restart: bool | None = None,
        preload: tuple[str, ...] | list[str] = (),
        cluster: Cluster | None = None,
    ) -> None:
        serial = MapData(ds, map_func, may_drop=may_drop)
        super().__init__(ds, serial, num_proc, buffer_size, strict, timeout, restart, preload, cluster)

    def _applied(self) -> Callable[[Any, int, int], Any]:
        return _without_flow(self._serial)._apply


@old_spellings(**OLD_SPELLINGS, **LEAVES_OUT)
class MultiProcessMapAndBatchData(_ProcessSpread):
    """Apply a function to each datapoint and stack the results into batches, both in worker processes.

    A batch is stacked straight into memory that the consumer shares.

    Args:
        ds: The flow beneath.
        num_proc: How many workers. 0: none, everything runs in this process. ``"auto"``: as many as this machine has
            use for, see ``PrefetchData``; one for each core over a flow that can only be iterated.
        map_func: Takes a datapoint and returns the new one.
        batch_size: How many datapoints to a batch.
        buffer_size: How many batches may be with the workers or waiting for the consumer; None: two for each worker.
        remainder: Whether a smaller last batch is handed out.
        timeout: Seconds that a single batch may take before it is an error.
        restart: Replace a worker that was killed, and make its batches again. None: on a cluster only.
        preload: Modules to import once, before the workers are forked.
        cluster: ``Ray(...)``: the workers are actors of a Ray cluster. None: processes of this machine.

    Order: that of ``ds``.

    State: that of ``ds``.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> ds = DataFromList([[1], [2], [3], [4]])
        >>> list(MultiProcessMapAndBatchData(ds, 2, lambda dp: [dp[0] * 10], batch_size=2))
        [[array([10, 20])], [array([30, 40])]]
    """

    def __init__(
        self,
        ds: DataFlow,
        num_proc: int | Literal["auto"],
        map_func: Callable[[Any], Any],
        batch_size: int,
        buffer_size: int | None = None,
        *,
        remainder: bool = False,
        timeout: float = 300.0,
        restart: bool | None = None,
        preload: tuple[str, ...] | list[str] = (),
        cluster: Cluster | None = None,
    ) -> None:
        serial = BatchData(MapData(ds, map_func), batch_size, remainder=remainder)
        super().__init__(ds, serial, num_proc, buffer_size, True, timeout, restart, preload, cluster)
        self.batch_size, self.remainder = batch_size, remainder

    @property
    def _walked(self) -> DataFlow:
        return _Groups(self.ds, self.batch_size, self.remainder)

    def _applied(self) -> Callable[[Any, int, int], Any]:
        batched = cast(BatchData, self._serial)
        return _BatchOf(_without_flow(batched.ds), _without_flow(batched))


class _Groups(GroupingData):
    """Groups datapoints into lists of ``batch_size``, without stacking: what one task of a batching worker takes."""

    def _collector(self, rows: int) -> Collector:
        return _List()


class _List(Collector):
    def __init__(self) -> None:
        self._rows: list[Datapoint] = []

    def _add(self, datapoint: Datapoint) -> None:
        self._rows.append(datapoint)

    def finish(self) -> list[Datapoint]:
        return self._rows


class _BatchOf:
    """Function of a batching worker: maps the datapoints of one group and stacks them."""

    def __init__(self, mapped: MapData, batched: BatchData) -> None:
        self._mapped, self._batched = mapped, batched

    def __call__(self, group: list[Datapoint], index: int, epoch: int) -> Datapoint:
        first = index * self._batched.batch_size  # index is the batch's; random maps draw by the datapoint's
        mapped = (self._mapped._apply(datapoint, place, epoch) for place, datapoint in enumerate(group, first))
        return self._batched._collected(mapped, len(group))


def _without_flow(stage: Any) -> Any:
    """Return a copy of a stage without the flow beneath; it can only be applied to datapoints."""
    twin = copy.copy(stage)
    del twin.ds
    return twin


@old_spellings(**OLD_SPELLINGS)
class MultiThreadMapData(_Spread):
    """Apply a function to each datapoint in threads of this process.

    For functions that spend their time outside of Python: OpenCV, NumPy on large arrays, files, the network. The
    first datapoint comes sooner than from processes, and nothing is sent or copied; but only one thread at a time runs
    Python code, the consumer's included. The flow beneath is iterated by the consumer's thread alone.

    Args:
        ds: The flow beneath.
        num_thread: How many threads. 0: none.
        map_func: Takes a datapoint and returns the new one. Several threads call it at once.
        buffer_size: How many datapoints may be with the threads or waiting for the consumer. It is clamped to the
            number of datapoints from above and to the number of threads from below.
        strict: Keep the order of ``ds`` (the default). ``strict=False`` hands out each datapoint as soon as it is done:
            a slow one does not hold up the others, but the order is another one each time.
        may_drop: Leave a datapoint out where ``map_func`` returns None. Without it None is an error.
        timeout: Seconds that a single datapoint may take before it is an error. A thread cannot be ended from outside:
            one that is stuck lasts until its function returns.

    Order: that of ``ds``, and indexable where ``ds`` is. With ``strict=False`` the order of completion, still each
        datapoint once an epoch, and not indexable.

    State: that of ``ds``; with ``strict=False`` also which datapoints after it were handed out.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> ds = DataFromList([[1], [2], [3]])
        >>> list(MultiThreadMapData(ds, 2, lambda dp: [dp[0] * 10]))
        [[10], [20], [30]]
    """

    def __init__(
        self,
        ds: DataFlow,
        num_thread: int,
        map_func: Callable[[Any], Any],
        *,
        buffer_size: int = 200,
        strict: bool = True,
        may_drop: bool = False,
        timeout: float = 300.0,
    ) -> None:
        self.num_thread = check_int("MultiThreadMapData", "num_thread", num_thread, least=0)
        serial = MapData(ds, map_func, may_drop=may_drop)
        self.buffer_size = _clamped("MultiThreadMapData", buffer_size, num_thread, serial)
        self.timeout = check_seconds("MultiThreadMapData", "timeout", timeout)
        super().__init__(ds, serial, num_thread, strict)

    def describe(self) -> str:
        return f"MultiThreadMapData(num_thread={self.num_thread})"

    def _applied(self) -> Callable[[Any, int, int], Any]:
        return self._serial._apply  # type: ignore[attr-defined]

    def _sent_from(self) -> DataFlow:
        return self.ds  # the flow beneath is called by the consumer's thread alone

    def _needs(self, first: int, stop: int, epoch: int) -> Iterable[Piece]:
        return ((first, stop, ((self.ds, first, stop, epoch),)),)

    def _cursor_over(self, runs: RunQueue, flow: DataFlow, epoch: int, first: int = 0) -> Cursor:
        if flow is not self:
            raise DataFlowError(
                f"{flow} has a get of its own, which its threads cannot help to make: put {type(flow).__name__} "
                f"beneath {self}"
            )
        return SentCursor.over_runs(self, runs, epoch, first)

    def _ensure_reset(self) -> None:
        ProxyDataFlow._ensure_reset(self)

    def _workers(self, job: Job, name: str) -> Crew:
        return ThreadCrew([job] * self.num_thread, self.buffer_size, self.timeout, name)


def _clamped(stage: str, buffer_size: object, workers: int, serial: DataFlow) -> int:
    number, size = check_int(stage, "buffer_size", buffer_size, least=None), serial.size_or_none()
    return max(number if size is None else min(number, size), workers, 1)
