"""What depends on where a run computes: replicas, workers, and TensorFlow's global switches."""

from __future__ import annotations

import tensorflow as tf

from .config import TrainConfig

__all__ = ["is_chief", "local_replicas", "part", "prepare"]


def prepare(config: TrainConfig) -> None:
    """Set TensorFlow's global switches that a configuration asks for."""
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process logs and saves: it is the only one, or the chief of several workers."""
    return part(strategy)[0] == 0


def part(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """(index, count): which of how many workers this process is. Each feeds an equal part of every batch."""
    if not _is_multi_worker(strategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict()
    members = [("chief", i) for i in range(len(cluster.get("chief", [])))]
    members += [("worker", i) for i in range(len(cluster.get("worker", [])))]
    return members.index((resolver.task_type, resolver.task_id)), len(members)


def local_replicas(strategy: tf.distribute.Strategy) -> int:
    """How many replicas this process has."""
    return strategy.num_replicas_in_sync // part(strategy)[1]


def _is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    return strategy.cluster_resolver is not None and bool(
        getattr(strategy.extended, "_in_multi_worker_mode", lambda: False)()
    )
