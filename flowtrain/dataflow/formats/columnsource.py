"""Base class of sources over Arrow columns: Parquet files and Hugging Face datasets."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.base import Datapoint
from .arrowcells import NullCell
from .source import FileSource

__all__ = ["ColumnSource"]


class ColumnSource(FileSource):
    """A source that makes a batch by taking many cells of each column at once.

    ``_open_files`` of a subclass returns an object with ``gather(records)``, which gives an array for each column.
    """

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Datapoint:
        if not self.vectorized:
            return super().get_batch(indices, epoch)
        records = np.asarray(self._places(np.asarray(indices), epoch))
        try:
            return self._joined(self._handle.gather(records))
        except (NullCell, UnicodeDecodeError):
            for record in records.tolist():  # gather knows of no record: reading them singly finds the one to name
                self._read(record)
            raise

    def _joined(self, cells: dict[str, Any]) -> Datapoint:
        """The datapoint made of one cell per column, or the batch made of an array per column."""
        return cells
