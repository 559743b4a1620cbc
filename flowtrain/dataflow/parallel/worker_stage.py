"""The base of stages whose datapoints are made by workers."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from ...ipc.worker import Job
from ..core.ahead import Runs
from ..core.base import DataFlow
from ..core.cursor import Cursor
from ..core.proxy import ProxyDataFlow
from .crew import Crew
from .crews import Crews
from .index_cursor import IndexedCursor
from .nesting import may_have_workers

__all__ = ["WorkerStage"]


class WorkerStage(ProxyDataFlow):
    """The base of stages that have workers.

    Args:
        ds: The flow beneath.
        workers: How many; 0: none.
    """

    _crews: Crews | None = None
    """Keeps workers from one walk to the next; None: each walk has its own."""

    def __init__(self, ds: DataFlow, workers: int) -> None:
        super().__init__(ds)
        self._count = workers

    @property
    def worker_count(self) -> int:
        """How many workers the stage has."""
        return self._count

    @property
    def _parallel(self) -> bool:
        return self._count > 0 and may_have_workers()

    def _makes_in_workers(self) -> bool:
        return self._parallel and self.indexable

    def _cursor_over(self, runs: Runs, flow: DataFlow, epoch: int, first: int = 0) -> Cursor:
        return IndexedCursor(self, runs, epoch, flow, first)

    def _take_crew(self, epoch: int, flow: DataFlow | None) -> Crew:
        """Workers for a walk.

        Args:
            epoch: Which epoch.
            flow: The flow whose datapoints they make by index; None: what the stage itself has them do.
        """
        raise NotImplementedError

    def _kept_crew(self, make_job: Callable[[], Job], made: DataFlow | None, name: str) -> Crew:
        """Workers of an earlier walk where they can go on, else new ones.

        Args:
            make_job: Gives what they do.
            made: The flow whose datapoints they make by index; None: what the stage itself has them do.
            name: Whose they are, for errors.
        """
        assert self._crews is not None
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
