"""Seconds of an epoch by what they were spent on: data, callbacks, saving, steps."""

from __future__ import annotations

import time

__all__ = ["EpochTimes", "Stopwatch"]


class Stopwatch:
    """Sum of the seconds spent in ``with`` blocks. Entered at every call of a step, so it makes no object per block."""

    __slots__ = ("_began", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *exc: object) -> None:
        self.seconds += time.perf_counter() - self._began


class EpochTimes:
    """Stopwatches of the training loop for data, callbacks and saving; the rest of the time is that of the steps.

    Attributes:
        data: Waiting for a batch.
        callbacks: Running hooks.
        saving: Waiting for the device before a save, and handing the checkpoint to its writer.

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
        """The seconds since the last call of this method, by what they were spent on; sets the stopwatches to 0."""
        now = time.perf_counter()
        spent = {"data": self.data.seconds, "callbacks": self.callbacks.seconds, "saving": self.saving.seconds}
        steps = max(now - self._began - sum(spent.values()), 0.0)
        self._began = now
        for watch in (self.data, self.callbacks, self.saving):
            watch.seconds = 0.0
        return {"steps": steps, **spent}
