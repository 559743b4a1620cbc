"""Type aliases for annotations: datapoints, their components, and positions."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Component", "Datapoint", "Memory", "Position"]

Component: TypeAlias = Any
"""A NumPy array, a number, a string, bytes, any other object, or a list or dict of them: only the user's code knows."""

Datapoint: TypeAlias = Any
"""A list, tuple or dict of components; a batch is one whose components are columns, with a row for each datapoint.

``Any`` for type checkers: with a union they would refuse ``dp[0]`` and ``image, label = dp`` in the user's code.
"""

Memory: TypeAlias = Any
"""A stage's own part of a position, from which its ``_walk`` goes on: numbers, strings, lists, dicts; None at first."""

Position: TypeAlias = int | list[Any] | dict[str, Any] | None
"""A position within an epoch: an index, or what the kind of cursor goes on from; JSON can hold it. None: the start."""
