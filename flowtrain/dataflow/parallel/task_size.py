"""How many datapoints travel together: one that takes long goes alone, tiny ones in groups."""

from __future__ import annotations

__all__ = ["Grouping"]

_SECONDS = 1e-3  # of work in a group: some ten times what a message costs
_BYTES = 1 << 20
_MOST = 256


class Grouping:
    """Adapts the size of groups to what datapoints turn out to cost. It never changes which ones there are.

    Attributes:
        size: Of the next group.
    """

    def __init__(self) -> None:
        self.size = 1

    def learn(self, count: int, seconds: float, used: int) -> None:
        """Take in what a group of ``count`` datapoints took."""
        fitting = min(_SECONDS / max(seconds / count, 1e-7), _BYTES / max(used / count, 1.0), _MOST)
        self.size = max(1, min(int(fitting), 2 * self.size))
