"""Crews of Ray actors for a parallel stage, kept from one epoch to the next."""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

from ...ipc.payload import Payload
from ..parallel.crews import KeptCrews
from ..parallel.jobs import WalkJob
from .actor_crew import RayCrew

__all__ = ["RayCrews"]


class RayCrews(KeptCrews):
    """Starts crews of Ray actors for a parallel stage's walks.

    Args:
        cluster: A :class:`flowtrain.dataflow.Ray`.
        workers: How many actors.
        window: How many tasks may be ahead of the consumer with workers on this machine. A cluster adds one for each
            actor, so that no actor waits for a message between two tasks.
        timeout: Seconds that one datapoint may take.
        restart: Whether to replace actors that died.
        preload: Modules that actors import before they unpack the flow.
    """

    def __init__(
        self, cluster: Any, workers: int, window: int, *, timeout: float, restart: bool, preload: tuple[str, ...]
    ) -> None:
        super().__init__(workers, window + workers)
        self._cluster = cluster
        self._options = {"timeout": timeout, "restart": restart, "preload": preload}
        self._live: weakref.WeakSet[RayCrew] = weakref.WeakSet()

    def _start(self, payload: Payload, job: object, name: str) -> RayCrew:
        crew = RayCrew(
            self._cluster,
            payload,
            self.workers,
            window=self.window,
            bound=isinstance(job, WalkJob),
            name=name,
            **self._options,
        )
        self._live.add(crew)
        return crew

    def collect(self, folder: str) -> None:
        """Copy the files that actors on other machines wrote into a folder into the folder of that path here."""
        handle, here = tempfile.mkstemp(dir=folder)  # by this file an actor sees whether it shares the folder
        os.close(handle)
        try:
            for crew in self._live:
                for name, data in crew.files(folder, os.path.basename(here)).items():
                    (Path(folder) / name).write_bytes(data)
        finally:
            os.unlink(here)

    def cores(self) -> int:
        """How many CPUs the cluster has, at least 1."""
        ray = self._cluster.connect("the number of cores")
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_live": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _live=weakref.WeakSet())
