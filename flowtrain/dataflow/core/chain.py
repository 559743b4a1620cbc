"""A flow as the chain of its stages with their arguments: what tells two recipes apart."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from ...utils.description import arguments_of, describe, type_name
from .base import DataFlow

__all__ = ["describe_chain"]

_OF_ITERATION = {"epoch", "latest", "order", "reset_in", "resume", "stream"}  # attributes that iterating sets


def describe_chain(flow: DataFlow, held: bool = True) -> list[dict[str, Any]]:
    """The stages of a flow from the source on, each ``{"stage": name, argument: value, ...}``.

    Two flows that are built alike have the same chain, in any process. A stage over several flows holds their chains
    under ``"inputs"``.

    Args:
        flow: The flow.
        held: Whether what functions hold in containers counts, which a call may change: a list that it fills. Without
            it, a flow has the same chain after an epoch as before.

    Example:
        >>> from flowtrain.dataflow import BatchData, DataFromList
        >>> describe_chain(BatchData(DataFromList([[1], [2]]), 2))
        [{'stage': 'DataFromList', 'datapoints': [[1], [2]], 'seed': 0}, {'stage': 'BatchData', 'batch_size': 2}]
    """
    children = flow.children()
    below = describe_chain(children[0], held) if len(children) == 1 else []
    own: dict[str, Any] = {"stage": type_name(type(flow))}
    if len(children) > 1:
        own["inputs"] = [describe_chain(child, held) for child in children]
    # Our stages keep their data in private attributes; those of a user's class may as well be counters or caches.
    ours = type(flow).__module__.startswith(__name__.partition(".")[0] + ".")
    for name, value in arguments_of(flow, private=ours).items():
        if name in _OF_ITERATION:
            continue
        if not _holds_flow(value):
            own[name] = describe(value, 1) if isinstance(value, FunctionType) and not held else describe(value)
    iterate = type(flow)._user_iter
    if iterate is not None:  # a class of the user's own: its data depend on its code too
        own["code"] = describe(iterate)
    elif not ours:
        own["code"] = describe(type(flow).get)
    return [*below, own]


def _holds_flow(value: object) -> bool:
    if isinstance(value, list | tuple | dict) and value:
        items = value.values() if isinstance(value, dict) else value
        return any(isinstance(item, DataFlow) for item in items)
    return isinstance(value, DataFlow)
