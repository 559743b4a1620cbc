"""The base of stages over one other flow."""

from __future__ import annotations

from ...utils.errors import DataFlowError, FlowtrainError
from .base import DataFlow
from .cursor import Cursor, Datapoint
from .datapoint import Position

__all__ = ["ProxyDataFlow", "check_flow"]


def check_flow(ds: object, owner: str, error: type[FlowtrainError] = DataFlowError) -> DataFlow:
    """Check that an argument is a DataFlow; returns it.

    Args:
        ds: The argument.
        owner: The class or function that takes it, for the message.
        error: The type to raise.
    """
    if not isinstance(ds, DataFlow):
        raise error(
            f"{owner} takes a DataFlow, got {type(ds).__name__}. Wrap a list with DataFromList, a generator function "
            "with DataFromGenerator."
        )
    return ds


class ProxyDataFlow(DataFlow):
    """The base of stages over one other flow; without changes it passes the datapoints on as they are.

    Args:
        ds: The flow beneath.

    Raises:
        DataFlowError: ``ds`` is not a DataFlow.
    """

    def __init__(self, ds: DataFlow) -> None:
        self.ds = check_flow(ds, type(self).__name__)

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
