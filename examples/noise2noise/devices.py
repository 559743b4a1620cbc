"""How many devices a training uses."""

from __future__ import annotations

import contextlib

import tensorflow as tf

import flowtrain as ft


def strategy_of(devices: int | None, distributed: bool = False):
    """The strategy of `--devices N`: N GPUs, or where there are none N parts of the CPU; None for one device.

    Args:
        devices: How many.
        distributed: All GPUs there are, where `devices` says nothing.
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
        with contextlib.suppress(RuntimeError):  # TensorFlow has begun already: there are as many as there are
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
        if len(tf.config.list_logical_devices("CPU")) < devices:
            raise ft.FlowtrainError(f"--devices is {devices}; the CPU was already divided into fewer")
    return tf.distribute.MirroredStrategy([f"/{kind}:{number}" for number in range(devices)])
