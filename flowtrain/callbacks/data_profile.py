"""DataProfile: measures the training dataflow once, for the report."""

from __future__ import annotations

import copy

from flowtrain.dataflow.inspect.profile import PROFILE, write_profile

from .base import Callback

__all__ = ["DataProfile"]


class DataProfile(Callback):
    """Measures the training dataflow before the first step, as ``ds.explain()`` does, for ``flowtrain report``.

    A copy of the flow is measured, so that the training's data stays the same. Do not use it for a flow whose source
    is consumed by reading (a queue, a generator object, another process).

    Args:
        num: How many datapoints (batches) to measure.
        max_seconds: Stop measuring after this many seconds.

    Example:
        >>> DataProfile(num=20)
        DataProfile
    """

    def __init__(self, num: int = 30, max_seconds: float = 10.0) -> None:
        self.num, self.max_seconds = num, max_seconds

    def before_train(self) -> None:
        if not self.trainer.is_chief or (self.trainer.log_dir / PROFILE).exists():  # a resumed run has measured it
            return
        flow = copy.copy(self.trainer.config.dataflow)
        write_profile(flow.explain(self.num, max_seconds=self.max_seconds, quiet=True), self.trainer.log_dir)
