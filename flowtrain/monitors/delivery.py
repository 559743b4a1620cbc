"""Delivery of what is logged to one monitor, repeated after a failure until the monitor has all of it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowtrain.utils.errors import error_text

if TYPE_CHECKING:
    from .monitor import Monitor

__all__ = ["Delivery"]

logger = logging.getLogger("flowtrain.monitors")

_KEPT_EVENTS = ("config", "epoch", "end")  # a graph is large
_REPEATED = ("put_scalar", "put_event", "flush")
# Errors of code: the same call would fail again. Others (a full disk, a server that is away) pass.
_LASTING = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, NotImplementedError,
    TypeError, ValueError,
)  # fmt: skip


class Delivery:
    """Calls a monitor with what is logged; after a failure repeats the missed calls, at each flush until it works.

    The calls since the last flush that worked are kept beside the monitor's state at that flush. A monitor that failed
    is taken back to that state, as by a resume, and gets these calls again: what it wrote half is gone, nothing is left
    out. Pictures and histograms are not kept: the kept calls are part of each checkpoint.

    Args:
        monitor: The monitor.
        history: Every scalar of the run: name -> (step, value) pairs.

    Attributes:
        state: The monitor's state at the last flush that worked; empty if the monitor was left out.
        calls: The calls since that flush, as JSON values: lists of the method's name and the arguments.
    """

    def __init__(self, monitor: Monitor, history: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        self.monitor, self._history = monitor, history
        self.state: dict[str, Any] = {}
        self.calls: list[list[Any]] = []
        self._down = False  # it failed, and is tried again at each flush
        self._out = False  # it failed for good, and gets no more calls
        monitor.history = history

    def open(self, log_dir: Path) -> None:
        """Open the monitor; one that cannot be opened is left out."""
        try:
            self.monitor.open(log_dir)
        except Exception as error:
            self._leave("open", error)
            return
        with contextlib.suppress(Exception):  # it may have a state only once it was told something
            self._note()

    def tell(self, method: str, *args: object) -> None:
        """Call a method of the monitor that takes what is logged: ``put_scalar``, ``put_event``, ..."""
        if self._out:
            return
        if method == "put_scalar" or (method == "put_event" and args[0] in _KEPT_EVENTS):
            self.calls.append([method, *args])
        if not self._down:
            self._try(method, *args)

    def flush(self) -> None:
        """Flush the monitor; if it has failed before, try to bring it up to date."""
        if self._out:
            return
        # Kept among the calls: a line of a log holds what came between two flushes, and a repetition must make the same
        # lines.
        if self.calls and self.calls[-1] != ["flush"]:
            self.calls.append(["flush"])
        if not self._down and self._try("flush"):
            self._try_to_note()
        if self._down:
            self._catch_up()

    def close(self) -> None:
        """Close the monitor."""
        if not self._out:
            self.flush()
            if self._down:
                logger.warning("monitor %s does not work yet: what it missed is in checkpoints", self.monitor.name)
            else:
                self._try("close")

    def load(self, state: dict[str, Any], calls: Sequence[Sequence[Any]]) -> None:
        """Resume: take the monitor to a saved state, and make the calls that it had missed then."""
        if self._out or not (state or calls):  # left out, now or in the run that was saved
            return
        self.state, self.calls = state, [list(call) for call in calls if call and call[0] in _REPEATED]
        self._down = True
        self._catch_up(first=True)

    def _catch_up(self, first: bool = False) -> None:
        """Take the monitor back to the state, and repeat the calls since.

        Args:
            first: Whether this is a resume, and not a repetition after a failure that was logged.
        """
        monitor = self.monitor
        try:
            # A monitor may rewrite its file from the history when it is taken back. The values of the calls that follow
            # must not be in the history yet, or they would be in the file twice.
            monitor.history = _before(self._history, self.calls)
            monitor.load_state_dict(self.state)
            monitor.history = self._history
            for method, *args in self.calls:
                getattr(monitor, method)(*args)
            monitor.flush()
            self._note()
        except Exception as error:
            self._down = not first  # `_failed` warns only of a monitor that was not down before
            self._failed("load_state_dict", error)
        else:
            self._down = False
            if not first:
                logger.warning("monitor %s works again; the numbers that it missed are written", monitor.name)
        finally:
            monitor.history = self._history

    def _note(self) -> None:
        """Keep the monitor's state, after which no call is missed."""
        self.state, self.calls = dict(self.monitor.state_dict()), []

    def _try_to_note(self) -> None:
        try:
            self._note()
        except Exception as error:
            self._failed("state_dict", error)

    def _try(self, method: str, *args: object) -> bool:
        try:
            getattr(self.monitor, method)(*args)
        except Exception as error:
            self._failed(method, error)
            return False
        return True

    def _failed(self, method: str, error: Exception) -> None:
        # Not raised: a run of a week must not end because a tracking server does. Missed calls are in the checkpoints.
        if isinstance(error, _LASTING):
            self._leave(method, error)
        elif not self._down:
            self._down = True
            logger.warning(
                "monitor %s failed in %s: %s. It is tried again at the end of each epoch.",
                self.monitor.name, method, error_text(error),
            )  # fmt: skip

    def _leave(self, method: str, error: Exception) -> None:
        self._out, self.state, self.calls = True, {}, []
        logger.warning(
            "monitor %s failed in %s and is left out from now on: %s", self.monitor.name, method, error_text(error)
        )


def _before(
    history: Mapping[str, Sequence[tuple[int, float]]], calls: Sequence[Sequence[Any]]
) -> dict[str, list[tuple[int, float]]]:
    """The history before some calls: without the values that their ``put_scalar`` added at its end."""
    counts: dict[str, int] = {}
    for method, *args in calls:
        if method == "put_scalar":
            counts[args[0]] = counts.get(args[0], 0) + 1
    return {name: list(pairs[: len(pairs) - counts.get(name, 0)]) for name, pairs in history.items()}
