"""The sentence at the end of ``ds.explain()``: what the limit is, and what to do about it."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["verdict"]

_SLOW_CONSUMER = 0.25  # a consumer that waits for less than this part of its time is the limit itself
_BUSY = 0.5  # a stage whose time is less CPU than this mostly waits


def verdict(costs: list[Any], period_ms: float, waited: float, workers: int, cores: int) -> str:
    """Say what limits a flow.

    Args:
        costs: Of each stage, as ``StageCost``; one that is named ``(consumer)`` is the consumer.
        period_ms: Milliseconds from one datapoint of the flow to the next.
        waited: The part of the time in which this process waited for workers.
        workers: How many there are.
        cores: How many the machine has for us.
    """
    consumer = sum(cost.ms_per_output for cost in costs if cost.name == "(consumer)")
    stages = [cost for cost in costs if cost.name != "(consumer)"]
    here = sum(cost.ms_per_output for cost in stages if cost.where == "here")
    if consumer and consumer >= max(here, 0.5 * period_ms) and (not workers or waited < _SLOW_CONSUMER):
        if workers:
            return (
                f"The consumer is the limit: it takes {consumer:.3g} ms of each {period_ms:.3g} ms, and its next "
                "datapoint is ready by then. A faster flow would change nothing."
            )
        text = f"The consumer is the limit: it takes {consumer:.3g} ms of each {period_ms:.3g} ms."
        gain = (here + consumer) / consumer
        if gain < 1.1:
            return f"{text} A faster flow would change next to nothing."
        return f"{text} PrefetchData around the flow would do the rest meanwhile: up to {gain:.2g} times as fast."
    if not workers:
        return _serial(_largest(stages), stages, consumer, cores)
    if waited < _SLOW_CONSUMER:
        slowest = _largest([cost for cost in stages if cost.where == "here"])
        return (
            f"{_named(slowest)} takes {_share(slowest, stages)} of the flow's time, in this process, where the workers "
            "cannot help: move it beneath the parallel stage."
        )
    made = [cost for cost in stages if cost.where != "here"]
    return _in_workers(_largest(made), made, here + consumer, workers, cores, stages)


def _serial(slowest: Any, stages: list[Any], consumer: float, cores: int) -> str:
    work = sum(cost.ms_per_output for cost in stages)
    help_up_to = _useful_workers(work, consumer, slowest, cores)
    text = f"{_named(slowest)} takes {_share(slowest, stages)} of the flow's time"
    if help_up_to < 2 and not consumer:
        return f"{text}, and this machine has a single core for it: make it cheaper."
    return f"{text}. Make it cheaper, or put PrefetchData(num_proc={help_up_to}) around the flow."


def _in_workers(slowest: Any, made: list[Any], rest: float, workers: int, cores: int, stages: list[Any]) -> str:
    work = sum(cost.ms_per_output for cost in made)
    help_up_to = _useful_workers(work, rest, slowest, cores)
    text = f"{_named(slowest)} takes {_share(slowest, stages)} of the flow's time"
    if help_up_to > workers:
        return f"{text}: more workers help up to {help_up_to} (there are {workers})."
    full = (
        f"the {workers} workers use the {cores} cores that there are"
        if workers >= cores
        else "more workers do not help"
    )
    return f"{text}, and {full}: make it cheaper."


def _useful_workers(work: float, rest: float, slowest: Any, cores: int) -> int:
    """With how many workers they would be as fast as the rest, which is done in this process."""
    wanted = math.ceil(work / rest) if rest > 0.001 * work else 1000
    return max(1, min(wanted, cores if slowest.cpu_share >= _BUSY else 4 * cores))


def _largest(costs: list[Any]) -> Any:
    return max(costs, key=lambda cost: cost.ms_per_output)


def _named(cost: Any) -> str:
    return cost.name


def _share(cost: Any, stages: list[Any]) -> str:
    total = sum(stage.ms_per_output for stage in stages)
    return f"{cost.ms_per_output / total if total else 0:.0%}"
