"""Placement of batches: copies each replica's rows to the replica's device before the step asks for them.

Rows are cut on the host, so that a device is sent only its own; and by the feeding thread, so that they travel while
the device still computes the step before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

__all__ = ["Placement"]


class Placement:
    """The devices of the replicas of this process, and the way of batches to them.

    Args:
        devices: The device of each replica, in order; None for the host.
    """

    def __init__(self, devices: Sequence[str | None] = (None,)) -> None:
        self.devices = tuple(device if device is None or not _is_host(device) else None for device in devices)

    def parts(self, arrays: Sequence[np.ndarray]) -> list[Sequence[np.ndarray]]:
        """Each replica's rows of the arrays, as views: equal parts, as `Inputs` has made sure that rows divide."""
        count = len(self.devices)
        if count == 1:
            return [arrays]
        sizes = [len(array) // count for array in arrays]
        return [
            [array[part * size : (part + 1) * size] for array, size in zip(arrays, sizes, strict=True)]
            for part in range(count)
        ]

    def put(self, tensors: Sequence[Sequence[tf.Tensor]]) -> list[tf.Tensor]:
        """Copy tensors to the devices that compute with them; those of the host, and texts, stay on the host.

        Args:
            tensors: For each replica its tensors, on the host.

        Returns:
            All tensors of the first replica, then all of the second, and so on.
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
