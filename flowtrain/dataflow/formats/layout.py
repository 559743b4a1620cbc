"""Flattening a datapoint into named leaves, and rebuilding it from them and its layout.

The leaves of a list are named ``0``, ``1``, ...; those of a dict by its keys; those of a dict within it
``outer/inner``. A list within a datapoint is one leaf. The layout has the datapoint's lists and dicts, with a note of
the format in place of each leaf; it is stored beside the leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ..core.datapoint import Datapoint

__all__ = ["Layout", "join", "split"]

Layout: TypeAlias = str | list[Any] | dict[str, Any]
"""Lists and dicts as in the datapoint, and in each leaf's place what the format notes of it."""


def split(value: object, divides: Callable[[dict], bool], leaf: Callable[[str, Any], Any], name: str = "") -> Layout:
    """Flatten a datapoint.

    Args:
        value: The datapoint.
        divides: Whether a dict's entries are leaves of their own; otherwise the dict is one leaf.
        leaf: Called with the name and value of each leaf; returns the format's note of it, for the layout.
        name: Name of the value, for recursion; empty for the datapoint itself, also where that is a single leaf.

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
    """Rebuild a datapoint: the inverse of :func:`split`.

    Args:
        layout: What :func:`split` returned.
        leaf: Called with the name and the note of each leaf; returns its value.
        name: Name of the part that the layout is of, for recursion.
    """
    if isinstance(layout, list):
        return [join(item, leaf, str(i)) for i, item in enumerate(layout)]
    if isinstance(layout, dict):
        prefix = f"{name}/" if name else ""
        return {key: join(item, leaf, prefix + key) for key, item in layout.items()}
    return leaf(name, layout)
