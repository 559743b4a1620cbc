"""Names for what travels through a flow, for annotations."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Component", "Datapoint", "Memory", "Position"]

Component: TypeAlias = Any
"""A NumPy array, a number, a string, bytes, or a list or dict of them: what it is only the user's code knows."""

Datapoint: TypeAlias = Any
"""A list, tuple or dict of components; a batch is one whose components are columns, with a row for each datapoint.

A type checker takes it as Any: of a union it would refuse ``dp[0]`` and ``image, label = dp`` in the user's code.
"""

Memory: TypeAlias = Any
"""What a stage's ``_walk`` needs to go on: numbers, strings, lists and dicts of the stage's own choice, or None."""

Position: TypeAlias = int | list[Any] | dict[str, Any] | None
"""Where a walk is: an index, or what the kind of cursor needs; in any case something that JSON can hold."""
