"""A function with its variables as a plain graph of constants: what frozen files hold, and what is analysed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from flowtrain.model.internals import constants_for_variables
from flowtrain.utils.errors import ExportError, ModelError

__all__ = ["frozen", "refuse_python", "resized"]


def frozen(function: object) -> tf.compat.v1.GraphDef:
    """A concrete function's graph, its variables replaced by their values and called functions inlined.

    Args:
        function: A concrete function; its operations keep their names.

    Returns:
        The graph. Inputs are its placeholders.

    Raises:
        ExportError: The function uses something that has no constant value: a table, an iterator, Python code.
    """
    try:
        graph = constants_for_variables(function)
    except (ValueError, TypeError, AttributeError, tf.errors.OpError) as error:
        raise ExportError(f"the graph cannot be frozen: {error}") from error
    refuse_python(graph)
    return graph


def refuse_python(graph: tf.compat.v1.GraphDef) -> None:
    """Refuse a graph that only works in the process that made it.

    Raises:
        ExportError: It calls Python functions.
    """
    for node in [*graph.node, *(node for function in graph.library.function for node in function.node_def)]:
        if node.op in ("PyFunc", "PyFuncStateless", "EagerPyFunc"):
            raise ExportError(
                f"{node.name!r} calls Python code (tf.numpy_function or tf.py_function), which exists in this process "
                "only. Write it with TensorFlow operations, or choose outputs before it."
            )


def resized(graph: tf.compat.v1.GraphDef, shapes: Mapping[str, Sequence[int | None]]) -> tf.Graph:
    """Import a graph with other input shapes, so that the shape of every tensor follows from them.

    Args:
        graph: As `frozen` makes it.
        shapes: The new shape by the name of the input.

    Returns:
        A graph of the same names.

    Raises:
        ModelError: The model does not take such a shape.
    """
    changed = tf.compat.v1.GraphDef()
    changed.CopyFrom(graph)
    for node in changed.node:
        # Shapes that were noted while tracing would be taken for true, however the inputs change.
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
