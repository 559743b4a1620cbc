"""The distribution strategy for a number of devices."""

from __future__ import annotations

import contextlib

import tensorflow as tf

import flowtrain as ft


def strategy_of(devices: int | None, distributed: bool = False):
    """The strategy for `--devices N`: N GPUs, or without GPUs N logical CPUs; None for a single device.

    Args:
        devices: N.
        distributed: If `devices` is None: use all GPUs.
    """
    if devices is None:
        return tf.distribute.MirroredStrategy() if distributed else None
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and len(gpus) < devices:
        raise ft.FlowtrainError(f"--devices is {devices}; there are {len(gpus)} GPUs")
    if devices == 1:
        return None
    kind = "GPU" if gpus else "CPU"
    if not gpus:
        cpu = tf.config.list_physical_devices("CPU")[0]
        with contextlib.suppress(RuntimeError):  # too late, TensorFlow is initialized: the check below decides
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
        if len(tf.config.list_logical_devices("CPU")) < devices:
            raise ft.FlowtrainError(f"--devices is {devices}; the CPU was already divided into fewer")
    return tf.distribute.MirroredStrategy([f"/{kind}:{number}" for number in range(devices)])
