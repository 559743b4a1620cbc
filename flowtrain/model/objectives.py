"""Objectives: each cost with the optimizer that minimises it and the variables that it may change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError, closest

from .ancestors import ancestors
from .gradient import GradientProcessor, refuse_missing
from .internals import external_captures, raw_variable, replica_values
from .porting import old_spellings_named
from .store import VariableStore
from .tower import TowerContext
from .tracing import gradients, layer_losses

if TYPE_CHECKING:
    from .desc import ModelDesc

__all__ = ["Objective", "handles", "make_objectives"]


class Objective:
    """A cost, the optimizer that minimises it, and the variables that the optimizer may change.

    Attributes:
        name: The cost's name: ``"cost"``, or the key in the dict that ``build_graph`` returned.
        optimizer: A Keras optimizer; `make_objectives` builds it.
        variables: The variables to change, by name.
        processors: The model's gradient processors, in order.
    """

    def __init__(
        self,
        name: str,
        optimizer: keras.optimizers.Optimizer,
        variables: Mapping[str, keras.Variable],
        processors: Sequence[GradientProcessor],
    ) -> None:
        self.name, self.optimizer = name, optimizer
        self.variables, self.processors = dict(variables), list(processors)

    def gradients(self, tape: tf.GradientTape, tower: TowerContext, cost: tf.Tensor | None = None) -> list[Any]:
        """The unprocessed gradients of this cost; unlike ``tape.gradient`` also through ``tf.recompute_grad``.

        Args:
            tape: The tape under which the tower was traced (persistent if there are several objectives).
            tower: The tower.
            cost: The cost times the loss scale; None for the tower's own cost.

        Returns:
            A gradient for each of ``variables``, in their order; None where ``FilterNoneGrad`` allows it.

        Raises:
            ModelError: The cost does not depend on some of the variables; names them.
        """
        cost = tower.costs[self.name] if cost is None else cost
        found = gradients(tower, tape, cost, list(self.variables.values()))
        refuse_missing(self.name, [n for n, g in zip(self.variables, found, strict=True) if g is None], self.processors)
        return found


def make_objectives(model: ModelDesc, store: VariableStore, tower: TowerContext) -> dict[str, Objective]:
    """Get a model's optimizers and gradient processors, check and build them.

    Args:
        model: The ModelDesc.
        store: The model's variables; ``optimizer()`` may add scalar variables.
        tower: A training tower of the model, with its costs.

    Returns:
        Name of a cost -> its objective; empty if the model declares no optimizer.

    Raises:
        ModelError: Optimizers or processors do not fit the model's costs and variables, or a cost does not depend on
            the variables that it should change.
    """
    context = TowerContext(store, is_training=True)
    context.graph = tower.graph
    store.frozen = False  # optimizer() may make scalar variables, such as the learning rate
    with context.entered(), old_spellings_named(f"{type(model).__name__}.optimizer"):
        given = model.optimizer()
        processors = list(model.gradient_processors())
    store.frozen = True
    if given is None:
        return {}
    kind, costs = type(model).__name__, list(tower.costs)
    for processor in processors:
        if not isinstance(processor, GradientProcessor):
            raise ModelError(f"{kind}.gradient_processors() must return GradientProcessors, got {processor!r:.80}.")
    if not isinstance(given, Mapping):
        if costs != ["cost"]:
            raise ModelError(
                f"{kind}.build_graph returns the costs {costs}, so optimizer() must return a dict of "
                f"the same names: {{{costs[0]!r}: (optimizer, 'pattern of variable names'), ...}}."
            )
        given = {"cost": (given, ".*")}
    elif sorted(given) != sorted(costs):
        raise ModelError(f"{kind}.optimizer() names the costs {sorted(given)}, build_graph returns {sorted(costs)}.")
    made = {name: _make(kind, store, name, given[name], processors) for name in costs}
    if len({id(objective.optimizer) for objective in made.values()}) < len(made):
        raise ModelError(f"{kind}.optimizer() uses one optimizer for several costs; each needs its own.")
    for objective in made.values():
        _check_dependence(objective, tower)
        # Now and not at the first step: slots are variables, and must exist before a checkpoint is restored.
        objective.optimizer.build(list(objective.variables.values()))
        for processor in processors:
            processor.setup(store, objective.variables)
    return made


def _make(kind: str, store: VariableStore, name: str, pair: object, processors: list[GradientProcessor]) -> Objective:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise ModelError(f"{kind}.optimizer()[{name!r}] must be a pair (optimizer, pattern), got {pair!r:.80}.")
    optimizer, pattern = pair
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ModelError(
            f"{kind}.optimizer() must return a Keras optimizer, e.g. tf.keras.optimizers.Adam(2e-4); "
            f"got {type(optimizer).__name__}."
        )
    _check_optimizer(kind, optimizer)
    trainable = store.trainable
    if not trainable:
        raise ModelError(f"{kind} has no trainable variables, so there is nothing to train.")
    chosen = {key: variable for key, variable in trainable.items() if re.fullmatch(pattern, key)}
    if not chosen:
        raise ModelError(
            f"{kind}.optimizer(): no trainable variable matches {pattern!r}. {closest(pattern, list(trainable))}"
        )
    return Objective(name, optimizer, chosen, processors)


def _check_optimizer(kind: str, optimizer: keras.optimizers.Optimizer) -> None:
    """Refuse optimizers with settings that ``fit`` would act on and the training step does otherwise, or not at all."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) or optimizer.loss_scale_factor is not None:
        name = type(optimizer).__name__
        given = name if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else f"{name}(loss_scale_factor=...)"
        raise ModelError(
            f"{kind}.optimizer() returned {given}, which divides the gradients of a loss that someone must have "
            "scaled. The training step does both itself where layers compute in float16: return the plain optimizer."
        )
    if optimizer.use_ema:
        raise ModelError(
            f"{kind}.optimizer() returned {type(optimizer).__name__}(use_ema=True), whose averages fit puts into the "
            "model at its end. Here they are kept beside the weights: leave it out and set average_decay = "
            f"{optimizer.ema_momentum} in the model, or train with the callback EMA({optimizer.ema_momentum})."
        )
    if optimizer.built:
        raise ModelError(
            f"{kind}.optimizer() returned a {type(optimizer).__name__} that has been used before, with its state of "
            "another run. Make a new one in each call: def optimizer(self): return tf.keras.optimizers.Adam(...)."
        )


def _check_dependence(objective: Objective, tower: TowerContext) -> None:
    """Refuse a cost that does not depend on its variables, as far as data dependencies in the graph tell.

    The step finds every variable without a gradient; this finds most of them before data and workers are started.
    """
    # The graph reads a variable through a placeholder that captures its handle. A regularised variable always has a
    # gradient, of its penalty.
    captured = {id(inside.op): id(handle) for handle, inside in external_captures(tower.graph)}
    ends = [tower.plain_costs[objective.name].op, *(loss.op for loss in layer_losses(tower))]
    reached = {captured.get(id(op)) for op in ancestors(ends, control=False)}
    missing = [
        name
        for name, variable in objective.variables.items()
        if variable.regularizer is None and not handles({name: variable}) & reached
    ]
    if len(missing) == len(objective.variables):
        raise ModelError(
            f"the {objective.name!r} that build_graph returns does not depend on any trainable variable, so there is "
            f"nothing to train."
        )
    refuse_missing(objective.name, missing, objective.processors)


def handles(variables: Mapping[str, keras.Variable]) -> set[Any]:
    """The identities of the resource handles of variables, on all replicas."""
    found = set()
    for variable in variables.values():
        found.update(id(part.handle) for part in replica_values(raw_variable(variable)))
    return found
