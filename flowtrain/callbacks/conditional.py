"""EnableCallbackIf: passes hooks on only while a condition holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowtrain.utils.arguments import old_spellings

from .base import Callback
from .proxy import ProxyCallback

__all__ = ["EnableCallbackIf"]


@old_spellings(pred="predicate")
class EnableCallbackIf(ProxyCallback):
    """Passes hooks on to a callback only while a condition holds.

    The condition is evaluated before each epoch (for `before_epoch` and `after_epoch`), before each step that the
    callback needs, and at each trigger. `setup_graph`, `before_train` and `after_train` are always passed on.

    Args:
        callback: The callback.
        predicate: A function of the callback (with `trainer`, `epoch_num`, `global_step`) that returns whether to
            pass hooks on.

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
        self._in_epoch = False  # whether before_epoch was passed on: then after_epoch is too, whatever holds by then
        self._ever = False  # whether a trigger was ever passed on

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
        # One evaluation decides for the whole step: after_run without its before_run would look for tensors that were
        # not fetched.
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
