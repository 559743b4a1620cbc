"""ModelDesc: what a user writes. Its inputs, one function that builds the graph, and an optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from flowtrain.utils.arguments import misnamed
from flowtrain.utils.errors import ModelError

from .gradient import GradientProcessor
from .graph import ModelGraph

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
        >>> import flowtrain as ft
        >>> class Line(ft.ModelDesc):
        ...     def inputs(self):
        ...         return [tf.TensorSpec((None, 1), tf.float32, "x"), tf.TensorSpec((None, 1), tf.float32, "y")]
        ...
        ...     def build_graph(self, x, y):
        ...         return tf.reduce_mean(tf.square(ft.FullyConnected("line", x, 1) - y), name="l2_loss")
        ...
        ...     def optimizer(self):
        ...         return tf.keras.optimizers.SGD(ft.get_scalar_var("learning_rate", 0.1))
        >>> Line().tensor_names()
        ['x', 'y', 'line/output', 'l2_loss']
    """

    average_decay: float | None = None
    """Keep moving averages of the weights with this decay, e.g. 0.999; see :class:`flowtrain.model.WeightAverage`."""

    _model_graph: ModelGraph | None = None

    def __init_subclass__(cls, **arguments: object) -> None:
        super().__init_subclass__(**arguments)
        for old, new in _OLD_METHODS.items():
            if old in vars(cls):
                raise ModelError(misnamed(cls.__name__, old, new))

    def inputs(self) -> Sequence[tf.TensorSpec]:
        """The inputs in the order in which a datapoint has its components.

        Returns:
            One ``tf.TensorSpec(shape, dtype, name)`` for each, the batch dimension None, all named.
        """
        raise NotImplementedError(f"{type(self).__name__} must define inputs(self).")

    def build_graph(self, *inputs: tf.Tensor) -> tf.Tensor | Mapping[str, tf.Tensor]:
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

    # -- what can be asked of a model ---------------------------------------------------------------

    @property
    def graph(self) -> ModelGraph:
        """The model's graph: the one in use (of a trainer or predictor), else one that is built now."""
        if self._model_graph is None:
            ModelGraph(self)
        return self._model_graph  # type: ignore[return-value]

    def tensor_names(self, operations: bool = False) -> list[str]:
        """The named tensors that a predictor can take and compute; see :meth:`ModelGraph.tensor_names`."""
        return self.graph.tensor_names(operations)

    def summary(self) -> str:
        """A table of layers, output shapes, parameters and dtypes: ``print(model.summary())``."""
        return self.graph.summary()

    def count_parameters(self, trainable_only: bool = False) -> int:
        """How many parameters the model has.

        Args:
            trainable_only: Count only what the optimizer changes.
        """
        return self.graph.count_parameters(trainable_only)
