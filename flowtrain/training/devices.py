"""Replicas and workers of a run: who is chief, which part is whose, collectives; and TensorFlow's global switches."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.model.internals import seeds_changed
from flowtrain.utils.errors import ConfigError

from .config import TrainConfig

__all__ = [
    "any_worker",
    "from_chief",
    "is_chief",
    "limit_gpus",
    "local_replicas",
    "own_randomness",
    "part",
    "prepare",
    "replica_devices",
    "share_history",
]

logger = logging.getLogger("flowtrain.training")

# Between the seeds of two replicas. Larger than all seeds that are drawn (31 bits), so that no layer's seed on one
# replica is another layer's on the next.
_APART = 0x9E3779B1


def prepare(config: TrainConfig) -> None:
    """Set the global switches of TensorFlow that a configuration asks for: GPUs and their memory, determinism.

    Raises:
        ConfigError: There are several workers and no ``log_dir``; or the GPUs cannot be limited (any more).
    """
    if config.strategy is not None and part(config.strategy)[1] > 1 and config.log_dir is None:
        raise ConfigError("several workers need log_dir=, a folder that all of them can read")
    limit_gpus(config.gpu_memory, config.visible_devices)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()


def limit_gpus(memory: str | int | None, visible: Sequence[int] | None) -> None:
    """Choose the GPUs that TensorFlow may use, and how it takes their memory.

    Args:
        memory: ``"grow"``: take it as needed; a number of MiB: at most so much of each GPU; None: all of it.
        visible: Numbers of GPUs; None: all.

    Raises:
        ConfigError: There is no such GPU, or TensorFlow uses them already.
    """
    if memory is None and visible is None:
        return
    gpus = tf.config.list_physical_devices("GPU")
    if visible is not None and any(one >= len(gpus) for one in visible):
        raise ConfigError(f"visible_devices={list(visible)}: TensorFlow sees {len(gpus)} GPU(s), numbered from 0")
    chosen = gpus if visible is None else [gpus[one] for one in visible]
    if not gpus:
        logger.info("gpu_memory= and visible_devices= have no effect: TensorFlow sees no GPU")
        return
    try:
        tf.config.set_visible_devices(chosen, "GPU")
        for gpu in chosen:
            if memory == "grow":
                tf.config.experimental.set_memory_growth(gpu, True)
            elif memory is not None:
                limit = tf.config.LogicalDeviceConfiguration(memory_limit=memory)
                tf.config.set_logical_device_configuration(gpu, [limit])
    except (RuntimeError, ValueError) as error:
        if _limited_already(chosen, memory):
            return  # by an earlier run of this process
        raise ConfigError(
            f"gpu_memory= and visible_devices= must come before anything runs on a GPU in this process: {error}. Make "
            "the TrainConfig's trainer first, and move what uses TensorFlow (a strategy, a tensor, a model) behind it; "
            "or call flowtrain.training.limit_gpus(...) at the top of the script."
        ) from error


def _limited_already(chosen: Sequence[Any], memory: str | int | None) -> bool:
    if list(tf.config.get_visible_devices("GPU")) != list(chosen):
        return False
    if memory == "grow":
        return all(tf.config.experimental.get_memory_growth(gpu) for gpu in chosen)
    limits = [tf.config.get_logical_device_configuration(gpu) for gpu in chosen]
    return memory is None or all(limit and limit[0].memory_limit == memory for limit in limits)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process logs and saves: it is the only process, or the first of several workers."""
    return part(strategy)[0] == 0


def part(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """This worker's index and the number of workers: (0, 1) in one process. Each is fed an equal part of every batch.

    Raises:
        ValueError: The task of this process is no worker of the cluster.
    """
    # Other strategies may have a cluster resolver too (a TPU's), and yet one process that feeds all replicas.
    resolver = strategy.cluster_resolver
    if resolver is None or not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    cluster = resolver.cluster_spec().as_dict()
    members = [("chief", i) for i in range(len(cluster.get("chief", [])))]
    members += [("worker", i) for i in range(len(cluster.get("worker", [])))]
    return (members.index((resolver.task_type, resolver.task_id)), len(members)) if len(members) > 1 else (0, 1)


def local_replicas(strategy: tf.distribute.Strategy) -> int:
    """The number of replicas of this process."""
    return strategy.num_replicas_in_sync // part(strategy)[1]


def replica_devices(strategy: tf.distribute.Strategy) -> list[str | None]:
    """The devices that the feed copies rows to, one for each replica of this process, in order.

    None stands for the host: rows stay where they are. TPUs are fed from there.
    """
    try:
        return [None if "TPU" in device.upper() else device for device in strategy.extended.worker_devices]
    except RuntimeError:  # no strategy: TensorFlow computes on the first GPU, where there is one
        gpus = tf.config.list_logical_devices("GPU")
        return [gpus[0].name if gpus else None]


@contextlib.contextmanager
def own_randomness(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Scope for tracing a step: each replica draws random numbers of its own from the generators that all share.

    Keras keeps the state of a ``SeedGenerator`` alike on all replicas, so without this, dropout would drop the same
    units in each replica's part of the batch.
    """
    if strategy.num_replicas_in_sync == 1:
        yield
        return
    # Only what is drawn is changed, while the step is traced. Giving each replica a generator of its own would make as
    # many states to save, and a checkpoint of two replicas could not be resumed on four.
    with seeds_changed(_of_this_replica):
        yield


def _of_this_replica(seed: tf.Tensor) -> tf.Tensor:
    """Keras's seed (seed, count) of shape (2,), with the seed moved by the number of the replica that is traced."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return seed  # outside of the replicas: what is drawn there is drawn once
    replica = tf.cast(context.replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([replica * tf.constant(_APART, seed.dtype), tf.zeros_like(replica)])


def any_worker(strategy: tf.distribute.Strategy, flag: bool) -> bool:
    """Logical or of `flag` over the workers. A collective: all workers must call it at the same point of training."""
    if part(strategy)[1] == 1:
        return flag
    return bool(_summed(strategy, np.array([float(flag)]))[0] > 0)


def from_chief(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    """Broadcast the chief's values. A collective: all workers must call it at the same point of training.

    Args:
        strategy: The run's strategy.
        values: float64 (N,): this worker's values, of which only the shape counts elsewhere than on the chief.

    Returns:
        float64 (N,): the chief's values.
    """
    if part(strategy)[1] == 1:
        return values
    # tf.distribute has no broadcast between workers; a sum in which all others are zeros is one.
    return _summed(strategy, values if is_chief(strategy) else np.zeros_like(values))


def share_history(strategy: tf.distribute.Strategy, history: dict[str, list[tuple[int, float]]]) -> None:
    """Copy the chief's history to the other workers, which log nothing. A collective, as `from_chief`.

    Args:
        strategy: The run's strategy.
        history: Scalar -> (step, value) pairs; filled in place elsewhere than on the chief.
    """
    if part(strategy)[1] == 1:
        return
    # A broadcast needs the same shape on all workers, and the others know none: so first the length of a text, then the
    # text (names and how many pairs each has), then all pairs. As float64: steps are exact up to 2**53.
    sizes = {name: len(values) for name, values in history.items()}
    text = np.frombuffer(json.dumps(sizes).encode(), np.uint8)
    (length,) = from_chief(strategy, np.array([len(text)], np.float64))
    mine = text if is_chief(strategy) else np.zeros(int(length))
    sizes = json.loads(from_chief(strategy, mine.astype(np.float64)).astype(np.uint8).tobytes())
    if not sizes:
        return
    pairs = np.array([pair for values in history.values() for pair in values], np.float64).reshape(-1)
    mine = pairs if is_chief(strategy) else np.zeros(2 * sum(sizes.values()))
    pairs = from_chief(strategy, mine).reshape(-1, 2)
    if not is_chief(strategy):
        ends = np.cumsum(list(sizes.values()), dtype=int)[:-1]
        for name, values in zip(sizes, np.split(pairs, ends), strict=True):
            history[name] = [(int(step), float(value)) for step, value in values]


def _summed(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    """All-reduce: the sum over the workers, whatever the number of replicas of each."""
    return _all_reduce(strategy, len(values))(tf.constant(values, tf.float64)).numpy()


@functools.lru_cache(maxsize=16)
def _all_reduce(strategy: tf.distribute.Strategy, size: int) -> tf.types.experimental.ConcreteFunction:
    """The compiled all-reduce of `size` numbers. Cached: TensorFlow would trace anew, and warn, at each call."""
    local = local_replicas(strategy)

    def once(mine: tf.Tensor) -> tf.Tensor:
        # A worker's first replica gives its values, the others zeros: equal parts of them would not add up to the bit.
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.where(tf.equal(number % local, 0), mine, tf.zeros_like(mine))

    def total(mine: tf.Tensor) -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(once, (mine,)), axis=None)

    specs = [tf.TensorSpec((size,), tf.float64)]
    return tf.function(total, autograph=False, input_signature=specs).get_concrete_function()
