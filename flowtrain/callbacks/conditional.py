"""A callback that is switched on and off by a condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowtrain.utils.arguments import old_spellings

from .base import Callback
from .proxy import ProxyCallback

__all__ = ["EnableCallbackIf"]


@old_spellings(pred="predicate")
class EnableCallbackIf(ProxyCallback):
    """Passes hooks on only while a condition holds.

    The condition is asked before each epoch (for `before_epoch` and `after_epoch`), before each step that the
    callback wants, and at each trigger. `setup_graph`, `before_train` and `after_train` are always passed on.

    Args:
        callback: The callback.
        predicate: Takes the callback (with `trainer`, `epoch_num`, `global_step`), gives whether it is on.

    Example:
        >>> from flowtrain.callbacks import TensorPrinter
        >>> EnableCallbackIf(TensorPrinter(["cost"]), lambda callback: callback.epoch_num <= 2)
        EnableCallbackIf(TensorPrinter)
    """

    def __init__(self, callback: Callback, predicate: Callable[[Callback], bool]) -> None:
        super().__init__(callback)
        self.predicate = predicate

    def reset(self) -> None:
        super().reset()
        self._in_epoch = False
        self._ever = False

    @property
    def pending(self) -> bool:
        return not self._ever or super().pending

    def before_epoch(self) -> None:
        self._in_epoch = self._enabled()
        if self._in_epoch:
            super().before_epoch()

    def before_run(self) -> Sequence[str] | None:
        if self._enabled():
            return super().before_run()
        self._stepping = False
        return None

    def after_epoch(self) -> None:
        if self._in_epoch:
            super().after_epoch()

    def trigger_epoch(self) -> None:
        if self._enabled():
            self._ever = True
            super().trigger_epoch()

    def trigger(self) -> None:
        if self._enabled():
            self._ever = True
            super().trigger()

    def _enabled(self) -> bool:
        return bool(self.predicate(self.callback))
