"""Dataflows of ``tf.data`` datasets, and the reverse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from flowtrain.dataflow.core.base import DataFlow
from flowtrain.dataflow.core.proxy import check_flow
from flowtrain.utils.errors import ConfigError, DataFlowError

from .inputs import Inputs, check_specs

__all__ = ["TFDatasetFlow", "from_tf_dataset", "to_tf_dataset"]


class TFDatasetFlow(DataFlow):
    """The elements of a ``tf.data.Dataset`` as datapoints; see `from_tf_dataset`."""

    def __init__(self, dataset: tf.data.Dataset) -> None:
        if not isinstance(dataset, tf.data.Dataset):
            raise ConfigError(f"from_tf_dataset takes a tf.data.Dataset, got {type(dataset).__name__}")
        self._dataset = dataset

    def __len__(self) -> int:
        size = int(self._dataset.cardinality())
        if size < 0:
            raise TypeError("the length of this tf.data.Dataset is unknown or infinite")
        return size

    @property
    def never_ends(self) -> bool:
        """Whether ``tf.data`` knows that the dataset has no end."""
        return int(self._dataset.cardinality()) == tf.data.INFINITE_CARDINALITY

    def __iter__(self) -> Iterator[Any]:
        for element in self._dataset.as_numpy_iterator():
            if isinstance(element, dict):
                yield element
            else:
                yield list(element) if isinstance(element, tuple | list) else [element]

    def __copy__(self) -> TFDatasetFlow:
        return TFDatasetFlow(self._dataset)

    def __getstate__(self) -> dict[str, Any]:
        raise DataFlowError(
            "a tf.data.Dataset cannot travel to another process. Use it without PrefetchData: tf.data has threads of "
            "its own, dataset.prefetch(tf.data.AUTOTUNE); or run stages above it in threads, MultiThreadRunner(ds, "
            "num_thread=1) or MultiThreadMapData. Where workers shall do the work, build the flow of flowtrain's "
            "sources"
        )


def from_tf_dataset(dataset: tf.data.Dataset) -> DataFlow:
    """Make a dataflow of a ``tf.data.Dataset``. TrainConfig does this by itself.

    Args:
        dataset: Its elements become datapoints: a tuple becomes a list, a dict stays, a single tensor becomes a list of
            one.

    Returns:
        A flow that can be iterated, not indexed.

    Note:
        Order: the dataset's own; give its shuffles a seed and ``reshuffle_each_iteration=False``, or epochs
        cannot be repeated. State: a count of elements; resuming in mid-epoch iterates over those that were consumed.

    Example:
        >>> ds = from_tf_dataset(tf.data.Dataset.range(3))
        >>> [int(component) for (component,) in ds]
        [0, 1, 2]
    """
    return TFDatasetFlow(dataset)


def to_tf_dataset(ds: DataFlow, specs: Sequence[tf.TensorSpec]) -> tf.data.Dataset:
    """Make a ``tf.data.Dataset`` of a dataflow, for Keras ``fit`` or other code that takes one.

    flowtrain's own trainers do not need it, and are faster without.

    Args:
        ds: The flow; each iteration of the dataset is its next epoch.
        specs: One TensorSpec per component. Dtypes are cast by the rules of training.

    Returns:
        A dataset whose elements are tuples in the order of the specs; its cardinality is ``len(ds)``, if known.

    Raises:
        DataFlowError: `ds` is no DataFlow; while iterating: a datapoint does not fit the specs.

    Example:
        >>> dataset = to_tf_dataset(ds, [tf.TensorSpec((None, 28, 28), tf.float32, "image")])  # doctest: +SKIP
        >>> keras_model.fit(dataset)  # doctest: +SKIP
    """
    check_flow(ds, "to_tf_dataset")
    inputs = Inputs(check_specs(specs))

    def generate() -> Iterator[tuple[tf.Tensor, ...]]:
        for datapoint in ds:
            yield tuple(inputs.tensors(datapoint))

    dataset = tf.data.Dataset.from_generator(generate, output_signature=tuple(inputs.specs))
    size = ds.size_or_none()
    return dataset if size is None else dataset.apply(tf.data.experimental.assert_cardinality(size))
