"""Dataflows as a ``torch.utils.data.IterableDataset``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from flowtrain.dataflow.core.base import DataFlow
from flowtrain.utils.errors import DataFlowError
from flowtrain.utils.optional import require

from .handover import Handover

__all__ = ["to_torch"]

TorchDataset: TypeAlias = Any
"""A ``torch.utils.data.IterableDataset``; PyTorch is imported when it is used."""


def to_torch(ds: DataFlow) -> TorchDataset:
    """Make a ``torch.utils.data.IterableDataset`` of a dataflow, for a loop of your own or a ``DataLoader``.

    The flow makes the batches, in workers of its own (``PrefetchData``); a DataLoader hands them on as they are:
    ``DataLoader(to_torch(ds), batch_size=None, num_workers=0)``.

    Args:
        ds: The flow; each iteration of the dataset is its next epoch.

    Returns:
        The dataset. Its elements are the flow's datapoints, lists or dicts, with each array and number as a tensor on
        the CPU, of the same dtype and shape; texts and other objects stay (columns of them as lists). Arrays in a
        worker's slot are not copied: the tensor holds the slot, which is used again when the tensor is gone. ``len`` is
        the flow's; ``state_dict`` and ``load_state_dict`` are its position after the last element that was handed out.

    Raises:
        DataFlowError: `ds` is no DataFlow; while iterating: a component has a dtype that PyTorch has not, or a
            DataLoader iterates it in workers of its own.

    Example:
        >>> ds = PrefetchData(BatchData(files, 32), num_proc=2)    # doctest: +SKIP
        >>> for image, label in to_torch(ds):                      # doctest: +SKIP
        ...     loss = loss_of(model(image), label)
    """
    torch = require("torch", extra="torch", needed_for="to_torch")

    class TorchData(Handover, torch.utils.data.IterableDataset):
        """The datapoints of a flow as tensors; see `to_torch`."""

        def __iter__(self) -> Iterator[Any]:
            worker = torch.utils.data.get_worker_info()
            if worker is not None:
                raise DataFlowError(
                    f"a DataLoader with num_workers={worker.num_workers} would iterate the whole flow in each of its "
                    "workers, so each datapoint would come that many times. flowtrain has the workers: write "
                    "PrefetchData(ds, num_proc=...) and DataLoader(to_torch(ds), batch_size=None, num_workers=0)"
                )
            return super().__iter__()

    def convert(array: np.ndarray, untouched: bool, where: str) -> Any:
        if not array.dtype.isnative:
            array, untouched = array.astype(array.dtype.newbyteorder("=")), True
        if untouched and array.flags.writeable and min(array.strides, default=0) >= 0:
            return torch.from_numpy(array)
        return torch.from_numpy(np.array(array))

    return TorchData(ds, "to_torch", convert)
