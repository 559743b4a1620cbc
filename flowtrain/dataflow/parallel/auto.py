"""``num_proc="auto"``: the number of workers, from the measured time per datapoint and its share on a core."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Literal

from ...ipc.pool import Lost
from ...utils.arguments import check_int
from ...utils.cores import available_cores
from ...utils.errors import ConfigError
from ..core.base import DataFlow
from .crews import ProcessCrews

__all__ = ["AUTO", "Workers", "checked_workers", "chosen_for", "log_choice"]

Workers = int | Literal["auto"]

AUTO = "auto"

logger = logging.getLogger("flowtrain.dataflow")

_DATAPOINTS, _SECONDS = 300, 1.0  # what is measured at the most, after the first datapoint
_PATIENCE = 10.0  # seconds that measuring may take in all
_CHEAP = 0.05  # ms: a datapoint that takes less is handed over about as fast as it is made
_BUSY = 0.5  # the share of its time on a core below which a datapoint mostly waits, for a disk or a network
_MOST = 4  # workers for each core, where they wait


def checked_workers(owner: str, value: object, *, cluster: object = None, duplicate: bool = False) -> Workers:
    """Check a stage's ``num_proc=``.

    Raises:
        ConfigError: It is neither a whole number of at least 0 nor ``"auto"``, or ``"auto"`` where the number is not
            this machine's affair, or decides which data there are.
    """
    if not isinstance(value, str):
        return check_int(owner, "num_proc", value, least=0)
    if value != AUTO:
        raise ConfigError(
            f'{owner}: num_proc must be a whole number of at least 0, or "auto" (as many as this machine has use for), '
            f"got {value!r:.200}"
        )
    if cluster is not None:
        raise ConfigError(
            f'{owner}: num_proc="auto" measures this machine, and with cluster= the workers are on others: write the '
            "number of actors"
        )
    if duplicate:
        raise ConfigError(
            f'{owner}: with duplicate=True the data depend on the number of workers, so num_proc="auto" would give '
            "others on another machine: write a number"
        )
    return AUTO


def chosen_for(flow: DataFlow, timeout: float) -> tuple[int, str]:
    """Choose the number of workers for an indexable flow, by measuring it.

    It is measured in a worker so that this process stays as it is: no random generator advances, no file is opened.

    Args:
        flow: The flow whose datapoints the workers will make.
        timeout: Seconds that a datapoint may take.

    Returns:
        (the number of workers, the reason as a text for the log)
    """
    cores = available_cores()
    here = f"this process may use {cores} core{'s' if cores > 1 else ''}"
    try:
        ms, busy = _measured(flow, min(timeout, _PATIENCE))
    except Exception as error:  # the walk meets it again, and says where
        return cores, f"it could not be measured ({type(error).__name__}), and {here}"
    taken = f"a datapoint takes {ms:.3g} ms, {busy:.0%} of that on a core; {here}"
    if ms < _CHEAP:
        return 1, f"{taken}, and one worker makes them as fast as they can be handed over"
    # Workers that are on a core for the share `busy` of their time fill the cores when there are cores / busy of them.
    count = cores if busy >= _BUSY else math.ceil(cores / max(busy, 1 / _MOST))
    size = flow.size_or_none()
    return max(1, count if size is None else min(count, size)), taken


def log_choice(stage: DataFlow, count: int, reason: str) -> None:
    """Log the number of workers that was chosen, and why."""
    logger.info('%s: num_proc="auto" is %d here: %s', type(stage).__name__, count, reason)


def _measured(flow: DataFlow, patience: float) -> tuple[float, float]:
    """Measure a flow in a worker: (milliseconds for one datapoint, the share of them on a core)."""
    crews = ProcessCrews(1, 1, timeout=patience, restart=False, preload=("flowtrain.dataflow",))
    crew = crews.take(lambda: _MeasureJob(flow), None, 'num_proc="auto"')
    try:
        crew.submit(0, (0, 1, flow._epoch))
        result = crew.wait(0)
        if isinstance(result, Lost):
            raise ConfigError("the worker that measured was lost")
        _, found, failure = result.take()
        if failure is not None:
            raise failure.restore()
        return found
    finally:
        crew.close()


class _MeasureJob:
    """Job that measures a flow with ``explain``; one task, which returns what ``_measured`` does."""

    def __init__(self, flow: DataFlow) -> None:
        self.flow = flow

    def run(
        self, args: tuple[int, int, int], value: object, out: list[Any], mark: Callable[[int], None]
    ) -> tuple[float, float]:
        mark(0)
        stages = self.flow.explain(n=_DATAPOINTS, max_seconds=_SECONDS, quiet=True).stages
        ms = sum(stage.ms_per_output for stage in stages)
        busy = sum(stage.ms_per_output * stage.cpu_share for stage in stages)
        return ms, busy / ms if ms else 1.0
