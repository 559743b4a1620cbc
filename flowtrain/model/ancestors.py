"""What operations of a graph depend on."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import tensorflow as tf

__all__ = ["ancestors"]


def ancestors(
    ends: Iterable[tf.Operation], *, stop: Collection[tf.Operation] = (), control: bool = True
) -> list[tf.Operation]:
    """Operations and all that they depend on, each once.

    Args:
        ends: Where to begin.
        stop: Operations that are given: neither they nor what they alone depend on are among those returned.
        control: Whether to go along control dependencies too, as running the graph does; without them it is what the
            values are computed from.
    """
    # Operations are hashed by identity, and a loop instead of a recursion: graphs are thousands of operations deep.
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
