"""The base of stages over one other flow."""

from __future__ import annotations

from ...utils.errors import DataFlowError
from .base import DataFlow
from .cursor import Cursor, Datapoint
from .datapoint import Position

__all__ = ["ProxyDataFlow"]


class ProxyDataFlow(DataFlow):
    """The base of stages over one other flow; without changes it passes the datapoints on as they are.

    Args:
        ds: The flow beneath.

    Raises:
        DataFlowError: ``ds`` is not a DataFlow.
    """

    def __init__(self, ds: DataFlow) -> None:
        if not isinstance(ds, DataFlow):
            raise DataFlowError(
                f"{type(self).__name__} takes a DataFlow as its first argument, got {type(ds).__name__}. "
                "Wrap a list with DataFromList, a generator function with DataFromGenerator."
            )
        self.ds = ds

    def children(self) -> tuple[DataFlow, ...]:
        return (self.ds,)

    def __len__(self) -> int:
        return len(self.ds)

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        return self.ds.get(index, epoch)

    @property
    def _passes(self) -> bool:
        return type(self).get is ProxyDataFlow.get

    def rows_per_datapoint(self) -> int | None:
        return self.ds.rows_per_datapoint() if self._passes and self._user_iter is None else None

    def _cursor(self, epoch: int, state: Position = None) -> Cursor:
        # The position is then that of the flow beneath, and passing on costs nothing per datapoint.
        if self._passes and not self.ds.indexable:
            return self.ds._open(epoch, state)
        return super()._cursor(epoch, state)
