"""From NumPy batches to tensors on the device, ahead of time and without losing a value."""

from .cast import host_cast
from .data_argument import as_dataflow, never_ends
from .feeder import Block, Feeder
from .inputs import Inputs
from .tensors import aligned_empty, to_tensor
from .tfdata import from_tf_dataset, to_tf_dataset

__all__ = [
    "Block",
    "Feeder",
    "Inputs",
    "aligned_empty",
    "as_dataflow",
    "from_tf_dataset",
    "host_cast",
    "never_ends",
    "to_tensor",
    "to_tf_dataset",
]
