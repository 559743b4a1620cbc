"""What sources have in common whose records are the rows of columns: Parquet files, Hugging Face's datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...utils.errors import DataFlowError
from ..core.base import Datapoint
from .arrowcells import NullCell
from .source import FileSource

__all__ = ["ColumnSource", "check_columns"]


def check_columns(columns: Sequence[str] | None) -> list[str] | None:
    """A source's ``columns=``, as a list; None: all of them.

    Raises:
        DataFlowError: It is no list of names.
    """
    if columns is not None and (isinstance(columns, (str, Mapping)) or not columns):
        raise DataFlowError(f"columns is a list of names, at least one; got {columns!r}")
    return None if columns is None else list(columns)


class ColumnSource(FileSource):
    """A source that can take many cells of a column at once.

    A subclass opens an object that has ``gather(records)``: the cells of these records as an array for each column.
    """

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Datapoint:
        if not self.vectorized:
            return super().get_batch(indices, epoch)
        records = np.asarray(self._places(np.asarray(indices), epoch))
        try:
            return self._joined(self._handle.gather(records))
        except (NullCell, UnicodeDecodeError):
            for record in records.tolist():
                self._read(record)  # raises, and names the record
            raise

    def _joined(self, cells: dict[str, Any]) -> Datapoint:
        """The datapoint, or the batch, of its cells."""
        return cells
