"""Frozen graphs: a function's graph with its variables replaced by constants, for files and for analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from flowtrain.model.internals import constants_for_variables
from flowtrain.utils.errors import ExportError, ModelError

__all__ = ["frozen", "refuse_python", "resized"]


def frozen(function: object) -> tf.compat.v1.GraphDef:
    """Freeze a concrete function: its graph with variables replaced by their values and called functions inlined.

    Args:
        function: A concrete function.

    Returns:
        The graph. Its placeholders are the inputs; operations keep their names.

    Raises:
        ExportError: Something in the function has no constant value: a table, an iterator, Python code.
    """
    try:
        graph = constants_for_variables(function)
    except (ValueError, TypeError, AttributeError, tf.errors.OpError) as error:
        raise ExportError(f"the graph cannot be frozen: {error}") from error
    refuse_python(graph)
    return graph


def refuse_python(graph: tf.compat.v1.GraphDef) -> None:
    """Refuse a graph that calls Python functions, which only exist in the process that made it.

    Raises:
        ExportError: It calls one; names the operation.
    """
    for node in [*graph.node, *(node for function in graph.library.function for node in function.node_def)]:
        if node.op in ("PyFunc", "PyFuncStateless", "EagerPyFunc"):
            raise ExportError(
                f"{node.name!r} calls Python code (tf.numpy_function or tf.py_function), which exists in this process "
                "only. Write it with TensorFlow operations, or choose outputs before it."
            )


def resized(graph: tf.compat.v1.GraphDef, shapes: Mapping[str, Sequence[int | None]]) -> tf.Graph:
    """Import a graph with other input shapes, from which TensorFlow infers the shape of every tensor.

    Args:
        graph: A frozen graph.
        shapes: Name of an input -> its new shape.

    Returns:
        A graph with the same names.

    Raises:
        ModelError: The model does not take such a shape.
    """
    changed = tf.compat.v1.GraphDef()
    changed.CopyFrom(graph)
    for node in changed.node:
        # Shapes recorded while tracing are of the old inputs, and importing would take them for true.
        node.attr.pop("_output_shapes", None)
        if node.name in shapes:
            node.attr["shape"].CopyFrom(tf.compat.v1.AttrValue(shape=tf.TensorShape(shapes[node.name]).as_proto()))
    result = tf.Graph()
    try:
        with result.as_default():
            tf.import_graph_def(changed, name="")
    except ValueError as error:
        given = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise ModelError(f"the model does not take inputs of this size ({given}): {error}") from error
    return result
