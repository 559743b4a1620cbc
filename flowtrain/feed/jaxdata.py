"""Dataflows as iterables of JAX arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowtrain.dataflow.core.base import DataFlow
from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import DataFlowError
from flowtrain.utils.optional import require

from .handover import Handover

__all__ = ["to_jax"]

_NARROW = {"i8": "i4", "u8": "u4", "f8": "f4", "c16": "c8"}


@names_arguments
def to_jax(ds: DataFlow, *, device: Any = None, narrow: bool = False) -> Handover:
    """Make an iterable of a dataflow's datapoints with JAX arrays.

    Args:
        ds: The flow; each iteration is its next epoch.
        device: A ``jax.Device`` or a ``Sharding``; None: JAX's default device.
        narrow: What to do with numbers of 64 bits, which JAX without ``jax_enable_x64`` makes 32 bits without a word.
            False: raise an error. True: round floats, and cast whole numbers if each fits, else raise an error.

    Returns:
        An iterable. Its elements are the flow's datapoints, lists or dicts, with each array and number as a
        ``jax.Array`` of the same dtype and shape; texts and other objects stay (columns of them as lists). ``len`` is
        the flow's; ``state_dict`` and ``load_state_dict`` are its position after the last element that was handed out.
        On a CPU arrays in a worker's slot are not copied: the JAX array holds the slot.

    Raises:
        DataFlowError: `ds` is no DataFlow; while iterating: a component is of 64 bits (see ``narrow``), or has a dtype
            that JAX has not.

    Example:
        >>> for image, label in to_jax(ds, narrow=True):    # doctest: +SKIP
        ...     state = train_step(state, image, label)
    """
    jax = require("jax", extra="jax", needed_for="to_jax")

    def convert(array: np.ndarray, untouched: bool, where: str) -> Any:
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        target = _NARROW.get(array.dtype.str[1:])
        if target is not None and not jax.config.jax_enable_x64:
            if not narrow:
                raise DataFlowError(
                    f"{where} is {array.dtype}, of which JAX makes {np.dtype(target)} without a word. Cast it where it "
                    f"is made (.astype({np.dtype(target).name!r})), let to_jax(ds, narrow=True) do it, which checks "
                    'each number, or have 64 bits: jax.config.update("jax_enable_x64", True)'
                )
            array, untouched = _narrowed(array, np.dtype(target), where), True
        if untouched:
            return jax.device_put(array, device)  # on a CPU JAX uses the memory as it is, where it is aligned
        return jax.numpy.array(array, copy=True, device=device)

    return Handover(ds, "to_jax", convert)


def _narrowed(array: np.ndarray, dtype: np.dtype, where: str) -> np.ndarray:
    """A cast to 32 bits that raises if a whole number would change or a float become infinite."""
    with np.errstate(over="ignore"):
        found = array.astype(dtype)
    if dtype.kind in "iu":
        lost = found != array
    else:
        lost = np.isinf(found) & ~np.isinf(array)
    if lost.any():
        value = array[lost].ravel()[0]
        raise DataFlowError(f"{where} is {array.dtype}, and its {value} does not fit into {dtype}, JAX's largest")
    return found
