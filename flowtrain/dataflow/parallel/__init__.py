"""Stages that work in other processes or threads, with the same datapoints in the same order as a serial flow."""

from .prefetch import MultiProcessRunnerZMQ, PrefetchData, PrefetchDataZMQ

__all__ = ["MultiProcessRunnerZMQ", "PrefetchData", "PrefetchDataZMQ"]
