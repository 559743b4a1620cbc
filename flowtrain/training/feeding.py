"""The training data of a run: its feeder while training runs, and its position in the data while it does not."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.dataflow import DataFlow
from flowtrain.feed.feeder import Block, Feeder
from flowtrain.feed.inputs import Inputs
from flowtrain.feed.placement import Placement
from flowtrain.utils.errors import ConfigError, TrainingError

from . import devices
from .config import TrainConfig
from .rows import Layout, rest_of_epoch

__all__ = ["Feeding"]

logger = logging.getLogger("flowtrain.training")

_POLL = 0.5  # seconds between two looks at whether the process was asked to end


class Feeding:
    """Starts and stops the feeder of a run, hands out its blocks of batches, and keeps the position in between.

    A run that resumes with another batch size inside an epoch first gets the *rest* of that epoch, a flow that begins
    at the row that is due (see `rest_of_epoch`), and then the dataflow itself, from the next epoch on.

    Args:
        config: Its dataflow is fed; its ``prefetch``, ``global_batch`` and ``data_timeout`` are obeyed.
        specs: The model's inputs.
        strategy: Each worker and replica takes its part of a batch.
        capacity: Function from the first batch to the number of batches in a block; see `Feeder`.
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
        self._placement = Placement(devices.replica_devices(strategy))
        self._capacity = capacity
        self._feeder: Feeder | None = None
        self._position: dict[str, Any] | None = None  # in the data, while there is no feeder
        self._rest: DataFlow | None = None  # the rest of the epoch under way
        self._start_row = 0  # the row at which the rest begins
        self._left_out = 0  # rows at the end of the rest that the replicas cannot share equally
        self._replicas = strategy.num_replicas_in_sync
        self._left_behind: Feeder | None = None  # a feeder that was closed while its thread was busy with a datapoint
        self._block: Block | None = None  # the block under way
        self._row = 0  # how many of its batches are consumed

    def start(self) -> None:
        """Start the feeder at the position.

        Raises:
            ConfigError: The configuration has no dataflow.
            TrainingError: The feeder of an earlier `train` is still busy with a datapoint after ``data_timeout``.
        """
        flow = self._checked_flow()
        # Two threads must not iterate one flow, whose functions may belong to one.
        if self._left_behind is not None and not self._left_behind.close(self._limit):
            raise TrainingError(
                f"the dataflow {flow} is busy with a datapoint of an earlier train(), still after {self._limit:g} s. "
                "If a datapoint may take longer: data_timeout=..."
            )
        self._left_behind = None
        self._block = None
        self._feeder = Feeder(flow, self._inputs, self._capacity, self._prefetch, self._placement)
        if self._position is not None:
            self._feeder.load_state_dict(self._position, self._rest)

    def stop(self, seconds: float = 10.0) -> None:
        """Stop the feeder, and keep the position after the last batch that was consumed.

        Args:
            seconds: How long to wait for a datapoint that is being made.
        """
        if self._feeder is not None:
            self._position = self.state_dict()  # the consumer's: batches that were made ahead are made again
            if not self._feeder.close(seconds):
                self._left_behind = self._feeder
            self._feeder = None

    def next_block(self, step: int, check: Callable[[], None]) -> tuple[Block, int]:
        """The block under way, and the index in it of the next batch.

        Args:
            step: The step that the batch is for, for messages.
            check: Called about twice a second while there is no batch; may raise.

        Raises:
            TrainingError: No batch came within ``data_timeout``.
        """
        if self._feeder is None:
            raise TrainingError("the run is not being fed: batches are there while train() runs")
        waited = time.monotonic()
        while self._block is None:
            self._block, self._row = self._feeder.get(_POLL), 0  # in short waits: a signal is seen by `check` alone
            if self._block is None:
                check()
                if time.monotonic() - waited > self._limit:
                    raise TrainingError(
                        f"the dataflow {self._flow} gave nothing for {self._limit:g} s (step {step}). "
                        "If a batch may take longer: data_timeout=..."
                    )
        return self._block, self._row

    def consumed(self, count: int) -> None:
        """Note that training has used `count` more batches of the block under way."""
        if self._feeder is not None:
            self._feeder.consumed(count)
        self._row += count
        if self._block is not None and self._row == self._block.rows:
            self._block = None

    def state_dict(self) -> dict[str, Any] | None:
        """The position after the last batch that was consumed; None before the first start.

        ``flow``, ``passed`` and ``skip`` are the feeder's position, in datapoints. ``epoch`` and ``row`` are the same
        position in rows of the source, for a resume with a flow that makes other batches of them; ``start_row`` is the
        row at which the epoch under way began (0, but in the rest of an epoch).
        """
        if self._feeder is None:
            return self._position
        state = self._feeder.state_dict()
        start, layout = 0, self.layout
        if state.get("in_rest"):
            start, layout = self._start_row, layout.shortened(self._left_out)
        epoch, row = layout.place(state["flow"]["epoch"], start, state["passed"] + state["skip"])
        return {**state, "start_row": start, "epoch": epoch, "row": row}

    def load_state_dict(self, state: dict[str, Any] | None, accept: bool = False) -> None:
        """Have the next start go on at a position of the same flow.

        Args:
            state: What `state_dict` gave.
            accept: Leave out rows at the epoch's end that the replicas cannot share equally.

        Raises:
            ConfigError: There are such rows, and `accept` is False.
        """
        self._position = state
        if state is not None and state.get("in_rest"):
            self._go_on_at(state["start_row"], accept)

    def go_to(self, state: dict[str, Any], accept: bool = False) -> int | None:
        """Have the next start go on at the row of a position of another flow: one of other batches or other rows.

        Args:
            state: What `state_dict` gave for the other flow.
            accept: Leave out rows at the epoch's end that the replicas cannot share equally.

        Returns:
            How many batches the epoch under way has left; None at an epoch's start, or where it is not known.

        Raises:
            ConfigError: There are such rows, and `accept` is False.
        """
        flow, layout = self._checked_flow(), self.layout
        epoch, row = state["epoch"], state["row"]
        if layout.rows is not None and row >= layout.rows:
            epoch, row = epoch + 1, 0
        here = flow.state_dict()
        # The seeds decide the order of the epoch under way, so they are the checkpoint's; with another number of random
        # stages nobody knows which seed is whose, and each stage keeps its own.
        if len(here["seeds"]) == len(state["flow"]["seeds"]):
            here["seeds"] = state["flow"]["seeds"]
        self._position = {"flow": {**here, "epoch": epoch, "position": None}, "passed": 0, "skip": 0}
        if row == 0:
            return None
        self._go_on_at(row, accept)
        # Without a stage that makes batches there is no rest to make: each datapoint counts as a row, and as many as
        # were consumed are made again and passed over.
        if self._rest is None:
            self._position["skip"] = row
        else:
            self._position["in_rest"] = True
        rows = layout.shortened(self._left_out).rows
        return None if rows is None else -(-(rows - row) // layout.batch)

    def _go_on_at(self, row: int, accept: bool) -> None:
        """Make the rest of an epoch from a row on; its last batch may be short, and is cut to what replicas can share.

        Raises:
            ConfigError: It must be cut, and `accept` is False.
        """
        flow, layout = self._checked_flow(), self.layout
        self._start_row = row
        self._left_out = layout.last(row) % self._replicas
        # Not refused if each whole epoch leaves out as many rows (remainder=False): the resume loses nothing then.
        if self._left_out and not layout.drops(self._left_out):
            lost = (
                f"{self._left_out} of the rows that this epoch has left, from row {row} on, cannot be shared equally "
                f"among {self._replicas} replicas in batches of {layout.batch}"
            )
            if not accept:
                raise ConfigError(
                    f"{lost}. Go on with a number of replicas that divides {layout.last(row)}, the rows of the "
                    'last batch; or leave them out: train(config, resume=..., resume_changes="accept").'
                )
            logger.warning("%s: they are left out", lost)
        self._rest = rest_of_epoch(flow, row, self._left_out)

    @functools.cached_property
    def layout(self) -> Layout:
        """How many rows the dataflow's batches and epochs have. Cached: the stages are walked at each save."""
        return Layout.of(self._checked_flow())

    def _checked_flow(self) -> DataFlow:
        if not isinstance(self._flow, DataFlow):
            raise ConfigError("TrainConfig needs dataflow= to train")
        return self._flow
