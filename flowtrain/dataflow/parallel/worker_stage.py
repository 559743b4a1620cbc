"""Base of the stages that have workers."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from ...ipc.worker import Job
from ..core.ahead import RunQueue
from ..core.base import DataFlow
from ..core.cursor import Cursor
from ..core.proxy import ProxyDataFlow
from .auto import AUTO, Workers, log_choice
from .crew import Crew
from .crews import Crews
from .index_cursor import IndexedCursor
from .nesting import may_have_workers

__all__ = ["WorkerStage"]


class WorkerStage(ProxyDataFlow):
    """Base of the stages that have workers.

    Args:
        ds: The flow beneath.
        workers: How many; 0: none; ``"auto"``: chosen when they are first needed.
    """

    _crews: Crews | None = None
    """Keeps workers from one walk to the next; None: each walk has its own."""

    def __init__(self, ds: DataFlow, workers: Workers) -> None:
        super().__init__(ds)
        self._number = None if workers == AUTO else int(workers)  # None: not chosen yet

    @property
    def _count(self) -> int:
        if self._number is None:
            self._number, reason = self._choice()
            self._engage(self._number)
            log_choice(self, self._number, reason)
        return self._number

    def _choice(self) -> tuple[int, str]:
        """Choose the number of workers for ``"auto"``, called once; returns it with the reason, for the log."""
        raise NotImplementedError

    def _engage(self, count: int) -> None:
        """Set up what depends on the number of workers, once it is known."""

    @property
    def worker_count(self) -> int:
        """How many workers the stage has; 1 inside a worker, where ``"auto"`` chooses nothing."""
        return self._count if self._number is not None or may_have_workers() else 1

    @property
    def _parallel(self) -> bool:
        return self._number != 0 and may_have_workers()

    def _makes_in_workers(self) -> bool:
        return self._parallel and self.indexable

    def _cursor_over(self, runs: RunQueue, flow: DataFlow, epoch: int, first: int = 0) -> Cursor:
        return IndexedCursor(self, runs, epoch, flow, first)

    def _take_crew(self, epoch: int, flow: DataFlow | None) -> Crew:
        """Return workers for a walk.

        Args:
            epoch: Which epoch.
            flow: The flow whose datapoints they make by index; None: they do the stage's own kind of task.
        """
        raise NotImplementedError

    def _kept_crew(self, make_job: Callable[[], Job], made: DataFlow | None, name: str) -> Crew:
        """Return the idle workers of an earlier walk if they hold the same flow, else new ones.

        Args:
            make_job: Makes their job.
            made: The flow whose datapoints they make by index; None: they do the stage's own kind of task.
            name: Whose they are, for errors.
        """
        assert self._count and self._crews is not None
        # Idle workers are of this flow object: a weak reference, or the supplier would keep a stage above this one
        # alive. Reading the seeds draws those that are not drawn yet, so that workers do not draw each its own.
        seeds = [stage.seed for stage in (self if made is None else made)._random_stages()]
        return self._crews.take(make_job, [None if made is None else weakref.ref(made), seeds], name)

    def _give_back(self, crew: Crew) -> None:
        if self._crews is not None and self._parallel:
            self._crews.give_back(crew)
        else:
            crew.close()

    def _end_workers(self) -> None:
        if self._crews is not None:
            self._crews.close()
