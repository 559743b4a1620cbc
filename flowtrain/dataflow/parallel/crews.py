"""Suppliers of workers for parallel stages, of this machine or a cluster; kept from one epoch to the next."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from ...ipc.payload import Payload
from ...ipc.pool import WorkerPool
from ...ipc.snapshot import Snapshot
from ...ipc.worker import Job
from ...utils.cores import available_cores
from ...utils.errors import ConfigError
from .crew import Crew

__all__ = ["Cluster", "Crews", "KeptCrews", "ProcessCrews", "crews_on", "named", "replaces"]


class Crews(Protocol):
    """Supplier of workers for one parallel stage."""

    def take(self, make_job: Callable[[], Job], marks: object, name: str) -> Crew:
        """Return workers for one walk; see :meth:`KeptCrews.take`."""
        ...

    def give_back(self, crew: Crew) -> None:
        """Keep the workers of a complete walk for the next one."""
        ...

    def collect(self, folder: str) -> None:
        """Copy the files that workers on other machines wrote into ``folder`` to the folder of that name here."""
        ...

    def cores(self) -> int:
        """How many cores the workers can use."""
        ...

    def close(self) -> None:
        """End workers that wait for the next walk."""
        ...


class Cluster(Protocol):
    """Machines that a parallel stage can have its workers on: :class:`flowtrain.dataflow.Ray`."""

    def crews(self, workers: int, window: int, *, timeout: float, restart: bool, preload: tuple[str, ...]) -> Crews:
        """Return the supplier of workers for a stage.

        Args:
            workers: How many.
            window: How many tasks may be ahead of the consumer.
            timeout: Seconds that one datapoint may take.
            restart: Whether to replace workers that died.
            preload: Modules to import before the flow is unpacked.
        """
        ...


def crews_on(cluster: Cluster | None, owner: str, workers: int, window: int, **options: Any) -> Crews:
    """Return the supplier of workers for a stage: of this machine, or of a cluster.

    Args:
        cluster: The cluster; None: this machine.
        owner: The stage, for errors.
        workers: How many.
        window: How many tasks may be ahead of the consumer.
        options: ``timeout``, ``restart`` and ``preload``, see :meth:`Cluster.crews`.

    Raises:
        ConfigError: ``cluster`` is something else.
    """
    if cluster is None:
        return ProcessCrews(workers, window, **options)
    if not callable(getattr(cluster, "crews", None)):
        raise ConfigError(
            f"{owner}: cluster must be flowtrain.dataflow.Ray(address=...) or None (processes of this machine), "
            f"got {cluster!r:.200}"
        )
    return cluster.crews(workers, window, **options)


def replaces(restart: bool | None, cluster: Cluster | None) -> bool:
    """Whether workers that died are replaced: what ``restart=`` says; where it is None, on a cluster only."""
    return cluster is not None if restart is None else bool(restart)


def named(cluster: Cluster | None) -> str:
    """Return the end of a stage's description that says where its workers are."""
    return "" if cluster is None else f", cluster={cluster!r}"


class KeptCrews:
    """Supplier that keeps the workers of a complete walk idle, for the next epoch.

    Workers hold a copy of the flow as it was when they were started. If the flow has changed since (a loaded seed, an
    attribute that the user set), they are replaced; see :class:`flowtrain.ipc.snapshot.Snapshot`.

    Args:
        workers: How many.
        window: How many tasks may be ahead of the consumer.
    """

    def __init__(self, workers: int, window: int) -> None:
        self.workers, self.window = workers, window
        self._idle: Any = None

    def _start(self, payload: Payload, job: Job, name: str) -> Any:
        """Start workers.

        Args:
            payload: The job, pickled.
            job: The job itself, to see of what kind it is.
            name: Whose they are, for errors.
        """
        raise NotImplementedError

    def take(self, make_job: Callable[[], Job], marks: object, name: str) -> Crew:
        """Return workers for one walk: the idle ones if they hold the same job, else new ones that are being started.

        Args:
            make_job: Makes the job.
            marks: Identity and seeds of the flow, compared with those of the idle workers.
            name: Whose they are, for errors.
        """
        pool, self._idle = self._idle, None
        job = make_job()
        if pool is not None and not pool.closed:
            known, snapshot = pool.tag
            if known == marks and snapshot.is_of(job):
                pool.name = name
                return pool
            pool.close()
        payload = Payload(job)
        tag = marks, Snapshot(job, payload)
        pool = self._start(payload, job, name)
        pool.tag = tag
        return pool

    def give_back(self, crew: Crew) -> None:
        """Keep the workers of a complete walk for the next one."""
        # One crew at most: two walks of one flow at once had one each, and the next epoch needs but one.
        if hasattr(crew, "tag") and (self._idle is None or self._idle.closed):
            self._idle = crew
        else:
            crew.close()

    def collect(self, folder: str) -> None:
        """Do nothing: workers of this machine write into the folder itself."""

    def cores(self) -> int:
        """How many cores the workers can use."""
        return available_cores()

    def close(self) -> None:
        """End workers that wait for the next walk."""
        pool, self._idle = self._idle, None
        if pool is not None:
            pool.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_idle": None}  # a copy of the flow, in a worker say, starts workers of its own


class ProcessCrews(KeptCrews):
    """Supplier of worker processes of this machine.

    Args:
        workers: How many.
        window: How many tasks may be ahead of the consumer.
        options: Further arguments of :class:`flowtrain.ipc.pool.WorkerPool`.
    """

    def __init__(self, workers: int, window: int, **options: Any) -> None:
        super().__init__(workers, window)
        self.options = options

    def _start(self, payload: Payload, job: Job, name: str) -> WorkerPool:
        options = {**self.options, "preload": (*_rooms_in_use(), *self.options["preload"])}
        return WorkerPool(payload, self.workers, window=self.window, name=name, **options)


def _rooms_in_use() -> list[str]:
    """Return the imported modules that make datapoints: the zygote imports them once, before it forks the workers."""
    rooms = ("core", "imgaug", "stages", "sources", "parallel", "formats")
    prefixes = tuple(f"flowtrain.dataflow.{room}" for room in rooms)
    return [module for module in list(sys.modules) if module.startswith(prefixes)]
