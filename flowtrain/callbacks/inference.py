"""InferenceRunner: runs the model over validation data and logs what inferencers compute from the outputs."""

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

# A dataflow of unknown length is given up after this many batches, or this many training epochs' steps if that is more:
# a generator that never ends must be an error, not a training that stands still.
_MOST = 2000
_MOST_EPOCHS = 100


@old_spellings(input="dataflow", infs="inferencers")
class InferenceRunner(Callback):
    """Validates at each epoch's end: runs the inference graph over one or several dataflows and logs scalars.

    All batches of a flow are used, also a short last one. Only the tensors that the inferencers ask for are computed,
    in inference mode (no dropout, batch normalisation with its moving statistics), with the current weights.

    An interrupted validation has logged nothing; it is repeated when the run continues.

    Args:
        dataflow: Batches with the model's inputs: a DataFlow or a ``tf.data.Dataset``. Several: a dict from prefix to
            dataflow, or a list (the prefixes are then ``validation_1``, ``validation_2``, ...).
        inferencers: One Inferencer or several.
        prefix: The scalars are called ``<prefix>_<name>``.
        inputs: Names of the inputs that a datapoint holds, in order, if it does not hold all of the model's.

    Raises:
        ConfigError: There is no dataflow or no inferencer, an inferencer is not an Inferencer, a dataflow never ends,
            or another callback logs a scalar of the same name.
        TrainingError: A dataflow gave no batch; or one of unknown length gave more than 2000 batches and more than 100
            times the steps of a training epoch.

    Example:
        >>> InferenceRunner(valid, [ScalarStats("l2_loss")])  # logs validation_l2_loss  # doctest: +SKIP
    """

    @property
    def repeats_interrupted(self) -> bool:  # type: ignore[override]
        """True until this step's results are logged."""
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
        self._owed: list[tuple[str, float]] = []  # results that are computed but not logged yet
        self._logged_at = (-1, -1)  # epoch and step of the last validation that was logged whole
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
        # Called again after a Ctrl-C (repeats_interrupted). If that came into the computation, the flows are put back,
        # so that the repetition sees the same datapoints and random numbers; if into the logging, _owed has the rest.
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
        while self._owed:  # popped before it is put: an interrupt between the two must not log a value twice
            name, value = self._owed.pop(0)
            self.trainer.monitors.put_scalar(name, value, self.global_step)
        self._logged_at = (self.epoch_num, self.global_step)

    def _validate(self, prefix: str, flow: DataFlow) -> Iterator[tuple[str, float]]:
        """Run over one dataflow; yields the scalars to log."""
        started = time.monotonic()
        most = None if flow.size_or_none() is not None else max(_MOST, _MOST_EPOCHS * self.trainer.steps_per_epoch)
        count, found = infer_over(flow, self.inferencers, self._compute, "InferenceRunner", most)
        seconds = time.monotonic() - started
        level = logging.INFO if seconds >= 1 else logging.DEBUG  # a line per epoch is worth it for slow ones only
        logger.log(level, "%s: %d datapoints in %.1f s", prefix, count, seconds)
        for own_prefix, name, value in found:
            yield f"{own_prefix or prefix}_{name}", value

    def state_dict(self) -> dict[str, Any]:
        """The dataflows' positions, so that random crops or noise are the same in a resumed run."""
        return {"flows": {prefix: flow.state_dict() for prefix, flow in self.flows.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for prefix, flow_state in state.get("flows", {}).items():
            flow = self.flows.get(prefix)
            if flow is None:
                continue
            try:
                flow.load_state_dict(flow_state)
            except StateError:  # the state of another recipe: keep this flow's seeds, and continue its epoch count
                go_to_epoch(flow, flow_state["epoch"])
                logger.warning(
                    "%s: the dataflow of %r is not the checkpoint's: its order is its own", self.name, prefix
                )

    def _compute(self, datapoint: object) -> tuple[int, Mapping[str, np.ndarray]]:
        tensors = self._inputs.tensors(datapoint)
        size = next((len(tensor) for tensor in tensors if tensor.shape.rank), 1)  # a scalar input has no batch axis
        return size, dict(zip(self._fetches, map(output_array, self._predictor(*tensors)), strict=True))


def inferencers_of(given: Inferencer | Sequence[Inferencer], who: str) -> list[Inferencer]:
    """Normalize one inferencer or several to a checked list.

    Raises:
        ConfigError: The list is empty, or an element is not an Inferencer.
    """
    if isinstance(given, str) or not isinstance(given, Inferencer | Iterable):
        raise ConfigError(f'{who} takes a list of Inferencers, e.g. [ScalarStats("cost")]; got {given!r:.60}.')
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
    """Give inferencers the outputs of all batches of a dataflow, and collect their scalars.

    Args:
        flow: Iterable of batches.
        inferencers: Their ``get_fetches`` was called before.
        compute: Maps a batch to its number of datapoints and the arrays that the inferencers ask for, by name.
        who: Name of the caller, for errors.
        most: Number of batches after which to give up; None: never.

    Returns:
        The number of datapoints; and the scalars as (the inferencer's own prefix or None, name, value).

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
    """Convert an output for inferencers: bfloat16 and float16 to float32, in which means lose nothing."""
    array = value.numpy() if hasattr(value, "numpy") else np.asarray(value)
    return array.astype(np.float32) if array.dtype.name in ("bfloat16", "float16") else array
