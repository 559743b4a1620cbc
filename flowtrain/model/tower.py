"""The tower: one trace of ``build_graph``, with its named tensors and summaries.

``build_graph`` is traced several times: once to make the variables, once for inference, and once in each compiled
training step. A :class:`TowerContext` holds the state of one of these traces.
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

# Of the thread and not of the process: a strategy traces its replicas in threads, each with a tower of its own.
_current: contextvars.ContextVar[TowerContext | None] = contextvars.ContextVar("tower", default=None)


def get_current_tower_context() -> TowerContext:
    """The tower of the running ``build_graph`` (or ``optimizer()``); its ``is_training`` says what the trace is for.

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
    """One call of a named layer or of a plain Keras layer: a row of the summary table."""

    def __init__(self, name: str, path: str, kind: str, output: tf.Tensor) -> None:
        self.name, self.path, self.kind, self.output = name, path, kind, output


class TowerContext(Names):
    """State of one trace of ``build_graph``.

    Args:
        store: The model's variables and layers.
        is_training: Whether this trace is for training.
        prefix: Prefix of the names of operations, e.g. ``"tower1/"`` for a second trace in the same graph.

    Attributes:
        is_training: Whether this trace is for training.
        cost: The sum of all costs with their regularisers, once traced.
        costs: Name -> cost with its regularisers.
        plain_costs: Name -> cost as ``build_graph`` returned it, without regularisers.
        tensors: Name -> tensor: inputs, outputs of layers, costs and summaries.
        scalars: Name -> scalar of the moving summaries, float32.
        images: Name -> pictures of the image summaries, (N, H, W, C), uint8 or float32.
        histograms: Name -> tensor of the histogram summaries, float32.
        records: The calls of layers, in order.
        touched: Names of the store's variables and layers that this trace has used.
        settled: Identities of the layers and variables whose losses and regularisers the cost contains already.
        frozen_depth: How many ``freeze_variables()`` are open.
        making_variables: Whether the variable creator of `variable_making` is installed.
        apart: Whether new variables belong to metrics and not to the model; see `kept_apart`.
        adopt: In the first trace: takes the variables of outside Keras layers that were called so far into the store.
        at_end: Functions to call when ``build_graph`` has returned.
    """

    def __init__(self, store: VariableStore, is_training: bool, prefix: str = "") -> None:
        super().__init__(store.layers.values(), prefix)
        self.store = store
        self.is_training = is_training
        self.graph: tf.Graph = None  # set by who traces
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
        """Record that this trace uses a variable or layer of the store."""
        self.touched.add(name)

    def touch_layers(self) -> None:
        """Record the variables of all Keras layers that have been called so far as used."""
        for layer, _ in self.layers_seen:
            for variable in layer.variables:
                if self.store.find(variable.path) is variable:
                    self.touch(variable.path)

    def settle(self, layer: keras.Layer) -> None:
        """Record that the cost contains the losses and regularizers of a layer and of all layers inside it."""
        self.settled.update(id(one) for one in (*flat_layers(layer), *layer.variables))

    # -- tensors ------------------------------------------------------------------------------------

    def add_tensor(self, name: str, tensor: tf.Tensor) -> None:
        """Name a tensor. One inside a branch or loop cannot be fetched and is left out; the first of a name counts."""
        if tf.is_tensor(tensor) and getattr(tensor, "graph", None) is self.graph:
            self.tensors.setdefault(name, tensor)

    def name_of_tensor(self, tensor: tf.Tensor, needed_for: str) -> str:
        """The name of a tensor's operation without the tower's prefix.

        Args:
            tensor: A tensor of this trace.
            needed_for: The function that needs it, for the error.

        Raises:
            ModelError: It is not a tensor of this graph.
        """
        if not tf.is_tensor(tensor) or not hasattr(tensor, "op") or tensor.graph is not self.graph:
            given = "a tensor inside a branch or loop" if hasattr(tensor, "graph") else f"{tensor!r:.80}"
            raise ModelError(f"{needed_for} needs a tensor of this graph, got {given}.")
        name = str(tensor.op.name)
        return name[len(self.prefix) :] if name.startswith(self.prefix) else name

    def tensor(self, name: str) -> tf.Tensor:
        """Look up a tensor: an input, a layer's output, or the output of any operation.

        Args:
            name: The name as ``print(tensor)`` shows it, with or without ``":0"``.

        Raises:
            TensorNameError: There is no such tensor; lists the nearest names.
        """
        bare = name.removesuffix(":0")
        if bare in self.tensors:
            return self.tensors[bare]
        wanted = self.prefix + (name if ":" in name else f"{name}:0")
        try:
            return self.graph.get_tensor_by_name(wanted)
        except (KeyError, ValueError):
            nearest = closest(bare, list(self.tensors))
            # "There are: ..." when none is near. All operations are searched then, but they are too many to be listed.
            if nearest.startswith("There"):
                among_all = closest(bare, [op.name for op in self.graph.get_operations()])
                nearest = nearest if among_all.startswith("There") else among_all
            raise TensorNameError(f"the model has no tensor named {name!r}. {nearest}") from None
