"""What depends on where a run computes: replicas, workers, and TensorFlow's global switches."""

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

_APART = 0x9E3779B1  # between the seeds of two replicas: larger than what seeds are drawn from


def prepare(config: TrainConfig) -> None:
    """Set TensorFlow's global switches that a configuration asks for.

    Raises:
        ConfigError: Several workers, and no log folder that all of them know.
    """
    if config.strategy is not None and part(config.strategy)[1] > 1 and config.log_dir is None:
        raise ConfigError("several workers need log_dir=, a folder that all of them can read")
    limit_gpus(config.gpu_memory, config.visible_devices)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()


def limit_gpus(memory: str | int | None, visible: Sequence[int] | None) -> None:
    """Choose the GPUs that TensorFlow may use, and how it takes their memory.

    Args:
        memory: ``"grow"``, a number of MiB, or None.
        visible: Numbers of GPUs, or None for all.

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
    """Whether this process logs and saves: it is the only one, or the chief of several workers."""
    return part(strategy)[0] == 0


def part(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """This worker's index and the number of workers; each is fed an equal part of every batch."""
    resolver = strategy.cluster_resolver
    if resolver is None or not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    cluster = resolver.cluster_spec().as_dict()
    members = [("chief", i) for i in range(len(cluster.get("chief", [])))]
    members += [("worker", i) for i in range(len(cluster.get("worker", [])))]
    return (members.index((resolver.task_type, resolver.task_id)), len(members)) if len(members) > 1 else (0, 1)


def local_replicas(strategy: tf.distribute.Strategy) -> int:
    """How many replicas this process has."""
    return strategy.num_replicas_in_sync // part(strategy)[1]


def replica_devices(strategy: tf.distribute.Strategy) -> list[str | None]:
    """The device that the feed puts the rows of each replica of this process on, in order; None for the host.

    TPUs are fed by their host.
    """
    try:
        return [None if "TPU" in device.upper() else device for device in strategy.extended.worker_devices]
    except RuntimeError:  # no strategy: TensorFlow computes on the first GPU, where there is one
        gpus = tf.config.list_logical_devices("GPU")
        return [gpus[0].name if gpus else None]


@contextlib.contextmanager
def own_randomness(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Scope of tracing a step in which each replica draws other random numbers from the generator that all share.

    Keras keeps the state of a ``SeedGenerator`` alike on all replicas, so that dropout would drop the same units of
    each one's share of the batch.
    """
    if strategy.num_replicas_in_sync == 1:
        yield
        return
    # Replaced while the step is traced and by nothing that lives longer: giving each replica a generator of its own
    # would make as many states to save, and a checkpoint of two replicas could not be resumed on four.
    with seeds_changed(_of_this_replica):
        yield


def _of_this_replica(seed: tf.Tensor) -> tf.Tensor:
    """A seed (2,) of Keras, moved by the number of the replica that is being traced."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return seed
    replica = tf.cast(context.replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([replica * tf.constant(_APART, seed.dtype), tf.zeros_like(replica)])


def any_worker(strategy: tf.distribute.Strategy, flag: bool) -> bool:
    """Logical or of `flag` over the workers: a collective operation, which all call at the same point of training."""
    if part(strategy)[1] == 1:
        return flag
    return bool(_summed(strategy, np.array([float(flag)]))[0] > 0)


def from_chief(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    """Broadcast of the chief's values: a collective operation, which all workers call at the same point of training.

    Args:
        strategy: That of the run.
        values: float64 (N,): this worker's.
    """
    if part(strategy)[1] == 1:
        return values
    return _summed(strategy, values if is_chief(strategy) else np.zeros_like(values))


def share_history(strategy: tf.distribute.Strategy, history: dict[str, list[tuple[int, float]]]) -> None:
    """Put the chief's history into those of the other workers, where nothing logs. All have to ask at the same point.

    Args:
        strategy: That of the run.
        history: Scalar -> (step, value) pairs.
    """
    if part(strategy)[1] == 1:
        return
    sizes = {name: len(values) for name, values in history.items()}
    text = np.frombuffer(json.dumps(sizes).encode(), np.uint8)
    (length,) = from_chief(strategy, np.array([len(text)], np.float64))
    mine = text if is_chief(strategy) else np.zeros(int(length))
    sizes = json.loads(from_chief(strategy, mine.astype(np.float64)).astype(np.uint8).tobytes())
    pairs = np.array([pair for values in history.values() for pair in values], np.float64).reshape(-1)
    mine = pairs if is_chief(strategy) else np.zeros(2 * sum(sizes.values()))
    pairs = from_chief(strategy, mine).reshape(-1, 2)
    if not is_chief(strategy):
        ends = np.cumsum(list(sizes.values()), dtype=int)[:-1]
        for name, values in zip(sizes, np.split(pairs, ends), strict=True):
            history[name] = [(int(step), float(value)) for step, value in values]


def _summed(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    """All-reduce: the sum over the workers, whatever the number of replicas of each."""
    # each of a worker's replicas adds its share once
    first = tf.constant(values / local_replicas(strategy), tf.float64)
    return _all_reduce(strategy, len(values))(first).numpy()


@functools.lru_cache(maxsize=16)
def _all_reduce(strategy: tf.distribute.Strategy, size: int) -> tf.types.experimental.ConcreteFunction:
    """Traced once: a function made anew for each call is traced anew, which TensorFlow warns of."""

    def count(mine: tf.Tensor) -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(tf.identity, (mine,)), axis=None)

    specs = [tf.TensorSpec((size,), tf.float64)]
    return tf.function(count, autograph=False, input_signature=specs).get_concrete_function()
