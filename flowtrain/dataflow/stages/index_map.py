"""The base of stages that hand on datapoints of flows beneath unchanged, in another order or number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ..core.ahead import Piece
from ..core.base import DataFlow
from ..core.cursor import Datapoint
from ..core.rng import misplaced
from ..core.undecoded import get_undecoded

__all__ = ["IndexMap", "check_indices", "endless", "out_of_range"]


def endless(ds: DataFlow) -> bool:
    """Whether a flow never ends, as far as that is known."""
    return ds.indexable and ds.size_or_none() is None


def out_of_range(flow: DataFlow, index: int) -> IndexError:
    """The error for an index that a flow does not have."""
    size = flow.size_or_none()
    return IndexError(f"{flow} has {'no end' if size is None else f'{size} datapoints'}; there is no number {index}")


def check_indices(flow: DataFlow, indices: np.ndarray) -> None:
    """Refuse indices that a flow does not have.

    ``get_batch`` needs it: NumPy counts negative ones from the end, and computes with those that are too large.

    Raises:
        IndexError: There is such an index.
    """
    size = flow.size_or_none()
    index = misplaced(indices.astype(np.int64, copy=False), 1 << 63 if size is None else size)
    if index is not None:
        raise out_of_range(flow, index)


class IndexMap(DataFlow):
    """The base of stages that only say which datapoint of which flow beneath comes at an index.

    A subclass defines ``_source``.
    """

    _in_order: ClassVar[bool] = False  # True: after index i of a flow beneath comes i + 1, up to the end of that flow

    def _source(self, index: int, epoch: int) -> tuple[DataFlow, int, int]:
        """The datapoint of a flow beneath that comes at an index.

        Returns:
            (flow beneath, index in it, its epoch)

        Raises:
            IndexError: There is no such datapoint.
        """
        raise NotImplementedError

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        flow, place, below = self._source(index, epoch)
        return flow.get(place, below)

    def _get_undecoded(self, index: int, epoch: int) -> Datapoint:
        return get_undecoded(*self._source(index, epoch))

    def _needs(self, first: int, stop: int, epoch: int) -> Iterator[Piece]:
        while first < stop:
            flow, place, below = self._source(first, epoch)
            end = first + 1
            if self._in_order:  # one piece up to the end of the flow beneath
                size = flow.size_or_none()
                end = stop if size is None else min(stop, first + size - place)
            yield first, end, ((flow, place, place + end - first, below),)
            first = end

    def _assemble(self, parts: list[Datapoint], index: int, epoch: int) -> Datapoint:
        return parts[0]

    def rows_per_datapoint(self) -> int | None:
        # A position in another order of single rows is still a number of rows; in another order of batches it is not.
        return 1 if all(child.rows_per_datapoint() == 1 for child in self.children()) else None
