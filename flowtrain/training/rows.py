"""Positions of a flow of batches, counted in rows of its source (which no batch size changes); the rest of an epoch."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from flowtrain.dataflow import DataFlow, SkipData, TakeData
from flowtrain.utils.description import arguments_of

__all__ = ["GROUPING", "ONE_TO_ONE", "Layout", "rest_of_epoch"]

# Stages that give one datapoint for each that they take, in its order: a row stays where it is. By the names of the
# classes, since checkpoints hold these names too (see changes.py); a class that a user derives may do anything.
ONE_TO_ONE = {
    "AugmentImageComponent", "AugmentImageComponents", "AugmentImageCoordinates", "MapData", "MapDataComponent",
    "MultiProcessMapData", "MultiThreadMapData", "MultiThreadRunner", "PrefetchData", "PrefetchDataZMQ", "PrintData",
    "RandomMapData", "SelectComponent", "TestDataSpeed",
}  # fmt: skip
GROUPING = {"BatchData", "MultiProcessMapAndBatchData", "PaddedBatchData"}


class Layout(NamedTuple):
    """Rows and batches of a flow's epoch.

    Attributes:
        rows: Rows of an epoch; None if not known.
        batch: Rows of a datapoint; 1 if no stage makes batches: then each datapoint counts as a row.
        batches: Datapoints of an epoch; None if not known.
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
        """The layout of an epoch without `rows` rows at its end."""
        return self if self.rows is None else self._replace(rows=self.rows - rows)

    def last(self, row: int) -> int:
        """The number of rows of a short last batch, if batches begin at `row`; 0 if the last one is full."""
        return 0 if self.rows is None else max(self.rows - row, 0) % self.batch

    def drops(self, rows: int) -> bool:
        """Whether each whole epoch leaves out at least `rows` rows, as they do not fill a batch (remainder=False)."""
        return self.rows is not None and self.batches == self.rows // self.batch and self.last(0) >= rows

    def place(self, epoch: int, row: int, batches: int) -> tuple[int, int]:
        """The position of a flow that began at a row and has given some datapoints since.

        Args:
            epoch: The epoch of the row.
            row: The row at which it began.
            batches: Datapoints given since.

        Returns:
            The epoch, and the row in it that is due.
        """
        if self.batches is None:
            return epoch, row + batches * self.batch
        # An epoch that begins at a row has a short last batch even where whole epochs drop it (see `rest_of_epoch`), so
        # its batches are counted from the rows, those of whole epochs by the flow's own length.
        if row:
            left = -(-((self.rows or 0) - row) // self.batch)  # rounded up
            if batches < left:
                return epoch, row + batches * self.batch
            epoch, batches = epoch + 1, batches - left
        return epoch + batches // self.batches, batches % self.batches * self.batch


def rest_of_epoch(flow: DataFlow, row: int, left_out: int = 0) -> DataFlow | None:
    """A copy of a flow whose epochs begin at a row. A short last batch is handed out.

    Stages beneath the batches draw the random numbers that the flow draws for these rows; stages above count batches
    from 0, and draw as for the first ones.

    Args:
        flow: The flow, which stays as it is.
        row: The first row; a datapoint of the flow beneath the stage that makes batches.
        left_out: How many rows at the end to leave out.

    Returns:
        The flow; None if no stage makes batches, or one above it changes number or order of them.
    """
    if _grouping(flow) is None:
        return None
    return _from_row(flow, row, left_out)


def _from_row(stage: Any, row: int, left_out: int) -> DataFlow:
    copied = copy.copy(stage)
    # An object of flowtrain's that a stage holds, such as its kept workers, belongs to one flow: the original would
    # find its workers busy with, or kept by, the copy. A copy of it starts workers of its own.
    for name, value in vars(copied).items():
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
    """The stage that makes batches, if all stages above it keep number and order of datapoints; else None."""
    while type(flow).__name__ not in GROUPING:
        if type(flow).__name__ not in ONE_TO_ONE or arguments_of(flow).get("may_drop"):
            return None
        flow = flow.ds
    return flow
