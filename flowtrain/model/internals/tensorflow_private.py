"""Private TensorFlow: graphs, variables, the eager executor, ``tf.summary``.

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
    """A graph to trace into and throw away; it captures variables as the graph of a ``tf.function`` does.

    Relies on: ``tf.__internal__.FuncGraph``, the graph of every ``tf.function``, which Keras uses too.
    Else: trace a ``tf.function`` whose body calls back, and take its ``graph``.
    """
    return tf.__internal__.FuncGraph(name)


def trace(function: Callable[..., Any], specs: Sequence[tf.TensorSpec]) -> tf.types.experimental.ConcreteFunction:
    """Trace a function once, without AutoGraph, into a concrete function whose ``prune`` cuts out subgraphs.

    Relies on: ``tf.compat.v1.wrap_function`` and ``prune`` of its result, a WrappedFunction, which is no public class.
    Else: ``tf.function(...).get_concrete_function()``, and a new trace for each set of tensors that is fetched.
    """
    return tf.compat.v1.wrap_function(function, list(specs))


def quick_call(function: tf.types.experimental.ConcreteFunction) -> Callable[[Sequence[tf.Tensor]], Any]:
    """Call a concrete function without the check of its arguments, which takes as long as a small training step.

    Relies on: ``ConcreteFunction._call_flat(tensors, captured_inputs)``.
    Else: ``lambda tensors: function(*tensors)``, which is slower and otherwise the same.

    Args:
        function: The result of ``get_concrete_function``. All its arguments must be tensors, and no gradient tape may
            watch the call.
    """
    return lambda tensors: function._call_flat(list(tensors), function.captured_inputs)


def all_operations(graph: tf.Graph) -> list[tf.Operation]:
    """All operations of a graph, including those inside its loops, branches and called functions.

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
        ValueError, TypeError, AttributeError, tf.errors.OpError: Something in the graph has no constant value.
    """
    made = convert_variables_to_constants_v2(function, lower_control_flow=False, aggressive_inlining=True)
    return made.graph.as_graph_def()


def external_captures(graph: tf.Graph) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Pairs (tensor outside, its placeholder inside) of everything that a traced graph captures.

    Relies on: ``FuncGraph.captures``.
    Else: ``ConcreteFunction.captured_inputs`` beside the graph's last inputs.
    """
    return list(graph.captures)


# ---------------------------------------------------------------------- variables


def captured_variables(graph: tf.Graph, known: set[int]) -> list[tf.Variable]:
    """The variables that a graph captures, without those whose handles' identities are in ``known``.

    A graph holds handles, which do not lead to their variables: these are searched among all objects of the process.

    Relies on: ``Variable._handle``; ``_distributed_container``, by which the copy of a variable on one replica finds
    the variable that holds all copies.
    Else: the public ``Variable.handle``; without the second only models without a strategy.
    """
    handles = {id(outside) for outside, _ in external_captures(graph) if outside.dtype == tf.resource} - known
    if not handles:
        return []
    # Slow, but rare: only when the user made a variable outside of build_graph which no layer lists.
    found: dict[int, tf.Variable] = {}
    for candidate in gc.get_objects():
        # By its type: isinstance would read __class__ of every object, at which proxies and lazy modules load.
        if issubclass(type(candidate), tf.Variable) and not isinstance(candidate, tf.distribute.DistributedValues):
            handle = id(getattr(candidate, "_handle", None))
            if handle in handles:
                whole = getattr(candidate, "_distributed_container", lambda: None)()
                found[handle] = candidate if whole is None else whole
    return [found[id(outside)] for outside, _ in external_captures(graph) if id(outside) in found]


def replica_values(value: Nested) -> tuple[Any, ...]:
    """The copies of a distributed value on the replicas of this process; (value,) if it is not distributed.

    Relies on: ``DistributedValues.values``, which unlike ``experimental_local_results`` needs no strategy at hand.
    Else: pass the strategy to the callers.
    """
    return tuple(value.values) if isinstance(value, tf.distribute.DistributedValues) else (value,)


def is_unlifted(variable: tf.Variable) -> bool:
    """Whether a variable was made inside a ``tf.function`` and belongs to it.

    Relies on: the name of the class ``UnliftedInitializerVariable``.
    Else: the error that a user sees is TensorFlow's own, without flowtrain's advice.
    """
    return type(variable).__name__ == "UnliftedInitializerVariable"


def was_made_in_function(error: ValueError) -> bool:
    """Whether an error says that a ``tf.function`` made a variable in a call other than its first.

    Relies on: the words "tf.function" in the message of that ValueError.
    Else: the error that a user sees is TensorFlow's own, without flowtrain's advice.
    """
    return "tf.function" in str(error)


def is_generator_state(arguments: Mapping[str, Any]) -> bool:
    """Whether the variable being made is the state of a ``tf.random.Generator``.

    Relies on: the name "StateVar" that the generator gives it.
    Else: the user sees the general error about an initial value that is computed in the graph.

    Args:
        arguments: The keyword arguments of the variable creator.
    """
    return arguments.get("name") == "StateVar"


def names_in_checkpoint(reader: tf.train.CheckpointReader) -> dict[str, list[str]] | None:
    """The names of the variables in an object-based checkpoint, each with the keys that it is saved under.

    Relies on: the entry ``_CHECKPOINTABLE_OBJECT_GRAPH`` and its protocol buffer, TrackableObjectGraph.
    Else: keys alone, which are attribute paths in the user's objects ("layer/0/w").

    Args:
        reader: The result of ``tf.train.load_checkpoint``.

    Returns:
        Name -> keys; None for a checkpoint of ``tf.compat.v1``, whose keys are the names.
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
    """Asynchronous eager executor: runs TensorFlow calls in order on a thread of its own.

    A call returns tensors at once; reading one waits for its value. If an operation fails, every read of its results
    and every further call raises the error, until `forget_error`.

    Relies on: ``tensorflow.python.eager``'s ``new_executor`` and ``executor_scope``.
    Else: a thread that calls one step after the other.
    """

    def __init__(self) -> None:
        self._executor = eager_executor.new_executor(enable_async=True)

    def scope(self) -> contextlib.AbstractContextManager[None]:
        """Scope in which eager calls of this thread are asynchronous."""
        return eager_context.executor_scope(self._executor)

    def forget_error(self) -> None:
        """Clear the executor's error state so that it can be used again."""
        with contextlib.suppress(tf.errors.OpError):
            self._executor.wait()  # the results have an error before the executor has; clearing earlier misses it
        self._executor.clear_error()


def failure_of(error: tf.errors.OpError) -> str:
    """The operation and the reason in an error of a running graph, without the stack of its tracing.

    Relies on: the message's form: ``{{node NAME}}``, and the reason in the last paragraph.
    Else: ``error.message`` as it is.
    """
    reason = error.message.strip().split("\n\n")[-1].split("\n\t")[0]
    reason = re.sub(r"\{\{function_node [^}]*\}\}", "", reason).strip()
    node = re.search(r"\{\{node (?:while/)?(?:body/)?([^}]+)\}\}", error.message)
    return f"the operation {node[1]!r} failed: {reason}" if node else reason


@contextlib.contextmanager
def eager_seed(seed: int) -> Iterator[None]:
    """Scope in which eager ``tf.random`` operations have a seed; the user's own random stream is left untouched.

    Relies on: the eager context's ``_seed``, ``_rng`` and ``_set_global_seed``.
    Else: ``tf.random.set_seed``, which changes what a user draws afterwards.
    """
    context = eager_context.context()
    before = context._seed, getattr(context, "_rng", None)
    # Not by assigning _seed: this also clears cached kernels, which would continue an older stream of the same seed.
    context._set_global_seed(seed)
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

    def flush(self) -> None:  # as_default calls it at its end
        return None


def summary_writer(function: Callable[[], Any]) -> contextlib.AbstractContextManager[Any]:
    """Scope in which ``tf.summary`` calls a function instead of writing, unless the user has set a writer.

    Relies on: ``tf.summary`` reading the writer's ``_resource`` before it writes.
    Else: a call of ``tf.summary`` in ``build_graph`` does nothing, silently; drop the advice.
    """
    with tf.init_scope():  # inside a graph the answer would be a tensor, and an operation added to the user's graph
        taken = bool(tf.summary.should_record_summaries())
    if taken:
        return contextlib.nullcontext()
    return _CallingWriter(function).as_default(step=0)
