"""One training step, as it is traced: forward passes, gradients, updates.

Gradients are computed on the replicas and summed. All that follows (gradient processors, accumulation, loss scaling,
the optimizer) happens once, on the sums, so it means the same for one replica and for many.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from flowtrain.model.gradient import CheckGradient, process_gradients
from flowtrain.model.graph import ModelGraph
from flowtrain.model.internals import replica_values
from flowtrain.model.objectives import Objective
from flowtrain.model.tower import TowerContext
from flowtrain.utils.errors import ConfigError, TrainingError, closest

from .devices import local_replicas, own_randomness
from .run_variables import StepVariables

__all__ = ["Step"]

logger = logging.getLogger("flowtrain.training")

Gradient: TypeAlias = "tf.Tensor | tf.IndexedSlices"
_Replica: TypeAlias = "tuple[list[Any], dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]"
"""What one replica computes: the gradients of each objective, and by name the costs, scalars and fetched tensors."""


class Step:
    """One training step while it is traced: the argument of a trainer's ``run_step``.

    Attributes:
        graph: The built model (a ModelGraph).
        number: int64 tensor: the number of this step, from 1.
        costs: Name -> scalar tensor: the costs as the last `minimize` computed them, means over all replicas.

    Example:
        >>> class GANTrainer(Trainer):                                       # doctest: +SKIP
        ...     def run_step(self, step):
        ...         step.minimize("d_loss")
        ...         step.minimize("g_loss")    # a new forward pass, with the new discriminator
    """

    def __init__(
        self,
        graph: ModelGraph,
        inputs: Sequence[tf.Tensor],
        variables: StepVariables,
        strategy: tf.distribute.Strategy,
        fetches: Sequence[str] = (),
        accumulate: int = 1,
        jit_replica: bool = False,
        row: tf.Tensor | None = None,
    ) -> None:
        self.graph = graph
        with _apart():
            self.number = variables.global_step + 1
        self.costs: dict[str, tf.Tensor] = {}
        self.scalars: dict[str, tf.Tensor] = {}
        self.fetched: dict[str, list[tf.Tensor]] = {}
        self.updated: list[tf.Tensor] = []
        self.tower: TowerContext | None = None
        self._inputs, self._row = inputs, row
        self._variables = variables
        self._strategy = strategy
        self._replicas = strategy.num_replicas_in_sync
        self._fetches = fetches
        self._accumulate = accumulate
        self._jit_replica = jit_replica

    def minimize(self, *names: str) -> None:
        """Do one forward pass, take the gradients of some costs, and update the variables of each.

        Args:
            *names: Names of costs; without any: all costs.

        Raises:
            ConfigError: No cost of that name, or the model has no optimizer.
        """
        objectives = self.graph.objectives
        if not objectives:
            raise ConfigError(
                f"{type(self.graph.model).__name__} has no optimizer: define optimizer(self) and return one, "
                "e.g. tf.keras.optimizers.Adam(1e-3)"
            )
        for name in names:
            if name not in objectives:
                raise ConfigError(f"the model has no cost named {name!r}. {closest(name, list(objectives))}")
        chosen = [objectives[name] for name in names or objectives]

        def forward() -> _Replica:
            with _apart():
                inputs = self._share()
            if not self._jit_replica:
                return self._forward(inputs, chosen)
            # On several replicas XLA compiles the forward and backward pass only, without the exchange between them.
            # The function is made here, on the replica that is being traced, so that each has its own variables in it.
            compiled = tf.function(lambda *its: self._forward(its, chosen), jit_compile=True, autograph=False)
            return compiled(*inputs)

        with own_randomness(self._strategy):
            gradients, costs, scalars, fetched = self._strategy.run(forward)
        for name, tensors in fetched.items():
            self.fetched[name] = list(self._strategy.experimental_local_results(tensors))
        self.scalars.update(self._means(scalars))
        self.costs.update({name: self._mean(cost) for name, cost in costs.items()})
        for objective, its_gradients in zip(chosen, gradients, strict=True):
            self.updated.append(self._update(objective, its_gradients))

    # ------------------------------------------------------------------ on each replica

    def _forward(self, inputs: Sequence[tf.Tensor], chosen: Sequence[Objective]) -> _Replica:
        scale = self._variables.loss_scale
        # The cost is divided, not the gradients: so their sum over the replicas is the gradient of the mean cost,
        # whether Keras's optimizer sums them up or `_update`. The loss scale comes in here too, before small float16
        # gradients would become zero.
        with _apart():
            factor = tf.constant(1.0 / self._replicas)
            if scale is not None:
                factor = factor * scale
        # A persistent tape keeps all values until it is dropped, so only where several gradients are taken from it.
        with tf.GradientTape(persistent=len(chosen) > 1) as tape:
            tower = self.graph.training_tower(inputs)
            losses = [tower.costs[objective.name] * factor for objective in chosen]
        gradients = [objective.gradients(tape, tower, loss) for loss, objective in zip(losses, chosen, strict=True)]
        self.tower = tower
        fetched = {name: tower.tensor(name) for name in self._fetches}
        return gradients, dict(tower.costs), dict(tower.scalars), fetched

    def _share(self) -> list[tf.Tensor]:
        """This replica's part of the batch, one tensor for each input, cast to the input's dtype."""
        specs, local = self.graph.input_specs, local_replicas(self._strategy)
        inputs = self._inputs
        if local > 1:
            inputs = _of_this_replica(inputs, local)
            specs = [tf.TensorSpec(tf.TensorShape([None]).concatenate(spec.shape[1:]), spec.dtype) for spec in specs]
        if self._row is not None:
            inputs = [block[self._row] for block in inputs]
        return [
            tf.ensure_shape(tf.cast(tensor, spec.dtype), spec.shape) for tensor, spec in zip(inputs, specs, strict=True)
        ]

    # ------------------------------------------------------------------ once, on the sums

    def _mean(self, value: object) -> tf.Tensor:
        """The mean of a value over the replicas, by an all-reduce."""
        if self._replicas == 1:
            return value
        return self._strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)

    def _means(self, scalars: dict[str, Any]) -> dict[str, tf.Tensor]:
        """Means of several scalars over the replicas, in one all-reduce."""
        if self._replicas == 1 or not scalars:
            return scalars
        stacked = self._strategy.run(lambda mine: tf.stack([mine[name] for name in scalars]), (scalars,))
        return dict(zip(scalars, tf.unstack(self._mean(stacked), len(scalars)), strict=True))

    def _update(self, objective: Objective, gradients: Sequence[Gradient | None]) -> tf.Tensor:
        """Trace the update of one cost's variables.

        Returns:
            Bool tensor: whether weights were changed. It is computed only after all checks of the gradients.
        """
        given = {name: g for name, g in zip(objective.variables, gradients, strict=True) if g is not None}
        self._report_missing(objective, given)
        pairs = [(gradient, objective.variables[name]) for name, gradient in given.items()]
        # Keras's optimizer sums gradients over the replicas by itself. Where something has to look at the sums before
        # that, they are summed here, and Keras is given a part of each, so that its sum is the same.
        if self._replicas > 1 and not self._needs_sums(objective):
            self._keras_apply(objective, pairs)
            return tf.constant(True)
        if self._replicas > 1:
            summed = self._strategy.extended.batch_reduce_to(
                tf.distribute.ReduceOp.SUM, [(gradient, variable.value) for gradient, variable in pairs]
            )
            # after an all-reduce the value is the same on all replicas
            pairs = [(replica_values(g)[0], variable) for g, (_, variable) in zip(summed, pairs, strict=True)]
        scale = self._variables.loss_scale
        if scale is not None:
            inverse = 1.0 / scale.read_value()
            pairs = [(_map_gradient(g, lambda x: x * inverse), v) for g, v in pairs]
            flags = [tf.reduce_all(tf.math.is_finite(_values(gradient))) for gradient, _ in pairs]
            finite = self._variables.adjust_loss_scale(objective.name, dict(zip(given, flags, strict=True)))
            # A skipped update must leave no trace: neither in accumulated gradients nor in the optimizer's count of
            # steps, so all of it stands inside the condition.
            return tf.cond(finite, lambda: self._accumulated(objective, pairs), _nothing)
        return self._accumulated(objective, pairs)

    def _accumulated(self, objective: Objective, pairs: list[tuple[Gradient, keras.Variable]]) -> tf.Tensor:
        """Apply gradients at once, or add them to the sums and apply those at each `accumulate`-th step."""
        if self._accumulate == 1:
            return self._apply(objective, pairs)
        sums = self._variables.accumulators(objective)
        check = next((processor for processor in objective.processors if isinstance(processor, CheckGradient)), None)
        if check is not None:  # here it names the step of a bad gradient; on the sums, only the step of their update
            pairs = check.process(pairs)
        for gradient, variable in pairs:
            accumulator = sums[id(variable)]
            accumulator.assign_add(tf.convert_to_tensor(gradient) / self._accumulate)

        def apply() -> tf.Tensor:
            self._apply(objective, [(sums[id(variable)].read_value(), variable) for _, variable in pairs])
            for _, variable in pairs:
                sums[id(variable)].assign(tf.zeros_like(sums[id(variable)]))
            return tf.constant(True)

        # By the number of the step, which is in the checkpoint: a resumed run updates at the same steps.
        with tf.control_dependencies([_values(gradient) for gradient, _ in pairs]):
            return tf.cond(tf.equal(tf.math.floormod(self.number, self._accumulate), 0), apply, _nothing)

    def _apply(self, objective: Objective, pairs: list[tuple[Gradient, keras.Variable]]) -> tf.Tensor:
        """Run the gradient processors and the optimizer on gradients that are summed over the replicas."""
        pairs = process_gradients(objective.processors, pairs)
        pairs = [(gradient, variable) for gradient, variable in pairs if gradient is not None]
        self._keras_apply(objective, pairs, summed=True)
        # The result waits for the processed gradients, so a processor's check (CheckGradient) has run when the step
        # counts: nothing else would wait for it.
        with tf.control_dependencies([_values(gradient) for gradient, _ in pairs]):
            return tf.identity(tf.constant(True))

    def _keras_apply(
        self, objective: Objective, pairs: list[tuple[Gradient, keras.Variable]], summed: bool = False
    ) -> None:
        """Apply the optimizer on all replicas. Keras sums gradients over them, so `summed` ones are divided first."""
        variables = [variable for _, variable in pairs]
        divide = summed and self._replicas > 1

        def apply(gradients: Sequence[Gradient | None]) -> None:
            if divide:
                gradients = [_map_gradient(gradient, lambda x: x / self._replicas) for gradient in gradients]
            objective.optimizer.apply(gradients, variables)

        self._strategy.run(apply, ([gradient for gradient, _ in pairs],))

    def _needs_sums(self, objective: Objective) -> bool:
        """Whether something besides the optimizer's update must see the gradients summed over the replicas.

        Clipping is among it, as no function of one replica's gradient gives the clipped sum.
        """
        optimizer = objective.optimizer
        clips = (optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue)
        return bool(
            objective.processors
            or self._accumulate > 1
            or self._variables.loss_scale is not None
            or any(clip is not None for clip in clips)
        )

    def _report_missing(self, objective: Objective, names: Collection[str]) -> None:
        if not names:
            raise TrainingError(f"the cost {objective.name!r} has no gradient with respect to any of its variables")
        missing = [name for name in objective.variables if name not in names]
        if missing:
            logger.warning(
                "the cost %r does not depend on %s: they are not trained", objective.name, ", ".join(missing)
            )


def _apart() -> contextlib.AbstractContextManager[Any]:
    """Scope for what is computed before ``build_graph``: it must not take names, such as ``add``, of the model's own.

    The model's operations would be numbered in the step alone (``add_1``), and a callback that fetches ``add`` be given
    another tensor.
    """
    return tf.name_scope("flowtrain/")


def _of_this_replica(tensors: Sequence[tf.Tensor], replicas: int) -> Sequence[tf.Tensor]:
    """The tensors of the replica that is being traced, among those of all replicas of this process."""
    count = len(tensors) // replicas
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    known = tf.get_static_value(number)
    if known is None:  # on TPUs all replicas run one program, in which the number is a tensor
        return [tf.stack(tensors[place::count])[number % replicas] for place in range(count)]
    return tensors[known % replicas * count :][:count]


def _map_gradient(gradient: Gradient, function: Callable[[tf.Tensor], tf.Tensor]) -> Gradient:
    """A function applied to the values of a gradient, dense or of an embedding."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(function(gradient.values), gradient.indices, gradient.dense_shape)
    return function(gradient)


def _values(gradient: Gradient) -> tf.Tensor:
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def _nothing() -> tf.Tensor:
    """The branch of a step that changes no weights."""
    return tf.constant(False)
