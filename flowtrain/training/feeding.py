"""The training data of a run: the feeder while training runs, and the position in the data while it does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.dataflow import DataFlow
from flowtrain.feed import Block, Feeder, Inputs
from flowtrain.utils.errors import ConfigError, TrainingError

from . import devices
from .config import TrainConfig

__all__ = ["Feeding"]

_POLL = 0.5  # seconds between two looks at whether the process was asked to end


class Feeding:
    """Starts and stops the feeder of a run, hands out its blocks of batches, and keeps the position between.

    Args:
        config: Whose dataflow to feed.
        specs: The model's inputs.
        strategy: Each worker and replica takes its share of a batch.
        capacity: From the first batch to the number of batches in a block; see `Feeder`.
    """

    def __init__(
        self,
        config: TrainConfig,
        specs: Sequence[tf.TensorSpec],
        strategy: tf.distribute.Strategy,
        capacity: Callable[[Sequence[np.ndarray]], int],
    ) -> None:
        self._flow, self._limit, self._prefetch = config.dataflow, config.data_timeout, config.prefetch
        self._inputs = Inputs(
            specs,
            part=devices.part(strategy),
            divide=devices.local_replicas(strategy),
            rows=config.global_batch,
        )
        self._capacity = capacity
        self._feeder: Feeder | None = None
        self._position: dict[str, Any] | None = None  # while there is no feeder
        self._left_behind: Feeder | None = None  # closed while busy with a datapoint
        self._block: Block | None = None
        self._row = 0

    def start(self) -> None:
        """Begin to make batches, from the position on.

        Raises:
            ConfigError: The configuration has no dataflow.
        """
        if not isinstance(self._flow, DataFlow):
            raise ConfigError("TrainConfig needs dataflow= to train")
        if self._left_behind is not None:  # two threads cannot walk one flow
            self._left_behind.close()
            self._left_behind = None
        self._block = None
        self._feeder = Feeder(self._flow, self._inputs, self._capacity, self._prefetch)
        if self._position is not None:
            self._feeder.load_state_dict(self._position)

    def stop(self, seconds: float = 10.0) -> None:
        """End the feeder; the position stays.

        Args:
            seconds: How long to wait for a datapoint that is being made.
        """
        if self._feeder is not None:
            self._position = self._feeder.state_dict()
            if not self._feeder.close(seconds):
                self._left_behind = self._feeder
            self._feeder = None

    def next_block(self, step: int, check: Callable[[], None]) -> tuple[Block, int]:
        """The block under way, and which of its batches is the next.

        Args:
            step: The step that the batch is for, for the message.
            check: Called now and then while there is none.

        Raises:
            TrainingError: No batch came in time.
        """
        if self._feeder is None:
            raise TrainingError("the run is not being fed: batches are there while train() runs")
        waited = time.monotonic()
        while self._block is None:
            self._block, self._row = self._feeder.get(_POLL), 0
            if self._block is None:
                check()
                if time.monotonic() - waited > self._limit:
                    raise TrainingError(
                        f"the dataflow {self._flow} gave nothing for {self._limit:g} s (step {step}). "
                        "If a batch may take longer: data_timeout=..."
                    )
        return self._block, self._row

    def consumed(self, count: int) -> None:
        """Say that training has used so many batches of the block under way."""
        if self._feeder is not None:
            self._feeder.consumed(count)
        self._row += count
        if self._block is not None and self._row == self._block.rows:
            self._block = None

    def state_dict(self) -> dict[str, Any] | None:
        """The position after the last batch that was consumed; None before the first start."""
        return self._position if self._feeder is None else self._feeder.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on at a position with the next start."""
        self._position = state
