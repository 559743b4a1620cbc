"""Where the time of an epoch goes."""

from __future__ import annotations

import time

__all__ = ["EpochTimes", "Stopwatch"]


class Stopwatch:
    """Adds up the seconds of ``with`` blocks. One object for all of them: it is used at every call of a step."""

    __slots__ = ("_began", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *exc: object) -> None:
        self.seconds += time.perf_counter() - self._began


class EpochTimes:
    """Seconds that the loop spends on data, callbacks and saving; what is left are the steps themselves.

    Attributes:
        data: Waiting for a batch.
        callbacks: In hooks.
        saving: Handing a checkpoint to its writer, and waiting for the device to do so.

    Example:
        >>> times = EpochTimes()
        >>> with times.data:
        ...     pass
        >>> list(times.take())
        ['steps', 'data', 'callbacks', 'saving']
    """

    def __init__(self) -> None:
        self.data, self.callbacks, self.saving = Stopwatch(), Stopwatch(), Stopwatch()
        self._began = time.perf_counter()

    def take(self) -> dict[str, float]:
        """The seconds since the last call, by what they were spent on; then count anew."""
        now = time.perf_counter()
        spent = {"data": self.data.seconds, "callbacks": self.callbacks.seconds, "saving": self.saving.seconds}
        steps = max(now - self._began - sum(spent.values()), 0.0)
        self._began = now
        for watch in (self.data, self.callbacks, self.saving):
            watch.seconds = 0.0
        return {"steps": steps, **spent}
