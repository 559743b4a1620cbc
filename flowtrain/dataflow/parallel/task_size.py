"""How many datapoints travel together: one that takes long goes alone, tiny ones in groups."""

from __future__ import annotations

__all__ = ["Grouping"]

_TOGETHER = 1e-3, 1 << 20  # seconds of work, some ten times what a message costs; bytes
_MOST = 256


class Grouping:
    """Adapts the size of groups to what datapoints turn out to cost. It never changes which ones there are.

    Attributes:
        size: Of the next group.
        together: (seconds of work, bytes) that a group has at the most; of more only where one datapoint has more.
    """

    def __init__(self) -> None:
        self.size = 1
        self.together: tuple[float, int] = _TOGETHER

    def suit(self, crew: object) -> None:
        """Adopt the crew's bounds of a group, if it has any: messages to other machines cost more."""
        self.together = getattr(crew, "together", _TOGETHER)

    def learn(self, count: int, seconds: float, used: int) -> None:
        """Take in what a group of ``count`` datapoints took."""
        most_seconds, most_bytes = self.together
        fitting = min(most_seconds / max(seconds / count, 1e-7), most_bytes / max(used / count, 1.0), _MOST)
        self.size = max(1, min(int(fitting), 2 * self.size))
