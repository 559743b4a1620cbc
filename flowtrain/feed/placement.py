"""Each replica's rows of a batch, on the replica's device before the step asks for them.

Rows are cut on the host, so that a device is sent its own rows and no others; and by the feeding thread, so that they
travel while the device still computes the step before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

__all__ = ["Placement"]


class Placement:
    """Where the batches of this process go.

    Args:
        devices: The device of each of its replicas, in order; None: one replica, on the host.
    """

    def __init__(self, devices: Sequence[str | None] = (None,)) -> None:
        self.devices = tuple(device if device is None or not _is_host(device) else None for device in devices)

    def parts(self, arrays: Sequence[np.ndarray]) -> list[Sequence[np.ndarray]]:
        """Each replica's rows of the arrays: equal parts, which `Inputs` has made sure of. Views, not copies."""
        count = len(self.devices)
        if count == 1:
            return [arrays]
        sizes = [len(array) // count for array in arrays]
        return [
            [array[part * size : (part + 1) * size] for array, size in zip(arrays, sizes, strict=True)]
            for part in range(count)
        ]

    def put(self, tensors: Sequence[Sequence[tf.Tensor]]) -> list[tf.Tensor]:
        """Copy tensors to where they are computed with; what is there already, or is text, stays.

        Args:
            tensors: Those of each replica, on the host.

        Returns:
            All of the first replica, then all of the second, and so on.
        """
        return [tensor for device, own in zip(self.devices, tensors, strict=True) for tensor in _on(device, own)]


def _on(device: str | None, tensors: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    if device is None:
        return tensors
    with tf.device(device):
        return [tensor if tensor.dtype == tf.string else tf.identity(tensor) for tensor in tensors]


def _is_host(device: str) -> bool:
    spec = tf.DeviceSpec.from_string(device)
    return spec.device_type == "CPU" and not spec.device_index
