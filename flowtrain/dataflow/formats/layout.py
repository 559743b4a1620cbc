"""How the components of a datapoint hang together: taken apart into named leaves, and put together again.

The components of a list are named ``0``, ``1``, ...; those of a dict have its keys; those of a dict within it
``outer/inner``. A list within a datapoint is one leaf. The layout is of lists, dicts and what a format notes of each
leaf, so that it can be stored beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ..core.datapoint import Datapoint

__all__ = ["Layout", "join", "split"]

Layout: TypeAlias = str | list[Any] | dict[str, Any]
"""Lists and dicts as in the datapoint, and in each leaf's place what the format notes of it."""


def split(value: object, divides: Callable[[dict], bool], leaf: Callable[[str, Any], Any], name: str = "") -> Layout:
    """Take a datapoint apart.

    Args:
        value: The datapoint.
        divides: Whether the entries of a dict are leaves of their own; else it is one.
        leaf: Takes the name and the value of each leaf, and returns what its layout is.
        name: Of the value; empty for the datapoint itself, and for one that is a single leaf.

    Returns:
        The layout.
    """
    if type(value) is list and not name:
        return [split(item, divides, leaf, str(i)) for i, item in enumerate(value)]
    if type(value) is dict and divides(value):
        prefix = f"{name}/" if name else ""
        return {key: split(item, divides, leaf, prefix + key) for key, item in value.items()}
    return leaf(name, value)


def join(layout: object, leaf: Callable[[str, Any], Any], name: str = "") -> Datapoint:
    """Put a datapoint together.

    Args:
        layout: What :func:`split` returned.
        leaf: Takes the name and the layout of each leaf, and returns its value.
        name: Of the part that the layout is of.
    """
    if isinstance(layout, list):
        return [join(item, leaf, str(i)) for i, item in enumerate(layout)]
    if isinstance(layout, dict):
        prefix = f"{name}/" if name else ""
        return {key: join(item, leaf, prefix + key) for key, item in layout.items()}
    return leaf(name, layout)
