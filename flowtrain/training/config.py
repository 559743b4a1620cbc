"""TrainConfig: model, data, callbacks and settings of a training run, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from flowtrain.callbacks.base import Callback
from flowtrain.dataflow.core.base import DataFlow
from flowtrain.feed.data_argument import as_dataflow
from flowtrain.monitors.monitor import Monitor
from flowtrain.utils.arguments import check_choice, check_int, if_given, old_spellings, refuse_class
from flowtrain.utils.errors import ConfigError
from flowtrain.utils.storage import in_run

__all__ = ["TrainConfig"]


@old_spellings(
    data="dataflow",
    session_init="weights",
    session_config="gpu_memory",
    optimizer="Define optimizer(self) in the model, which returns it",
    loss="The model's build_graph returns the cost; for a Keras model: KerasModelDesc(model, loss=...)",
    nr_tower="strategy",
    tower="strategy",
    predict_tower="strategy",
    epochs="max_epoch",
    batch_size="The batch is made in the dataflow: BatchData(ds, batch_size)",
    extra_callbacks="default_callbacks",
    mixed_precision="precision",
)
@dataclass
class TrainConfig:
    """Model, data, callbacks and settings of a training run: the argument of `train`.

    Args:
        model: The ModelDesc.
        dataflow: Batches for the model's inputs: a DataFlow or a ``tf.data.Dataset``. One datapoint is the global
            batch: what one step consumes over all replicas.
        callbacks: The user's callbacks, called in this order, after the default ones.
        default_callbacks: Callbacks that are called first; None: what the function `default_callbacks` gives, which
            logs the summaries and shows the progress bar.
        monitors: Where scalars, pictures and histograms are written; None: what `default_monitors` gives
            (TensorBoard, JSON lines, a table on the console, ...).
        steps_per_epoch: Steps of an epoch; None: ``len(dataflow)``. If it is another number, each epoch takes up the
            data where the one before left it.
        starting_epoch: Number of the first epoch of a new run; a resumed run goes on counting.
        max_epoch: Number of the last epoch.
        log_dir: Folder of the run; None: a new one, ``train_log/<script>``, see `auto_set_dir`.
        weights: Initial values: a checkpoint, or name -> array. Variables without a value keep their own and are
            logged; a value of another shape is an error.
        strategy: A ``tf.distribute.Strategy``; None: one device.
        precision: ``"mixed_bfloat16"`` or ``"mixed_float16"`` (with loss scaling) compute in 16 bits.
        jit: Compile the step with XLA.
        accumulate: Gradient accumulation: update the weights once in so many steps, with the mean of their gradients.
        deterministic: Refuse operations whose result depends on timing.
        global_batch: The number of rows that every batch must have; None: it is not checked.
        steps_per_call: The most steps that run in one call of TensorFlow, where no callback wants to see one of them;
            None: up to 32 for small models and batches, else 1.
        prefetch: How many batches (or blocks of small ones) to keep ready for the device.
        gpu_memory: ``"grow"``: take the GPUs' memory as it is needed; a number of MiB: at most so much of each;
            None: all of it at once, as TensorFlow does. Only before anything has run on a GPU in this process.
        visible_devices: The numbers of the GPUs to use; None: all, an empty list: none.
        data_timeout: Seconds without a batch after which training gives up.

    Raises:
        ConfigError: An argument has a wrong type or value.

    Example:
        >>> config = TrainConfig(model=Colorize(), dataflow=ds, max_epoch=10)        # doctest: +SKIP
        >>> trainer = train(config, resume="auto")                                   # doctest: +SKIP
    """

    model: Any = None
    dataflow: DataFlow | tf.data.Dataset | None = None
    callbacks: Sequence[Callback] = field(default_factory=list)
    default_callbacks: Sequence[Callback] | None = None
    monitors: Sequence[Monitor] | None = None
    steps_per_epoch: int | None = None
    starting_epoch: int = 1
    max_epoch: int = 100
    log_dir: str | Path | None = None
    weights: str | Path | Mapping[str, np.ndarray] | None = None
    strategy: tf.distribute.Strategy | None = None
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    jit: bool = False
    accumulate: int = 1
    deterministic: bool = False
    global_batch: int | None = None
    steps_per_call: int | None = None
    prefetch: int = 3
    data_timeout: float = 600.0
    gpu_memory: Literal["grow"] | int | None = None
    visible_devices: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.model is None:
            raise ConfigError("TrainConfig needs model=, an object of a class that extends ModelDesc")
        refuse_class("TrainConfig: model", self.model)
        if self.log_dir is not None:
            in_run(self.log_dir, "log_dir")
        if self.dataflow is not None:
            self.dataflow = as_dataflow(self.dataflow, "dataflow=")
        check_choice("TrainConfig", "precision", self.precision, ("float32", "mixed_bfloat16", "mixed_float16"))
        for name in ("max_epoch", "starting_epoch", "accumulate", "prefetch"):
            check_int("TrainConfig", name, getattr(self, name))
        for name in ("steps_per_epoch", "steps_per_call", "global_batch"):
            if_given(check_int, "TrainConfig", name, getattr(self, name))
        if self.strategy is not None and not isinstance(self.strategy, tf.distribute.Strategy):
            raise ConfigError(
                "strategy= must be a tf.distribute.Strategy, e.g. tf.distribute.MirroredStrategy(); "
                f"got {self.strategy!r:.80}"
            )
        if self.gpu_memory is not None and self.gpu_memory != "grow":
            check_int("TrainConfig", "gpu_memory", self.gpu_memory)
        if self.visible_devices is not None:
            self.visible_devices = [
                check_int("TrainConfig", "visible_devices", one, least=0) for one in self.visible_devices
            ]
        for name in ("callbacks", "default_callbacks", "monitors"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, list | tuple):
                raise ConfigError(f"{name}= must be a list, got {type(value).__name__}")

    def steps(self) -> int:
        """The number of steps of one epoch: ``steps_per_epoch``, or the length of the dataflow.

        Raises:
            ConfigError: ``steps_per_epoch`` is None, and the dataflow is empty or has no known length.
        """
        if self.steps_per_epoch is not None:
            return int(self.steps_per_epoch)
        if self.dataflow is None:
            raise ConfigError("TrainConfig needs dataflow=, a DataFlow or a tf.data.Dataset (or steps_per_epoch=)")
        size = self.dataflow.size_or_none()
        if size is None:
            raise ConfigError(
                f"the length of the dataflow {self.dataflow} is not known: say in TrainConfig(steps_per_epoch=...) "
                "how many steps an epoch has. It decides when the epoch's callbacks run; no data is passed over."
            )
        if size == 0:
            raise ConfigError(f"the dataflow {self.dataflow} is empty: its length is 0")
        return size
