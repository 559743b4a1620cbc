"""RandomMapData: a function that draws random numbers, applied to each datapoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ...utils.errors import USER_ERRORS, DataFlowError
from ..core.base import DataFlow
from ..core.cursor import Datapoint
from ..core.random_flow import RNGDataFlow
from .each import EachData
from .map import check_callable, function_name

__all__ = ["RandomMapData"]


class RandomMapData(EachData, RNGDataFlow):
    """Apply a function that is given a random generator to each datapoint: noise, masks, random choices.

    If the function draws from that generator alone, the result is the same in any worker and after any resume.

    Args:
        ds: The flow beneath.
        func: Takes a datapoint and a ``numpy.random.Generator`` (to be used during the call only), and returns the
            new datapoint. It should not write into what it is given.
        seed: None takes the default.

    Order: that of ``ds``; what datapoint i of epoch e draws depends on (seed, e, i) alone.

    State: that of ``ds``.

    Raises:
        DataFlowError: ``func`` returned None.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> ds = RandomMapData(DataFromList([[1], [2]], shuffle=False), lambda dp, rng: [dp[0] + rng.random()])
        >>> list(ds) != list(ds)  # another epoch
        True
    """

    def __init__(
        self,
        ds: DataFlow,
        func: Callable[[Any, np.random.Generator], Any],
        seed: int | Literal["random"] | None = None,
    ) -> None:
        EachData.__init__(self, ds)
        RNGDataFlow.__init__(self, seed)
        check_callable(func, "RandomMapData", "a datapoint and a generator")
        self.func = func

    def _apply(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint:
        try:
            made = self.func(datapoint, self.stream.at(epoch, index))
        except USER_ERRORS as error:
            self._fail(error, index, epoch)
        if made is None:
            raise DataFlowError(
                f"{self.describe()}: the function returned None for datapoint {index} of epoch {epoch}; "
                "its return is missing. To leave datapoints out, use FilterData"
            )
        return made

    def describe(self) -> str:
        return f"{type(self).__name__}({function_name(self.func)})"
