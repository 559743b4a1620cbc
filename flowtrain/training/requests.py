"""Requests of callbacks, users and signals: saves, stops, SIGTERM. The loop meets them between two rounds of hooks."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any, NamedTuple

__all__ = ["Requests", "Save"]

logger = logging.getLogger("flowtrain.training")


class Save(NamedTuple):
    """Request for a checkpoint; the fields are the arguments of `Trainer.save_checkpoint`."""

    keep: int | None
    background: bool


class _Uninterrupted:
    """Scope that a Ctrl-C does not cut in two: the KeyboardInterrupt is raised at its end, a second one at once.

    One object for all scopes, as it is entered at every call of a step.
    """

    __slots__ = ("_inside", "_late", "handler")

    def __init__(self) -> None:
        self._inside = self._late = False
        self.handler: Any = None  # of SIGINT, before `on_sigint`

    def __enter__(self) -> None:
        self._inside = True

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        late = self._late
        self._inside = self._late = False
        if late and error is None:  # an error ends the training anyway
            self.handler(signal.SIGINT, None)

    def on_sigint(self, number: int, frame: object) -> None:
        """Handler of SIGINT."""
        if self._inside and not self._late:
            self._late = True
        else:
            self.handler(number, frame)


class Requests:
    """Stops, saves and deferred SIGTERM: the handler records the request, the loop acts on it between steps.

    In a ``with`` block it handles SIGTERM; a second SIGTERM ends the process at once.

    Attributes:
        uninterrupted: Scope for what a Ctrl-C must not cut in two.
        stop_reason: Why training is to end regularly; None while it is to go on.
        then: What ``train`` raises after a regular end; None: nothing.
        leave_reason: Why the run is to be saved and the process ended; None while it is to go on.
        saves: The requested checkpoints by name; the name None stands for ``step-<global_step>``.
    """

    def __init__(self) -> None:
        self.stop_reason: str | None = None
        self.then: Exception | None = None
        self.leave_reason: str | None = None
        self.saves: dict[str | None, Save] = {}
        self.uninterrupted = _Uninterrupted()
        self._handlers_before: dict[int, Any] = {}

    def stop(self, reason: str, step: int, then: Exception | None = None) -> None:
        """Request the regular end of training; only the first request of a ``train()`` counts."""
        if self.stop_reason is None:
            logger.info("training stops at step %d: %s", step, reason)
            self.stop_reason, self.then = reason, then

    def raise_then(self) -> None:
        """Raise the exception that `stop` was given, if any, once."""
        then, self.then = self.then, None
        try:
            if then is not None:
                raise then
        finally:
            del then  # the exception's traceback holds this frame: with the name it would be a reference cycle

    def leave(self, reason: str) -> None:
        """Request a save and the end of the process, as SIGTERM does. Safe in signal handlers."""
        self.leave_reason = self.leave_reason or reason

    def take_saves(self) -> dict[str | None, Save]:
        """The requested checkpoints, which are removed from the requests."""
        saves, self.saves = self.saves, {}
        return saves

    def __enter__(self) -> Requests:
        self.leave_reason = None
        if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses to set a handler
            self._handlers_before = {signal.SIGTERM: signal.signal(signal.SIGTERM, self._on_sigterm)}
            interrupt = signal.getsignal(signal.SIGINT)
            if callable(interrupt):  # not ignored, not left to the system
                self.uninterrupted.handler = interrupt
                self._handlers_before[signal.SIGINT] = signal.signal(signal.SIGINT, self.uninterrupted.on_sigint)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._handlers_before.items():
            if handler is not None:  # a handler that was not set from Python cannot be put back
                signal.signal(number, handler)
        self._handlers_before = {}

    def _on_sigterm(self, number: int, frame: object) -> None:
        # The handler only notes the request: it runs between any two bytecodes, perhaps while a checkpoint is being
        # written or a callback is half done. A sender that cannot wait sends the signal twice.
        if self.leave_reason is not None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        self.leave_reason = "got SIGTERM"
