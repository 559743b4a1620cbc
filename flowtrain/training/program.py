"""The compiled functions that run training steps: one step with fetches, or many steps in one call."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.feed.feeder import Block
from flowtrain.model.graph import ModelGraph
from flowtrain.model.internals import all_operations, quick_call
from flowtrain.model.tower import TowerContext
from flowtrain.utils.errors import first_few

from .config import TrainConfig
from .devices import local_replicas, part
from .pipeline import StepPipeline
from .run_variables import StepVariables
from .step import Step

__all__ = ["Program"]

logger = logging.getLogger("flowtrain.training")

# Operations that draw from a state inside TensorFlow, which no checkpoint can hold.
_UNSAVED_RANDOM = {
    "RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "RandomShuffle", "RandomGamma",
    "RandomPoissonV2", "Multinomial", "ParameterizedTruncatedNormal", "SampleDistortedBoundingBoxV2",
}  # fmt: skip


class Program:
    """Compiles a trainer's ``run_step``, for one step or many in one call, and runs it.

    On small models the cost of a step is mostly that of calling TensorFlow. So steps over a stacked block of batches
    run in a loop inside one call: one compiled function for any number of steps, which computes the same bits.

    Args:
        run_step: The trainer's method; traced with a `Step`.
        graph: The built model.
        variables: The variables of training itself, such as the step's number.
        strategy: The strategy that the step runs under.
        after_step: Functions of the tower that callbacks want traced after the update.
        config: Its ``accumulate`` and ``jit`` are obeyed.
    """

    def __init__(
        self,
        run_step: Callable[[Step], None],
        graph: ModelGraph,
        variables: StepVariables,
        strategy: tf.distribute.Strategy,
        after_step: Sequence[Callable[[TowerContext], None]],
        config: TrainConfig,
    ) -> None:
        self._run_step, self._graph, self._variables = run_step, graph, variables
        self._strategy, self._after_step, self._accumulate = strategy, after_step, config.accumulate
        # On one replica XLA compiles the whole step; on several only what each computes alone (see `Step.minimize`).
        self._jit_all = config.jit and strategy.num_replicas_in_sync == 1
        self._jit_replica = config.jit and not self._jit_all
        # Several workers make the same calls, one after the other: TensorFlow numbers the exchanges within each call.
        self._pipeline = StepPipeline() if part(strategy)[1] == 1 else None
        self._seconds_per_step = 0.0
        self._functions: dict[Any, Any] = {}  # see `_function`
        self._numbers: dict[int, tf.Tensor] = {}  # see `_number`
        self._warned = False

    def run(self, block: Block, start: int, stop: int) -> tf.Tensor:
        """Run the steps of the batches `start` to `stop - 1` of a block.

        Returns:
            The cost of the last step, still on the device.
        """
        return self._call(block, start, stop)()

    def start(self, block: Block, start: int, stop: int) -> None:
        """As `run`, but return while the steps still run, unless there are several workers. Then call `throttle`."""
        call, steps = self._call(block, start, stop), stop - start
        if self._pipeline is None:
            began = time.perf_counter()
            call()
            self._seconds_per_step = (time.perf_counter() - began) / steps
        else:
            self._pipeline.start(call, steps, block.nbytes)

    def throttle(self) -> float:
        """Wait while too many calls are under way to start another one.

        Returns:
            Seconds per step; 0.0 before that is known.

        Raises:
            OpError: An operation failed.
        """
        if self._pipeline is None:
            return self._seconds_per_step
        self._pipeline.throttle()
        return self._pipeline.seconds_per_step

    def finish(self) -> None:
        """Wait until all started steps are done.

        Raises:
            OpError: An operation failed.
        """
        if self._pipeline is not None:
            self._pipeline.finish()

    def abandon(self) -> int:
        """After an error: wait for the started steps, and return how many of them failed or were not run."""
        return 0 if self._pipeline is None else self._pipeline.abandon()

    def run_fetching(self, block: Block, row: int, names: Sequence[str]) -> tuple[tf.Tensor, dict[str, np.ndarray]]:
        """Run one step and bring tensors of it to the host.

        Args:
            block: The block that holds the batch.
            row: Index of the batch in the block.
            names: Names of tensors of the training graph.

        Returns:
            The cost, and name -> array. With several replicas: the mean of scalars, else the replicas' rows in order.
        """
        names = tuple(sorted(set(names)))
        place = [self._number(row)] if block.stacked else []
        cost, fetched = self._function(block, names)([*place, *block.tensors])
        return cost, {name: _joined(parts) for name, parts in zip(names, fetched, strict=True)}

    # ------------------------------------------------------------------ tracing

    def _call(self, block: Block, start: int, stop: int) -> Callable[[], tf.Tensor]:
        """The call that runs some steps, traced if it has to be; calling it gives the last cost."""
        if not block.stacked:
            one = self._function(block, ())
            return lambda: one(block.tensors)[0]
        many = self._function(block, None)
        tensors = [self._number(start), self._number(stop), *block.tensors]
        return lambda: many(tensors)

    def _function(self, block: Block, fetches: tuple[str, ...] | None) -> Callable[[Sequence[tf.Tensor]], Any]:
        """The compiled function for blocks like this one; `fetches` of None: the one that runs many steps."""
        # With the dtypes of the batch, which are not always those of the inputs: uint8 pictures travel as they are and
        # are cast in the step. Shapes follow from the specs, so a short last batch needs no trace of its own.
        key = fetches, block.stacked, *(tensor.dtype for tensor in block.tensors)
        if key not in self._functions:
            with self._strategy.scope():
                made = self._trace(block, fetches)
            self._warn_of_random(made.graph)
            self._functions[key] = quick_call(made)
        return self._functions[key]

    def _trace(self, block: Block, fetches: tuple[str, ...] | None) -> tf.types.experimental.ConcreteFunction:
        batch = [
            tf.TensorSpec(spec.shape, tensor.dtype, f"{spec.name}{suffix}")
            for (suffix, spec), tensor in zip(self._specs(), block.tensors, strict=True)
        ]
        rows = [tf.TensorSpec(tf.TensorShape([None]).concatenate(spec.shape), spec.dtype) for spec in batch]
        index = tf.TensorSpec((), tf.int32, "flowtrain_row")

        def one(*inputs: tf.Tensor, row: tf.Tensor | None = None) -> tuple[tf.Tensor, list[tf.Tensor]]:
            step = self._one(inputs, row, fetches or ())
            return _total(step), [step.fetched[name] for name in fetches or ()]

        def one_of_block(row: tf.Tensor, *blocks: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
            return one(*blocks, row=row)

        if fetches is None:
            function, signature = self._many, [index, index, *rows]
        elif block.stacked:
            function, signature = one_of_block, [index, *rows]
        else:
            function, signature = one, batch
        # None and not False: TensorFlow compiles for a TPU by itself, and False would forbid that.
        compiled = tf.function(function, input_signature=signature, autograph=False, jit_compile=self._jit_all or None)
        return compiled.get_concrete_function()

    def _many(self, start: tf.Tensor, stop: tf.Tensor, *blocks: tf.Tensor) -> tf.Tensor:
        def body(index: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            step = self._one(blocks, index, ())
            return index + 1, _total(step)

        def more(index: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            return index < stop

        # In a loop of TensorFlow's and not unrolled: one function for any number of steps, so a resume that begins in
        # the middle of a block runs the same code. One iteration at a time, since each step reads what the last one
        # wrote.
        return tf.while_loop(more, body, (start, tf.constant(0.0)), parallel_iterations=1)[1]

    def _specs(self) -> list[tuple[str, tf.TensorSpec]]:
        """(suffix of the name, spec) of each tensor of a batch: for each replica of this process, one of each input."""
        specs, replicas = self._graph.input_specs, local_replicas(self._strategy)
        if replicas == 1:
            return [("", spec) for spec in specs]
        parts = [tf.TensorSpec(tf.TensorShape([None]).concatenate(s.shape[1:]), s.dtype, s.name) for s in specs]
        return [(f"_replica{number}", spec) for number in range(replicas) for spec in parts]

    def _one(self, inputs: Sequence[tf.Tensor], row: tf.Tensor | None, fetches: Sequence[str]) -> Step:
        """Trace one step: the trainer's update, then the average of weights, the counts, and what callbacks added."""
        graph, strategy = self._graph, self._strategy
        step = Step(graph, inputs, self._variables, strategy, fetches, self._accumulate, self._jit_replica, row)
        self._run_step(step)
        if self._graph.average is not None:
            self._graph.average.update(self._has_updated(step))
        self._variables.finish_step(step.costs, step.scalars, step.updated)
        if step.tower is not None:
            for function in self._after_step:
                function(step.tower)
        return step

    def _has_updated(self, step: Step) -> tf.Tensor | None:
        """Bool tensor: whether the step changed weights; None: each does (no accumulation, no loss scale)."""
        always = self._accumulate == 1 and self._variables.loss_scale is None
        return None if always or not step.updated else tf.reduce_any(step.updated)

    def _number(self, value: int) -> tf.Tensor:
        if value not in self._numbers:  # a new tensor costs a part of a small call, and the same few come again
            self._numbers[value] = tf.constant(value, tf.int32)
        return self._numbers[value]

    def _warn_of_random(self, graph: tf.Graph) -> None:
        if self._warned:
            return
        names = [f"{op.name} ({op.type})" for op in all_operations(graph) if op.type in _UNSAVED_RANDOM]
        if names:
            self._warned = True
            logger.warning(
                "the model draws random numbers whose state no checkpoint can hold, so a resumed run will draw others: "
                "%s. Draw with keras.random (and a keras.random.SeedGenerator), a tf.random.Generator "
                "or the layers (Dropout, ...) to have exact resume.",
                first_few(names),
            )


def _total(step: Step) -> tf.Tensor:
    """The sum of a step's costs."""
    costs = list(step.costs.values())
    return costs[0] if len(costs) == 1 else tf.add_n(costs)


def _joined(parts: Sequence[tf.Tensor]) -> np.ndarray:
    """One array of what each replica fetched."""
    arrays = [part.numpy() for part in parts]
    if len(arrays) == 1:
        return arrays[0]
    return np.mean(arrays, axis=0) if arrays[0].ndim == 0 else np.concatenate(arrays)
