"""The inference graph: traced once; each predictor runs the subgraph that it needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from flowtrain.utils.arguments import check_names
from flowtrain.utils.errors import ModelError, TensorNameError, closest

from .ancestors import ancestors
from .crops import make_crop
from .internals import trace
from .predictor import Predictor
from .tower import TowerContext

__all__ = ["InferenceGraph"]


class InferenceGraph:
    """The graph of ``build_graph`` with ``is_training`` False, on the model's live variables. Thread-safe.

    Args:
        build: Traces the model on the placeholders of the inputs; called once.
        specs: The model's inputs.
    """

    def __init__(self, build: Callable[[Sequence[tf.Tensor]], TowerContext], specs: Sequence[tf.TensorSpec]) -> None:
        self.specs = list(specs)
        # Pruning and adding a crop change the graph, and predictors may be made in several threads.
        self._lock = threading.Lock()
        self._pruned: dict[Any, Any] = {}
        towers: list[TowerContext] = []
        self._traced = trace(lambda *inputs: towers.append(build(inputs)), self.specs)
        self.tower = towers[0]

    @property
    def graph(self) -> tf.Graph:
        """The TensorFlow graph."""
        return self._traced.graph

    def tensor(self, name: str) -> tf.Tensor:
        """Look up a tensor; see :meth:`TowerContext.tensor`. ``NAME_crop32`` is NAME without 32 pixels on each side."""
        with self._lock:
            try:
                return self.tower.tensor(name)
            except TensorNameError:
                crop = make_crop(name, self.tower.tensor)
                if crop is None:
                    raise
                return crop

    def prune(self, inputs: Sequence[str], outputs: Sequence[str]) -> tf.types.experimental.ConcreteFunction:
        """Cut out the subgraph from inputs to outputs, as a function of tensors. Cached by the names.

        Args:
            inputs: Names of the model's inputs, or of other tensors to feed in their place.
            outputs: Names of the tensors to compute.

        Returns:
            A concrete function that returns a list of tensors; it reads the live variables.

        Raises:
            TensorNameError: An unknown name; lists the nearest.
            ModelError: An output needs an input that is not given.
        """
        # Looked up without the lock: at worst two threads cut out the same subgraph.
        key = tuple(inputs), tuple(outputs)
        if key in self._pruned:
            return self._pruned[key]
        feeds = [self._feed(name) for name in inputs]
        fetches = [self.tensor(name) for name in outputs]
        missing = self.needed_inputs(fetches, feeds)
        if missing:
            raise ModelError(
                f"the outputs {list(outputs)} depend on the input(s) {missing}, which are not among the "
                f"predictor's inputs {list(inputs)}. Add them, or ask for outputs that do not need them."
            )
        with self._lock:
            pruned = self._pruned[key] = self._traced.prune(feeds, fetches)
        return pruned

    def predictor(self, inputs: Sequence[str], outputs: Sequence[str]) -> Predictor:
        """Make a predictor from named inputs to named outputs.

        Raises:
            TensorNameError: An unknown name; lists the nearest.
            ModelError: Not lists of names, an input twice, no output, or an output needs an input that is not given.
        """
        inputs = check_names("a predictor", "inputs", inputs, ModelError)
        outputs = check_names("a predictor", "outputs", outputs, ModelError, least=1)
        twice = sorted({name for name in inputs if inputs.count(name) > 1})
        if twice:
            raise ModelError(f"the predictor's inputs name {twice[0]!r} twice.")
        function = self.prune(inputs, outputs)
        return Predictor(function, [self._spec(name) for name in inputs], inputs, outputs)

    def _spec(self, name: str) -> tf.TensorSpec:
        for spec in self.specs:
            if spec.name == name.removesuffix(":0"):
                return spec
        tensor = self.tensor(name)
        return tf.TensorSpec(tensor.shape, tensor.dtype, name)

    def _feed(self, name: str) -> tf.Tensor:
        try:
            return self.tensor(name)
        except TensorNameError:
            known = [str(spec.name) for spec in self.specs]
            raise TensorNameError(f"the model has no input or tensor named {name!r}. {closest(name, known)}") from None

    def needed_inputs(self, fetches: Sequence[tf.Tensor], feeds: Sequence[tf.Tensor] = ()) -> list[str]:
        """The names of the declared inputs that tensors depend on, in the order of declaration.

        Args:
            fetches: The tensors to compute.
            feeds: Tensors whose values are given; what only they depend on is not needed.
        """
        reached = set(ancestors([tensor.op for tensor in fetches], stop={tensor.op for tensor in feeds}))
        names = [str(spec.name) for spec in self.specs]
        return [name for name in names if self.tensor(name).op in reached]
