"""The ancestors of operations in a TensorFlow graph: everything they depend on."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import tensorflow as tf

__all__ = ["ancestors"]


def ancestors(
    ends: Iterable[tf.Operation], *, stop: Collection[tf.Operation] = (), control: bool = True
) -> list[tf.Operation]:
    """Operations and their ancestors in the graph, each once.

    Args:
        ends: The operations to start from; they are part of the result.
        stop: Operations at which the walk ends. Neither they nor operations that only they depend on are returned.
        control: True: follow data and control dependencies, which is everything that runs. False: follow data
            dependencies only, which is everything the values are computed from.
    """
    # A loop and not a recursion: graphs are thousands of operations deep, more than Python's stack allows.
    seen = set(stop)
    found, todo = [], list(ends)
    while todo:
        op = todo.pop()
        if op not in seen:
            seen.add(op)
            found.append(op)
            todo += [tensor.op for tensor in op.inputs]
            if control:
                todo += op.control_inputs
    return found
