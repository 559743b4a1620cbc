"""The base of stages whose datapoints are made by workers."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from ...ipc.worker import Job
from ..core.ahead import Runs
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
    """The base of stages that have workers.

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
        """How many workers the stage shall have, and why; asked once, where it was given ``"auto"``."""
        raise NotImplementedError

    def _engage(self, count: int) -> None:
        """Set what depends on the number of workers."""

    @property
    def worker_count(self) -> int:
        """How many workers the stage has."""
        return self._count if self._number is not None or may_have_workers() else 1

    @property
    def _parallel(self) -> bool:
        return self._number != 0 and may_have_workers()

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
        assert self._count and self._crews is not None
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
