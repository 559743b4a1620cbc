"""Ownership of a dataflow's arrays: which ones the feed may share with TensorFlow, as nobody writes into them later.

Two conditions must hold. The array lies in memory that its maker leaves alone: a slot of a worker, under a `Lease`. And
no function in this process has seen it, which might keep it and write into it at its next call. The first is a property
of the array, the second follows from the stages of the flow. Neither counts references: the count of an object differs
between Pythons (without a global lock it is split between threads), and says nothing about who will write.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flowtrain.dataflow import (
    DataFlow,
    FixedSizeData,
    MultiProcessMapAndBatchData,
    MultiProcessMapData,
    PrefetchData,
    PrintData,
    RepeatedData,
    SelectComponent,
    ShardData,
    ShuffleData,
    SkipData,
    TakeData,
    TestDataSpeed,
)
from flowtrain.ipc.arena import Lease

__all__ = ["hands_over", "is_leased"]

# Closed lists, by exact class: a class that a user derives from one of these may do anything.
_FROM_WORKERS = {MultiProcessMapAndBatchData, MultiProcessMapData, PrefetchData}
_KEEPING_NOTHING = {
    FixedSizeData, PrintData, RepeatedData, SelectComponent, ShardData, ShuffleData, SkipData, TakeData, TestDataSpeed,
}  # fmt: skip


def hands_over(flow: DataFlow) -> bool:
    """Whether a flow's arrays come from workers, through stages that keep nothing of them and call no function.

    Example:
        >>> from flowtrain.dataflow import BatchData, DataFromList, MapData, PrefetchData
        >>> ds = PrefetchData(BatchData(DataFromList([[1], [2]]), 2), num_proc=1)
        >>> hands_over(ds), hands_over(MapData(ds, lambda dp: dp))
        (True, False)
    """
    stage: Any = flow
    while type(stage) in _KEEPING_NOTHING:
        stage = stage.ds
    return type(stage) in _FROM_WORKERS


def is_leased(array: np.ndarray) -> bool:
    """Whether an array lies in a slot of a worker, which is not written into while the array lives."""
    # A view leads to the array or buffer that it is a view of; at the end of the chain is who owns the memory.
    owner: Any = array
    while isinstance(owner, np.ndarray | memoryview) and not isinstance(owner, Lease):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    return isinstance(owner, Lease)
