"""Adaptive size of tasks: an expensive datapoint travels alone, tiny ones in groups."""

from __future__ import annotations

__all__ = ["Grouping"]

# A message costs both sides 0.1 to 0.3 ms where others keep the caches cold. With a fourth of these bounds batches of
# 0.4 MB took half as much CPU again; with twice of them no less, and there is more memory and a later first datapoint.
_TOGETHER = 4e-3, 1 << 22  # seconds of work; bytes
_MOST = 256


class Grouping:
    """Adapts the number of datapoints in a task to their measured cost; the data and their order do not depend on it.

    Attributes:
        size: How many datapoints the next task gets.
        together: (seconds of work, bytes) that a task should have at most; a single datapoint may have more.
    """

    def __init__(self) -> None:
        self.size = 1
        self.together: tuple[float, int] = _TOGETHER

    def suit(self, crew: object) -> None:
        """Adopt the crew's bounds of a task, if it has any: messages to other machines cost more."""
        self.together = getattr(crew, "together", _TOGETHER)

    def learn(self, count: int, seconds: float, used: int) -> None:
        """Adapt to what a task of ``count`` datapoints took."""
        most_seconds, most_bytes = self.together
        # At most doubled: after one datapoint that was quick by chance the next task is still small.
        fitting = min(most_seconds / max(seconds / count, 1e-7), most_bytes / max(used / count, 1.0), _MOST)
        self.size = max(1, min(int(fitting), 2 * self.size))
