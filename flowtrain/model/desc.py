"""ModelDesc: what a user writes. Its inputs, one function that builds the graph, and an optimizer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from flowtrain.utils.errors import ModelError

from .gradient import GradientProcessor

__all__ = ["ModelDesc"]

_OLD_METHODS = {
    "_get_inputs": "inputs(self)",
    "_get_input_vars": "inputs(self)",
    "get_inputs": "inputs(self)",
    "_build_graph": "build_graph(self, *inputs)",
    "_get_optimizer": "optimizer(self)",
    "get_optimizer": "optimizer(self)",
    "_get_cost": "build_graph(self, *inputs), which returns the cost",
    "get_cost": "build_graph(self, *inputs), which returns the cost",
    "get_gradient_processor": "gradient_processors(self)",
    "_get_gradient_processor": "gradient_processors(self)",
}


class ModelDesc:
    """A model: what goes in, how the cost is computed from it, and how it is minimised.

    ``build_graph`` is plain TensorFlow: named layers of flowtrain, Keras layers and models, any
    operation. It is traced, not run, so Python ``if`` and ``for`` decide about the graph, and ``tf.cond`` and
    ``tf.while_loop`` decide at run time.

    Example:
        >>> class Line(ModelDesc):  # doctest: +SKIP
        ...     def inputs(self):
        ...         return [tf.TensorSpec((None, 1), tf.float32, "x"), tf.TensorSpec((None, 1), tf.float32, "y")]
        ...
        ...     def build_graph(self, x, y):
        ...         return tf.reduce_mean(tf.square(FullyConnected("line", x, 1) - y), name="l2_loss")
        ...
        ...     def optimizer(self):
        ...         return tf.keras.optimizers.SGD(get_scalar_var("learning_rate", 0.1))
    """

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for old, new in _OLD_METHODS.items():
            if old in vars(cls):
                raise ModelError(f"{cls.__name__} defines {old}: in flowtrain it is spelled {new}.")

    def inputs(self) -> Sequence[tf.TensorSpec]:
        """The inputs in the order in which a datapoint has its components.

        Returns:
            One ``tf.TensorSpec(shape, dtype, name)`` for each, the batch dimension None, all named.
        """
        raise NotImplementedError(f"{type(self).__name__} must define inputs(self).")

    def build_graph(self, *inputs: tf.Tensor) -> Any:
        """Build the graph.

        Args:
            *inputs: One tensor for each of ``inputs()``, in order.

        Returns:
            The cost, a float scalar; or, for several optimizers, a dict of named costs.
        """
        raise NotImplementedError(f"{type(self).__name__} must define build_graph(self, ...).")

    def optimizer(self) -> Any:
        """The optimizer. Leave it undefined for a model that is only used for inference.

        Returns:
            A Keras optimizer; or, where ``build_graph`` returns a dict of costs, a dict from the same names to pairs
            (optimizer, pattern), the pattern a regular expression for the names of the variables that
            it changes: ``{"d_loss": (Adam(2e-4), "discriminator/.*"), "g_loss": (Adam(2e-4), "generator/.*")}``.
        """
        return None

    def gradient_processors(self) -> Sequence[GradientProcessor]:
        """What is done to the gradients before they are applied, e.g. ``[GlobalNormClip(1.0)]``."""
        return ()


def checked_inputs(model: Any) -> list[tf.TensorSpec]:
    """The model's input specs, with every mistake in them reported.

    Raises:
        ModelError: Not a ModelDesc, or its inputs are not named TensorSpecs that fit ``build_graph``.
    """
    if isinstance(model, type):
        raise ModelError(f"Give a model, not its class: {model.__name__}().")
    if not isinstance(model, ModelDesc):
        raise ModelError(
            f"Expected a ModelDesc, got {type(model).__name__}. "
            "Wrap a plain Keras model in KerasModelDesc(model, loss=...)."
        )
    kind = type(model).__name__
    specs = model.inputs()
    if isinstance(specs, tf.TensorSpec) or not isinstance(specs, (list, tuple)) or not specs:
        raise ModelError(f"{kind}.inputs() must return a list of tf.TensorSpec, got {specs!r:.120}.")
    for place, spec in enumerate(specs):
        if not isinstance(spec, tf.TensorSpec):
            raise ModelError(f"{kind}.inputs()[{place}] is {spec!r:.120}; write tf.TensorSpec(shape, dtype, name).")
        if not spec.name or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", spec.name):
            raise ModelError(
                f"{kind}.inputs()[{place}] needs a name of letters, digits and '_', got {spec.name!r}: "
                f'tf.TensorSpec({spec.shape}, tf.{spec.dtype.name}, "name").'
            )
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError(f"{kind}.inputs() has two inputs named {twice[0]!r}.")
    _check_signature(model, names)
    return list(specs)


def _check_signature(model: ModelDesc, names: list[str]) -> None:
    kind = type(model).__name__
    signature = inspect.signature(model.build_graph)
    try:
        signature.bind(*names)
    except TypeError as error:
        raise ModelError(
            f"{kind}.build_graph{signature} cannot take the {len(names)} inputs {names} of inputs(): {error}."
        ) from None
    taken = list(signature.parameters)[: len(names)]
    if sorted(taken) == sorted(names) and taken != names:
        raise ModelError(
            f"{kind}.build_graph takes its inputs in the order {taken}, but inputs() declares {names}. "
            f"Inputs are passed by position: put both in the same order."
        )
