"""The tower: one trace of ``build_graph``, with the scopes, names and summaries that belong to it.

``build_graph`` is traced several times: once to make the variables, once for inference, and in each
training step function. A :class:`TowerContext` is what one of these traces knows.
"""

from __future__ import annotations

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError, TensorNameError, closest

from .internals import KerasScopes, auto_named, clear_losses
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
            "No graph is being built here. Named layers, get_variable and summaries are used inside "
            "build_graph of a ModelDesc (or in a function that it calls)."
        )
    return tower


class LayerRecord:
    """What one call of a named layer, or of a plain Keras layer, made; one row of the summary table."""

    def __init__(self, name: str, path: str, kind: str, output: Any) -> None:
        self.name, self.path, self.kind, self.output = name, path, kind, output


class _Frame:
    """One open scope: the path its variables have, the path its operations have, and whether names recur."""

    def __init__(self, variables: str, operations: str, reuse: bool | str) -> None:
        self.variables, self.operations, self.reuse = variables, operations, reuse


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


class TowerContext:
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
    """

    def __init__(self, store: VariableStore, is_training: bool, prefix: str = "") -> None:
        self.store = store
        self.is_training = is_training
        self.prefix = prefix
        self.graph: Any = None
        self.cost: Any = None
        self.costs: dict[str, tf.Tensor] = {}
        self.plain_costs: dict[str, tf.Tensor] = {}
        self.tensors: dict[str, tf.Tensor] = {}
        self.scalars: dict[str, tf.Tensor] = {}
        self.images: dict[str, tf.Tensor] = {}
        self.histograms: dict[str, tf.Tensor] = {}
        self.records: list[LayerRecord] = []
        self.scopes = KerasScopes(self._layer_entered)
        self.layers_seen: list[tuple[keras.Layer, bool]] = []
        self.touched: set[str] = set()
        self.frozen_depth = 0
        self.replaying = False
        self.making_variables = False
        self.at_end: list[Callable[[], None]] = []
        self.own_layers: dict[int, keras.Layer] = {id(layer): layer for layer in store.layers.values()}
        self.layer_paths: dict[int, str] = {}
        self._closed: dict[tuple[str, str], str] = {}
        self._layer_names: dict[int, tuple[Any, str]] = {}
        self._frames = [_Frame("", "", False)]
        self._used: set[str] = set()
        self._uses: dict[str, int] = {}
        self._auto: dict[str, int] = {}

    # -- entering -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def entered(self) -> Iterator[TowerContext]:
        """Make this the current tower."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    def _layer_entered(self, layer: keras.Layer, outermost: bool) -> None:
        clear_losses(layer)
        if id(layer) not in self.own_layers:
            path = self.keras_path()
            self.layer_paths[id(layer)] = _join(path, self.name_below(path, layer))
            self._closed[path, layer.name] = self.layer_paths[id(layer)]
        self.layers_seen.append((layer, outermost))

    # -- scopes -------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The path of the open scopes, as variables made here will have it."""
        return self._frames[-1].variables

    @property
    def reuse(self) -> bool | str:
        """Whether names recur here: False, True or ``"auto"``."""
        return self._frames[-1].reuse

    @contextlib.contextmanager
    def scope(self, name: str, reuse: bool | str | None = None) -> Iterator[None]:
        """Open a variable scope; see :func:`flowtrain.variable_scope`."""
        above = self._frames[-1]
        reuse = above.reuse if reuse is None else reuse
        operations = _join(above.operations, name)
        if reuse:
            self._forget_automatic_names(_join(above.variables, name))
            operations = self._unique_operations(operations)
        else:
            self._uses.setdefault(operations, 1)
        with self._framed(_Frame(_join(above.variables, name), operations, reuse), name):
            yield

    @contextlib.contextmanager
    def layer_scope(self, name: str) -> Iterator[tuple[str, str]]:
        """Open the scope of one named layer and yield the paths of its variables and of its operations."""
        above = self._frames[-1]
        path = _join(above.variables, name)
        self.claim(path, "layer")
        operations = self._unique_operations(_join(above.operations, name))
        with self._framed(_Frame(path, operations, above.reuse), name):
            yield path, operations

    @contextlib.contextmanager
    def _framed(self, frame: _Frame, name: str) -> Iterator[None]:
        self._frames.append(frame)
        try:
            with contextlib.ExitStack() as stack:
                for part in name.split("/"):
                    stack.enter_context(self.scopes.inside(part))
                stack.enter_context(tf.name_scope(f"{self.prefix}{frame.operations}/"))
                yield
        finally:
            self._frames.pop()

    def _unique_operations(self, operations: str) -> str:
        uses = self._uses.get(operations, 0)
        self._uses[operations] = uses + 1
        return f"{operations}_{uses}" if uses else operations

    def claim(self, path: str, what: str) -> None:
        """Note that a name is used, and refuse it where it must not be used again.

        Raises:
            ModelError: The name is taken and the scope does not reuse, or reuses and there is nothing.
        """
        if self.replaying:
            return
        again = path in self._used
        if again and not self.reuse:
            raise ModelError(
                f"The {what} name {path!r} is used twice in build_graph. Give the second one another name, or share "
                f"its variables by calling it inside variable_scope(..., reuse=True)."
            )
        if self.reuse is True and not again:
            raise ModelError(
                f"variable_scope(reuse=True): there is no {what} named {path!r} to reuse yet. "
                f'{closest(path, sorted(self._used))} reuse="auto" makes it the first time.'
            )
        self._used.add(path)

    def automatic_name(self, base: str) -> str:
        """A name for a layer that was given none: ``dropout``, ``dropout_1``, ..."""
        while True:
            path = self._numbered(_join(self.path, base))
            if self.reuse or path not in self._used:
                return path.rsplit("/", 1)[-1]

    def _forget_automatic_names(self, path: str) -> None:
        for key in [key for key in self._auto if key.startswith(path + "/")]:
            del self._auto[key]

    # -- variables ----------------------------------------------------------------------------------

    def variable_path(self, name: str, owner: keras.Variable | None = None) -> str:
        """The full name of a variable that is made now, one of several alike numbered in order.

        Args:
            name: The last part.
            owner: The Keras variable it is made for. Keras makes the variables of a subclassed model late, when
                the scopes of its layers are closed already: the variable's own path tells what they were.
        """
        path = self.keras_path()
        if owner is not None:
            opened = [scope.name for scope in self.scopes]
            wanted = owner.path.split("/")[:-1]
            if wanted[: len(opened)] == opened:
                for part in wanted[len(opened) :]:
                    path = self._renumbered(path, part)
        return self._numbered(_join(path, name))

    def _renumbered(self, path: str, name: str) -> str:
        """The path of a closed scope, its automatic number counted anew."""
        key = (path, name)
        if key not in self._closed:
            self._closed[key] = self._numbered(_join(path, re.sub(r"_\d+$", "", name)))
        return self._closed[key]

    def keras_path(self) -> str:
        """The path of the open scopes and of the Keras layers that are being built or called in them."""
        path = ""
        for scope in self.scopes:
            if scope.caller is None:
                path = _join(path, scope.name)
            elif id(scope.caller) not in self.own_layers:
                path = _join(path, self.name_below(path, scope.caller))
        return path

    def name_below(self, path: str, caller: Any) -> str:
        """A Keras layer's name; automatic ones are counted anew, in the order in which layers are met."""
        if id(caller) not in self._layer_names:
            name = str(caller.name)
            if auto_named(caller):
                name = self._numbered(_join(path, re.sub(r"_\d+$", "", name))).rsplit("/", 1)[-1]
            self._layer_names[id(caller)] = (caller, name)
        return self._layer_names[id(caller)][1]

    def known_name(self, caller: Any) -> str:
        """The full path a layer had when it was first met."""
        return self.layer_paths.get(id(caller), str(caller.name))

    def forget_number(self, path: str) -> None:
        """Let the next variable of this path have exactly this name."""
        self._auto.pop(path, None)

    def _numbered(self, path: str) -> str:
        count = self._auto.get(path, 0)
        self._auto[path] = count + 1
        return f"{path}_{count}" if count else path

    def set_layer_name(self, layer: Any, name: str) -> None:
        """Let a layer that was made elsewhere be known by this name here."""
        self._layer_names[id(layer)] = (layer, name)

    def touch(self, name: str) -> None:
        """Note that this trace uses a variable or layer of the store."""
        self.touched.add(name)

    def touch_layers(self) -> None:
        """Note the variables of all Keras layers that have been called so far."""
        for layer, _ in self.layers_seen:
            for variable in layer.variables:
                if self.store.find(variable.path) is variable:
                    self.touch(variable.path)

    # -- tensors ------------------------------------------------------------------------------------

    def add_tensor(self, name: str, tensor: tf.Tensor) -> None:
        """Make a tensor known under a name; one inside a branch or loop cannot be fetched and is left out."""
        if tf.is_tensor(tensor) and getattr(tensor, "graph", None) is self.graph:
            self.tensors.setdefault(name, tensor)

    def name_of_tensor(self, tensor: Any, needed_for: str) -> str:
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
            raise TensorNameError(f"The model has no tensor named {name!r}. {nearest}") from None
