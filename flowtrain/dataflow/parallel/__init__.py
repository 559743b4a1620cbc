"""Stages that work in other processes or threads, with the same datapoints in the same order as a serial flow."""

from .mapped import MultiProcessMapAndBatchData, MultiProcessMapData, MultiThreadMapData
from .prefetch import MultiProcessRunnerZMQ, PrefetchData, PrefetchDataZMQ
from .thread_runner import MultiThreadRunner

__all__ = [
    "MultiProcessMapAndBatchData",
    "MultiProcessMapData",
    "MultiProcessRunnerZMQ",
    "MultiThreadMapData",
    "MultiThreadRunner",
    "PrefetchData",
    "PrefetchDataZMQ",
]
