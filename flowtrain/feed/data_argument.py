"""Checks of arguments that take data: a DataFlow or a ``tf.data.Dataset``; else an error that says what to write."""

from __future__ import annotations

import tensorflow as tf

from flowtrain.dataflow import ConcatData, DataFlow, RepeatedData, TakeData
from flowtrain.dataflow.stages.index_map import endless
from flowtrain.utils.arguments import refuse_class
from flowtrain.utils.errors import ConfigError

from .tfdata import TFDatasetFlow, from_tf_dataset

__all__ = ["as_dataflow", "never_ends"]


def as_dataflow(data: object, what: str) -> DataFlow:
    """Make sure that an argument is a dataflow; a ``tf.data.Dataset`` is wrapped into one.

    Args:
        data: The argument.
        what: Its name for messages, such as ``"dataflow="``.

    Raises:
        ConfigError: It is something else; says what to wrap it with.
    """
    if isinstance(data, tf.data.Dataset):
        return from_tf_dataset(data)
    if isinstance(data, DataFlow):
        return data
    refuse_class(what, data)
    raise ConfigError(
        f"{what} must be a DataFlow or a tf.data.Dataset, got {type(data).__name__}. Wrap a list of datapoints with "
        "DataFromList, arrays with BatchData(DataFromArrays(x, y), 32), and what is made by a generator with "
        "DataFromGenerator(function): it takes the function, which it calls for each epoch; a generator object can be "
        "walked over once."
    )


def never_ends(flow: object) -> bool:
    """Whether a flow or ``tf.data.Dataset`` is known to have no end; False for a generator, of which nobody knows."""
    if isinstance(flow, tf.data.Dataset):
        flow = from_tf_dataset(flow)
    if not isinstance(flow, DataFlow):
        return False
    if isinstance(flow, TFDatasetFlow):
        return flow.never_ends
    if flow.size_or_none() is not None or isinstance(flow, TakeData):
        return False
    if endless(flow) or (isinstance(flow, RepeatedData) and flow.num == -1):
        return True
    children = flow.children()
    some = any if isinstance(flow, ConcatData) else all  # the shortest ends a JoinData
    return bool(children) and some(never_ends(child) for child in children)
