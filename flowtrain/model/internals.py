"""Everything flowtrain uses of TensorFlow and Keras that they do not promise to keep.

The rest of the package speaks to their public interfaces only. When a new TensorFlow or Keras breaks
something, it is here, and tests/model/test_internals.py says which of these it was.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import gc
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.backend.common.name_scope import name_scope
from keras.src.initializers.random_initializers import RandomInitializer
from keras.src.trainers.compile_utils import get_metric
from keras.src.utils import naming
from tensorflow.python.eager import context as eager_context
from tensorflow.python.eager import executor as eager_executor

__all__ = [
    "snake_case",
    "BackgroundExecutor",
    "KerasScopes",
    "RandomInitializer",
    "adopt_variable",
    "auto_named",
    "captured_variables",
    "clear_losses",
    "compile_apart",
    "compiled_as",
    "eager_seed",
    "external_captures",
    "failure_of",
    "flat_layers",
    "fresh_names",
    "input_structure",
    "is_unlifted",
    "isolated_keras_state",
    "keras_mask",
    "keras_owner",
    "make_concrete",
    "metric_of",
    "output_losses",
    "output_spec",
    "own_losses",
    "quick_call",
    "rename",
    "reseed",
    "scratch_graph",
    "seeded_initial_value",
    "set_keras_mask",
    "sublayers",
    "summary_writer",
    "swapped_values",
    "trace",
]


def scratch_graph(name: str) -> Any:
    """A graph to trace into and throw away; variables are captured as in a tf.function."""
    return tf.__internal__.FuncGraph(name)


def trace(function: Callable[..., Any], specs: list[tf.TensorSpec]) -> Any:
    """Trace a function once, without AutoGraph, into something whose ``prune`` gives subgraphs."""
    return tf.compat.v1.wrap_function(function, specs)


def quick_call(function: Any) -> Callable[[list[tf.Tensor]], Any]:
    """A concrete function's call without the check of its arguments, which takes as long as a small training step.

    Args:
        function: What ``get_concrete_function`` gave; its arguments must be tensors alone, outside of any tape.
    """
    return lambda tensors: function._call_flat(tensors, function.captured_inputs)


class BackgroundExecutor:
    """Runs calls of TensorFlow in order on a thread of its own.

    Their results are tensors that wait when they are read. An operation's error is raised by whatever reads its results
    or makes the next call, until `forget_error`.
    """

    def __init__(self) -> None:
        self._executor = eager_executor.new_executor(enable_async=True)

    def scope(self) -> contextlib.AbstractContextManager[None]:
        """Scope in which eager calls of this thread are asynchronous."""
        return eager_context.executor_scope(self._executor)

    def forget_error(self) -> None:
        """Clear the executor's error state so that it can be used again."""
        with contextlib.suppress(tf.errors.OpError):
            self._executor.wait()  # results tell of an error before the executor knows of it
        self._executor.clear_error()


def external_captures(graph: Any) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Pairs (tensor outside, its placeholder inside) of what a traced graph reads from outside."""
    return list(graph.captures)


def captured_variables(graph: Any, known: set[int]) -> list[tf.Variable]:
    """The variables that a graph reads and that are not known by the identity of their handle.

    A graph holds handles, not variables; those that nothing else leads to are looked for among all objects.
    """
    handles = {id(outside) for outside, _ in graph.captures if outside.dtype == tf.resource} - known
    if not handles:
        return []
    found: dict[int, tf.Variable] = {}
    # Slow, and only where something is missing: a variable that the user made outside and that no layer lists.
    for candidate in gc.get_objects():
        # by its type: isinstance would wake proxies and lazy modules
        if issubclass(type(candidate), tf.Variable) and not isinstance(candidate, tf.distribute.DistributedValues):
            handle = id(getattr(candidate, "_handle", None))
            if handle in handles:
                whole = getattr(candidate, "_distributed_container", lambda: None)()
                found[handle] = candidate if whole is None else whole
    return [found[id(outside)] for outside, _ in graph.captures if id(outside) in found]


def failure_of(error: tf.errors.OpError) -> str:
    """What TensorFlow says of an operation that failed while a graph ran, without the frames of its tracing."""
    reason = error.message.strip().split("\n\n")[-1].split("\n\t")[0]
    reason = re.sub(r"\{\{function_node [^}]*\}\}", "", reason).strip()
    node = re.search(r"\{\{node (?:while/)?(?:body/)?([^}]+)\}\}", error.message)
    return f"the operation {node[1]!r} failed: {reason}" if node else reason


def is_unlifted(variable: Any) -> bool:
    """Whether a variable was made inside a ``tf.function``, which keeps it to itself."""
    return type(variable).__name__ == "UnliftedInitializerVariable"


class KerasScopes(list):
    """A stack of Keras name scopes that notes each layer which enters one.

    Keras pushes a scope for every layer that is built or called, so this sees all layers a trace uses,
    whoever made them, without a patch to Keras.

    Args:
        entered: Called with each Keras layer the first time it enters a scope.
    """

    def __init__(self, entered: Callable[[keras.Layer, bool], None]) -> None:
        super().__init__()
        self._entered = entered
        self._seen: dict[int, keras.Layer] = {}

    def append(self, scope: Any) -> None:
        layer = scope.caller
        if isinstance(layer, keras.Layer) and id(layer) not in self._seen:
            self._seen[id(layer)] = layer
            outermost = not any(isinstance(above.caller, keras.Layer) for above in self)
            self._entered(layer, outermost)
        super().append(scope)

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Add one part to the path that belongs to no layer."""
        super().append(name_scope(name))
        depth = len(self)
        try:
            yield
        finally:
            del self[depth - 1 :]


@contextlib.contextmanager
def isolated_keras_state(**state: Any) -> Iterator[None]:
    """Run with other values of Keras's global state: ``name_scope_stack``, ``object_name_uids``, ..."""
    before = {name: global_state.get_global_attribute(name) for name in state}
    for name, value in state.items():
        global_state.set_global_attribute(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            global_state.set_global_attribute(name, value)


def fresh_names() -> collections.defaultdict[str, int]:
    """An empty count of the names Keras has given automatically."""
    return collections.defaultdict(int)


def _closure(function: Any) -> dict[str, Any]:
    try:
        return dict(inspect.getclosurevars(function).nonlocals)
    except (TypeError, ValueError):
        return {}


def keras_owner(initial_value: Any) -> Any:
    """The Keras variable that is making a ``tf.Variable`` with this initial value, if one is, else None."""
    owner = _closure(initial_value).get("self") if callable(initial_value) else None
    return owner if isinstance(owner, keras.Variable) else None


def seeded_initial_value(initial_value: Any, seed: int) -> Any:
    """The same initial value, drawn from ``seed`` wherever it was random and had no seed of its own."""
    if not callable(initial_value):
        return initial_value
    owner = keras_owner(initial_value)
    initializer: Any = _closure(initial_value).get("initializer") if owner is not None else None
    shape, dtype = (owner._shape, owner._dtype) if owner is not None else (None, None)
    if isinstance(initializer, RandomInitializer):
        if initializer._init_seed is not None:
            return initial_value
        seeded: Any = copy.copy(initializer)
        seeded.seed = seed
        return lambda: seeded(shape, dtype=dtype)
    generator: Any = _closure(initializer).get("self") if callable(initializer) else None
    if isinstance(generator, keras.random.SeedGenerator):
        if generator._initial_seed is not None:
            return initial_value
        return lambda: tf.constant([seed, 0], dtype=dtype)

    def draw() -> Any:
        with eager_seed(seed):
            return initial_value()

    return draw


def reseed(layer: keras.Layer, variable: keras.Variable, seed: int) -> None:
    """Start the random numbers of a layer that was made elsewhere, without a seed, from ``seed``."""
    for generator in vars(layer).values():
        if isinstance(generator, keras.random.SeedGenerator) and generator.state is variable:
            if generator._initial_seed is None:
                variable.assign([seed, 0])
            return


@contextlib.contextmanager
def eager_seed(seed: int) -> Iterator[None]:
    """Give eager ``tf.random`` operations a seed for a while, leaving the user's own stream untouched."""
    context = eager_context.context()
    before = context._seed, getattr(context, "_rng", None)
    context._set_global_seed(seed)  # forgets kernels too, which would go on with an older stream of this seed
    try:
        yield
    finally:
        context._seed, context._rng = before


class _Adopted(keras.Variable):
    """A Keras variable around a ``tf.Variable`` that exists already."""

    def __init__(self, variable: tf.Variable, name: str) -> None:
        self._adopted = variable
        super().__init__(
            lambda shape, dtype: None,
            shape=tuple(variable.shape),
            dtype=variable.dtype.name,
            trainable=variable.trainable,
            name=name.rsplit("/", 1)[-1],
        )
        rename(self, name)

    def _initialize_with_initializer(self, initializer: Any) -> None:
        self._initialize(self._adopted)


def adopt_variable(variable: tf.Variable, name: str) -> keras.Variable:
    """A Keras variable over an existing ``tf.Variable``: one kind of object in the store and optimizers."""
    return _Adopted(variable, name)


def rename(variable: keras.Variable, path: str) -> None:
    """Give a Keras variable the path it has in the store: optimizers name their slots by it."""
    variable._path = path


@contextlib.contextmanager
def swapped_values(pairs: list[tuple[keras.Variable, tf.Variable]]) -> Iterator[None]:
    """While inside, reading each Keras variable reads the other ``tf.Variable``."""
    before = [(variable, variable._value) for variable, _ in pairs]
    for variable, value in pairs:
        variable._value = value
    try:
        yield
    finally:
        for variable, value in before:
            variable._value = value


def make_concrete(setting: Any) -> None:
    """Turn the tensors that a regularizer or constraint made in its constructor into plain numbers.

    Some of Keras's do (L1 keeps its factor as a tensor); made inside a graph, they would not work in the next.
    """
    if isinstance(setting, (keras.Regularizer, keras.constraints.Constraint)):
        for name, value in vars(setting).items():
            if tf.is_tensor(value) and hasattr(value, "graph"):
                constant = tf.get_static_value(value)
                if constant is not None:
                    setattr(setting, name, constant)


def own_losses(layer: keras.Layer) -> list[tf.Tensor]:
    """What a layer gave to ``add_loss`` in its latest calls (activity regularizers too)."""
    return list(layer._losses)


def clear_losses(layer: keras.Layer) -> None:
    """Forget the losses of earlier traces."""
    layer._losses.clear()
    layer._loss_ids.clear()


def input_structure(model: keras.Model) -> Any:
    """How a functional model wants its inputs: a tensor, list or dict; None for a model of another kind."""
    return getattr(model, "_inputs_struct", None)


def output_spec(layer: keras.Layer) -> tf.TensorSpec | None:
    """What comes out of a layer for the inputs that it was built for; None where only a call would tell."""
    if type(layer).compute_output_shape is keras.Layer.compute_output_shape:
        return None
    try:
        shape = (layer.get_build_config() or {})["input_shape"]
        return tf.TensorSpec(layer.compute_output_shape(shape), layer.compute_dtype)
    except Exception:  # several inputs or outputs, or a layer of the user's own: this is for a table alone
        return None


def sublayers(layer: keras.Layer) -> list[keras.Layer]:
    """The layers directly inside a layer."""
    return list(layer._layers)


def snake_case(name: str) -> str:
    """A class's name as Keras writes it in the names of layers and metrics: mean_squared_error."""
    return naming.to_snake_case(name)


def auto_named(made: Any) -> bool:
    """Whether Keras made up the name of a layer or metric: such names depend on what else the process has made."""
    base = snake_case(type(made).__name__)  # Bidirectional puts a word before it
    return re.fullmatch(rf"(forward_|backward_)?{re.escape(base)}(_\d+)?", made.name) is not None


def flat_layers(layer: keras.Layer) -> list[keras.Layer]:
    """A layer and all layers inside it, each once."""
    return list(dict.fromkeys(layer._flatten_layers()))


def keras_mask(tensor: Any) -> Any:
    """The mask that Keras attached to a tensor (``Embedding(mask_zero=True)``, ``Masking``), or None."""
    return getattr(tensor, "_keras_mask", None)


def set_keras_mask(tensor: Any, mask: Any) -> None:
    """Attach a mask to a tensor, as Keras's layers do; losses and metrics of Keras look for it."""
    if mask is not None:
        tensor._keras_mask = mask


def metric_of(metric: Any, target: Any, prediction: Any) -> keras.Metric:
    """The metric that ``compile(metrics=[metric])`` would use; ``"accuracy"`` depends on the shapes."""
    if isinstance(metric, keras.Metric):
        return metric  # Keras would rename it
    return get_metric(metric, target, prediction)


def compile_apart(model: keras.Model, **arguments: Any) -> dict[str, Any]:
    """What ``model.compile(**arguments)`` sets in a model, which afterwards is compiled as it was before."""
    before = dict(vars(model))
    try:
        model.compile(**arguments)
        return {name: value for name, value in vars(model).items() if name not in before or before[name] is not value}
    finally:
        _put_back(model, before)


@contextlib.contextmanager
def compiled_as(model: keras.Model, state: dict[str, Any]) -> Iterator[None]:
    """While inside, a model is compiled as `compile_apart` says."""
    before = {name: vars(model)[name] for name in state if name in vars(model)}
    vars(model).update(state)
    try:
        yield
    finally:
        for name in state:
            vars(model).pop(name, None)
        vars(model).update(before)


def _put_back(model: keras.Model, before: dict[str, Any]) -> None:
    for name in [name for name in vars(model) if name not in before]:
        del vars(model)[name]
    vars(model).update(before)


def output_losses(model: keras.Model, targets: Any, outputs: Any, sample_weight: Any) -> list[tf.Tensor]:
    """The losses of a compiled model with several outputs, one by one, without their ``loss_weights``."""
    found = []
    for path, loss, _, _ in getattr(model._compile_loss, "_flat_losses", None) or ():
        target, output, weight = targets, outputs, sample_weight
        for step in path:
            target, output = target[step], output[step]
            weight = weight[step] if tf.nest.is_nested(weight) else weight
        found.append(loss(target, output, weight))
    return found


class _CallingWriter(tf.summary.SummaryWriter):
    """A summary writer that calls a function instead of writing."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    @property
    def _resource(self) -> Any:
        return self._function()

    def init(self) -> None:
        return None

    def flush(self) -> None:
        return None

    def close(self) -> None:
        return None


def summary_writer(function: Callable[[], Any]) -> contextlib.AbstractContextManager[Any]:
    """While inside, ``tf.summary`` calls a function where it would write; unless the user has set a writer."""
    with tf.init_scope():  # in a graph the answer would be a tensor, and an operation more
        taken = bool(tf.summary.should_record_summaries())
    if taken:
        return contextlib.nullcontext()
    return _CallingWriter(function).as_default(step=0)
