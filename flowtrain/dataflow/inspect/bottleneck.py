"""The bottleneck of a flow, as the sentence at the end of ``ds.explain()``: what the limit is, and what to do."""

from __future__ import annotations

import math

from ..core.explanation import StageCost

__all__ = ["verdict"]

_BUSY = 0.5  # a stage whose time is less CPU than this mostly waits


def verdict(costs: list[StageCost], workers: int, cores: int) -> str:
    """Say in a sentence what limits a flow, and what to do.

    This process and the workers work at the same time; the slower of the two is the limit. Both are judged by the sum
    of their stages' costs: the time between two datapoints would include what other programs do.

    Args:
        costs: The cost of each stage; one that is named ``(consumer)`` is that of the consumer.
        workers: How many workers there are.
        cores: How many cores the flow may use.
    """
    stages = [cost for cost in costs if cost.name != "(consumer)"]
    consumer = sum(cost.ms_per_output for cost in costs) - sum(cost.ms_per_output for cost in stages)
    here = [cost for cost in stages if cost.where == "here"]
    made = [cost for cost in stages if cost.where != "here"]
    rest = sum(cost.ms_per_output for cost in here)
    if not workers:
        return (
            _consumer_alone(consumer, rest) if consumer > rest else _serial(_largest(stages), stages, consumer, cores)
        )
    slowest = _largest(made)
    # Workers that compute share the cores; workers that wait for a disk or a network do not.
    together = min(workers, cores) if slowest.cpu_share >= _BUSY else workers
    if sum(cost.ms_per_output for cost in made) / together > rest + consumer:
        return _in_workers(slowest, made, rest + consumer, workers, cores, stages)
    if consumer > rest:
        return (
            f"The consumer is the limit: it takes {consumer:.3g} ms for each datapoint, and the workers have the next "
            "one ready by then. A faster flow would change nothing."
        )
    return (
        f"{_largest(here).name} takes {_share(_largest(here), stages)} of the flow's time, in this process, where the "
        "workers cannot help: move it beneath the parallel stage."
    )


def _consumer_alone(consumer: float, rest: float) -> str:
    text = f"The consumer is the limit: it takes {consumer:.3g} ms for each datapoint"
    gain = (rest + consumer) / consumer
    if gain < 1.1:
        return f"{text}. A faster flow would change next to nothing."
    return f"{text}. PrefetchData around the flow would do the rest meanwhile: up to {gain:.2g} times as fast."


def _serial(slowest: StageCost, stages: list[StageCost], consumer: float, cores: int) -> str:
    work = sum(cost.ms_per_output for cost in stages)
    help_up_to = _useful_workers(work, consumer, slowest, cores)
    text = f"{slowest.name} takes {_share(slowest, stages)} of the flow's time"
    if help_up_to < 2 and not consumer:
        return f"{text}, and this machine has a single core for it: {slowest.advice}."
    return f"{text}. Put PrefetchData(num_proc={help_up_to}) around the flow, or {slowest.advice}."


def _in_workers(
    slowest: StageCost, made: list[StageCost], rest: float, workers: int, cores: int, stages: list[StageCost]
) -> str:
    work = sum(cost.ms_per_output for cost in made)
    help_up_to = _useful_workers(work, rest, slowest, cores)
    text = f"{slowest.name} takes {_share(slowest, stages)} of the flow's time"
    if help_up_to > workers:
        return f"{text}: more workers help up to {help_up_to} (there are {workers})."
    full = (
        f"the {workers} workers use the {cores} cores that there are"
        if workers >= cores and slowest.cpu_share >= _BUSY
        else "more workers do not help"
    )
    return f"{text}, and {full}: {slowest.advice}."


def _useful_workers(work: float, rest: float, slowest: StageCost, cores: int) -> int:
    """How many workers are as fast as the rest, which is done in this process; no more than the cores allow."""
    # With nothing to do here no number is enough: the cores bound it. Of workers that wait, a core serves several.
    wanted = math.ceil(work / rest) if rest > 0.001 * work else 1000
    return max(1, min(wanted, cores if slowest.cpu_share >= _BUSY else 4 * cores))


def _largest(costs: list[StageCost]) -> StageCost:
    return max(costs, key=lambda cost: cost.ms_per_output)


def _share(cost: StageCost, stages: list[StageCost]) -> str:
    total = sum(stage.ms_per_output for stage in stages)
    return f"{cost.ms_per_output / total if total else 0:.0%}"
