"""The tower: one trace of ``build_graph``, with the tensors and summaries that belong to it.

``build_graph`` is traced several times: once to make the variables, once for inference, and in each
training step function. A :class:`TowerContext` is what one of these traces knows.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError, TensorNameError, closest

from .internals import flat_layers
from .names import Names
from .store import VariableStore

__all__ = ["LayerRecord", "TowerContext", "get_current_tower_context"]

_current: contextvars.ContextVar[TowerContext | None] = contextvars.ContextVar("tower", default=None)


def get_current_tower_context() -> TowerContext:
    """The tower that is being traced: ask it for ``is_training``.

    Returns:
        The context of the running ``build_graph`` (or ``optimizer()``).

    Raises:
        ModelError: Nothing is being traced: layers and summaries belong in ``build_graph``.

    Example:
        >>> if get_current_tower_context().is_training:  # doctest: +SKIP
        ...     x = x + noise
    """
    tower = _current.get()
    if tower is None:
        raise ModelError(
            "no graph is being built here. Named layers, get_variable and summaries are used inside "
            "build_graph of a ModelDesc (or in a function that it calls)."
        )
    return tower


class LayerRecord:
    """What one call of a named layer, or of a plain Keras layer, made; one row of the summary table."""

    def __init__(self, name: str, path: str, kind: str, output: tf.Tensor) -> None:
        self.name, self.path, self.kind, self.output = name, path, kind, output


class TowerContext(Names):
    """One trace of ``build_graph``.

    Args:
        store: Where variables and layers are found.
        is_training: Whether this trace is for training.
        prefix: Put before the names of operations, e.g. ``"tower1/"`` on the second replica.

    Attributes:
        is_training: True while the graph of a training step is traced.
        cost: The total cost, with regularisers, once traced.
        costs: The cost or costs by name, each with its regularisers.
        plain_costs: The same without regularisers.
        tensors: Named tensors: inputs, outputs of layers, costs and summaries.
        scalars: What ``add_moving_summary`` was given, by name.
        images: What ``add_image_summary`` was given, by name.
        histograms: What histogram summaries were given, by name.
        records: The layers that were called, in order.
        adopt: Takes the variables of Keras layers that were made elsewhere, and were called so far, into the store;
            in the first trace.
        settled: Identities of the layers and variables whose ``add_loss`` and regularizers the cost contains already.
    """

    def __init__(self, store: VariableStore, is_training: bool, prefix: str = "") -> None:
        super().__init__(store.layers.values(), prefix)
        self.store = store
        self.is_training = is_training
        self.graph: tf.Graph = None  # while it is traced
        self.cost: Any = None
        self.costs: dict[str, tf.Tensor] = {}
        self.plain_costs: dict[str, tf.Tensor] = {}
        self.tensors: dict[str, tf.Tensor] = {}
        self.scalars: dict[str, tf.Tensor] = {}
        self.images: dict[str, tf.Tensor] = {}
        self.histograms: dict[str, tf.Tensor] = {}
        self.records: list[LayerRecord] = []
        self.touched: set[str] = set()
        self.settled: set[int] = set()
        self.frozen_depth = 0
        self.making_variables = False
        self.apart = False
        self.adopt: Callable[[], None] = lambda: None
        self.at_end: list[Callable[[], None]] = []

    # -- entering -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def entered(self) -> Iterator[TowerContext]:
        """Make this the current tower."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    # -- what is used -------------------------------------------------------------------------------

    def touch(self, name: str) -> None:
        """Note that this trace uses a variable or layer of the store."""
        self.touched.add(name)

    def touch_layers(self) -> None:
        """Note the variables of all Keras layers that have been called so far."""
        for layer, _ in self.layers_seen:
            for variable in layer.variables:
                if self.store.find(variable.path) is variable:
                    self.touch(variable.path)

    def settle(self, layer: keras.Layer) -> None:
        """Note that the cost contains the losses and regularizers of a layer and of all inside it."""
        self.settled.update(id(one) for one in (*flat_layers(layer), *layer.variables))

    # -- tensors ------------------------------------------------------------------------------------

    def add_tensor(self, name: str, tensor: tf.Tensor) -> None:
        """Make a tensor known under a name; one inside a branch or loop cannot be fetched and is left out."""
        if tf.is_tensor(tensor) and getattr(tensor, "graph", None) is self.graph:
            self.tensors.setdefault(name, tensor)

    def name_of_tensor(self, tensor: tf.Tensor, needed_for: str) -> str:
        """The name of a tensor's operation, as a user would write it.

        Raises:
            ModelError: It is not a tensor of this graph.
        """
        if not tf.is_tensor(tensor) or not hasattr(tensor, "op") or tensor.graph is not self.graph:
            given = "a tensor inside a branch or loop" if hasattr(tensor, "graph") else f"{tensor!r:.80}"
            raise ModelError(f"{needed_for} needs a tensor of this graph, got {given}.")
        name = str(tensor.op.name)
        return name[len(self.prefix) :] if name.startswith(self.prefix) else name

    def tensor(self, name: str) -> tf.Tensor:
        """The tensor of that name: an input, a layer's output, or the output of any operation.

        Args:
            name: As ``print(tensor)`` shows it, with or without ``":0"``.

        Returns:
            The tensor.

        Raises:
            TensorNameError: There is none; lists the nearest names.
        """
        bare = name.removesuffix(":0")
        if bare in self.tensors:
            return self.tensors[bare]
        wanted = self.prefix + (name if ":" in name else f"{name}:0")
        try:
            return self.graph.get_tensor_by_name(wanted)
        except (KeyError, ValueError):
            nearest = closest(bare, list(self.tensors))
            if nearest.startswith("There"):  # none is near: look among all operations, which are too many to be listed
                among_all = closest(bare, [op.name for op in self.graph.get_operations()])
                nearest = nearest if among_all.startswith("There") else among_all
            raise TensorNameError(f"the model has no tensor named {name!r}. {nearest}") from None
