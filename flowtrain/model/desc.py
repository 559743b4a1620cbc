"""ModelDesc: the base class of users' models, with inputs, one function that builds the graph, and an optimizer."""

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
    """Base class of models: declares the inputs, computes the cost from them, and names the optimizer.

    ``build_graph`` is plain TensorFlow: named layers of flowtrain, Keras layers and models, any operation. It is
    traced, not run: Python's ``if`` and ``for`` shape the graph, ``tf.cond`` and ``tf.while_loop`` decide at run time.

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
        # When the class is made, since a method of an old name would never be called and so never noticed.
        for old, new in _OLD_METHODS.items():
            if old in vars(cls):
                raise ModelError(misnamed(cls.__name__, old, new))

    def inputs(self) -> Sequence[tf.TensorSpec]:
        """The inputs in the order in which a datapoint has its components.

        Returns:
            One named ``tf.TensorSpec(shape, dtype, name)`` for each component, with None as batch dimension.
        """
        raise NotImplementedError(f"{type(self).__name__} must define inputs(self).")

    def build_graph(self, *inputs: tf.Tensor) -> tf.Tensor | Mapping[str, tf.Tensor]:
        """Build the graph from the inputs to the cost. Traced several times, for training and for inference.

        Args:
            *inputs: One symbolic tensor for each of ``inputs()``, in order.

        Returns:
            The cost, a float scalar; or, for several optimizers, a dict from names to costs.
        """
        raise NotImplementedError(f"{type(self).__name__} must define build_graph(self, ...).")

    def optimizer(self) -> Any:
        """Make the optimizer. Leave it undefined for a model that is only used for inference.

        Returns:
            A new Keras optimizer. If ``build_graph`` returns a dict of costs: a dict from the same names to pairs
            (optimizer, pattern). The pattern is a regular expression for the whole names of the variables that it
            changes: ``{"d_loss": (Adam(2e-4), "discriminator/.*"), "g_loss": (Adam(2e-4), "generator/.*")}``.
        """
        return None

    def gradient_processors(self) -> Sequence[GradientProcessor]:
        """The gradient processors to run before the optimizer, in order, e.g. ``[GlobalNormClip(1.0)]``."""
        return ()

    # -- what can be asked of a model ---------------------------------------------------------------

    @property
    def graph(self) -> ModelGraph:
        """The model's latest ModelGraph (of a trainer or predictor); built now if there is none."""
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
