"""Where in the rows of its source a flow of batches stands, and how to go on at any row."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from flowtrain.dataflow import DataFlow, SkipData, TakeData
from flowtrain.utils.description import arguments_of

__all__ = ["GROUPING", "ONE_TO_ONE", "Layout", "rest_of_epoch"]

# Stages that give one datapoint for each that they take, in its order: a row stays where it is.
ONE_TO_ONE = {
    "AugmentImageComponent", "AugmentImageComponents", "AugmentImageCoordinates", "MapData", "MapDataComponent",
    "MultiProcessMapData", "MultiThreadMapData", "MultiThreadRunner", "PrefetchData", "PrefetchDataZMQ", "PrintData",
    "RandomMapData", "SelectComponent", "TestDataSpeed",
}  # fmt: skip
GROUPING = {"BatchData", "MultiProcessMapAndBatchData", "PaddedBatchData"}


class Layout(NamedTuple):
    """How the datapoints of a flow are made of rows.

    Attributes:
        rows: Of an epoch; None where that is not known.
        batch: Rows of a datapoint; 1 where no stage that makes batches is found, and each datapoint counts as a row.
        batches: Datapoints of an epoch; None where that is not known.
    """

    rows: int | None
    batch: int
    batches: int | None

    @classmethod
    def of(cls, flow: DataFlow) -> Layout:
        """The layout of a flow."""
        batches = flow.size_or_none()
        stage = _grouping(flow)
        if stage is None:
            return cls(batches, 1, batches)
        return cls(stage.ds.size_or_none(), stage.batch_size, batches)

    def shortened(self, rows: int) -> Layout:
        """The layout of an epoch that lacks so many rows at its end."""
        return self if self.rows is None else self._replace(rows=self.rows - rows)

    def last(self, row: int) -> int:
        """How many rows the last batch has where batches begin at a row, if it is a short one; else 0."""
        return 0 if self.rows is None else max(self.rows - row, 0) % self.batch

    def drops(self, rows: int) -> bool:
        """Whether each epoch leaves out so many rows, as they are not enough for a batch."""
        return self.rows is not None and self.batches == self.rows // self.batch and self.last(0) >= rows

    def place(self, epoch: int, row: int, batches: int) -> tuple[int, int]:
        """Where a flow stands when it has given some datapoints after a row.

        Args:
            epoch: The epoch of the row.
            row: The row.
            batches: Datapoints given since.

        Returns:
            The epoch, and the row in it that is due.
        """
        if self.batches is None:
            return epoch, row + batches * self.batch
        if row:
            left = -(-((self.rows or 0) - row) // self.batch)
            if batches < left:
                return epoch, row + batches * self.batch
            epoch, batches = epoch + 1, batches - left
        return epoch + batches // self.batches, batches % self.batches * self.batch


def rest_of_epoch(flow: DataFlow, row: int, left_out: int = 0) -> DataFlow | None:
    """A flow like another one, whose epochs begin at a row; a last batch that is shorter is handed out.

    Its random numbers are those that the other flow draws for these rows; stages above the batches count from 0.

    Args:
        flow: The flow, which stays as it is.
        row: The row of the flow beneath the stage that makes batches.
        left_out: How many rows at the end are not used.

    Returns:
        The flow; None where the rows cannot be located.
    """
    if _grouping(flow) is None:
        return None
    return _from_row(flow, row, left_out)


def _from_row(stage: Any, row: int, left_out: int) -> DataFlow:
    copied = copy.copy(stage)
    for name, value in vars(copied).items():  # a pool of workers serves one flow
        if type(value).__module__.startswith("flowtrain.") and not isinstance(value, DataFlow):
            setattr(copied, name, copy.copy(value))
    if type(stage).__name__ in GROUPING:
        rest = SkipData(stage.ds, row)
        copied.ds = TakeData(rest, len(rest) - left_out) if left_out else rest
        copied.remainder = True
    else:
        copied.ds = _from_row(stage.ds, row, left_out)
    return copied


def _grouping(flow: Any) -> Any:
    """The stage that makes batches, where all stages above it keep number and order."""
    while type(flow).__name__ not in GROUPING:
        if type(flow).__name__ not in ONE_TO_ONE or arguments_of(flow).get("may_drop"):
            return None
        flow = flow.ds
    return flow
