"""Validation: the model run over other data, now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flowtrain.dataflow import DataFlow
from flowtrain.feed import Inputs
from flowtrain.utils.arguments import old_spellings
from flowtrain.utils.errors import ConfigError, TrainingError

from .base import Callback
from .inferencers import Inferencer, check_inferencer

__all__ = ["InferenceRunner", "infer_over", "inferencers_of", "output_array"]

logger = logging.getLogger("flowtrain.callbacks")


@old_spellings(input="dataflow", infs="inferencers")
class InferenceRunner(Callback):
    """Runs the inference graph over one or several dataflows, at each epoch's end, and logs what comes of it.

    A validation that is interrupted has logged nothing, and is done anew when the run goes on.

    All batches of the flow are used, the last one too when it is short. Only what the inferencers ask for is
    computed, in inference mode (no dropout, batch normalisation by its statistics), on the present weights.

    Args:
        dataflow: Batches with the model's inputs. Several: a dict from prefix to dataflow, or a list (the
            prefixes are then ``validation_1``, ``validation_2``, ...).
        inferencers: One Inferencer or several.
        prefix: Put before the scalars' names, with a ``_``.
        inputs: The inputs that a datapoint holds, in order, when it does not hold all of the model's.

    Raises:
        ConfigError: There is no dataflow or no inferencer, or an inferencer is none.

    Example:
        >>> InferenceRunner([[]], [ScalarStats("l2_loss")])  # logs validation_l2_loss  # doctest: +SKIP
    """

    repeats_interrupted = True

    def __init__(
        self,
        dataflow: Any,
        inferencers: Inferencer | Sequence[Inferencer],
        *,
        prefix: str = "validation",
        inputs: Sequence[str] | None = None,
    ) -> None:
        self.inferencers = inferencers_of(inferencers, "InferenceRunner")
        self.flows = _by_prefix(dataflow, prefix)
        for name, flow in self.flows.items():
            if not isinstance(flow, Iterable):
                raise ConfigError(f"InferenceRunner: {name}={flow!r:.80} is no dataflow.")
        own = [inferencer for inferencer in self.inferencers if inferencer.prefix is not None]
        if len(self.flows) > 1 and own:
            raise ConfigError(
                f"InferenceRunner: {type(own[0]).__name__} has the prefix {own[0].prefix!r} of its own, but there are "
                f"{len(self.flows)} dataflows: leave it out, the dataflows' prefixes tell the numbers apart."
            )
        self.inputs = inputs
        super().__init__()

    def reset(self) -> None:
        for flow in self.flows.values():
            if isinstance(flow, DataFlow):
                flow.load_state_dict({**flow.state_dict(), "epoch": 0, "position": None})

    def setup_graph(self) -> None:
        specs = {spec.name: spec for spec in self.trainer.graph.input_specs}
        names = list(specs) if self.inputs is None else list(self.inputs)
        unknown = [name for name in names if name not in specs]
        if unknown:
            raise ConfigError(f"InferenceRunner: inputs {unknown} are none of the model's: {list(specs)}.")
        self._inputs = Inputs([specs[name] for name in names])
        for inferencer in self.inferencers:
            inferencer.trainer = self.trainer
        self._fetches = list(dict.fromkeys(name for i in self.inferencers for name in i.get_fetches()))
        self._predictor = self.trainer.get_predictor(names, self._fetches)

    def trigger(self) -> None:
        """Validate now."""
        before = {prefix: flow.state_dict() for prefix, flow in self.flows.items() if isinstance(flow, DataFlow)}
        try:
            found = [pair for prefix, flow in self.flows.items() for pair in self._validate(prefix, flow)]
        except BaseException:
            for prefix, position in before.items():
                self.flows[prefix].load_state_dict(position)
            raise
        for name, value in found:
            self.trainer.monitors.put_scalar(name, value, self.global_step)

    def _validate(self, prefix: str, flow: Any) -> Iterator[tuple[str, float]]:
        """Run over one dataflow; gives what to log."""
        started = time.monotonic()
        count, found = infer_over(flow, self.inferencers, self._compute, "InferenceRunner")
        seconds = time.monotonic() - started
        level = logging.INFO if seconds >= 1 else logging.DEBUG  # what is over at once need not be told each time
        logger.log(level, "%s: %d datapoints in %.1f s", prefix, count, seconds)
        for own_prefix, name, value in found:
            yield f"{own_prefix or prefix}_{name}", value

    def state_dict(self) -> dict[str, Any]:
        """The dataflows' positions: one that draws random numbers draws the same ones in a resumed run."""
        stateful = {prefix: flow for prefix, flow in self.flows.items() if hasattr(flow, "state_dict")}
        return {"flows": {prefix: flow.state_dict() for prefix, flow in stateful.items()}} if stateful else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for prefix, flow_state in state.get("flows", {}).items():
            if hasattr(self.flows.get(prefix), "load_state_dict"):
                self.flows[prefix].load_state_dict(flow_state)

    def _compute(self, datapoint: Any) -> tuple[int, Mapping[str, np.ndarray]]:
        tensors = self._inputs.tensors(datapoint)
        size = next((len(tensor) for tensor in tensors if tensor.shape.rank), 1)
        return size, dict(zip(self._fetches, map(output_array, self._predictor(*tensors)), strict=True))


def inferencers_of(given: Inferencer | Sequence[Inferencer], who: str) -> list[Inferencer]:
    """One inferencer or several as a list, each checked.

    Raises:
        ConfigError: There is none, or one is no Inferencer.
    """
    inferencers = [given] if isinstance(given, Inferencer) else list(given)
    if not inferencers:
        raise ConfigError(f'{who} needs at least one Inferencer, e.g. [ScalarStats("cost")].')
    for inferencer in inferencers:
        check_inferencer(inferencer)
    return inferencers


def infer_over(
    flow: Iterable[Any],
    inferencers: Sequence[Inferencer],
    compute: Callable[[Any], tuple[int, Mapping[str, np.ndarray]]],
    who: str,
) -> tuple[int, list[tuple[str | None, str, float]]]:
    """Show inferencers the outputs of all batches of a dataflow.

    Args:
        flow: Of batches.
        inferencers: Their ``get_fetches`` was called before.
        compute: From a batch to its number of datapoints and all arrays that the inferencers ask for, by name.
        who: Begins the error.

    Returns:
        The number of datapoints; and what was found: the inferencer's own prefix, name, value.

    Raises:
        TrainingError: The flow gave no batch.
    """
    count = 0
    for inferencer in inferencers:
        inferencer.before_inference()
    for datapoint in flow:
        size, outputs = compute(datapoint)
        count += size
        for inferencer in inferencers:
            inferencer.batch_size = size
            inferencer.on_fetches([outputs[name] for name in inferencer.get_fetches()])
    if not count:
        raise TrainingError(
            f"{who}: the dataflow {flow!r:.80} gave no batch. If it has fewer datapoints than a "
            "batch, keep the last, short one: BatchData(ds, size, remainder=True)."
        )
    after = [(inferencer.prefix, inferencer.after_inference() or {}) for inferencer in inferencers]
    return count, [(prefix, name, value) for prefix, found in after for name, value in found.items()]


def _by_prefix(dataflow: Any, prefix: str) -> dict[str, Any]:
    if isinstance(dataflow, Mapping):
        flows = dict(dataflow)
    elif isinstance(dataflow, list | tuple):
        flows = {f"{prefix}_{number}": flow for number, flow in enumerate(dataflow, 1)}
    else:
        return {prefix: dataflow}
    if not flows:
        raise ConfigError("InferenceRunner needs a dataflow, or several; got none.")
    return flows


def output_array(value: Any) -> np.ndarray:
    """An output as an inferencer gets it: 16-bit floats become float32."""
    array = value.numpy() if hasattr(value, "numpy") else np.asarray(value)
    return array.astype(np.float32) if array.dtype.name in ("bfloat16", "float16") else array
