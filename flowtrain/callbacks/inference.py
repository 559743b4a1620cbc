"""Validation: the model run over other data, now and then."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flowtrain.dataflow import DataFlow
from flowtrain.dataflow.core.position import go_to_epoch
from flowtrain.feed.data_argument import as_dataflow, never_ends
from flowtrain.feed.inputs import Inputs
from flowtrain.utils.arguments import old_spellings
from flowtrain.utils.errors import ConfigError, StateError, TrainingError

from .base import Callback
from .inferencers import Inferencer, check_inferencer

__all__ = ["InferenceRunner", "infer_over", "inferencers_of", "output_array"]

logger = logging.getLogger("flowtrain.callbacks")

_MOST = 2000  # batches of a flow of unknown length; or so many times the steps of a training epoch:
_MOST_EPOCHS = 100


@old_spellings(input="dataflow", infs="inferencers")
class InferenceRunner(Callback):
    """Runs the inference graph over one or several dataflows, at each epoch's end, and logs what comes of it.

    A validation that is interrupted has logged nothing, and is done anew when the run goes on.

    All batches of the flow are used, the last one too when it is short. Only what the inferencers ask for is
    computed, in inference mode (no dropout, batch normalisation by its statistics), on the present weights.

    Args:
        dataflow: Batches with the model's inputs, a DataFlow or a ``tf.data.Dataset``. Several: a dict from prefix to
            dataflow, or a list (the prefixes are then ``validation_1``, ``validation_2``, ...).
        inferencers: One Inferencer or several.
        prefix: Put before the scalars' names, with a ``_``.
        inputs: The inputs that a datapoint holds, in order, when it does not hold all of the model's.

    Raises:
        ConfigError: There is no dataflow or no inferencer, or an inferencer is none; a dataflow never ends; another
            callback logs a scalar of the same name.
        TrainingError: A dataflow gave no batch, or, of unknown length, more than 100 training epochs' (at least 2000).

    Example:
        >>> InferenceRunner(valid, [ScalarStats("l2_loss")])  # logs validation_l2_loss  # doctest: +SKIP
    """

    @property
    def repeats_interrupted(self) -> bool:  # type: ignore[override]
        """True until the results of this step are logged."""
        return self._logged_at != (self.epoch_num, self.global_step)

    def __init__(
        self,
        dataflow: object,
        inferencers: Inferencer | Sequence[Inferencer],
        *,
        prefix: str = "validation",
        inputs: Sequence[str] | None = None,
    ) -> None:
        self.inferencers = inferencers_of(inferencers, "InferenceRunner")
        self.flows = _by_prefix(dataflow, prefix)
        for flow in self.flows.values():
            _refuse_endless(flow, "InferenceRunner")
        own = [inferencer for inferencer in self.inferencers if inferencer.prefix is not None]
        if len(self.flows) > 1 and own:
            raise ConfigError(
                f"InferenceRunner: {type(own[0]).__name__} has the prefix {own[0].prefix!r} of its own, but there are "
                f"{len(self.flows)} dataflows: leave it out, the dataflows' prefixes tell the numbers apart."
            )
        self.inputs = inputs
        super().__init__()

    def reset(self) -> None:
        self._owed: list[tuple[str, float]] = []
        self._logged_at = (-1, -1)
        for flow in self.flows.values():
            go_to_epoch(flow, 0)

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
        names = [
            f"{inferencer.prefix or prefix}_{name}"
            for prefix in self.flows
            for inferencer in self.inferencers
            for name in inferencer.logged_names()
        ]
        _refuse_twice(names)
        for name in names:
            self.trainer.monitors.claim(name, self)

    def trigger(self) -> None:
        """Validate now."""
        if not self._owed:
            before = {prefix: flow.state_dict() for prefix, flow in self.flows.items()}
            try:
                found = [pair for prefix, flow in self.flows.items() for pair in self._validate(prefix, flow)]
            except BaseException:
                for prefix, position in before.items():
                    self.flows[prefix].load_state_dict(position)
                raise
            _refuse_twice([name for name, _ in found])
            self._owed = found
        while self._owed:  # an interrupt in here leaves the rest of them
            name, value = self._owed.pop(0)
            self.trainer.monitors.put_scalar(name, value, self.global_step)
        self._logged_at = (self.epoch_num, self.global_step)

    def _validate(self, prefix: str, flow: DataFlow) -> Iterator[tuple[str, float]]:
        """Run over one dataflow; gives what to log."""
        started = time.monotonic()
        most = None if flow.size_or_none() is not None else max(_MOST, _MOST_EPOCHS * self.trainer.steps_per_epoch)
        count, found = infer_over(flow, self.inferencers, self._compute, "InferenceRunner", most)
        seconds = time.monotonic() - started
        level = logging.INFO if seconds >= 1 else logging.DEBUG  # what is over at once need not be told each time
        logger.log(level, "%s: %d datapoints in %.1f s", prefix, count, seconds)
        for own_prefix, name, value in found:
            yield f"{own_prefix or prefix}_{name}", value

    def state_dict(self) -> dict[str, Any]:
        """The dataflows' positions: one that draws random numbers draws the same ones in a resumed run."""
        return {"flows": {prefix: flow.state_dict() for prefix, flow in self.flows.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for prefix, flow_state in state.get("flows", {}).items():
            flow = self.flows.get(prefix)
            if flow is None:
                continue
            try:
                flow.load_state_dict(flow_state)
            except StateError:  # of another recipe: it keeps its own seeds, and only the epochs are counted on
                go_to_epoch(flow, flow_state["epoch"])
                logger.warning(
                    "%s: the dataflow of %r is not the checkpoint's: its order is its own", self.name, prefix
                )

    def _compute(self, datapoint: object) -> tuple[int, Mapping[str, np.ndarray]]:
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
    most: int | None = None,
) -> tuple[int, list[tuple[str | None, str, float]]]:
    """Show inferencers the outputs of all batches of a dataflow.

    Args:
        flow: Of batches.
        inferencers: Their ``get_fetches`` was called before.
        compute: From a batch to its number of datapoints and all arrays that the inferencers ask for, by name.
        who: Begins the error.
        most: After how many batches to give up; None: never.

    Returns:
        The number of datapoints; and what was found: the inferencer's own prefix, name, value.

    Raises:
        ConfigError: The flow never ends.
        TrainingError: The flow gave no batch, or more than `most`.
    """
    _refuse_endless(flow, who)
    count = 0
    for inferencer in inferencers:
        inferencer.before_inference()
    for number, datapoint in zip(itertools.count(), flow, strict=False):
        if number == most:
            raise TrainingError(
                f"{who}: the dataflow {flow!r:.80} has given {number} batches and no end. Its length is not known: if "
                "it has none, take some, TakeData(ds, 100); if it is so long, say how long, FixedSizeData(ds, length)."
            )
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


def _by_prefix(dataflow: object, prefix: str) -> dict[str, DataFlow]:
    if isinstance(dataflow, Mapping):
        given, what = dict(dataflow), "InferenceRunner: each value of a dict"
    elif isinstance(dataflow, list | tuple):
        given = {f"{prefix}_{number}": flow for number, flow in enumerate(dataflow, 1)}
        what = "InferenceRunner: a list stands for several validation sets; each"
    else:
        given, what = {prefix: dataflow}, "InferenceRunner: dataflow="
    if not given:
        raise ConfigError("InferenceRunner needs a dataflow, or several; got none.")
    return {name: as_dataflow(flow, what) for name, flow in given.items()}


def _refuse_endless(flow: object, who: str) -> None:
    if never_ends(flow):
        raise ConfigError(
            f"{who}: the dataflow {flow!r:.80} never ends, and a validation is one walk over all of it. Leave out what "
            "repeats it, or take the first 100 batches: TakeData(ds, 100), dataset.take(100)."
        )


def _refuse_twice(names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"InferenceRunner: two inferencers log the same scalar {twice!r}. Give one of them another name: "
            'ClassificationError(..., name="top5"), ScalarStats(..., prefix="test").'
        )


def output_array(value: Any) -> np.ndarray:
    """An output as an inferencer gets it: 16-bit floats become float32."""
    array = value.numpy() if hasattr(value, "numpy") else np.asarray(value)
    return array.astype(np.float32) if array.dtype.name in ("bfloat16", "float16") else array
