"""Stages that select components of datapoints, or which datapoints pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...utils.arguments import old_spellings
from ...utils.errors import USER_ERRORS, DataFlowError
from ..core.base import DataFlow
from ..core.components import Key, check_key, missing_component
from ..core.cursor import Datapoint
from ..core.undecoded import get_undecoded
from .each import DROPPED, EachData
from .map import check_callable, function_name

__all__ = ["FilterData", "SelectComponent"]


@old_spellings(idxs="components", index="components")
class SelectComponent(EachData):
    """Keep some components of each datapoint, in the order in which they are named.

    Args:
        ds: The flow beneath.
        components: Positions, or keys where datapoints are dicts; one alone or a list. Dicts stay dicts.

    Order: that of ``ds``; indexable and vectorised where ``ds`` is.

    State: that of ``ds``.

    Raises:
        DataFlowError: A datapoint has no such component.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(SelectComponent(DataFromList([[1, 2, 3]]), [2, 0]))
        [[3, 1]]
    """

    def __init__(self, ds: DataFlow, components: Key | Sequence[Key]) -> None:
        super().__init__(ds)
        given = [components] if isinstance(components, (str, int, np.integer)) else list(components)
        self.components = [check_key(key, "SelectComponent") for key in given]

    @property
    def vectorized(self) -> bool:
        return self.ds.vectorized

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Datapoint:
        return self._apply(self.ds.get_batch(indices, epoch), 0, epoch)

    def _get_undecoded(self, index: int, epoch: int) -> Datapoint:
        return self._apply(get_undecoded(self.ds, index, epoch), index, epoch)

    def _apply(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint:
        kept: list[Any] = []
        for key in self.components:
            try:
                kept.append(datapoint[key])
            except (LookupError, TypeError) as error:
                raise missing_component(datapoint, key, self.describe()) from error
        if isinstance(datapoint, dict):
            return dict(zip(self.components, kept, strict=True))
        return tuple(kept) if isinstance(datapoint, tuple) else kept

    def describe(self) -> str:
        return f"SelectComponent({self.components})"


class FilterData(EachData):
    """Keep only the datapoints for which a function returns true.

    Args:
        ds: The flow beneath.
        predicate: Takes a datapoint and returns whether it passes.

    Order: that of ``ds``. Not indexable, and without a length, since nobody knows beforehand what passes: use it
    above the parallel stage, or below it with a single worker. If the list of files or rows tells already what to
    keep, filter that list instead.

    State: that of ``ds``.

    Raises:
        DataFlowError: ``predicate`` returned None.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(FilterData(DataFromList([[1], [2], [3]]), lambda dp: dp[0] % 2 == 1))
        [[1], [3]]
    """

    def __init__(self, ds: DataFlow, predicate: Callable[[Any], Any]) -> None:
        super().__init__(ds)
        check_callable(predicate, "FilterData", "a datapoint")
        self.predicate = predicate

    get = DataFlow.get  # it can only be iterated, also over a flow that is indexable

    def __len__(self) -> int:
        raise TypeError(f"the length of {self} is not known: nobody knows beforehand what passes")

    def _apply(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint:
        try:
            answer = self.predicate(datapoint)
            passes = bool(answer)  # of an array with several elements there is no such thing
        except USER_ERRORS as error:
            self._fail(error, index, epoch)
        if answer is None:
            nothing = DataFlowError(
                f"{self}: the function returned None, neither true nor false: its return is missing"
            )
            self._fail(nothing, index, epoch)
        return datapoint if passes else DROPPED

    def describe(self) -> str:
        return f"FilterData({function_name(self.predicate)})"
