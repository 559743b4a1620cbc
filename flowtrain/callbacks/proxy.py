"""ProxyCallback: the base of callbacks that wrap another callback."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .base import Callback, TrainerView, uses_steps
from .check import check_callback

__all__ = ["ProxyCallback", "is_pending", "with_wrapped"]


class ProxyCallback(Callback):
    """Passes every hook on to the callback that it wraps; subclasses change when that is called.

    Args:
        callback: The callback to pass hooks on to.

    Raises:
        ConfigError: It is not a callback, or has a wrong hook.

    Example:
        >>> class Verbose(ProxyCallback):
        ...     def trigger_epoch(self):
        ...         print("triggering", self.callback.name)
        ...         super().trigger_epoch()
    """

    def __init__(self, callback: Callback) -> None:
        check_callback(callback)
        self.callback = callback
        self.chief_only = callback.chief_only
        super().__init__()

    def reset(self) -> None:
        self._stepping = False

    def attach(self, trainer: TrainerView) -> None:
        super().attach(trainer)
        self.callback.attach(trainer)

    @property
    def name(self) -> str:
        """The class with the wrapped callback's name."""
        return f"{type(self).__name__}({self.callback.name})"

    @property
    def repeats_interrupted(self) -> bool:  # type: ignore[override]
        """The wrapped callback's."""
        return self.callback.repeats_interrupted

    @property
    def pending(self) -> bool:
        """Whether the wrapped callback's first trigger may still come.

        As long as a callback is pending, `WatchingCallback` does not complain that nobody logs its scalar.
        """
        return is_pending(self.callback)

    def setup_graph(self) -> None:
        self.callback.setup_graph()

    def before_train(self) -> None:
        self.callback.before_train()

    def before_epoch(self) -> None:
        self.callback.before_epoch()

    def before_run(self) -> Sequence[str] | None:
        """Pass on at the wrapped callback's own steps."""
        # A subclass may ask for more steps than the wrapped callback does (PeriodicTrigger): at those the wrapped
        # callback's step hooks are not due, and after_run would be given tensors that nobody fetched.
        self._stepping = self._held_next_step() <= self.global_step + 1
        return self.callback.before_run() if self._stepping else None

    def after_run(self, values: dict[str, Any]) -> None:
        if self._stepping:
            self.callback.after_run(values)

    def trigger_step(self) -> None:
        if self._stepping:
            self.callback.trigger_step()

    def after_epoch(self) -> None:
        self.callback.after_epoch()

    def trigger_epoch(self) -> None:
        self.callback.trigger_epoch()

    def trigger(self) -> None:
        self.callback.trigger()

    def after_train(self) -> None:
        self.callback.after_train()

    def next_step(self) -> float:
        return self._held_next_step()

    def state_dict(self) -> dict[str, Any]:
        state = self.callback.state_dict()
        return {"callback": state} if state else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "callback" in state:
            self.callback.load_state_dict(state["callback"])

    def _held_next_step(self) -> float:
        return self.callback.next_step() if uses_steps(self.callback) else math.inf


def is_pending(callback: Callback) -> bool:
    """Whether a callback is a proxy whose wrapped callback has not been triggered yet."""
    return isinstance(callback, ProxyCallback) and callback.pending


def with_wrapped(callbacks: Iterable[Callback]) -> Iterator[Callback]:
    """Each callback, followed by those that it wraps, to any depth."""
    for callback in callbacks:
        yield callback
        while isinstance(callback, ProxyCallback):
            callback = callback.callback
            yield callback
