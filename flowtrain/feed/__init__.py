"""From NumPy batches to tensors on the device, ahead of time and without losing a value."""

from .cast import host_cast
from .feeder import Block, Feeder
from .inputs import Inputs
from .tensors import aligned_empty, to_tensor
from .tfdata import from_tf_dataset, to_tf_dataset

__all__ = ["Block", "Feeder", "Inputs", "aligned_empty", "from_tf_dataset", "host_cast", "to_tensor", "to_tf_dataset"]
