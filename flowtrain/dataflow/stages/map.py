"""Stages that apply a function to whole datapoints or to one component."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...utils.arguments import old_spellings
from ...utils.errors import USER_ERRORS, DataFlowError
from ..core.base import DataFlow
from ..core.components import Key, check_key, missing_component, replaced
from ..core.cursor import Datapoint
from ..core.stack import stack
from ..core.undecoded import get_undecoded, is_undecoded
from .each import DROPPED, EachData

__all__ = ["MapData", "MapDataComponent", "function_name"]


def function_name(func: object) -> str:
    """The name of a function, or of the one in a ``functools.partial``, for messages; else that of its type."""
    name = getattr(func, "__name__", None) or getattr(getattr(func, "func", None), "__name__", None)
    return name or type(func).__name__


def check_callable(func: object, owner: str, takes: str) -> None:
    """Raise unless a function was given."""
    if not callable(func):
        raise DataFlowError(f"{owner}: expected a function of {takes}, got {func!r:.200}")


class _Mapped(EachData):
    """The base of both stages: the function, and what it means that it returns None."""

    def __init__(self, ds: DataFlow, func: Callable[[Any], Any], may_drop: bool) -> None:
        super().__init__(ds)
        self.func, self.may_drop = func, may_drop

    def _indexable_itself(self) -> bool:
        return not self.may_drop and super()._indexable_itself()

    def __len__(self) -> int:
        if self.may_drop:
            raise TypeError(f"the length of {self} is not known: it may drop datapoints")
        return len(self.ds)

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        if self.may_drop:
            return DataFlow.get(self, index, epoch)  # says what is in the way
        return self._apply(self.ds.get(index, epoch), index, epoch)

    _needs = EachData._needs  # said anew, as a get of its own makes an inherited one void

    def _none(self, index: int, epoch: int) -> object:
        if self.may_drop:
            return DROPPED
        raise DataFlowError(
            f"{self.describe()}: the function returned None for datapoint {index} of epoch {epoch}. "
            f"If that is meant to leave it out, write {type(self).__name__}(..., may_drop=True); "
            "else its return is missing"
        )

    def describe(self) -> str:
        return f"{type(self).__name__}({function_name(self.func)})"


@old_spellings(map_func="func")
class MapData(_Mapped):
    """Apply a function to each datapoint.

    Args:
        ds: The flow beneath.
        func: Takes a datapoint and returns the new one. It should not write into what it is given. With ``batched``
            it takes columns, a list (or dict) of arrays with one more axis in front and any number of rows, and
            returns columns with as many rows.
        may_drop: If ``func`` returns None, leave the datapoint out. Without it None is an error.
        batched: ``func`` is vectorised. Under ``BatchData`` it is then called once a batch, not once a datapoint.

    Order: that of ``ds``. With ``may_drop`` the flow has no length and is not indexable: it must lie above the
    parallel stage, or below it with a single worker.

    State: that of ``ds``.

    Raises:
        DataFlowError: ``func`` returned None without ``may_drop``.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(MapData(DataFromList([[1], [2]]), lambda dp: [dp[0] * 10]))
        [[10], [20]]
    """

    def __init__(self, ds: DataFlow, func: Callable[[Any], Any], may_drop: bool = False, batched: bool = False) -> None:
        super().__init__(ds, func, may_drop)
        check_callable(func, "MapData", "a datapoint")
        self.batched = batched
        if batched and may_drop:
            raise DataFlowError("MapData: a batched function cannot drop datapoints; use FilterData for that")

    @property
    def vectorized(self) -> bool:
        return self.batched and self.ds.vectorized

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Datapoint:
        columns = self.ds.get_batch(indices, epoch)
        return self._called(columns, len(indices), int(indices[0]) if len(indices) else 0, epoch)

    def _apply(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint:
        if self.batched:
            return _first_row(self._called(stack([datapoint], self.describe()), 1, index, epoch))
        try:
            made = self.func(datapoint)
        except USER_ERRORS as error:
            self._fail(error, index, epoch)
        return made if made is not None else self._none(index, epoch)

    def _called(self, columns: object, rows: int, index: int, epoch: int) -> Datapoint:
        try:
            made = self.func(columns)
        except USER_ERRORS as error:
            self._fail(error, index, epoch)
        values = made.values() if isinstance(made, dict) else made
        if not isinstance(made, (list, tuple, dict)) or any(np.shape(value)[:1] != (rows,) for value in values):
            shapes = [np.shape(value) for value in values] if isinstance(made, (list, tuple, dict)) else type(made)
            raise DataFlowError(
                f"{self.describe()}: a batched function takes and returns columns, here arrays with {rows} rows each; "
                f"it returned {shapes}"
            )
        return made


def _first_row(columns: Datapoint) -> Datapoint:
    if isinstance(columns, dict):
        return {key: column[0] for key, column in columns.items()}
    return type(columns)(column[0] for column in columns)


@old_spellings(map_func="func", idx="index")
class MapDataComponent(_Mapped):
    """Apply a function to one component of each datapoint; the others pass unchanged.

    Args:
        ds: The flow beneath.
        func: Takes the component and returns the new one. It should not write into what it is given.
        index: Which component: a position, or a key where datapoints are dicts.
        may_drop: If ``func`` returns None, leave the datapoint out. Without it None is an error.

    Order: that of ``ds``; see ``MapData`` for ``may_drop``.

    State: that of ``ds``.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(MapDataComponent(DataFromList([[1, "a"], [2, "b"]]), lambda x: -x, index=0))
        [[-1, 'a'], [-2, 'b']]
    """

    def __init__(self, ds: DataFlow, func: Callable[[Any], Any], index: Key = 0, may_drop: bool = False) -> None:
        super().__init__(ds, func, may_drop)
        check_callable(func, "MapDataComponent", "a component")
        self.index = check_key(index, "MapDataComponent")

    def _get_undecoded(self, index: int, epoch: int) -> Datapoint:
        datapoint = get_undecoded(self.ds, index, epoch)
        # The function is given arrays alone, so if its component is a picture, all is made again and decoded; else the
        # pictures in other components stay as they are.
        return self.get(index, epoch) if is_undecoded(datapoint, self.index) else self._apply(datapoint, index, epoch)

    def _apply(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint:
        key = self.index
        try:
            value = datapoint[key]
        except (LookupError, TypeError) as error:
            raise missing_component(datapoint, key, self.describe()) from error
        try:
            made = self.func(value)
        except USER_ERRORS as error:
            self._fail(error, index, epoch)
        return replaced(datapoint, key, made) if made is not None else self._none(index, epoch)
