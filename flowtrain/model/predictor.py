"""Predictor: a compiled function from named inputs to named outputs, on live weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.utils.errors import ModelError, closest

from .internals import failure_of, quick_call

__all__ = ["Predictor", "to_input"]

# Outputs of half precision are given as float32: NumPy itself has no bfloat16, and computes slowly in float16.
_HALVES = frozenset((tf.bfloat16, tf.float16))


class Predictor:
    """Computes named tensors of a model from named inputs; only the subgraph that they need runs.

    Each call reads the live variables, so a predictor made before training serves during and after it. Thread-safe.

    Args:
        function: Takes one tensor for each input and returns a list of tensors.
        specs: Shape and dtype of each input.
        inputs: Names of the inputs.
        outputs: Names of the outputs.

    Attributes:
        function: The subgraph that runs, a concrete function.
        specs: Shape and dtype of each input.
        inputs: Names of the inputs.
        outputs: Names of the outputs.

    Example:
        >>> predictor = graph.predictor(["luminance"], ["prediction/output"])  # doctest: +SKIP
        >>> (ab,) = predictor(batch)  # or predictor(luminance=batch)  # doctest: +SKIP
    """

    def __init__(
        self,
        function: tf.types.experimental.ConcreteFunction,
        specs: Sequence[tf.TensorSpec],
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:
        self.function = function
        self.specs = list(specs)
        self._compiled: Any = None
        self._quick: Any = None
        self.inputs = list(inputs)
        self.outputs = list(outputs)

    def __call__(self, *values: Any, **named: Any) -> list[Any]:
        """Compute the outputs for one batch.

        Args:
            *values: The inputs in order; or one dict from names to values.
            **named: The inputs by name.

        Returns:
            The outputs in order: arrays; or tensors, if one of the inputs is a tensor. Arrays of bfloat16 and float16
            outputs are float32.

        Raises:
            ModelError: An input is missing, unknown or given twice, there are too many, or one does not fit its shape
                or dtype.
        """
        given = self._in_order(values, named)
        as_tensors = any(_is_tensor(value) for value in given)
        tensors = [
            to_input(spec, name, value) for spec, name, value in zip(self.specs, self.inputs, given, strict=True)
        ]
        try:
            results = self._run(tensors, as_tensors)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            shapes = ", ".join(f"{name} {tensor.shape}" for name, tensor in zip(self.inputs, tensors, strict=True))
            raise ModelError(f"the model cannot compute {self.outputs} of {shapes}: {failure_of(error)}") from error
        return list(results) if as_tensors else [_to_array(result) for result in results]

    def _run(self, tensors: list[tf.Tensor], may_be_watched: bool) -> list[tf.Tensor]:
        """Call the pruned function, through a compiled one: calling it from Python takes twice as long.

        Args:
            tensors: One for each input.
            may_be_watched: A gradient tape may watch the tensors, since the caller gave some.
        """
        if not tf.executing_eagerly():
            return self.function(*tensors)
        if self._compiled is None:
            signature = [tf.TensorSpec(spec.shape, spec.dtype) for spec in self.specs]
            compiled = tf.function(lambda *its: self.function(*its), input_signature=signature, autograph=False)
            concrete = compiled.get_concrete_function()
            self._quick = quick_call(concrete)
            self._compiled = concrete  # last: another thread that finds it set needs both
        # The quick call leaves out what records the call on a gradient tape.
        return self._compiled(*tensors) if may_be_watched else self._quick(tensors)

    def _in_order(self, values: tuple[Any, ...], named: Mapping[str, Any]) -> list[Any]:
        if len(values) == 1 and isinstance(values[0], Mapping):
            values, named = (), {**values[0], **named}
        rest = self.inputs[len(values) :]
        for name in named:
            if name not in rest:
                problem = "is given twice" if name in self.inputs else f"is not one. {closest(name, self.inputs)}"
                raise ModelError(f"the predictor takes the inputs {self.inputs}; {name!r} {problem}")
        missing = [name for name in rest if name not in named]
        if missing or len(values) > len(self.inputs):
            raise ModelError(
                f"the predictor takes {len(self.inputs)} input(s) {self.inputs}, "
                + (f"{missing} not given." if missing else f"got {len(values)}.")
            )
        return [*values, *(named[name] for name in rest)]

    def __repr__(self) -> str:
        return f"Predictor({', '.join(self.inputs)} -> {', '.join(self.outputs)})"


def to_input(spec: tf.TensorSpec, name: str, value: object) -> tf.Tensor:
    """Convert a value to the tensor that an input expects, if its dtype can be cast and its shape fits.

    Args:
        spec: The input's shape and dtype.
        name: The input's name, for errors.
        value: An array, a number, nested lists, or a tensor.

    Returns:
        The tensor. Numbers are cast to a float dtype, and integers to an integer dtype that holds their values; other
        casts are refused.

    Raises:
        ModelError: Shape or dtype does not fit.
    """
    if _is_tensor(value):
        tensor = tf.convert_to_tensor(value)
        _check_cast(np.dtype(tensor.dtype.as_numpy_dtype), spec.dtype, name)
        tensor = tf.cast(tensor, spec.dtype)
    else:
        try:
            array = np.asarray(value)
        except (ValueError, TypeError) as error:
            raise ModelError(f"the input {name!r} cannot be made an array: {error}") from error
        if array.dtype != spec.dtype.as_numpy_dtype:
            _check_cast(array.dtype, spec.dtype, name, array)
            array = array.astype(spec.dtype.as_numpy_dtype)
        tensor = tf.constant(array)
    if not spec.shape.is_compatible_with(tensor.shape):
        one = spec.shape.rank is not None and spec.shape[1:].is_compatible_with(tensor.shape)
        hint = " Predictors take batches: a single one is given as value[None]." if one else ""
        raise ModelError(f"the input {name!r} expects shape {spec.shape}, got {tensor.shape}.{hint}")
    return tensor


def _is_tensor(value: object) -> bool:
    # The type first: tf.is_tensor looks up several attributes on an array, which takes longer than making a tensor.
    return type(value) is not np.ndarray and tf.is_tensor(value)


def _check_cast(given: np.dtype, wanted: tf.DType, name: str, array: np.ndarray | None = None) -> None:
    target = np.dtype(wanted.as_numpy_dtype)
    if given == target or wanted == tf.string:
        return
    if wanted.is_floating and (given.kind in "iub" or tf.as_dtype(given).is_floating):
        return
    if wanted.is_integer and given.kind in "iub":
        if np.can_cast(given, target):
            return
        if array is not None:  # the values of a tensor are not looked at, which would wait for the device
            bounds = np.iinfo(target.name)
            if array.size == 0 or (array.min() >= bounds.min and array.max() <= bounds.max):
                return
    raise ModelError(
        f"the input {name!r} expects {wanted.name}, got {given}, whose values may not survive the cast. "
        f"Convert it yourself, e.g. value.astype({target.name!r})."
    )


def _to_array(tensor: tf.Tensor) -> np.ndarray:
    array = np.asarray(tensor.numpy())
    if tensor.dtype in _HALVES:
        return array.astype(np.float32)
    return array
