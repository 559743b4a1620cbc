"""The inputs of a model: turns a datapoint into their arrays, and names every misfit of names, shapes and dtypes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.dataflow.core.datapoint import Component
from flowtrain.dataflow.core.values import as_array, column_of
from flowtrain.utils.errors import ConfigError, DataFlowError, closest, first_few

from .cast import Cast, host_cast
from .tensors import to_tensor

__all__ = ["Inputs"]

logger = logging.getLogger("flowtrain.feed")


class Inputs:
    """The inputs of a model: checks and casts the components of each datapoint for them.

    Args:
        specs: One named TensorSpec per input.
        part: (index, count): take the index-th of count equal parts of each batch's rows. So each of several workers
            feeds its part of the global batch.
        divide: The rows of each part must be a multiple of this: the number of replicas of this worker.
        rows: How many rows every batch must have; None: any number.

    Example:
        >>> inputs = Inputs([tf.TensorSpec((None, 2), tf.float32, "x")])
        >>> [array.dtype for array in inputs.arrays([np.zeros((8, 2), np.uint8)])]
        [dtype('uint8')]
        >>> inputs.tensors([np.zeros((8, 2), np.uint8)])[0].dtype
        tf.float32
    """

    def __init__(
        self,
        specs: Sequence[tf.TensorSpec],
        part: tuple[int, int] = (0, 1),
        divide: int = 1,
        rows: int | None = None,
    ) -> None:
        self.specs = list(specs)
        self.names = [str(spec.name) for spec in self.specs]
        self._part = part
        self._divide = divide
        self._rows = rows
        self._casts: dict[tuple[int, np.dtype, tuple[int, ...]], Cast | None] = {}
        self._said_extra = False

    def arrays(self, datapoint: object) -> list[np.ndarray]:
        """The components in the order of the inputs, checked against the specs.

        Args:
            datapoint: A list or tuple in the order of the inputs, or a dict by their names.

        Returns:
            One array per input, in the dtype in which it travels (see `flowtrain.feed.cast`); of several workers this
            one's rows.

        Raises:
            DataFlowError: Number or names of components, a shape, a dtype or a value does not fit.
        """
        components = self._ordered(datapoint)
        arrays = []
        # Checks depend on dtype and shape alone, so they are done once for each pair that comes, not for each batch.
        for place, (spec, component) in enumerate(zip(self.specs, components, strict=True)):
            array = component if type(component) is np.ndarray else _as_array(component, str(spec.name))
            key = place, array.dtype, array.shape
            if key not in self._casts:
                self._check_shape(spec, array)
                if len(self._casts) > 1000:  # shapes that differ from batch to batch
                    self._casts.clear()
                self._casts[key] = host_cast(str(spec.name), array.dtype, spec.dtype, empty=not array.size)
            cast = self._casts[key]
            arrays.append(array if cast is None else cast(array))
        if self._part[1] > 1 or self._divide > 1:
            return [self._take_part(name, array) for name, array in zip(self.names, arrays, strict=True)]
        return arrays

    def tensors(self, datapoint: object) -> list[tf.Tensor]:
        """The components as tensors of the declared dtypes, for single calls (a predictor, a validation)."""
        return [
            tf.cast(to_tensor(array), spec.dtype)
            for spec, array in zip(self.specs, self.arrays(datapoint), strict=True)
        ]

    def _check_shape(self, spec: tf.TensorSpec, array: np.ndarray) -> None:
        if array.dtype == object and spec.dtype != tf.string:
            held = sorted({type(value).__name__ for value in array.ravel().tolist()})
            raise DataFlowError(
                f"input {spec.name!r}: the dataflow gives an array of dtype object, which holds "
                f"{first_few(held, 4)}; the model takes {spec.dtype.name}. Make each row a number or an array of one "
                "dtype before it is batched."
            )
        if not spec.shape.is_compatible_with(array.shape):
            raise DataFlowError(
                f"input {spec.name!r} is declared as {_shown(spec.shape)}, the dataflow gives {array.shape}."
                f"{_hint(spec, array)}"
            )
        if self._rows is not None and array.shape[:1] != (self._rows,):
            raise DataFlowError(
                f"input {spec.name!r}: a batch has the shape {array.shape}, but global_batch is {self._rows}. "
                "The batch size is what one step consumes over all replicas."
            )

    def _ordered(self, datapoint: object) -> Sequence[Any]:
        if isinstance(datapoint, Mapping):
            missing = [name for name in self.names if name not in datapoint]
            if missing:
                known = [str(key) for key in datapoint]
                raise DataFlowError(
                    f"the model's input {missing[0]!r} is not among the datapoint's components. "
                    f"{closest(missing[0], known)}"
                )
            extra = [key for key in datapoint if key not in self.names]
            if extra and not self._said_extra:
                self._said_extra = True
                logger.info("the model takes no input for the components %s: they are not fed", extra)
            return [datapoint[name] for name in self.names]
        if not isinstance(datapoint, list | tuple):
            raise DataFlowError(
                f"a datapoint must be a list, a tuple or a dict of components, got {type(datapoint).__name__}"
            )
        if len(datapoint) != len(self.specs):
            raise DataFlowError(
                f"the dataflow gives {len(datapoint)} components, the model takes {len(self.specs)} inputs "
                f"({', '.join(self.names)}). Use SelectComponent(ds, [...]) to choose, or change inputs()."
            )
        return datapoint

    def _take_part(self, name: str, array: np.ndarray) -> np.ndarray:
        index, count = self._part
        rows = array.shape[0] if array.ndim else 0
        replicas = count * self._divide
        if rows == 0 or rows % replicas:
            raise DataFlowError(
                f"input {name!r}: a batch of {rows} rows cannot be shared equally among {replicas} replicas. "
                f"The batch size is what one step consumes over all replicas: make it a multiple of {replicas}, "
                f"and drop a short last batch (BatchData(..., remainder=False))."
            )
        size = rows // count
        return array[index * size : (index + 1) * size]


def check_specs(specs: object) -> list[tf.TensorSpec]:
    """Make sure that `specs` is a list of TensorSpecs.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(specs, list | tuple) or not all(isinstance(spec, tf.TensorSpec) for spec in specs):
        raise ConfigError(f"specs must be a list of tf.TensorSpec, got {specs!r:.200}")
    return list(specs)


def _as_array(component: Component, name: str) -> np.ndarray:
    """The array of a component that is not an array yet, without loss (see `flowtrain.dataflow.core.values`)."""
    if isinstance(component, tf.Tensor):
        return component.numpy()
    if not isinstance(component, list | tuple):
        return column_of(component, f"input {name!r}")
    array = as_array(component, f"input {name!r}")
    return np.asarray(component, object) if array is None else array  # of strings, or refused for what it is


def _shown(shape: tf.TensorShape) -> str:
    return str(tuple(shape.as_list())) if shape.rank is not None else "any shape"


def _hint(spec: tf.TensorSpec, array: np.ndarray) -> str:
    """A guess at what is missing when an array has one axis less than its input."""
    rank = spec.shape.rank
    if rank is not None and array.ndim == rank - 1 and spec.shape[1:].is_compatible_with(array.shape):
        return " Is a BatchData missing at the end of the dataflow?"
    if rank is not None and array.ndim == rank - 1 and spec.shape[:-1].is_compatible_with(array.shape):
        return " Is the channel axis missing (array[..., None])?"
    return ""
