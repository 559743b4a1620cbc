"""SIGTERM as a wish that is granted at the next quiet moment."""

from __future__ import annotations

import signal
import threading
from typing import Any

__all__ = ["Terminator"]


class Terminator:
    """While entered, SIGTERM sets `reason` instead of ending the process; a second one ends it at once.

    Attributes:
        reason: Why the run should be saved and ended; None while it should not.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._before: Any = None

    def ask(self, reason: str) -> None:
        """Wish it from inside the process."""
        self.reason = self.reason or reason

    def __enter__(self) -> Terminator:
        self.reason = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _on_signal(self, number: int, frame: Any) -> None:
        if self.reason is not None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        self.reason = "got SIGTERM"
