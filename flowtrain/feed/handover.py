"""Iterable of a flow's datapoints with the arrays as tensors of another framework: the base of to_torch and to_jax."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flowtrain.dataflow.core.base import DataFlow
from flowtrain.dataflow.core.datapoint import Component, Datapoint
from flowtrain.dataflow.core.proxy import check_flow
from flowtrain.dataflow.core.values import as_array
from flowtrain.utils.errors import DataFlowError

from .ownership import hands_over, is_leased

__all__ = ["Handover"]

Convert = Callable[[np.ndarray, bool, str], Any]
"""Function (array, whether its memory may be shared, place for errors) -> tensor."""


class Handover:
    """Iterable of a flow's datapoints, with arrays and numbers as tensors; each iteration is the flow's next epoch.

    Args:
        ds: The flow.
        owner: Name of the public function, for errors.
        convert: Makes the tensors.
    """

    def __init__(self, ds: DataFlow, owner: str, convert: Convert) -> None:
        self._ds, self._owner, self._convert = check_flow(ds, owner), owner, convert
        # Memory of a worker's slot stays as it is while a tensor holds it. Other arrays may be written into again by a
        # function in this process, so they are copied.
        self._untouched = hands_over(ds)

    def __iter__(self) -> Iterator[Any]:
        for datapoint in self._ds:
            yield self._converted(datapoint)

    def _converted(self, datapoint: Datapoint) -> Datapoint:
        if isinstance(datapoint, dict):
            return {key: self._component(value, repr(key)) for key, value in datapoint.items()}
        return [self._component(value, str(place)) for place, value in enumerate(datapoint)]

    def _component(self, value: Component, name: str) -> Component:
        if isinstance(value, dict):
            return {key: self._component(part, f"{name}[{key!r}]") for key, part in value.items()}
        where = f"{self._owner}: component {name}"
        array = as_array(value, where)
        if array is None:
            return value  # texts, bytes, objects: no tensor is made of them
        if array.dtype == object:
            return array.tolist()
        if array.dtype.kind not in "biufc" or array.dtype.itemsize > (16 if array.dtype.kind == "c" else 8):
            raise DataFlowError(
                f"{where} has the dtype {array.dtype}, of which no tensor can be made. Make numbers of it in a MapData "
                "(of times: .astype('int64'))"
            )
        return self._convert(array, self._untouched and is_leased(array), where)

    def __len__(self) -> int:
        return len(self._ds)

    def state_dict(self) -> dict[str, Any]:
        """The flow's position after the last datapoint that was handed out."""
        return self._ds.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next iteration go on at a saved position; the one after it is the following epoch."""
        self._ds.load_state_dict(state)
