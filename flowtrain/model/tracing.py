"""Tracing: runs ``build_graph`` once in a tower, with Keras's state isolated, and checks its result and errors."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from flowtrain.utils.errors import FlowtrainError, ModelError

from .internals import Nested, auto_named, fresh_names, isolated_keras_state, output_spec, own_losses
from .porting import old_spellings_named
from .store import VariableStore
from .tower import LayerRecord, TowerContext
from .variables import variable_making

if TYPE_CHECKING:
    from .desc import ModelDesc

__all__ = ["gradients", "run_tower"]

_towers_of_graph: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # how many each graph has


class _Root(keras.layers.Layer):
    """Root Keras layer around ``build_graph``, from which plain Keras layers inside inherit ``training``.

    Attributes:
        raised: The function's own exception: Keras raises another one, with the arguments of the call in its text.
    """

    def __init__(self, tower: TowerContext, function: Callable[[], Any]) -> None:
        super().__init__(dtype="float32", autocast=False, name="tower")  # casts nothing, whatever the dtype policy
        self._tower, self._function = tower, function
        self.raised: BaseException | None = None
        self.built = True  # there is nothing to build

    def call(self, training: bool | None = None) -> Nested:
        # Names and seeds that Keras counts over the process begin anew, so that they depend on this trace alone. Set
        # inside the call: Keras has pushed the root's own scope already, and this puts another stack in its place.
        state = {
            "name_scope_stack": self._tower.scopes,
            "object_name_uids": fresh_names(),
            "global_seed_generator": None,
        }
        root = _name_root(tf.compat.v1.get_default_graph(), self._tower.prefix)
        with isolated_keras_state(**state), root, variable_making(self._tower):
            try:
                return self._function()
            except BaseException as error:
                self.raised = error
                raise


def run_tower(
    model: ModelDesc,
    store: VariableStore,
    specs: Sequence[tf.TensorSpec],
    inputs: Sequence[tf.Tensor],
    is_training: bool,
    precision: object = None,
    adopt: Callable[[TowerContext], None] | None = None,
) -> TowerContext:
    """Trace ``build_graph`` in the current graph.

    Args:
        model: The ModelDesc.
        store: The model's variables; filled by the first trace, then frozen.
        specs: The declared inputs.
        inputs: One tensor for each input, in order.
        is_training: Whether layers behave as in training.
        precision: A Keras dtype policy for layers made inside, or None for the current one.
        adopt: In the first trace: takes the variables of layers that were made outside into the store.

    Returns:
        The tower, with costs, named tensors and summaries.

    Raises:
        ModelError: ``build_graph`` returned no usable cost, or names are used wrongly.
        Exception: ``build_graph`` raised it; type, message and the user's frames are unchanged.
    """
    graph = tf.compat.v1.get_default_graph()
    # A second forward pass in the same graph (the generator's cost after the discriminator's update) uses all names
    # again. Its operations get a prefix, with which its tower looks them up.
    number = _towers_of_graph.get(graph, 0)
    _towers_of_graph[graph] = number + 1
    tower = TowerContext(store, is_training, prefix=f"tower{number}/" if number else "")
    tower.graph = graph
    if adopt is not None:
        tower.adopt = functools.partial(adopt, tower)
    # Random operations derive their seed from the graph's and from their own number in it: equal code draws equally.
    tf.compat.v1.set_random_seed(store.seed_for("graph"))
    for attribute, layer in _layers_of(model):
        if auto_named(layer):
            tower.set_layer_name(layer, attribute)
    for spec, tensor in zip(specs, inputs, strict=True):
        tower.tensors[str(spec.name)] = tensor

    try:
        with _dtype_policy(precision), old_spellings_named(_where(model)):
            result = _call(tower, functools.partial(model.build_graph, *inputs))  # a lambda is a frame more
    except Exception as error:
        _add_note(error, model, is_training)
        raise
    with tower.entered(), _name_root(graph, tower.prefix):
        _take_costs(model, tower, result)
        tower.adopt()
        _record_keras_layers(tower)
        for finish in tower.at_end:
            finish()
        for name, variable in store.summary_scalars.items():
            tower.scalars.setdefault(name, tf.identity(variable.value, name=f"{name}/value"))
    for name, tensor in tower.scalars.items():
        tower.add_tensor(name, tensor)
    return tower


def gradients(
    tower: TowerContext, tape: tf.GradientTape, cost: tf.Tensor, variables: Sequence[keras.Variable]
) -> list[Any]:
    """Compute gradients inside the tower: ``tf.recompute_grad`` calls the model's layers again meanwhile.

    Args:
        tower: The tower of the cost.
        tape: The tape under which the tower was traced.
        cost: A scalar.
        variables: The variables to differentiate with respect to.

    Returns:
        A tensor, IndexedSlices or None for each variable.
    """
    tower.replaying = True
    try:
        return _call(tower, lambda: tape.gradient(cost, [variable.value for variable in variables]))
    finally:
        tower.replaying = False


def _call(tower: TowerContext, function: Callable[[], Any]) -> Nested:
    """Run a function in the tower, inside a Keras layer called with the tower's ``training``.

    Raises:
        BaseException: The function's own exception, without the frames of Keras and flowtrain above the user's.
    """
    root = _Root(tower, function)
    with tower.entered():
        try:
            return root(training=tower.is_training)
        except BaseException as error:
            # Keras's own exception is dropped: its text repeats the arguments of the call, and its traceback is cut.
            original = root.raised or error
            raise _plain(original) from original.__cause__


def _name_root(graph: tf.Graph, prefix: str) -> contextlib.AbstractContextManager[Any]:
    """Scope at the top level of a graph's operation names, or in the tower's prefix, whatever scopes are open."""
    return graph.name_scope(prefix or None)


@contextlib.contextmanager
def _dtype_policy(precision: object) -> Iterator[None]:
    if precision is None:
        yield
        return
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _layers_of(model: ModelDesc) -> list[tuple[str, keras.Layer]]:
    """The Keras layers among a model's attributes, and in lists and dicts there, with names made from the attributes'.

    Layers with a name that Keras made up take these names: Keras's numbers would differ between processes.
    """
    found: list[tuple[str, keras.Layer]] = []
    for attribute, value in vars(model).items():
        name = attribute.lstrip("_") or attribute
        if isinstance(value, keras.Layer):
            found.append((name, value))
        elif isinstance(value, (list, tuple)):
            found += [(f"{name}_{i}", x) for i, x in enumerate(value) if isinstance(x, keras.Layer)]
        elif isinstance(value, dict):
            found += [(f"{name}_{key}", x) for key, x in value.items() if isinstance(x, keras.Layer)]
    return found


# -- the result of build_graph ------------------------------------------------------------------------


def _take_costs(model: ModelDesc, tower: TowerContext, result: object) -> None:
    if result is None and not tower.is_training:  # a cost may need what inference does not have
        return
    if isinstance(result, Mapping):
        costs = {str(name): _checked_cost(model, tower, cost, f"cost {name!r}") for name, cost in result.items()}
        if not costs:
            raise ModelError(f"{_where(model)} returned an empty dict of costs.")
        for name, cost in costs.items():
            tower.add_tensor(name, cost)
    else:
        costs = {"cost": _checked_cost(model, tower, result, "cost")}
        tower.add_tensor(tower.name_of_tensor(costs["cost"], "the cost"), costs["cost"])
    tower.costs = costs


def _where(model: ModelDesc) -> str:
    return f"{type(model).__name__}.build_graph"


def _checked_cost(model: ModelDesc, tower: TowerContext, cost: tf.Tensor, what: str) -> tf.Tensor:
    if cost is None:
        kept = next((name for name in ("cost", "loss") if name in vars(model)), None)
        mend = f" self.{kept} is not looked at: write return {kept}." if kept else ""
        raise ModelError(f"{_where(model)} returned nothing. It should return the cost: a scalar tensor.{mend}")
    if isinstance(cost, (tuple, list)):
        raise ModelError(
            f"{_where(model)} returned {len(cost)} things. It should return one scalar tensor, or, for a "
            f"model with several optimizers, a dict of them: return {{'d_loss': d_loss, 'g_loss': g_loss}}."
        )
    if not tf.is_tensor(cost):
        raise ModelError(f"the {what} that {_where(model)} returned is {cost!r:.80}, not a tensor.")
    cost = tf.convert_to_tensor(cost)
    if getattr(cost, "graph", None) is not tower.graph:
        raise ModelError(f"the {what} that {_where(model)} returned does not belong to the graph being built.")
    if cost.shape.rank != 0:
        raise ModelError(
            f"the {what} that {_where(model)} returned has shape {cost.shape}; it must be a scalar. "
            f"Reduce it: tf.reduce_mean(cost)."
        )
    if not cost.dtype.is_floating:
        raise ModelError(f"the {what} that {_where(model)} returned is {cost.dtype.name}; it must be a float.")
    # In float32 also under mixed precision: penalties are added to it, and averages of it are shown.
    return cost if cost.dtype == tf.float32 else tf.cast(cost, tf.float32)


def penalties(tower: TowerContext, names: Sequence[str]) -> list[tf.Tensor]:
    """The penalties of variables' regularisers, float32 scalars, without those that the cost contains already."""
    found = []
    for name in names:
        variable = tower.store.trainable.get(name)
        if variable is not None and variable.regularizer is not None and id(variable) not in tower.settled:
            found.append(tf.cast(variable.regularizer(variable.value), tf.float32))
    return found


def layer_losses(tower: TowerContext) -> list[tf.Tensor]:
    """Losses that layers added in this trace with ``add_loss``, activity regularisers included; float32 scalars."""
    layers = [layer for layer, _ in tower.layers_seen if id(layer) not in tower.settled]
    losses = [loss for layer in layers for loss in own_losses(layer)]
    # A loss of another graph was made inside a branch or loop, or in another trace: it cannot be used here.
    return [tf.cast(loss, tf.float32) for loss in losses if getattr(loss, "graph", None) is tower.graph]


def _record_keras_layers(tower: TowerContext) -> None:
    """Record the Keras layers that were used: their variables, and for plain ones a row of the summary table."""
    tower.touch_layers()
    for layer, outermost in tower.layers_seen:
        if outermost and id(layer) not in tower.own_layers:
            _record(tower, layer, tower.known_name(layer))


def _record(tower: TowerContext, layer: keras.Layer, path: str) -> None:
    if isinstance(layer, keras.Model) and layer.layers:
        for inner in layer.layers:
            _record(tower, inner, f"{path}/{tower.name_below(path, inner)}")
    else:
        output = getattr(layer, "output", None)  # known where the layer is part of a functional model
        output = output_spec(layer) if output is None else output
        tower.records.append(LayerRecord(path, path, type(layer).__name__, output))


# -- errors -------------------------------------------------------------------------------------------

_INSIDE = tuple(
    os.path.dirname(os.path.abspath(module.__file__))  # type: ignore[arg-type]
    for module in (keras, tf, sys.modules["flowtrain"])
)


def _plain(error: BaseException) -> BaseException:
    """Cut an error's traceback so that it begins with the user's first frame, without frames of Keras and flowtrain."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_INSIDE):
        trace = trace.tb_next
    return error.with_traceback(trace or error.__traceback__)


def _add_note(error: Exception, model: ModelDesc, is_training: bool) -> None:
    """Add notes to an error that TensorFlow or Keras raised: the user's line, the trace, and what tracing means."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, FlowtrainError) or not frames[-1].filename.startswith(_INSIDE):
        return
    own = [frame for frame in frames if not frame.filename.startswith(_INSIDE)]
    place = f", {own[-1].filename}:{own[-1].lineno}" if own else ""
    error.add_note(
        f"This was raised in {_where(model)}, traced for {'training' if is_training else 'inference'}{place}."
    )
    if "symbolic" in str(error).lower():
        error.add_note(
            "build_graph is traced, not run: tensors have shapes and dtypes in it, but no values. Use TensorFlow's "
            "operations on them, and tf.cond or tf.where to decide by their values."
        )
