"""Private Keras: scopes, variables, layers, masks.

Each docstring ends with what the function relies on ("Relies on") and what to do when that is gone ("Else").
"""

from __future__ import annotations

import collections
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.backend.common.name_scope import name_scope
from keras.src.utils import naming

from .tensorflow_private import Nested

__all__ = [
    "KerasScopes",
    "adopt_variable",
    "auto_named",
    "clear_losses",
    "flat_layers",
    "fresh_names",
    "input_structure",
    "isolated_keras_state",
    "keras_mask",
    "make_concrete",
    "optimizer_slots",
    "output_spec",
    "own_losses",
    "raw_variable",
    "rename",
    "set_keras_mask",
    "set_raw_variable",
    "snake_case",
    "sublayers",
    "swapped_values",
]

# ---------------------------------------------------------------------- names and scopes


class KerasScopes(list):
    """A stack of Keras name scopes that reports each layer when it first enters one.

    Keras pushes a scope for every layer that is built or called. So this sees all layers that a trace uses, wherever
    they were made, without a patch to Keras.

    Relies on: Keras pushing a scope with ``caller`` onto the global attribute ``name_scope_stack`` for each layer.
    Else: wrap ``keras.Layer.__call__`` and ``build_wrapper``.

    Args:
        entered: Called with (layer, whether no other layer is around it) when a layer first enters a scope.
    """

    def __init__(self, entered: Callable[[keras.Layer, bool], None]) -> None:
        super().__init__()
        self._entered = entered
        self._seen: dict[int, keras.Layer] = {}  # the layer as value, so that its id is not given to another

    def append(self, scope: Any) -> None:
        layer = scope.caller
        if isinstance(layer, keras.Layer) and id(layer) not in self._seen:
            self._seen[id(layer)] = layer
            outermost = not any(isinstance(above.caller, keras.Layer) for above in self)
            self._entered(layer, outermost)
        super().append(scope)

    @contextlib.contextmanager
    def inside(self, *names: str) -> Iterator[None]:
        """Scope of parts of a path that belong to no layer."""
        depth = len(self)
        self.extend(map(name_scope, names))
        try:
            yield
        finally:
            # By depth and not by pops: an error in a layer may leave scopes above these on the stack.
            del self[depth:]


@contextlib.contextmanager
def isolated_keras_state(**state: Any) -> Iterator[None]:
    """Scope in which Keras's global state has other values: ``name_scope_stack``, ``object_name_uids``, ...

    Relies on: ``keras.src.backend.common.global_state``, which is thread-local.
    Else: ``keras.backend.clear_session``, which forgets the user's state too: names would depend on other models.
    """
    before = {name: global_state.get_global_attribute(name) for name in state}
    for name, value in state.items():
        global_state.set_global_attribute(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            global_state.set_global_attribute(name, value)


def fresh_names() -> collections.defaultdict[str, int]:
    """An empty counter for the names that Keras makes up: ``dense``, ``dense_1``, ...

    Relies on: the form of the global attribute ``object_name_uids``, a defaultdict(int).
    Else: see Keras's ``auto_name``.
    """
    return collections.defaultdict(int)


def snake_case(name: str) -> str:
    """A class's name as Keras writes it in names of layers and metrics: ``MeanSquaredError`` -> mean_squared_error.

    Relies on: ``naming.to_snake_case``. Else: write the same two regular expressions here.
    """
    return naming.to_snake_case(name)


def auto_named(made: keras.Layer | keras.Metric) -> bool:
    """Whether Keras made up the name of a layer or metric; such names depend on what else the process has made.

    Relies on: the form of such names, ``conv2d_1``.
    Else: variables of unnamed layers change their names in checkpoints.
    """
    base = snake_case(type(made).__name__)  # Bidirectional puts forward_ or backward_ before its layers' names
    return re.fullmatch(rf"(forward_|backward_)?{re.escape(base)}(_\d+)?", made.name) is not None


# ---------------------------------------------------------------------- variables


def raw_variable(variable: keras.Variable) -> tf.Variable:
    """The ``tf.Variable`` that a Keras variable wraps; under a strategy the one that holds all replicas' copies.

    Relies on: ``Variable._value``; the public ``value`` is cast where layers compute in another dtype.
    Else: ``value`` outside of every layer.
    """
    return variable._value


def set_raw_variable(variable: keras.Variable, raw: tf.Variable) -> None:
    """Give a Keras variable under construction its ``tf.Variable``; Keras sets the same a moment later.

    The store takes the variable in before Keras has finished making it, and may be asked for its value at once.

    Relies on: ``Variable._value``, and Keras setting it in ``_initialize``.
    Else: put the variable into the store after the layer is built.
    """
    variable._value = raw


@contextlib.contextmanager
def swapped_values(pairs: list[tuple[keras.Variable, tf.Variable]]) -> Iterator[None]:
    """Scope in which reading each Keras variable reads the ``tf.Variable`` paired with it.

    Relies on: ``Variable._value`` being what ``value`` reads.
    Else: ``keras.StatelessScope(state_mapping=...)`` around the trace.
    """
    before = [(variable, variable._value) for variable, _ in pairs]
    for variable, value in pairs:
        variable._value = value
    try:
        yield
    finally:
        for variable, value in before:
            variable._value = value


class _Adopted(keras.Variable):
    """A Keras variable that wraps an existing ``tf.Variable``; see `adopt_variable`."""

    def __init__(self, variable: tf.Variable, name: str) -> None:
        self._adopted = variable
        super().__init__(
            lambda shape, dtype: None,  # an initializer is required, and not called: see below
            shape=tuple(variable.shape),
            dtype=variable.dtype.name,
            trainable=variable.trainable,
            name=name.rsplit("/", 1)[-1],
        )
        rename(self, name)

    def _initialize_with_initializer(self, initializer: Any) -> None:
        self._initialize(self._adopted)


def adopt_variable(variable: tf.Variable, name: str) -> keras.Variable:
    """Wrap an existing ``tf.Variable`` in a Keras variable, so that stores and optimizers hold one kind of object.

    Relies on: Keras calling ``Variable._initialize_with_initializer``, overridden here to wrap instead of making a
    variable, and ``_initialize``, which keeps what it is given.
    Else: copy the values into a Keras variable, and give that one to the model.
    """
    return _Adopted(variable, name)


def rename(variable: keras.Variable, path: str) -> None:
    """Give a Keras variable the name that it has in the store; optimizers name their slots by it.

    Relies on: ``Variable._path``. Else: a table from variables to names beside the store.
    """
    variable._path = path


def optimizer_slots(
    optimizer: keras.optimizers.Optimizer, variables: Mapping[str, keras.Variable]
) -> Iterator[tuple[str, keras.Variable]]:
    """Readable names for an optimizer's variables: ``momentum/conv1/kernel``, ``iteration``.

    Relies on: the name of a slot, ``<path of the variable, / written as _>_<slot>``; paths that differ.
    Else: slots get Keras's own names, and older checkpoints need a table.

    Args:
        optimizer: A built optimizer.
        variables: The variables that it trains, by the names in the store.

    Yields:
        A name and the optimizer's variable, in the optimizer's order.
    """
    # The longest prefix first: with variables a and a/b, the slot a_b_momentum belongs to a/b.
    by_prefix = sorted(
        ((variable.path.replace("/", "_") + "_", name) for name, variable in variables.items()),
        key=lambda pair: -len(pair[0]),
    )
    for variable in optimizer.variables:
        for prefix, name in by_prefix:
            if variable.name.startswith(prefix):
                yield f"{variable.name[len(prefix) :]}/{name}", variable
                break
        else:
            yield re.sub(r"^.*/", "", variable.name), variable


def make_concrete(setting: Any) -> None:
    """Replace tensors that a regularizer or constraint made in its constructor by plain numbers.

    Some of Keras's keep their factor as a tensor (L1); made inside one graph, it cannot be used in the next.

    Relies on: such tensors being attributes of the object.
    Else: make the object in ``tf.init_scope`` from its ``get_config``.
    """
    if isinstance(setting, (keras.Regularizer, keras.constraints.Constraint)):
        for name, value in vars(setting).items():
            if tf.is_tensor(value) and hasattr(value, "graph"):
                constant = tf.get_static_value(value)
                if constant is not None:
                    setattr(setting, name, constant)


# ---------------------------------------------------------------------- layers


def own_losses(layer: keras.Layer) -> list[tf.Tensor]:
    """The losses that a layer itself added with ``add_loss`` (activity regularizers too) since `clear_losses`.

    Relies on: ``Layer._losses``.
    Else: ``losses``, without the losses of sublayers and of weight regularizers, which it contains too.
    """
    return list(layer._losses)


def clear_losses(layer: keras.Layer) -> None:
    """Drop the losses that a layer added in earlier traces: they are tensors of other graphs.

    Relies on: ``Layer._losses`` and ``_loss_ids``. Else: Keras's own ``_clear_losses``, which walks all sublayers.
    """
    layer._losses.clear()
    layer._loss_ids.clear()


def input_structure(model: keras.Model) -> Nested:
    """The nesting of a functional model's inputs: a tensor, list or dict; None for a model of another kind.

    Relies on: ``Functional._inputs_struct``.
    Else: the public ``input``, which has no structure for dicts in a Sequential.
    """
    return getattr(model, "_inputs_struct", None)


def output_spec(layer: keras.Layer) -> tf.TensorSpec | None:
    """Shape and dtype of a layer's output for the inputs it was built for; None where only a call would tell.

    Relies on: ``get_build_config()["input_shape"]``. Else: the table shows no shape for such layers.
    """
    if type(layer).compute_output_shape is keras.Layer.compute_output_shape:
        return None
    try:
        shape = (layer.get_build_config() or {})["input_shape"]
        return tf.TensorSpec(layer.compute_output_shape(shape), layer.compute_dtype)
    except Exception:  # several inputs or outputs, or a user's layer; the table of layers can do without
        return None


def sublayers(layer: keras.Layer) -> list[keras.Layer]:
    """The layers directly inside a layer.

    Relies on: ``Layer._layers``. Else: look for layers among a layer's attributes.
    """
    return list(layer._layers)


def flat_layers(layer: keras.Layer) -> list[keras.Layer]:
    """A layer and all layers inside it at any depth, each once.

    Relies on: ``Layer._flatten_layers``. Else: walk `sublayers`.
    """
    return list(dict.fromkeys(layer._flatten_layers()))


def keras_mask(tensor: tf.Tensor) -> tf.Tensor | None:
    """The mask that Keras attached to a tensor (``Embedding(mask_zero=True)``, ``Masking``), or None.

    Relies on: the attribute ``_keras_mask`` of tensors. Else: see ``keras.src.backend.get_keras_mask``.
    """
    return getattr(tensor, "_keras_mask", None)


def set_keras_mask(tensor: tf.Tensor, mask: tf.Tensor | None) -> None:
    """Attach a mask to a tensor, as Keras's layers do; losses and metrics of Keras look for it.

    Relies on: the attribute ``_keras_mask`` of tensors. Else: see ``keras.src.backend.set_keras_mask``.
    """
    if mask is not None:
        tensor._keras_mask = mask
