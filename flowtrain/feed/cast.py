"""Cast rules of the feed: a component keeps every value on its way to the dtype of its TensorSpec.

=================================  ==================================================================
component -> spec                  what happens
=================================  ==================================================================
equal                              nothing
every value survives (uint8 ->     it travels as it is and is cast on the device
float32, bool -> int32, ...)
int -> narrower int                checked, each batch: an error where a value does not fit; else cast here
int -> float with fewer bits       the same (int32 -> float32 up to 2**24)
float64 -> float32,                cast here, with one line in the log; an error where a value is too large and would
complex128 -> complex64            become infinite
anything else                      an error
=================================  ==================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import numpy as np
import tensorflow as tf

from flowtrain.utils.errors import DataFlowError

__all__ = ["host_cast"]

logger = logging.getLogger("flowtrain.feed")

Cast = Callable[[np.ndarray], np.ndarray]

# The only casts that round: NumPy computes in 64 bits where nobody says otherwise, and models want 32.
_NARROWED = {("float64", "float32"), ("complex128", "complex64")}
# Bits of the significand: a float holds all integers up to 2**n exactly.
_EXACT_BITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}


def host_cast(name: str, dtype: np.dtype, wanted: tf.DType, empty: bool = False) -> Cast | None:
    """The cast of one input's arrays on the host, before they are copied to the device.

    Args:
        name: Name of the input, for messages.
        dtype: The dtype that the dataflow gives.
        wanted: The dtype of the TensorSpec.
        empty: Whether the arrays have no elements: of an empty list NumPy makes float64, whatever it stands for.

    Returns:
        A function from array to array, which raises DataFlowError for values that do not fit. None if the array
        travels as it is (and is cast on the device if the dtypes differ): uint8 is a quarter of float32 to copy.

    Raises:
        DataFlowError: The cast could lose values; names the input, both dtypes and the mend.
    """
    if wanted == tf.string:
        if dtype.kind in "OSU":
            return None
        raise _refused(name, dtype, wanted)
    target = np.dtype(wanted.as_numpy_dtype)
    if dtype == target or _survives(dtype, target):
        return None
    if empty and dtype.kind in "biufc" and target.kind in "biufc":
        return lambda array: array.astype(target)
    if dtype.kind in "iu" and target.kind in "iu":
        limits = np.iinfo(target.name)
        return _checked(name, target, int(limits.min), int(limits.max))
    if dtype.kind in "iu" and target.name in _EXACT_BITS:
        bound = 2 ** _EXACT_BITS[target.name]
        return _checked(name, target, -bound, bound)
    if (dtype.name, target.name) in _NARROWED:
        _say_narrowed(name, dtype.name, target.name)
        return _narrowed(name, target)
    raise _refused(name, dtype, wanted)


def _survives(dtype: np.dtype, target: np.dtype) -> bool:
    """Whether `target` holds every value of `dtype` exactly."""
    # Not np.can_cast alone: it takes int64 -> float64 for safe, which rounds beyond 2**53.
    if dtype.kind == "b":
        return target.kind in "iuf" or target.name in _EXACT_BITS
    if dtype.kind in "iu" and target.name in _EXACT_BITS:
        bits = dtype.itemsize * 8 - (dtype.kind == "i")
        return bits <= _EXACT_BITS[target.name]
    if target.name == "bfloat16" or dtype.name == "bfloat16":
        return (dtype.name, target.name) in {("bfloat16", "float32"), ("bfloat16", "float64")}
    if dtype.kind not in "biufc" or target.kind not in "biufc":
        return False
    return np.can_cast(dtype, target, "safe")


def _checked(name: str, target: np.dtype, low: int, high: int) -> Cast:
    def cast(array: np.ndarray) -> np.ndarray:
        if array.size and (array.min() < low or array.max() > high):
            raise DataFlowError(
                f"input {name!r}: values from {array.min()} to {array.max()} ({array.dtype}) do not fit its dtype "
                f"{target}, which holds {low} to {high} exactly. Declare the input as {array.dtype} in inputs(), "
                f"or bring the values into that range in the dataflow."
            )
        return array.astype(target)

    return cast


def _narrowed(name: str, target: np.dtype) -> Cast:
    def cast(array: np.ndarray) -> np.ndarray:
        try:
            with np.errstate(over="raise"):
                return array.astype(target)
        except FloatingPointError as error:
            finite = np.abs(array[np.isfinite(array)])
            raise DataFlowError(
                f"input {name!r}: values up to {finite.max():g} ({array.dtype}) do not fit its dtype {target}: they "
                f"would be infinite. Declare the input as {array.dtype} in inputs(), or scale them in the dataflow."
            ) from error

    return cast


@cache
def _say_narrowed(name: str, given: str, wanted: str) -> None:
    logger.info(
        "input %r: the dataflow gives %s, the model takes %s; cast in each batch. "
        "Make %s in the dataflow to save the time and the memory.",
        name,
        given,
        wanted,
        wanted,
    )


def _refused(name: str, dtype: np.dtype, wanted: tf.DType) -> DataFlowError:
    return DataFlowError(
        f"input {name!r}: the dataflow gives {dtype}, the model takes {wanted.name}, and a cast would lose values. "
        f"Cast it in the dataflow if that is what you mean (MapDataComponent(ds, lambda x: x.astype("
        f"{wanted.name!r}), index=...)), or declare the input as {dtype} in inputs()."
    )
