"""What is used of TensorFlow beyond its public interface.

Each docstring ends with what the function relies on ("Relies on") and what to do when that is gone ("Else").
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
from tensorflow.python.eager import context as eager_context
from tensorflow.python.eager import executor as eager_executor
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

__all__ = [
    "BackgroundExecutor",
    "Nested",
    "all_operations",
    "captured_variables",
    "constants_for_variables",
    "eager_seed",
    "external_captures",
    "failure_of",
    "is_generator_state",
    "is_unlifted",
    "names_in_checkpoint",
    "quick_call",
    "replica_values",
    "scratch_graph",
    "summary_writer",
    "trace",
    "was_made_in_function",
]

Nested: TypeAlias = Any
"""A tensor, or lists and dicts of tensors to any depth, as Keras models take and return them."""

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"

# ---------------------------------------------------------------------- graphs


def scratch_graph(name: str) -> tf.Graph:
    """A graph to trace into and throw away; variables are captured as in a tf.function.

    Relies on: ``tf.__internal__.FuncGraph``, the graph of every ``tf.function``, which Keras uses too.
    Else: trace a ``tf.function`` whose body calls back, and take its ``graph``.
    """
    return tf.__internal__.FuncGraph(name)


def trace(function: Callable[..., Any], specs: Sequence[tf.TensorSpec]) -> tf.types.experimental.ConcreteFunction:
    """Trace a function once, without AutoGraph, into something whose ``prune`` gives subgraphs.

    Relies on: ``tf.compat.v1.wrap_function``, whose result (a WrappedFunction) is public in behaviour, not as a class.
    Else: ``tf.function(...).get_concrete_function()``, and a new trace for each set of tensors that is fetched.
    """
    return tf.compat.v1.wrap_function(function, list(specs))


def quick_call(function: tf.types.experimental.ConcreteFunction) -> Callable[[Sequence[tf.Tensor]], Any]:
    """A concrete function's call without the check of its arguments, which takes as long as a small training step.

    Relies on: ``ConcreteFunction._call_flat(tensors, captured_inputs)``.
    Else: ``lambda tensors: function(*tensors)``, which is slower and nothing else.

    Args:
        function: What ``get_concrete_function`` gave; its arguments must be tensors alone, outside of any tape.
    """
    return lambda tensors: function._call_flat(list(tensors), function.captured_inputs)


def all_operations(graph: tf.Graph) -> list[tf.Operation]:
    """All operations of a graph, and of the loops, branches and compiled functions in it.

    Relies on: ``Graph._functions``, the functions that a graph's operations call, by name; their ``graph``.
    Else: walk ``graph.as_graph_def().library``, which has types and names but not the operations themselves.
    """
    found = list(graph.get_operations())
    for function in graph._functions.values():
        inner = getattr(function, "graph", None)
        if inner is not None:
            found += inner.get_operations()
    return found


def constants_for_variables(function: tf.types.experimental.ConcreteFunction) -> tf.compat.v1.GraphDef:
    """A concrete function's graph with its variables replaced by their values, called functions inlined.

    Relies on: ``convert_variables_to_constants_v2``, which TensorFlow's own converters use.
    Else: ``tf.saved_model`` and a converter of another package.

    Raises:
        ValueError: Something has no constant value. TypeError, AttributeError and OpError mean the same.
    """
    made = convert_variables_to_constants_v2(function, lower_control_flow=False, aggressive_inlining=True)
    return made.graph.as_graph_def()


def external_captures(graph: tf.Graph) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Pairs (tensor outside, its placeholder inside) of what a traced graph reads from outside.

    Relies on: ``FuncGraph.captures``.
    Else: ``ConcreteFunction.captured_inputs`` beside the graph's last inputs.
    """
    return list(graph.captures)


# ---------------------------------------------------------------------- variables


def captured_variables(graph: tf.Graph, known: set[int]) -> list[tf.Variable]:
    """The variables that a graph reads and that are not known by the identity of their handle.

    A graph holds handles, not variables; those that nothing else leads to are looked for among all objects.

    Relies on: ``Variable._handle``; ``_distributed_container``, by which the part of a variable on one replica knows
    the whole. Else: ``Variable.handle`` where that is public; without the second only models without a strategy.
    """
    handles = {id(outside) for outside, _ in external_captures(graph) if outside.dtype == tf.resource} - known
    if not handles:
        return []
    # Slow, and only where something is missing: a variable that the user made outside and that no layer lists.
    found: dict[int, tf.Variable] = {}
    for candidate in gc.get_objects():
        # by its type: isinstance would wake proxies and lazy modules
        if issubclass(type(candidate), tf.Variable) and not isinstance(candidate, tf.distribute.DistributedValues):
            handle = id(getattr(candidate, "_handle", None))
            if handle in handles:
                whole = getattr(candidate, "_distributed_container", lambda: None)()
                found[handle] = candidate if whole is None else whole
    return [found[id(outside)] for outside, _ in external_captures(graph) if id(outside) in found]


def replica_values(value: Nested) -> tuple[Any, ...]:
    """What each replica of this process has of a value under a strategy; the value itself where it is no such value.

    Relies on: ``DistributedValues.values``, which unlike ``experimental_local_results`` needs no strategy at hand.
    Else: pass the strategy to who asks.
    """
    return tuple(value.values) if isinstance(value, tf.distribute.DistributedValues) else (value,)


def is_unlifted(variable: tf.Variable) -> bool:
    """Whether a variable was made inside a ``tf.function``, which keeps it to itself.

    Relies on: the name of the class ``UnliftedInitializerVariable``.
    Else: the error that a user sees is TensorFlow's own, without flowtrain's advice.
    """
    return type(variable).__name__ == "UnliftedInitializerVariable"


def was_made_in_function(error: ValueError) -> bool:
    """Whether an error says that a ``tf.function`` made a variable in a call that was not its first.

    Relies on: the words "tf.function" in the message of that ValueError.
    Else: the error that a user sees is TensorFlow's own, without flowtrain's advice.
    """
    return "tf.function" in str(error)


def is_generator_state(arguments: Mapping[str, Any]) -> bool:
    """Whether the variable that is being made is the state of a ``tf.random.Generator``.

    Relies on: the name "StateVar" that the generator gives it.
    Else: the error that a user sees is the general one, of an initial value that is computed in the graph.

    Args:
        arguments: What a variable creator is given.
    """
    return arguments.get("name") == "StateVar"


def names_in_checkpoint(reader: tf.train.CheckpointReader) -> dict[str, list[str]] | None:
    """The full names of the variables in a TensorFlow checkpoint, each with the keys it is saved under.

    Relies on: the entry ``_CHECKPOINTABLE_OBJECT_GRAPH`` and its protocol buffer, TrackableObjectGraph.
    Else: keys alone, which are places in a user's objects ("layer/0/w").

    Args:
        reader: What ``tf.train.load_checkpoint`` gave.

    Returns:
        None for a checkpoint of ``tf.compat.v1``, whose keys are the names.
    """
    if not reader.has_tensor(_OBJECT_GRAPH):
        return None
    found: dict[str, list[str]] = {}
    for node in TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH)).nodes:
        for attribute in node.attributes:
            keys = found.setdefault(attribute.full_name, [])
            if attribute.checkpoint_key not in keys:
                keys.append(attribute.checkpoint_key)
    return found


# ---------------------------------------------------------------------- running


class BackgroundExecutor:
    """Runs calls of TensorFlow in order on a thread of its own.

    Their results are tensors that wait when they are read. An operation's error is raised by whatever reads its results
    or makes the next call, until `forget_error`.

    Relies on: ``tensorflow.python.eager``'s ``new_executor`` and ``executor_scope``.
    Else: a thread of one's own that calls one step after the other.
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


def failure_of(error: tf.errors.OpError) -> str:
    """What TensorFlow says of an operation that failed while a graph ran, without the frames of its tracing.

    Relies on: the message's form: ``{{node NAME}}``, and the reason in the last paragraph.
    Else: ``error.message`` as it is.
    """
    reason = error.message.strip().split("\n\n")[-1].split("\n\t")[0]
    reason = re.sub(r"\{\{function_node [^}]*\}\}", "", reason).strip()
    node = re.search(r"\{\{node (?:while/)?(?:body/)?([^}]+)\}\}", error.message)
    return f"the operation {node[1]!r} failed: {reason}" if node else reason


@contextlib.contextmanager
def eager_seed(seed: int) -> Iterator[None]:
    """Give eager ``tf.random`` operations a seed for a while, leaving the user's own stream untouched.

    Relies on: the eager context's ``_seed``, ``_rng`` and ``_set_global_seed``.
    Else: ``tf.random.set_seed``, which changes what a user draws afterwards.
    """
    context = eager_context.context()
    before = context._seed, getattr(context, "_rng", None)
    context._set_global_seed(seed)  # forgets kernels too, which would go on with an older stream of this seed
    try:
        yield
    finally:
        context._seed, context._rng = before


# ---------------------------------------------------------------------- tf.summary


class _CallingWriter(tf.summary.SummaryWriter):
    """A summary writer that calls a function instead of writing."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    @property
    def _resource(self) -> tf.Tensor:
        return self._function()

    def init(self) -> None:
        return None

    def flush(self) -> None:
        return None

    def close(self) -> None:
        return None


def summary_writer(function: Callable[[], Any]) -> contextlib.AbstractContextManager[Any]:
    """While inside, ``tf.summary`` calls a function where it would write; unless the user has set a writer.

    Relies on: ``tf.summary`` reading the writer's ``_resource`` before it writes.
    Else: a call of ``tf.summary`` in ``build_graph`` does nothing, without a word; drop the advice.
    """
    with tf.init_scope():  # in a graph the answer would be a tensor, and an operation more
        taken = bool(tf.summary.should_record_summaries())
    if taken:
        return contextlib.nullcontext()
    return _CallingWriter(function).as_default(step=0)
