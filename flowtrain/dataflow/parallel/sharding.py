"""Splitting a flow that can only be iterated among workers: shards that its author defined, or independent copies."""

from __future__ import annotations

import copy

import cloudpickle

from ...utils.errors import DataFlowError
from ..core.base import DataFlow

__all__ = ["copies_of", "shardable", "shards_of"]


def shardable(ds: DataFlow) -> bool:
    """Whether the flow, or the source beneath its chain of stages, defines ``shard(index, count)``."""
    while not callable(getattr(ds, "shard", None)):
        children = ds.children()
        if len(children) != 1 or getattr(ds, "ds", None) is not children[0]:
            return False  # _shard puts a shard beneath a stage by setting its attribute ds
        ds = children[0]
    return True


def shards_of(ds: DataFlow, count: int) -> list[DataFlow]:
    """Return the shards of a flow, each under its own copy of the stages above the source.

    Args:
        ds: The flow; ``shardable``, unless ``count`` is 1.
        count: How many.

    Raises:
        DataFlowError: ``shard`` returned something else than a flow.
    """
    return [ds] if count == 1 else [_shard(ds, index, count) for index in range(count)]


def _shard(ds: DataFlow, index: int, count: int) -> DataFlow:
    shard = getattr(ds, "shard", None)
    if callable(shard):
        part = shard(index, count)
        if not isinstance(part, DataFlow):
            raise DataFlowError(f"{ds}.shard({index}, {count}) must return a DataFlow, it returned {part!r:.200}")
        return part
    above = copy.copy(ds)
    above.__dict__.pop("_latest", None)  # the cursor of a walk over the flow as a whole
    above.ds = _shard(ds.children()[0], index, count)  # type: ignore[attr-defined]
    _reseed(above, index)
    return above


def copies_of(ds: DataFlow, count: int) -> list[DataFlow]:
    """Return independent copies of a flow, which draw different random numbers.

    Args:
        ds: The flow.
        count: How many.
    """
    copies = [cloudpickle.loads(cloudpickle.dumps(ds)) for _ in range(count)]
    for index, made in enumerate(copies):
        for stage in made._random_stages():
            _reseed(stage, index)
    return copies


def _reseed(stage: DataFlow, index: int) -> None:
    """Derive another seed from the stage's own, for each part but the first."""
    # The first part keeps its seed, so that one worker gives what the serial walk gives. The factor is 2**64 over the
    # golden ratio (Knuth, TAOCP 3, 6.4): multiples of it stay far apart, so small seeds do not meet.
    if index and stage in stage._random_stages():
        mixed = (stage.seed + index * 0x9E3779B97F4A7C15) % 2**63  # type: ignore[attr-defined]
        stage._set_seed(mixed)  # type: ignore[attr-defined]
